# SPDX-License-Identifier: Apache-2.0
"""docs/performance.md: everything in it is either a figure of the run or follows from one."""
from statistics import median

from measure import ratio

UNITS = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]

HEAD = """# Performance

Made whole by `{command}`; change the script, not this.

| | |
|---|---|
{machine}

All times are microseconds: the median over the timed calls of the slowest rank's time for one call after a barrier.
Everyone has the same warm-up, number of calls and size of buffers, which are used again in every call, so what fits a
cache is there. A barrier is the library's own, and its ranks leave it a little apart, which counts where a call takes a
microsecond: the tables of calls in a row, timed together, have none of that. Everyone is started anew for each size and
each round, in turns, first one first and then another.

Ratios are a peer's time over weft's, the median over {rounds} rounds: above 1, weft is faster. "best" is the peer for
which that is smallest. Peers' buffers are plain memory; weft's are plain too, or registered (`weft_mem_alloc`, shared),
which a program has to ask for. Everyone's ranks are bound to a core each where there are cores enough; with more ranks
than cores nobody's are, and OpenMPI is told so (`--oversubscribe`), which makes it yield. MPICH has no such wish.
A broadcast has one buffer, as MPI's has; what else is not said to be in place is out of place.
"floor" is no peer: a loop by hand for two processes on two cores (`bench/floor`), which tells what the machine allows.
"""

def bytes_text(size):
    for unit, name in UNITS:
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def time_text(time_us):
    return f"{time_us:.2f}" if time_us < 100 else f"{time_us:.1f}" if time_us < 1000 else f"{time_us:.0f}"


def sizes_of(result):
    return sorted({row["bytes"] for row in result["rows"]})


def rows_at(result, size):
    return {row["name"]: row for row in result["rows"] if row["bytes"] == size}


def best_peer(rows, weft_name, way="times_us"):
    """(ratio, name) of the peer that comes closest to weft, or passes it; None where there is none."""
    mine = rows.get(weft_name)
    ratios = [(ratio(row, mine, way), row["name"]) for row in rows.values() if mine and row["role"] == "peer"]
    ratios = [pair for pair in ratios if pair[0] is not None]
    return min(ratios) if ratios else None


def table(heads, lines):
    text = "| " + " | ".join(heads) + " |\n|" + "---:|" * len(heads) + "\n"
    return text + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def names_of(result, roles):
    names = []
    for row in result["rows"]:
        if row["role"] in roles and row["name"] not in names and row["name"] != "weft canonical":
            names.append(row["name"])
    return names


def set_table(result, way="times_us"):
    wefts, others = names_of(result, ["weft"]), names_of(result, ["peer", "floor"])
    heads = ["size", *wefts, *others, *[f"best / {name}" for name in wefts]]
    lines = []
    for size in sizes_of(result):
        rows, line = rows_at(result, size), [bytes_text(size) if size else "-"]
        for name in [*wefts, *others]:
            times = rows[name][way] if name in rows else []
            line.append(time_text(median(times)) if times else "-")
        for name in wefts:
            best = best_peer(rows, name, way)
            line.append(f"{best[0]:.2f} ({best[1]})" if best else "-")
        lines.append(line)
    return table(heads, lines)


def set_text(result):
    text = f"\n## {result['title']}\n\n"
    if result["collective"] == "barrier":
        return text + set_table(result)
    in_place = result["collective"] == "all_reduce" and result["batch"] == 1
    text += "Out of place:\n\n" if in_place else ""
    text += set_table(result)
    return text + ("\nIn place:\n\n" + set_table(result, "in_place_times_us") if in_place else "")


def behind(results):
    """Sentences: where a peer is ahead, of which of weft's buffers."""
    lines, measured = [], 0
    for result in results:
        found = []
        for size in sizes_of(result):
            rows = rows_at(result, size)
            for name in names_of(result, ["weft"]):
                best = best_peer(rows, name)
                measured += best is not None
                if best and best[0] < 1:
                    where = f"at {bytes_text(size)} " if size else ""
                    found.append(f"{where}{best[1]} takes {best[0]:.2f} of {name}'s time")
        if found:
            lines.append(f"- {result['title']}: " + "; ".join(found) + ".\n")
    if not measured:
        return "No peer was there.\n"
    if not lines:
        return f"Nowhere, in {measured} comparisons out of place.\n"
    count = sum(line.count(" takes ") for line in lines)
    return f"In {count} of {measured} comparisons out of place:\n\n" + "".join(lines)


def pair_table(results, over, under, heads):
    """Ratios of two of ours, wherever both were measured."""
    lines = []
    for result in results:
        for size in sizes_of(result):
            rows = rows_at(result, size)
            if over in rows and under in rows:
                figures = [time_text(rows[name]["time_us"]) for name in (over, under)]
                lines.append([result["title"], bytes_text(size), *figures, f"{ratio(rows[over], rows[under]):.2f}"])
    return table(["", "size", *heads], lines) if lines else ""


def machine_rows(run):
    entries = [*run["machine"].items(), *[(name, version) for name, version in run["versions"].items() if version]]
    entries += [(name, f"absent: {why}") for name, why in run["absent"].items()]
    for failure in run["failures"]:
        where = f"{failure['collective']}, {failure['ranks']} ranks, {failure['transport']}"
        entries.append((failure["name"], f"failed in {where}, {failure['why']}"))
    clean = [(key, str(value).replace("|", "/")) for key, value in entries]
    return "\n".join(f"| {key} | {value} |" for key, value in clean)


def document(run, plot):
    results = run["sets"]
    text = HEAD.format(command=run["command"], machine=machine_rows(run), rounds=run["rounds"])
    if run["cut_short"]:
        text += "\nThe run reached its time limit: what is missing below was not measured.\n"
    text += "\n## Where a peer is ahead\n\n" + behind(results)
    if plot:
        text += f"\n![the best peer's time over weft's, by size]({plot})\n"
    text += "".join(set_text(result) for result in results)
    floor = pair_table(results, "floor", "weft registered", ["floor", "weft registered", "floor / weft"])
    text += "\n## Against the floor\n\n" + floor if floor else ""
    canonical = pair_table(results, "weft canonical", "weft", ["canonical", "fast", "canonical / fast"])
    text += "\n## What canonical mode costs\n\nPlain buffers.\n\n" + canonical if canonical else ""
    return text
