#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# verbs_devices.sh CONFORMANCE WEFT-TOPO: the transport keeps the rules of all transports on real devices: on one of a
# machine, and over two, while the devices are not overrun; weft-topo lists them.
. "$(dirname "$0")/lib.sh"

if [ "${1-}" = inside ]; then
  . "$here/in_guest.sh"
  conformance=$2 topo=$3
  status=0
  # One half in each machine: all ranks of the suite are in one process.
  [ "$RANK" -eq 0 ] && half=one || half=two
  "$conformance" "$half" 2>&1 | grep -E '^\[  (PASSED|FAILED) |^\[ +FAILED|error|^needs|not so' || status=1
  [ "${PIPESTATUS[0]}" -eq 0 ] || status=1
  # A message that found no receive would have been sent again in vain: credits are to prevent it.
  for device in rxe0 rxe1; do
    for counter in rcvd_rnr_err send_rnr_err; do
      echo "$device $counter $(cat "/sys/class/infiniband/$device/ports/1/hw_counters/$counter")"
    done
  done
  if [ "$RANK" -eq 0 ]; then
    lab_request link-down 0:1
    sleep 0.5
    WEFT_VERBS_DEVICES=^rxe0 "$topo" show
    "$topo" show --json >"$LAB_SHARE/show.json"
    grep -o '"not_used":"[^"]*"' "$LAB_SHARE/show.json"
  fi
  exit $status
fi

lab devices --vms 2 --nics 2 --timeout 200 -- "$here/verbs_devices.sh" inside "$@" || fail "exit code $?"
[ "$(grep -cE '^[01]: \[  PASSED  \] [0-9]+ test' "$scratch/devices")" -eq 2 ] || fail "the suite did not pass twice"
[ "$(grep -cE '^[01]: rxe[01] (rcvd|send)_rnr_err 0$' "$scratch/devices")" -eq 8 ] || fail "a receiver was not ready"
has devices '^0: .*NIC eth0 .*verbs rxe0'
has devices '^0: .*port 1  ethernet  ACTIVE .*not used: WEFT_VERBS_DEVICES leaves it out'
has devices '^0: .*port 1  ethernet  DOWN .*not used: the port is DOWN'
has devices '^0: .*gid [0-9]+  10\.88\.0\.1  RoCE v2  eth0'
has devices '^0: "not_used":"the port is DOWN'
finish
