"""A table larger than memory, from the shell: time, memory, and pyarrow reading the same files.

    python -m tests.benchmarks.streaming [--answers 1e8] [--folder FOLDER] [--output FILE]

Writes a folder of Parquet files with ten answers to each example, in an order that scatters an
example's answers over all files, and aggregates it with `gtx-bayes aggregate`. Prints one JSON
object as `kernels` does. `ratio` of the whole run is the limit over the time it took: twice
pyarrow's reading for each time that the answers were gone through (read, sort, look for gold,
votes, passes, write). `ratio` of a stage is pyarrow's reading over the time of once through.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.kernels import publish, row

PER_EXAMPLE, NUM_LABELERS, NUM_FILES = 10, 20_000, 100
CLASSES = ("cat", "dog", "fox", "owl")
STRIDE = 982_451_653  # prime, so that it meets every row once
PROGRAM = str(Path(sys.executable).with_name("gtx-bayes"))


def write_tables(folder, num_answers):
    """Labelers with accuracies Beta(8, 3); every five hundredth example is gold."""
    rng = np.random.default_rng(0)
    num_examples = num_answers // PER_EXAMPLE
    accuracy = rng.beta(8, 3, NUM_LABELERS)
    truth = rng.integers(0, len(CLASSES), num_examples, dtype=np.int8)
    first = rng.integers(0, NUM_LABELERS, num_examples, dtype=np.int32)
    step = rng.integers(1, NUM_LABELERS // PER_EXAMPLE, num_examples, dtype=np.int32)
    workers = pa.array([f"worker {j}" for j in range(NUM_LABELERS)])
    (folder / "labels").mkdir()
    for number, rows in enumerate(np.array_split(np.arange(num_examples * PER_EXAMPLE), NUM_FILES)):
        example, place = np.divmod(rows * STRIDE % (num_examples * PER_EXAMPLE), PER_EXAMPLE)
        labeler = (first[example] + place * step[example]) % NUM_LABELERS
        wrong = rng.random(rows.size) >= accuracy[labeler]
        label = (truth[example] + wrong * rng.integers(1, len(CLASSES), rows.size)) % len(CLASSES)
        table = {
            "task": pa.array(np.char.add("image ", example.astype("U10"))),
            "worker": workers.take(pa.array(labeler)),
            "label": pa.array(CLASSES).take(pa.array(label)),
        }
        pq.write_table(pa.table(table), folder / "labels" / f"{number:03d}.parquet")
    gold = np.arange(0, num_examples, 500)
    table = {"task": [f"image {i}" for i in gold], "label": [CLASSES[truth[i]] for i in gold]}
    pq.write_table(pa.table(table), folder / "gold.parquet")


def reading(folder):
    """Seconds of pyarrow alone, the faster of two."""
    taken = []
    for _ in range(2):
        start = time.perf_counter()
        for file in sorted((folder / "labels").iterdir()):
            for _batch in pq.ParquetFile(file).iter_batches(2**20):
                pass
        taken.append(time.perf_counter() - start)
    return min(taken)


def rows_of(folder, num_answers):
    """Aggregate, and hold it against reading."""
    alone = reading(folder)
    start = time.perf_counter()
    done = subprocess.run(
        [PROGRAM, "aggregate", "labels", "--gold", "gold.parquet", "-o", "result", "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        check=True,
    )
    seconds = time.perf_counter() - start
    summary = json.loads(done.stdout)
    stages = summary["seconds_by_stage"]
    times = {"read": 1, "sort": 1, "survey": 1, "fit": 1 + summary["num_passes"], "write": 1}
    size = f"{num_answers} answers, {num_answers // PER_EXAMPLE} examples, {NUM_LABELERS} labelers"
    limit = 2.0 * alone * sum(times.values())
    yield row(
        "streamed aggregate",
        size,
        seconds,
        f"twice pyarrow's reading, {alone:.2f} s, {sum(times.values())} times",
        limit / seconds,
    ) | {
        "answers_per_second": round(num_answers / seconds),
        "peak_bytes": summary["peak_memory_bytes"],
        "seconds_by_stage": stages,
        "num_passes": summary["num_passes"],
    }
    for stage, count in times.items():
        once = stages[stage] / count
        name = f"streamed {stage}, once through the answers"
        yield row(name, size, once, "pyarrow's reading", alone / once)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--answers", type=float, default=1e8)
    parser.add_argument("--folder", type=Path, help="where to write the tables; a temporary one")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        write_tables(folder, int(given.answers))
        publish(list(rows_of(folder, int(given.answers))), given.output)


if __name__ == "__main__":
    main()
