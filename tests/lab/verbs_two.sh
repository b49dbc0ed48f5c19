#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# verbs_two.sh WEFT-PERF WEFT-TRAIN LAB-STEADY [PART...]: two machines with two RDMA devices each; all parts unless some are named.
. "$(dirname "$0")/lib.sh"

# Both algorithms are right over one device and over two, which then both carry something.
part_right() {
  local algorithm before=()
  for algorithm in ring tree; do
    WEFT_VERBS_DEVICES=rxe0 perf_right one_$algorithm --algorithm $algorithm -b 4 -e 4M -f 16 --iters 1 --warmup 0
    before=("$(lab_counter 0 tx_bytes)" "$(lab_counter 1 tx_bytes)")
    perf_right two_$algorithm --algorithm $algorithm -b 4 -e 4M -f 16 --iters 1 --warmup 0
    (($(lab_counter 0 tx_bytes) - before[0] > 4 << 20)) || wrong "two_$algorithm: little goes over eth0"
    (($(lab_counter 1 tx_bytes) - before[1] > 4 << 20)) || wrong "two_$algorithm: little goes over eth1"
  done
}

# A training run gives the losses that it gives over TCP, bit for bit. Both need the same algorithm and slices, since
# the order of sums depends on them.
part_train() {
  local transport options=(--layers 2 --width 32 --heads 2 --context 32 --batch 4 --steps 12 --eval-every 0)
  for i in $(seq 1 400); do echo "$i and $((i * i)) went to market, and $((i * 7 % 31)) came home."; done >/tmp/text
  for transport in tcp verbs; do
    WEFT_TRANSPORT=$transport WEFT_ALGORITHM=ring WEFT_SLICE=64K ranks_run train_$transport "$train" --data /tmp/text \
      "${options[@]}" --log "$LAB_SHARE/train_$transport.jsonl" || {
      wrong "training over $transport: exit code $?"
      tail -n 3 "$LAB_SHARE/train_$transport.$RANK"
    }
    sed -n 's/.*"step":\([0-9]*\),"loss":\([^,}]*\).*/\1 \2/p' "$LAB_SHARE/train_$transport.jsonl" >"/tmp/losses.$transport"
  done
  [ "$RANK" -eq 0 ] || return 0
  [ "$(wc -l </tmp/losses.tcp)" -eq 12 ] || wrong "12 losses expected"
  cmp /tmp/losses.tcp /tmp/losses.verbs || wrong "the losses differ"
}

# What the ring sends, counted at the interface. Two runs differ in the number of their calls alone. A packet of 4096
# bytes has 58 of headers: Ethernet 14, IPv4 20, UDP 8, BTH 12, ICRC 4. No packet may be sent twice for want of time.
part_wire() {
  local message=$((4 << 20)) calls before sent=() expected
  for calls in 1 4; do
    before=$(lab_counter 0 tx_bytes)
    WEFT_VERBS_TIMEOUT=20 WEFT_VERBS_DEVICES=rxe0 perf_right wire$calls --algorithm ring -b $message -e $message \
      --iters $calls --warmup 0
    sent+=($(($(lab_counter 0 tx_bytes) - before)))
  done
  expected=$((2 * 3 * message / 4096 * (4096 + 58)))
  echo "wire: $((sent[1] - sent[0])) bytes sent for 6 all-reduces of $message among 2 ranks, expected $expected"
  awk -v is=$((sent[1] - sent[0])) -v expected=$expected 'BEGIN { exit !(is > expected * 0.98 && is < expected * 1.02) }' ||
    wrong "not within 2 % of the ring's volume and its headers"
}

# The system calls of a rank in the middle of a run. Those that come with puts: soft-RoCE's doorbell, which a device of
# silicon has no need of, and waiting for completions. By time, not by put: a look at what else may have come, each
# answered with "nothing". So no memory is asked for, and nothing but a doorbell is told to the kernel.
part_calls() {
  local pid others
  WEFT_VERBS_DEVICES=rxe0 WEFT_PORT=29590 "$perf" all_reduce --algorithm ring -b 16K -e 16K --iters 1000000 \
    >"$LAB_SHARE/calls.$RANK" 2>&1 &
  pid=$!
  until grep -qs algbw "$LAB_SHARE/calls.0" || ! kill -0 $pid; do lab_sleep 0.5; done
  lab_sleep 2 # the cold call is over
  if [ "$RANK" -eq 0 ]; then
    : >/tmp/calls
    strace -yy -p $pid -o /tmp/calls &
    until [ "$(wc -l </tmp/calls)" -gt 300 ] || ! kill -0 $pid; do lab_sleep 0.5; done
    kill -INT $!
    wait $!
    sed -nE 's/^([a-z0-9_]+)\(([0-9]+<([^>]*)>?)?.*/\1 \3/p' /tmp/calls |
      sed -E 's/write .*uverbs.*/doorbell/
        s/(read|write) (.*infinibandevent.*|.*rdma_cm.*|anon_inode:.*)/look \1/
        s/recvfrom .*/look recvfrom/
        s/ioctl .*uverbs.*/wait arm/
        s/^(poll|ppoll|epoll_wait|epoll_pwait|sched_yield|restart_syscall) .*/wait \1/' |
      sort | uniq -c | sort -rn >/tmp/kinds
    sed 's/^/calls: /' /tmp/kinds
    grep -q doorbell /tmp/kinds || wrong "no doorbell was seen"
    others=$(grep -cvE ' (doorbell|look .*|wait .*|cut)$' /tmp/kinds)
    [ "$others" -eq 0 ] || wrong "other system calls than doorbells, looks and waits"
    # A completion queue is armed after its channel was found empty; any other request to the device would be a surprise.
    awk 'NR > 1 && /^ioctl/ && before !~ /^read.*infinibandevent/ { print "calls:", before, $0; wrong = 1 } { before = $0 }
      END { exit wrong }' /tmp/calls || wrong "an ioctl that arms nothing"
    ! grep -E '^(recvfrom|write.*rdma_cm)' /tmp/calls | grep -vE 'EAGAIN|detached|= \?' || wrong "a look that found something"
  fi
  lab_meet traced
  kill $pid || tail "$LAB_SHARE/calls.$RANK"
  wait $pid
}

# On networks that lose, overtake or delay packets results are right. Soft-RoCE counts a retry for each packet that was
# overtaken, and starts counting anew at an acknowledgement only: where packets overtake by chance, no number of them
# is enough for certain, so it may retry for ever there. A loss is a retry each.
part_netem() {
  local number=0 spec retries
  for spec in "loss 1%" "delay 1ms reorder 5%" "delay 1ms 500us"; do
    number=$((number + 1))
    # shellcheck disable=SC2086 # the specification is words
    tc qdisc replace dev eth0 root netem $spec || wrong "netem refuses $spec"
    lab_meet "netem$number"
    [[ $spec = loss* ]] && retries=$WEFT_VERBS_RETRIES || retries=7
    WEFT_VERBS_RETRIES=$retries WEFT_VERBS_DEVICES=rxe0 perf_right netem$number --algorithm ring -b 4 -e 16K -f 64 \
      --iters 2 --warmup 0
    [ "$RANK" -ne 0 ] || tc -s qdisc show dev eth0 | grep Sent | sed "s/^/$spec:/"
  done
  tc qdisc del dev eth0 root
}

# grows_beyond NIC BYTES: the interface sends so much within 20 s.
grows_beyond() {
  local before turn
  before=$(lab_counter "$1" tx_bytes)
  for ((turn = 0; turn < 100; turn++)); do
    lab_sleep 0.2
    (($(lab_counter "$1" tx_bytes) - before <= $2)) || return 0
  done
  return 1
}

# A rail whose cable is pulled is taken out, with a warning that names it, and used again when the cable is back; the
# same when its packets are lost without the port going down.
part_rail() {
  local fault
  for fault in link-down:link-up cut:mend; do
    steady_start "${fault%:*}" 100000
    lab_meet "pull.$fault"
    if [ "$RANK" -eq 1 ]; then
      grows_beyond 1 200000 || wrong "$fault: nothing goes over eth1"
      lab_request "${fault%:*}" 1:1
      grows_beyond 0 1000000 || wrong "$fault: it does not go on over eth0"
      lab_request "${fault#*:}" 1:1
      grows_beyond 1 1000000 || wrong "$fault: the rail is not used again"
    fi
    lab_meet "pulled.$fault"
    steady_end "${fault%:*}"
    grep -q "warning verbs rail lost .* device rxe1 " "$LAB_SHARE/${fault%:*}.$RANK" || wrong "$fault: no warning names rxe1"
    grep -v "^begun" "$LAB_SHARE/${fault%:*}.$RANK"
  done
}

# Without IPv4 addresses; the last part, since they are gone then.
part_ipv6() {
  local nic
  for nic in 0 1; do ip address del "10.88.$nic.$((RANK + 1))/24" dev eth$nic; done
  lab_meet ipv6
  MASTER_ADDR=fd88:0::1 perf_right ipv6 --algorithm tree -b 4 -e 256K -f 64 --iters 1 --warmup 0
}

if [ "${1-}" = inside ]; then
  . "$here/ranks.sh"
  perf=$2 train=$3 steady=$4
  for part in "${@:5}"; do
    part_"$part"
    lab_meet "end.$part"
  done
  exit $status
fi

programs=("$1" "$2" "$3")
shift 3
[ $# -gt 0 ] || set -- right train wire calls netem rail ipv6
lab two --vms 2 --nics 2 --timeout 280 -- "$here/verbs_two.sh" inside "${programs[@]}" "$@" || fail "exit code $?"
finish
