#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# slurm.sh WEFT-PERF RANK-PRINT: srun with PMIx, with PMI-1 (mpi/pmi2), and with nothing but its variables, in a Slurm
# that this starts.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/slurm_lib.sh"
slurm_is_there || exit 77
slurm_start
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
