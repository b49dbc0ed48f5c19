#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""plot.py RUN.json PLOT.svg: the best peer's time over weft's, by size, a panel for each all-reduce table.

By matplotlib, which draws logarithmic axes, ticks and legends better than a script of ours would; a program of its own,
so that Debian's python runs it whatever python3 is first on the path.
"""
import json
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

import report  # noqa: E402

COLORS = {"weft": "#1f77b4", "weft registered": "#d62728"}


def panel(axes, result):
    sizes = report.sizes_of(result)
    for name in report.names_of(result, ["weft"]):
        best = [report.best_peer(report.rows_at(result, size), name) for size in sizes]
        points = [(size, pair[0]) for size, pair in zip(sizes, best) if pair]
        if points:
            axes.plot(*zip(*points), marker="o", label=name, color=COLORS.get(name))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set(xscale="log", yscale="log", title=result["title"], xlabel="bytes", ylabel="best peer / weft")
    axes.set_xticks(sizes, [report.bytes_text(size) for size in sizes], rotation=30)
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16, 32]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()


def main(source, target):
    with open(source, encoding="utf-8") as file:
        results = [result for result in json.load(file)["sets"] if result["collective"] == "all_reduce"]
    if not results:
        sys.exit("plot: no all-reduce was measured")
    plt.rcParams.update({"svg.hashsalt": "weft", "font.size": 8, "axes.titlesize": 8})
    rows = (len(results) + 1) // 2
    figure, grid = plt.subplots(rows, 2, figsize=(10, 3.2 * rows), squeeze=False)
    for axes, result in zip(grid.flat, results):
        panel(axes, result)
    for axes in list(grid.flat)[len(results) :]:
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
