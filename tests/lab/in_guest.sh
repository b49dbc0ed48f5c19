# SPDX-License-Identifier: Apache-2.0
# Sourced by commands that run inside the virtual machines: what they can ask of each other and of the lab.
# RANK, LAB_VMS, LAB_NICS say who and how many; LAB_SHARE is a folder that all machines and the host see.

# lab_sleep SECONDS: without starting a program, which takes an emulated processor longer than most sleeps.
exec {lab_pause}<> <(:)
lab_sleep() {
  read -r -t "$1" -u "$lab_pause" || true
}

# lab_meet NAME: wait for all machines to come here. A name serves once; the lab's deadline bounds the wait.
lab_meet() {
  local vm
  : >"$LAB_SHARE/met.$1.$RANK"
  for ((vm = 0; vm < LAB_VMS; vm++)); do
    until [ -e "$LAB_SHARE/met.$1.$vm" ]; do lab_sleep 0.1; done
  done
}

# lab_request WHAT TARGET: link-down, link-up, cut or mend VM:NIC, or kill VM; returns when it is done.
lab_request() {
  local request="$LAB_SHARE/lab/requests/$RANK.$BASHPID.$RANDOM"
  echo "$1 $2" >"$request.new"
  mv "$request.new" "$request"
  while [ -e "$request" ]; do lab_sleep 0.1; done
}

# lab_counter NIC NAME: of the interface's statistics: tx_bytes, rx_packets, ...
lab_counter() {
  cat "/sys/class/net/eth$1/statistics/$2"
}
