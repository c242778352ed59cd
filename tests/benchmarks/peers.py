"""crowd-kit's methods on one crowd: run by `real_crowds` with the interpreter of its environment.

    PYTHON tests/benchmarks/peers.py FOLDER [--methods NAME ...]

FOLDER holds labels.csv (task, worker, label) and gold_0.csv, gold_1.csv, ... (task, label). Written
beside them: one table per method (task, prob_<class>), `DawidSkene_0.csv` and so on for the one
that takes gold, and `seconds.json`, what each fit took. What is there already is kept, so a stopped
run can go on. Only crowd-kit and pandas are needed here.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import pandas as pd
from crowdkit.aggregation import GLAD, MACE, DawidSkene, MajorityVote, OneCoinDawidSkene, Wawa

METHODS = {
    "MajorityVote": MajorityVote,
    "Wawa": Wawa,
    "OneCoinDawidSkene": OneCoinDawidSkene,
    "DawidSkene": DawidSkene,
    "GLAD": GLAD,
    "MACE": MACE,
}
"""All with the settings their users get."""


def run(folder, name, method, **gold):
    """Fit, and write the class probabilities and the seconds."""
    target = folder / f"{name}.csv"
    if target.exists():
        return
    labels = pd.read_csv(folder / "labels.csv", dtype=str)
    start = time.perf_counter()
    probs = method().fit_predict_proba(labels, **gold)
    seconds = time.perf_counter() - start
    kept = folder / "seconds.json"
    record = json.loads(kept.read_text()) if kept.exists() else {}
    kept.write_text(json.dumps({**record, name: round(seconds, 3)}, indent=2) + "\n")
    probs = probs.clip(0.0, 1.0)  # rounding leaves [0, 1] by an ulp
    probs.columns = [f"prob_{name}" for name in probs.columns]
    probs.rename_axis("task").to_csv(target)
    print(f"{folder.name}: {name} {seconds:.1f} s", flush=True)


def main():
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    for name in options.methods:
        run(options.folder, name, METHODS[name])
    if "DawidSkene" in options.methods:
        for path in sorted(options.folder.glob("gold_*.csv")):
            gold = pd.read_csv(path, dtype=str).drop_duplicates("task").set_index("task")["label"]
            draw = path.stem.removeprefix("gold_")
            run(options.folder, f"DawidSkene_{draw}", DawidSkene, true_labels=gold)


if __name__ == "__main__":
    main()
