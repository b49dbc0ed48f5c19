#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# self_test.sh: the lab keeps its promises: devices that work, codes, faults, deadline, nothing left behind.
. "$(dirname "$0")/lib.sh"
links=$(ip link 2>/dev/null | wc -l)

# Runs inside the machines of the first lab.
if [ "${1-}" = inside ]; then
  . "$here/in_guest.sh"
  ibv_devinfo | sed -n 's/^hca_id:/device/p'
  port_state() { echo "$1 $(cat /sys/class/infiniband/rxe1/ports/1/state)"; }
  echo "limit $(ulimit -l)"
  echo "rank $RANK of $WORLD_SIZE at $MASTER_ADDR, key $(wc -c <"$WEFT_KEY_FILE"), ${FROM_OUTSIDE-}"
  tc qdisc show dev eth1
  touch "$here/written_in_a_guest"
  port_state before
  if [ "$RANK" -eq 0 ]; then
    rping -s -a 10.88.1.1 -C 3 &
    ibv_rc_pingpong -d rxe0 -g 1 -n 20 -s 65536 >/dev/null &
    lab_meet servers
    wait
  else
    lab_meet servers
    sleep 1
    rping -c -a 10.88.1.1 -C 3 -v
    ibv_rc_pingpong -d rxe0 -g 1 -n 20 -s 65536 10.88.0.1 | grep bytes
    lab_request link-down 1:1
    sleep 1
    port_state unplugged
    lab_request link-up 1:1
    sleep 1
    port_state plugged
    lab_request cut 1:0
    busybox ping -c 1 -W 1 10.88.0.1 >/dev/null || echo "cut"
    lab_request mend 1:0
    busybox ping -c 1 -W 5 10.88.0.1 >/dev/null && echo "mended"
    lab_request cut 7:0
  fi
  lab_meet done
  exit $((RANK + 3))
fi

usage() {
  "$here/run" "$@" >"$scratch/usage" 2>&1
  [ $? -eq 2 ] || fail "run $*: not refused"
  [ "$(wc -l <"$scratch/usage")" -eq 1 ] || fail "run $*: not one line"
}
usage --vms 2
usage --vms x -- true
usage --vms 99 -- true
usage --kill 1:1@3 -- true
usage --link-down 1@3 -- true
usage --nix -- true
usage
PATH=$scratch /bin/bash "$here/run" -- true >"$scratch/skip" 2>&1
[ $? -eq 77 ] || fail "without QEMU it does not skip"

# Two labs at once; the second ends at its deadline, with one machine killed and the other never done.
lab late --vms 2 --kill 1@0.5 --timeout 40 -- sleep 1000 >"$scratch/late.printed" &
late=$!
FROM_OUTSIDE="from outside" lab two --vms 2 --nics 2 --netem "delay 1ms" --memlock 4096 --timeout 250 -- \
  "$here/self_test.sh" inside
code=$?
[ $code -eq 4 ] || fail "the worst code of 3 and 4 is not $code"
for vm in 0 1; do
  has two "^$vm: device.rxe0"
  has two "^$vm: device.rxe1"
  has two "^$vm: limit 4096"
  has two "^$vm: rank $vm of 2 at 10.88.0.1, key 64, from outside"
  has two "^$vm: qdisc netem .* delay 1(.0)?ms"
done
has two "^1: ping data: rdma-ping-2: "
has two "^1: 2621440 bytes in "
has two "^1: before 4: ACTIVE"
has two "^1: unplugged 1: DOWN"
has two "^1: plugged 4: ACTIVE"
has two "^1: cut"
has two "^1: mended"
has two "^lab: cannot cut \"7:0\""
[ ! -e "$here/written_in_a_guest" ] || fail "a machine wrote into this one's files"

wait $late
code=$?
cat "$scratch/late.printed"
[ $code -eq 77 ] && exit 77
[ $code -eq 124 ] || fail "the deadline gives $code"
has late "^lab: kill 1"
has late "^lab: machine 0 was not done"
! grep -q "machine 1" "$scratch/late" || fail "a machine that was killed on purpose counts"

# Interrupted while the machines boot.
TMPDIR=$scratch "$here/run" --vms 2 -- sleep 1000 >/dev/null 2>&1 &
run=$!
sleep 2
kill -TERM $run
wait $run
[ $? -eq 143 ] || fail "an interrupted lab does not say so"

for left in "$scratch"/weft-lab.*; do
  [ ! -e "$left" ] || fail "left behind: $left"
done
grep -qa "^qemu-system.*$scratch" /proc/[0-9]*/cmdline 2>/dev/null && fail "left behind: machines"
[ "$(ip link | wc -l)" -eq "$links" ] || fail "left behind: network interfaces"
finish
