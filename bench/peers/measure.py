# SPDX-License-Identifier: Apache-2.0
"""Runs the cases: everybody once a round, size by size, taking turns, so that what else the machine does meets all
alike. A run ends by itself: each start has a limit, and so has the whole."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from statistics import median

import contenders as who


class Failed(Exception):
    pass


def program_run(command, case, limit_s):
    """Standard output. Its process group ends with it: launchers leave ranks behind when they are stopped."""
    environment = {**os.environ, **who.environment(case)}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True, env=environment,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"took longer than {limit_s:.0f} s") from None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        if process.returncode:
            errors.seek(0)
            lines = [line.strip() for line in errors.read().splitlines() if line.strip(" -\n")]
            raise Failed(lines[0][:160] if lines else f"exit status {process.returncode}")
        return output


def weft_times(command, case, limit_s):
    with tempfile.NamedTemporaryFile("r", suffix=".json") as file:
        program_run([*command, "--json", file.name], case, limit_s)
        rows = json.load(file)["rows"]
    if any(row["wrong"] for row in rows):
        raise Failed("wrong results")
    times = {row["in_place"]: row["time_us"] for row in rows}
    one_buffer = case.collective == "broadcast"  # as every peer's has; with two, the root copies from one to the other
    return times[one_buffer], times.get(True)


def line_times(command, case, limit_s):
    for line in program_run(command, case, limit_s).splitlines():
        fields = line.split()
        try:
            times = [float(field) for field in fields[1:3]]
            if times and int(fields[0]) == case.bytes:
                return times[0], times[1] if len(times) > 1 else None
        except ValueError:
            continue  # launchers print what they like
    raise Failed("printed no line `bytes time_us` for this size")


class Runner:
    def __init__(self, contenders, rounds, end_s, start_limit_s=60):
        self.contenders, self.rounds, self.end_s, self.start_limit_s = contenders, rounds, end_s, start_limit_s
        self.begun_s, self.done, self.total, self.cut_short = time.monotonic(), 0, 0, False
        self.failures = {}  # (contender, collective, transport, ranks): why; not started again there

    def progress(self, case):
        taken_s = time.monotonic() - self.begun_s
        rest_s = taken_s / self.done * (self.total - self.done) if self.done else 0
        left_s = max(0, self.end_s - time.monotonic())
        text = f"{self.done} of {self.total}: {case.collective} {case.ranks} ranks {case.transport} {case.bytes} B"
        text += f", {taken_s / 60:.0f} min so far, {min(rest_s, left_s) / 60:.0f} or so to go"
        tty = sys.stderr.isatty()
        print(f"\r\033[K{text}" if tty else text, end="" if tty else "\n", file=sys.stderr, flush=True)

    def turn(self, contender, case):
        """(out of place, in place) in microseconds, or None."""
        key = (contender.name, case.collective, case.transport, case.ranks)
        command = contender.command(case)
        if not command or key in self.failures:
            return None
        try:
            take = weft_times if contender.weft_json else line_times
            return take(command, case, self.start_limit_s)
        except (Failed, OSError, KeyError, ValueError) as error:
            self.failures[key] = f"at {case.bytes} B: {error}"
            return None

    def case_run(self, case):
        """A row per contender that has every round; later ones start first, to be nobody's successor for ever."""
        times = {contender.name: [] for contender in self.contenders}
        for i in range(self.rounds):
            shift = i % len(self.contenders)
            for contender in self.contenders[shift:] + self.contenders[:shift]:
                taken = self.turn(contender, case)
                if taken:
                    times[contender.name].append(taken)
                if time.monotonic() > self.end_s:
                    self.cut_short = True
                    return []
        return [row(contender, case, times[contender.name]) for contender in self.contenders
                if len(times[contender.name]) == self.rounds]

    def run(self, sets):
        results = []
        self.total = sum(len(each.sizes) for each in sets)
        for each in sets:
            rows = []
            for case in each.cases():
                if not self.cut_short:
                    self.progress(case)
                    rows += self.case_run(case)
                    self.done += 1
            if rows:
                results.append({
                    "title": each.title(), "collective": each.collective, "transport": each.transport,
                    "ranks": each.ranks, "batch": each.batch, "rows": rows,
                })
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        return results

    def failure_list(self):
        return [{"name": key[0], "collective": key[1], "transport": key[2], "ranks": key[3], "why": why}
                for key, why in self.failures.items()]


def row(contender, case, times):
    ways = {"times_us": [out for out, _ in times], "in_place_times_us": [at for _, at in times if at is not None]}
    return {"bytes": case.bytes, "name": contender.name, "role": contender.role, "time_us": median(ways["times_us"]),
            **ways}


def ratio(numerator, denominator, way="times_us"):
    """The median over the rounds of what one took over what the other took; None without all rounds of both."""
    pairs = list(zip(numerator[way], denominator[way]))
    return median(a / b for a, b in pairs if b > 0) if pairs else None
