#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Gloo's all-reduce over TCP on loopback, through PyTorch, for bench/peers: one size, PEER_BYTES, among PEER_RANKS
processes, timed as bench/scheme.h says. Gloo sums in place only: its one time stands for both ways.

Prints `bytes time_us time_us`. Needs Debian's python3-torch and libopenblas0-pthread.
"""
import os
import statistics
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

ROW_S, LEAST, MOST = 0.15, 5, 2000


def setting(name):
    return int(os.environ["PEER_" + name])


def iteration(values, batch):
    dist.barrier()
    begin = time.perf_counter()
    for _ in range(batch):
        dist.all_reduce(values)
    return (time.perf_counter() - begin) / batch


def slowest(times):
    times = torch.tensor(times, dtype=torch.float64)
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    return times.tolist()


def measure(size, batch):
    values = torch.zeros(max(1, size // 4), dtype=torch.float32)  # sums of zeros stay what they are
    warmup = 10 if size < 1 << 20 else 2
    begin = time.perf_counter()
    for _ in range(warmup):
        iteration(values, batch)
    each = slowest([(time.perf_counter() - begin) / warmup])[0]
    iterations = setting("ITERATIONS") or min(MOST, max(LEAST, int(ROW_S / each)))
    return statistics.median(slowest([iteration(values, batch) for _ in range(iterations)])) * 1e6


def check(rank, ranks):
    values = torch.full((1000,), float(rank))
    dist.all_reduce(values)
    if not bool((values == ranks * (ranks - 1) / 2).all()):
        raise SystemExit("gloo: wrong result")


def run(rank, ranks, store):
    allowed = sorted(os.sched_getaffinity(0))
    if ranks <= len(allowed):
        os.sched_setaffinity(0, {allowed[rank]})
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=ranks)
    check(rank, ranks)
    time_us = measure(setting("BYTES"), setting("BATCH"))
    if rank == 0:
        print(setting("BYTES"), "%.3f %.3f" % (time_us, time_us), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, (setting("RANKS"), os.path.join(folder, "store")), setting("RANKS"))
