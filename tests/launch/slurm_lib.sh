# SPDX-License-Identifier: Apache-2.0
# Sourced after lib.sh: a Slurm of one node on the loopback interface, with a munge of its own, both ended on exit
# whatever happens. slurm_is_there says whether the programs are; slurm_start starts it and sets SLURM_CONF.
PATH=$PATH:/usr/sbin

slurm_is_there() {
  local program
  for program in munged slurmctld slurmd srun sbatch sinfo; do
    command -v $program >/dev/null && continue
    echo "needs $program (Debian: slurm-wlm slurm-wlm-plugins munge)"
    return 1
  done
}

# Whatever was started is ended: by the process ids that the daemons wrote down, and by no name.
slurm_stop() {
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
trap slurm_stop EXIT
trap 'exit 1' HUP INT TERM

munge_start() {
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

daemons_start() {
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

slurm_start() {
  munge_start && daemons_start && return
  tail -n 20 "$scratch"/*.log "$scratch/out" "$scratch/err"
  echo "FAILED: Slurm does not start here"
  exit 1
}
