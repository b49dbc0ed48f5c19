# SPDX-License-Identifier: Apache-2.0
"""What is measured: sets, each a table of one collective over one transport among so many ranks."""
from dataclasses import dataclass

SIZES = [8, 2048, 32768, 524288, 8388608, 134217728]
SMALL = [8, 2048, 32768]
SIZES_OF_OTHERS = [8, 65536, 8388608]
OTHERS = ["reduce_scatter", "all_gather", "broadcast", "reduce", "gather", "scatter", "all_to_all", "barrier"]
COLLECTIVES = ["all_reduce", *OTHERS]
TRANSPORTS = ["shm", "tcp"]
BATCH = 100


@dataclass(frozen=True)
class Case:
    collective: str
    transport: str
    ranks: int
    bytes: int
    batch: int = 1
    iterations: int = 0  # as many as fit


@dataclass(frozen=True)
class Set:
    collective: str
    transport: str
    ranks: int
    sizes: tuple
    batch: int = 1
    iterations: int = 0

    def title(self):
        way = {"shm": "shared memory", "tcp": "TCP over loopback"}[self.transport]
        batch = f", {self.batch} calls in a row" if self.batch > 1 else ""
        return f"{self.collective}, {self.ranks} ranks, {way}{batch}"

    def cases(self):
        return [
            Case(self.collective, self.transport, self.ranks, size, self.batch, self.iterations) for size in self.sizes
        ]


def some(collective, transport, ranks, sizes, batch=1):
    """A barrier has no bytes. Blocks are whole floats: of 8 bytes among 4 ranks there is no block."""
    if collective == "barrier":
        return Set(collective, transport, ranks, (0,), batch)
    blocks = collective not in ("all_reduce", "broadcast", "reduce")
    return Set(collective, transport, ranks, tuple(max(size, 4 * ranks if blocks else 4) for size in sizes), batch)


def everything():
    """In the order of what matters most: a run that is cut short lacks the end."""
    sets = [some("all_reduce", "shm", 2, SIZES), some("all_reduce", "tcp", 2, SIZES)]
    sets += [some("all_reduce", "shm", 2, SMALL, BATCH)]
    sets += [some("all_reduce", "shm", 4, SIZES)]
    sets += [some(collective, "shm", 2, SIZES_OF_OTHERS) for collective in OTHERS]
    sets += [some(collective, "tcp", 2, SIZES_OF_OTHERS) for collective in OTHERS]
    sets += [some("all_reduce", "tcp", 4, SIZES)]
    sets += [some(collective, "shm", 4, SIZES_OF_OTHERS) for collective in OTHERS]
    return sets


def quick():
    return [
        some("all_reduce", "shm", 2, [8, 32768, 8388608]),
        some("all_reduce", "tcp", 2, [8, 32768, 8388608]),
        some("all_gather", "shm", 2, [65536]),
        some("all_reduce", "shm", 4, [8, 32768]),
    ]
