#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# machines.sh SCRATCH KERNEL VMS NICS CPUS MEMORY TIMEOUT QUIET: called by `run`, as the first process of namespaces of
# its own: build the network, start the virtual machines, pull cables when it is time, wait. When this ends, for
# whatever reason, the kernel ends the machines and takes the network away.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
scratch=$1 kernel=$2 vms=$3 nics=$4 cpus=$5 memory=$6 timeout=$7 quiet=$8
lab=$scratch/share/lab
pids=() printers=() killed=()
boot_seconds=75 # ten times what it takes

say() {
  $quiet || complain "$@"
}

complain() {
  echo "lab: $*"
}

now_ms() {
  echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

# Interface K of all machines is on bridge K. RoCE's largest MTU is 4096, and needs room for headers.
network_make() {
  local nic vm
  ip link set lo up
  for ((nic = 0; nic < nics; nic++)); do
    ip link add "rail$nic" mtu 4500 type bridge mcast_snooping 0
    ip link set "rail$nic" up
    for ((vm = 0; vm < vms; vm++)); do
      ip tuntap add "tap$vm.$nic" mode tap
      ip link set "tap$vm.$nic" mtu 4500 master "rail$nic" up
    done
  done
}

machine_start() {
  local vm=$1 nic arguments=()
  for ((nic = 0; nic < nics; nic++)); do
    arguments+=(-netdev "tap,id=tap$nic,ifname=tap$vm.$nic,script=no,downscript=no"
      -device "virtio-net-pci,id=nic$nic,netdev=tap$nic,host_mtu=4500,romfile=,mac=$(printf '52:54:00:88:%02x:%02x' "$nic" "$vm")")
  done
  rm -f "$scratch/output$vm" "$scratch/monitor$vm".*
  mkdir -p "$lab/$vm"
  mkfifo "$scratch/output$vm" "$scratch/monitor$vm.in" "$scratch/monitor$vm.out"
  sed -u "s/^/$vm: /" <"$scratch/output$vm" &
  printers[vm]=$!
  cat "$scratch/monitor$vm.out" >"$scratch/monitor$vm" &
  qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M pc -accel tcg,thread=multi -cpu max \
    -smp "$cpus" -m "$memory" -kernel "$kernel/vmlinux" -initrd "$kernel/initramfs" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr no_timer_check $clock lab.rank=$vm lab.nics=$nics lab.share=$scratch/share lab.here=$here" \
    -serial "file:$scratch/console$vm" -device virtio-rng-pci \
    -chardev "pipe,id=monitor,path=$scratch/monitor$vm" -mon chardev=monitor,mode=readline \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
    -virtfs "local,path=$scratch/share,mount_tag=share,security_model=none" \
    -device virtio-serial -chardev "file,id=output,path=$scratch/output$vm" -device virtserialport,chardev=output,name=output \
    "${arguments[@]}" </dev/null >"$scratch/qemu$vm" 2>&1 &
  pids[vm]=$!
  disown $! # the shell need not report its death
}

# obey WHAT TARGET: a fault, or its end. TARGET is VM:NIC, or VM to kill.
obey() {
  local vm nic
  [[ $2 =~ ^([0-9]+)(:([0-9]+))?$ ]] && vm=${BASH_REMATCH[1]} nic=${BASH_REMATCH[3]:-0} && ((vm < vms && nic < nics)) || {
    complain "cannot $1 \"$2\": there are $vms machines of $nics interfaces"
    return
  }
  say "$1 $2"
  case $1 in
  link-down) echo "set_link nic$nic off" >"$scratch/monitor$vm.in" ;;
  link-up) echo "set_link nic$nic on" >"$scratch/monitor$vm.in" ;;
  cut) ip link set "tap$vm.$nic" nomaster ;;
  mend) ip link set "tap$vm.$nic" master "rail$nic" ;;
  kill) killed[vm]=yes && kill -KILL "${pids[vm]}" ;;
  *) complain "there is no fault \"$1\"" ;;
  esac
}

# What a command asked for with lab_request(), see in_guest.sh. The file's end is the answer.
requests_obey() {
  local request words
  for request in "$lab"/requests/*; do
    [[ -e $request && $request != *.new ]] || continue
    read -r -a words <"$request" || true
    obey "${words[@]:0:2}"
    rm -f "$request"
  done
}

# Events are sorted by time, and count from the moment when all machines run the command.
events_obey() {
  local at what target
  while ((event_next < ${#events[@]})); do
    read -r at what target <<<"${events[event_next]}"
    (($(now_ms) - started_ms >= at)) || return
    obey "$what" "$target"
    event_next=$((event_next + 1))
  done
}

all_started() {
  local vm
  for ((vm = 0; vm < vms; vm++)); do [ -e "$lab/$vm/started" ] || return; done
}

any_running() {
  local vm
  for ((vm = 0; vm < vms; vm++)); do kill -0 "${pids[vm]}" 2>/dev/null && return; done
  return 1
}

# last_words VM: what a machine has to say that ended or hangs.
last_words() {
  tail -n 6 "$scratch/qemu$1" "$scratch/console$1" | sed "s/^/$1! /"
}

# An emulated machine sometimes hangs in the first second of its life: it gets a second one.
laggards_restart() {
  local vm
  for ((vm = 0; vm < vms; vm++)); do
    if [ -e "$lab/$vm/started" ]; then continue; fi
    complain "machine $vm does not come up, and is started again; its last words:"
    last_words "$vm"
    kill -KILL "${pids[vm]}" 2>/dev/null
    machine_start "$vm"
  done
}

machines_watch() {
  local events=() event_next=0 begin_ms started_ms=0 restarted=0
  mapfile -t events < <(grep . "$scratch/events")
  begin_ms=$(now_ms)
  while any_running; do
    if (($(now_ms) - begin_ms > timeout * 1000)); then
      timed_out=true
      complain "the deadline of $timeout s has passed"
      kill -KILL "${pids[@]}" 2>/dev/null
      return
    fi
    if ((started_ms == 0)) && all_started; then
      started_ms=$(now_ms)
      say "$vms machines are up after $((started_ms - begin_ms)) ms"
    fi
    if ((started_ms == 0 && !restarted && $(now_ms) - begin_ms > boot_seconds * 1000)); then
      restarted=1
      laggards_restart
    fi
    ((started_ms == 0)) || events_obey
    requests_obey
    read -r -t 0.1 <>"$scratch/pause" || true # a sleep that starts no program
  done
}

# The worst code, once all output is out.
codes_collect() {
  local vm code worst=0
  wait "${printers[@]}" 2>/dev/null
  for ((vm = 0; vm < vms; vm++)); do
    if [ -n "${killed[vm]-}" ]; then continue; fi
    if [ -e "$lab/$vm/code" ]; then
      code=$(cat "$lab/$vm/code")
    elif $timed_out; then
      code=124
      complain "machine $vm was not done"
      [ -e "$lab/$vm/started" ] || last_words "$vm"
    else
      code=125
      complain "machine $vm ended without an exit code; its last words:"
      last_words "$vm"
    fi
    ((code <= worst)) || worst=$code
  done
  return "$worst"
}

timed_out=false
mkfifo "$scratch/pause"
# With the time stamp counter a machine reads its clock without a trap into QEMU, but has to be told the rate.
clock=
[ ! -x "$kernel/tsc" ] || clock="tsc=reliable tsc_early_khz=$("$kernel/tsc")"
network_make || exit 125
for ((vm = 0; vm < vms; vm++)); do machine_start "$vm"; done
machines_watch
codes_collect
