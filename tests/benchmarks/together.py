"""All figures of a run in one file: `python -m tests.benchmarks.together FILE... --output FILE`.

Each of the files is what a benchmark wrote; the result is the same with all rows, and with the
name of the benchmark in each. `docs/benchmarks.json` is made so.
"""

import argparse
import json
from pathlib import Path


def together(files):
    """The rows of all files, under the machine that they share."""
    read = [(file.stem, json.loads(file.read_text())) for file in files]
    machines = [record["machine"] for _, record in read]
    if any(machine != machines[0] for machine in machines):
        raise SystemExit("the files are from different machines: run them again on one")
    rows = [{"benchmark": name, **row} for name, record in read for row in record["results"]]
    return {"machine": machines[0], "results": rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    text = json.dumps(together(sorted(given.files)), indent=1)
    given.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
