#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guest.sh SHARE: inside a virtual machine, on the host's files: make the RDMA devices, run the command.
share=$1
mine=$share/lab/$RANK
. "$share/lab/environment"
export RANK
hostname "vm$RANK"

# die REASON: on the console, which the host shows when a machine reports no exit code.
die() {
  echo "lab: $*"
  poweroff_now
}

# At once, without the init system of the files around us.
poweroff_now() {
  sync
  echo o >/proc/sysrq-trigger
  sleep 60
}

# One call for all devices: see init on what starting a program costs.
devices_make() {
  local nic
  for ((nic = 0; nic < LAB_NICS; nic++)); do
    echo "link add rxe$nic type rxe netdev eth$nic"
  done | rdma -b /dev/stdin || die "cannot make the RDMA devices"
  for ((nic = 0; nic < LAB_NICS; nic++)); do
    # shellcheck disable=SC2086 # the specification is words
    [ -z "$LAB_NETEM" ] || tc qdisc add dev "eth$nic" root netem $LAB_NETEM || die "netem does not take \"$LAB_NETEM\""
  done
}

# The port that carries the command's output to the host.
output_port() {
  local port
  for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = output ] && echo "/dev/${port##*/}" && return
  done
}

devices_make
ulimit -l "$LAB_MEMLOCK"
port=$(output_port)
[ -c "$port" ] || die "there is no port for the output"
touch "$mine/started"
# Through a pipe, since a port can be opened once only, and programs open /dev/stdout.
{
  "${command[@]}" </dev/null
  echo $? >"$mine/code.new"
} 2>&1 | cat >"$port"
mv "$mine/code.new" "$mine/code"
poweroff_now
