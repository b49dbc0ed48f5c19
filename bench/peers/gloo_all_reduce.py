#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Gloo's all-reduce over TCP on loopback, through PyTorch, for bench/peers:

    bench/peers --transport tcp --peer gloo=bench/gloo_all_reduce.py

Prints `bytes time_us` for the sizes in PEER_BEGIN_BYTES, PEER_END_BYTES, PEER_FACTOR, among PEER_RANKS processes:
barrier, one timed call, the slowest rank, median over PEER_ITERS calls. Needs Debian's python3-torch and
libopenblas0-pthread.
"""
import os
import statistics
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def iterations(nbytes):
    wanted = os.environ.get("PEER_ITERS")
    if wanted:
        return int(wanted)
    return max(5, min(200, (64 << 20) // nbytes))


def run(rank, ranks, store):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=ranks)
    size, end = int(os.environ["PEER_BEGIN_BYTES"]), int(os.environ["PEER_END_BYTES"])
    while size <= end:
        values = torch.ones(max(1, size // 4), dtype=torch.float32)
        times = []
        for i in range(iterations(size) + 2):
            values.fill_(1)
            dist.barrier()
            begin = time.perf_counter()
            dist.all_reduce(values)
            took = torch.tensor([time.perf_counter() - begin], dtype=torch.float64)
            dist.all_reduce(took, op=dist.ReduceOp.MAX)
            if i >= 2:
                times.append(took.item())
        if values[0].item() != ranks:
            raise SystemExit("gloo: wrong result")
        if rank == 0:
            print(size, "%.3f" % (statistics.median(times) * 1e6), flush=True)
        size *= int(os.environ["PEER_FACTOR"])
    dist.destroy_process_group()


if __name__ == "__main__":
    count = int(os.environ["PEER_RANKS"])
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, (count, os.path.join(folder, "store")), count)
