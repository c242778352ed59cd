"""Whether targets by class are kept on held-out gold: crowds of a folder, a tenth of them gold.

Two draws of gold a crowd. The first class in the order of the table may be wrong in .05 of the
accepted labels, every other in .01; and each in .05, and in .1. Prints what is accepted and how
many classes keep their target within two standard errors.
"""

import argparse
from pathlib import Path

import pandas as pd

from gtx_bayes import Crowd, aggregate
from gtx_bayes.evaluation import match_truth, score_decisions

TARGETS = {".05 and .01": (0.05, 0.01), ".05": (0.05, 0.05), ".1": (0.1, 0.1)}


def main() -> None:
    """Every crowd in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="one folder a crowd: labels.csv and gold.csv")
    parser.add_argument("--draws", type=int, default=2)
    options = parser.parse_args()
    rows = []
    for folder in sorted(path.parent for path in options.folder.glob("*/labels.csv")):
        labels, truth = (
            pd.read_csv(folder / f"{name}.csv", dtype=str) for name in ("labels", "gold")
        )
        for seed in range(options.draws):
            gold = truth.sample(frac=0.1, random_state=seed)
            crowd = Crowd.from_frames(labels, gold, duplicates="first")
            scored = match_truth(aggregate(crowd).examples(), truth, gold)
            first, *others = scored.class_names
            for name, (of_first, of_others) in TARGETS.items():
                risk = {first: of_first, **dict.fromkeys(others, of_others)}
                found = pd.DataFrame(score_decisions(scored, risk=risk).risk)
                found = found[found["num_accepted"] > 0]
                rows += [
                    {"crowd": folder.name, "targets": name, **row}
                    for row in found.to_dict("records")
                ]
        print(pd.DataFrame(rows).query("crowd == @folder.name").round(3).to_string(), flush=True)
    table = pd.DataFrame(rows)
    for columns in (["targets", "crowd"], ["targets"]):
        print(table.groupby(columns)["is_kept"].agg(["sum", "count"]))


if __name__ == "__main__":
    main()
