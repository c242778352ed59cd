"""How long the program takes to start: every command against importing JAX and pandas.

    python -m tests.benchmarks.start_up [--rounds 5] [--output FILE]

Prints one JSON object as `kernels` does. A command on a table of 20 answers is nearly all start:
imports, and programs that are compiled (cold, nothing kept from earlier commands) or read and
traced (warm). `ratio` is how often `python -c "import jax, pandas"` goes into the command, each
process timed from outside, in turn; of several rounds the fastest counts, and `median` is the
ratio of their medians. Cold is timed once: it takes long, and varies little against that.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.kernels import publish, row

PROGRAM = str(Path(sys.executable).with_name("gtx-bayes"))
IMPORT = (sys.executable, "-c", "import jax, pandas")
IMPORTED = "import jax, pandas"


def tables(folder):
    """Four labelers who all answer five examples, of which one is gold."""
    rows = [
        f"t{i},w{j},{'yes' if (i + (2 * i + j) % 5 // 4) % 2 else 'no'}"
        for i in range(5)
        for j in range(4)
    ]
    (folder / "labels.csv").write_text("\n".join(["task,worker,label", *rows]) + "\n")
    (folder / "gold.csv").write_text("task,label\nt0,no\n")


def commands():
    on_tables = ("labels.csv", "--gold", "gold.csv", "--json")
    return {
        "aggregate": (PROGRAM, "aggregate", *on_tables, "--output", "out"),
        "next": (PROGRAM, "next", *on_tables),
        "evaluate": (PROGRAM, "evaluate", "out/examples.csv", "--truth", "gold.csv", "--json"),
        "--help": (PROGRAM, "--help"),
    }


def seconds_of(command, folder, environment):
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def rows(rounds):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables(folder)
        environment = {n: value for n, value in os.environ.items() if not n.startswith("JAX_")}
        environment["XDG_CACHE_HOME"] = name
        cold = {
            found: seconds_of(command, folder, environment) for found, command in commands().items()
        }
        taken = {found: [] for found in (*commands(), IMPORTED)}
        for _ in range(rounds):
            for found, command in (*commands().items(), (IMPORTED, IMPORT)):
                taken[found].append(seconds_of(command, folder, environment))
        least, middle = min(taken[IMPORTED]), statistics.median(taken[IMPORTED])
        for found in commands():
            if found != "--help":  # which compiles nothing
                yield row(
                    f"{found}, cold", "20 answers", cold[found], IMPORTED, cold[found] / least
                )
            ours = taken[found]
            yield row(f"{found}, warm", "20 answers", min(ours), IMPORTED, min(ours) / least) | {
                "median": round(statistics.median(ours) / middle, 3)
            }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    publish(list(rows(options.rounds)), options.output)


if __name__ == "__main__":
    main()
