#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# slurm.sh WEFT-PERF RANK-PRINT: a Slurm of one node, which this starts on the loopback interface, with a munge of its
# own, and ends whatever happens: srun with PMIx, with PMI-1 (mpi/pmi2), and with nothing but its variables.
. "$(dirname "$0")/lib.sh"
for program in munged slurmctld slurmd srun sbatch sinfo; do
  PATH=$PATH:/usr/sbin need "$program" "slurm-wlm slurm-wlm-plugins munge"
done
PATH=$PATH:/usr/sbin

# Whatever was started is ended: by the process ids that the daemons wrote down, and by no name.
stop_all() {
  local name pid
  for name in slurmd slurmctld munged; do
    [ -s "$scratch/$name.pid" ] || continue
    pid=$(cat "$scratch/$name.pid")
    kill "$pid" 2>/dev/null
    for ((i = 0; i < 100; i++)); do kill -0 "$pid" 2>/dev/null && sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null
  done
  rm -rf "$scratch"
}
trap stop_all EXIT
trap 'exit 1' HUP INT TERM

start_munge() {
  chmod 711 "$scratch" # munge refuses folders that it or its clients cannot reach
  (umask 077 && head -c 128 /dev/urandom >"$scratch/munge.key")
  mkdir -m 755 "$scratch/munge"
  munged --key-file="$scratch/munge.key" --socket="$scratch/munge/socket" --pid-file="$scratch/munged.pid" \
    --log-file="$scratch/munged.log" --seed-file="$scratch/munged.seed" >"$scratch/out" 2>"$scratch/err"
}

# Two free ports of this moment: bash can only ask by trying, so look at what listens.
free_port() {
  local port
  while :; do
    port=$((10000 + RANDOM % 10000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

start_slurm() {
  local user
  user=$(id -un)
  export SLURM_CONF=$scratch/slurm.conf
  mkdir "$scratch/state" "$scratch/spool"
  cat >"$SLURM_CONF" <<CONF
ClusterName=weft
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$scratch/munge/socket
CredType=cred/munge
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPidFile=$scratch/slurmctld.pid
SlurmdPidFile=$scratch/slurmd.pid
SlurmctldLogFile=$scratch/slurmctld.log
SlurmdLogFile=$scratch/slurmd.log
StateSaveLocation=$scratch/state
SlurmdSpoolDir=$scratch/spool
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
NodeName=node1 NodeAddr=127.0.0.1 NodeHostname=localhost CPUs=8 State=UNKNOWN
PartitionName=all Nodes=node1 Default=YES MaxTime=INFINITE State=UP
CONF
  slurmctld -c >"$scratch/out" 2>"$scratch/err" && slurmd -N node1 -c >>"$scratch/out" 2>>"$scratch/err" || return 1
  for ((i = 0; i < 300; i++)); do
    [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && return
    sleep 0.1
  done
  return 1
}

if ! start_munge || ! start_slurm; then
  tail -n 20 "$scratch"/*.log "$scratch/out" "$scratch/err"
  echo "FAILED: Slurm does not start here"
  exit 1
fi
srun --version

if srun --mpi=list 2>&1 | grep -qw pmix; then
  expect_ranks 3 srun --mpi=pmix -n 3 "$rank_print"
  expect_perf 2 srun --mpi=pmix -n 2 "$perf" all_reduce -e 1M --iters 5
  expect_failure srun --mpi=pmix -n 3 "$rank_print" fail
else
  echo "passed over: srun --mpi=pmix (Debian: slurm-wlm-plugins, libpmix2)"
fi
expect_ranks 3 srun --mpi=pmi2 -n 3 "$rank_print"

# Without a store the ranks need a key.
expect_refusal 'there is no key to trust the other ranks by' srun --mpi=none -n 2 "$rank_print"
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$scratch/key")
export WEFT_KEY_FILE=$scratch/key
expect_ranks 3 srun --mpi=none -n 3 "$rank_print"
expect_perf 2 srun --mpi=none -n 2 "$perf" all_reduce -e 1M --iters 5
# Two steps at once keep apart; a batch script is a rank of its own, its steps are not.
cat >"$scratch/batch" <<'BATCH'
#!/bin/bash
"$1" >alone || exit
srun --exclusive --mpi=none -n 2 "$1" >first &
srun --exclusive --mpi=none -n 3 "$1" >second
wait $! && sort alone first second
BATCH
expect_batch() {
  (cd "$scratch" && run sbatch --wait -n 5 -o batch_out "$scratch/batch" "$rank_print")
  local code=$?
  cp "$scratch/batch_out" "$scratch/out"
  local expected='rank 0 of 1
rank 0 of 2
rank 0 of 3
rank 1 of 2
rank 1 of 3
rank 2 of 3'
  if [ $code -eq 0 ] && [ "$(cat "$scratch/out")" = "$expected" ]; then
    echo "passed: a batch script with two steps"
  else
    fail "a batch script with two steps"
  fi
}
expect_batch
finish
