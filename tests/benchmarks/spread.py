"""What a streamed run costs its leader and its workers: measured, and drawn out to many machines.

    python -m tests.benchmarks.spread [--answers 3e6 1e7] [--workers 0 1 2 4] [--output FILE]
        [--for-answers 1e10] [--for-workers 100]

Every run writes the same table as `streaming`; workers are processes of this machine, and 0 are
threads. A run is cut into what the leader does alone (reading and choosing) and what is dealt to
workers (sorting, the pass for gold, the fit, writing). Each stage is taken as `fixed + slope *
answers`, from the runs with one worker; more workers share the slope as far as there are cores.
What the model says of the runs with several workers stands beside what they took. Prints a table.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.simulated import finish, head, row
from tests.benchmarks.streaming import CLASSES, NUM_LABELERS, PROGRAM, write_tables

BY_LEADER, DEALT = ("read", "choose"), ("sort", "survey", "fit", "write")


def size_of(folder):
    """Bytes of all files below; those that go away meanwhile count as none."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


class Largest(threading.Thread):
    """The largest size that a folder had, looked at twice a second."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.bytes, self.is_over = folder, 0, threading.Event()
        self.start()

    def run(self):
        while not self.is_over.wait(0.5):
            self.bytes = max(self.bytes, size_of(self.folder))


def measured(folder, num_answers, workers):
    """One run: seconds by stage, and bytes read, worked with and written."""
    given = ["--gold", "gold.parquet", "-o", f"result-{workers}", "--work", "work", "--json"]
    largest = Largest(folder / "work")
    given += ["--cluster", f"local:{workers}"] if workers else []
    start = time.perf_counter()
    done = subprocess.run(
        [PROGRAM, "aggregate", "labels", *given],
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds = time.perf_counter() - start
    largest.is_over.set()
    summary = json.loads(done.stdout)
    return {
        "answers": num_answers,
        "workers": workers,
        "seconds": seconds,
        "passes": summary["num_passes"],
        "models": len(summary["pool"]),
        "stages": summary["seconds_by_stage"],
        "read": size_of(folder / "labels") / num_answers,
        "work": largest.bytes / num_answers,
        "written": size_of(folder / f"result-{workers}") / num_answers,
    }


def line_through(runs, stage):
    """Fixed seconds of a stage, and seconds an answer, by runs of several sizes."""
    answers, seconds = (np.array([of(run) for run in runs]) for of in (_answers, _of(stage)))
    if len(set(answers)) == 1:
        return 0.0, float(seconds[0] / answers[0])
    slope, fixed = np.polyfit(answers, seconds, 1)
    return max(float(fixed), 0.0), float(slope)


def _answers(run):
    return run["answers"]


def _of(stage):
    return lambda run: run["stages"][stage]


def predicted(lines, num_answers, workers):
    """Seconds of the leader, and of the workers."""
    by = {stage: (fixed, slope * num_answers) for stage, (fixed, slope) in lines.items()}
    leader = sum(sum(by[stage]) for stage in BY_LEADER)
    return leader, sum(fixed + slope / workers for fixed, slope in map(by.get, DEALT))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=float, nargs="+", default=[3e6, 1e7])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--for-answers", type=float, default=1e10)
    parser.add_argument("--for-workers", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where to write the tables; a temporary one")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    runs = []
    for number in map(int, given.answers):
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            write_tables(Path(name), number)
            runs += [measured(Path(name), number, workers) for workers in given.workers]
    alone = [run for run in runs if run["workers"] == 1]
    lines = {stage: line_through(alone, stage) for stage in (*BY_LEADER, *DEALT)}
    table = head("answers", "workers", "seconds", "model", "leader", "dealt", "passes", "bytes")
    for run in runs:
        shared_by = min(max(run["workers"], 1), os.cpu_count() or 1)
        says = sum(predicted(lines, run["answers"], shared_by))
        sums = [sum(run["stages"][stage] for stage in of) for of in (BY_LEADER, DEALT)]
        table.append(
            row(
                f"{run['answers']:.0e}",
                run["workers"] or "threads",
                f"{run['seconds']:.1f}",
                f"{says:.1f}" if run["workers"] else "",
                *(f"{of:.1f}" for of in sums),
                run["passes"],
                " / ".join(f"{run[of]:.1f}" for of in ("read", "work", "written")),
            )
        )
    leader, dealt = predicted(lines, given.for_answers, given.for_workers)
    totals = 8 * NUM_LABELERS * (len(CLASSES) + 2) * given.for_workers
    table += [
        "",
        f"{given.for_answers:.0e} answers on {given.for_workers} workers: leader {leader:,.0f} s, "
        f"workers {dealt:,.0f} s; {totals / 1e6:,.0f} MB of totals to the leader in a pass.",
    ]
    finish(table, given.output)


if __name__ == "__main__":
    main()
