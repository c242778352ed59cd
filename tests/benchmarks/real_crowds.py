"""Every method on real crowds, without gold and with a tenth of it, scored on the rest.

    python -m tests.benchmarks.real_crowds DATA [--draws 10] [--output docs/real_crowds_table.md]

DATA holds one folder per crowd, each with labels.csv (task, worker, label) and gold.csv (task,
label). Gold is drawn at random with seeds 0, 1, ...; of contradictory answers the first counts.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import pandas as pd

from gtx_bayes.aggregation.aggregate import METHODS, aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import as_record, evaluate, match_truth
from gtx_bayes.io import read_table

SETS = (
    "bluebirds",
    "dog",
    "face",
    "fact_eval",
    "labelme",
    "product",
    "rte",
    "sp_amt",
    "trec",
    "tweet_sentiment",
    "web",
    "wsd",
    "zencrowd_us",
)
SHOWN = ("accuracy", "log_loss", "ece")


def evaluate_set(folder, *, gold_share, seed):
    """One row per method that can run: its metrics on the gold it did not see."""
    labels, _ = read_table(folder / "labels.csv")
    truth, _ = read_table(folder / "gold.csv")
    seen = truth.sample(frac=gold_share, random_state=seed) if gold_share else None
    crowd = Crowd.from_frames(labels, seen, duplicates="first")
    rows = []
    for method in METHODS:
        try:
            result = aggregate(crowd, method)
        except InputError:  # no gold for a method that needs it
            continue
        scored = match_truth(result.examples(jax.random.key(seed)), truth, seen)
        if scored.notes:
            raise SystemExit(f"{folder.name}: {scored.notes}")
        rows.append({"method": method, **as_record(evaluate(scored))})
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows = []
    for name in SETS:
        start = time.perf_counter()
        for share in (0.0, 0.1):
            for seed in range(options.draws if share else 1):
                rows += [
                    {"set": name, "gold": share, "seed": seed, **row}
                    for row in evaluate_set(options.data / name, gold_share=share, seed=seed)
                ]
        jax.clear_caches()
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    text = "\n\n".join(_markdown(table[table["gold"] == share], share) for share in (0.0, 0.1))
    if options.output:
        options.output.write_text(text + "\n")
    print(text)


def _markdown(table, share):
    """A table with one row per set and one column per method: accuracy / log loss / ECE."""
    methods = [method for method in METHODS if method in set(table["method"])]
    mean = table.groupby(["set", "method"])[list(SHOWN)].mean()
    lines = [
        f"**{share:.0%} gold** (accuracy / log loss / ECE)"
        if share
        else "**Without gold** (accuracy / log loss / ECE)",
        "",
        "| set | " + " | ".join(methods) + " |",
        "|---|" + "---|" * len(methods),
    ]
    for name in SETS:
        cells = [
            "{accuracy:.3f} / {log_loss:.3f} / {ece:.2f}".format(**mean.loc[name, method])
            for method in methods
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    overall = mean.groupby("method").mean()
    cells = [
        "{accuracy:.3f} / {log_loss:.3f} / {ece:.2f}".format(**overall.loc[method])
        for method in methods
    ]
    lines.append("| **mean** | " + " | ".join(f"**{cell}**" for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
