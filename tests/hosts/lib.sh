# SPDX-License-Identifier: Apache-2.0
# Several hosts on one machine: network namespaces on a bridge of their own. Source it, then hosts_make N.
set -u
failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

host_count=0
prefix=w$$
scratch=$(mktemp -d)

hosts_remove() {
  local i
  for ((i = 0; i < host_count; i++)); do
    ip netns pids "$prefix-$i" 2>/dev/null | xargs -r kill -9
    ip netns del "$prefix-$i" 2>/dev/null
  done
  ip netns del "$prefix-switch" 2>/dev/null
  rm -rf "$scratch"
}
trap hosts_remove EXIT

need() {
  echo "needs $*"
  exit 77
}

# hosts_make N: hosts 0 to N-1, at 10.77.0.1 and up, and a key that their ranks share.
hosts_make() {
  local i
  [ "$(id -u)" -eq 0 ] || need "root, to make network namespaces"
  command -v ip >/dev/null || need "ip, of Debian's package iproute2"
  ip netns add "$prefix-switch" 2>/dev/null || need "a kernel that makes network namespaces"
  ip -n "$prefix-switch" link add name bridge type bridge 2>/dev/null || need "a kernel with bridges"
  ip -n "$prefix-switch" link set bridge up
  for ((i = 0; i < $1; i++)); do
    ip netns add "$prefix-$i"
    host_count=$((i + 1))
    ip -n "$prefix-switch" link add "port$i" type veth peer name eth0 netns "$prefix-$i"
    ip -n "$prefix-switch" link set "port$i" master bridge up
    ip -n "$prefix-$i" addr add "10.77.0.$((i + 1))/24" dev eth0
    ip -n "$prefix-$i" link set lo up
    ip -n "$prefix-$i" link set eth0 up
  done
  head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$scratch/key"
  chmod 600 "$scratch/key"
}

# hosts_run COMMAND...: one rank a host; what rank I prints is in $scratch/out.I. Returns the worst exit code.
hosts_run() {
  local i pids=() worst=0 code
  for ((i = 0; i < host_count; i++)); do
    ip netns exec "$prefix-$i" env RANK=$i WORLD_SIZE=$host_count MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 \
      WEFT_KEY_FILE="$scratch/key" timeout 300 "$@" >"$scratch/out.$i" 2>&1 </dev/null &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid"
    code=$?
    [ $code -le $worst ] || worst=$code
  done
  return $worst
}

finish() {
  [ $failures -eq 0 ] && exit 0
  echo "$failures failed"
  exit 1
}
