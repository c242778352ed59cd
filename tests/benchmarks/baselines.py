"""The baselines that users know on real crowds: quality without gold and with a tenth, and time.

    python -m tests.benchmarks.baselines DATA [--methods NAME ...] [--by-set]

DATA is as for `real_crowds`, whose scores these are, with the gold of seed 0. Milliseconds are the
least of several calls of `aggregate` on one crowd, the first not counted. `--by-set` adds the
accuracy and the log loss on each crowd.
"""

import argparse
import time
from pathlib import Path

import jax
import pandas as pd

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from tests.benchmarks.real_crowds import SETS, SHARE, evaluate_set, read_crowd

BASELINES = ("majority-vote", "wawa", "bwa", "one-coin-em", "dawid-skene", "ibcc")
METRICS = {"accuracy": "accuracy", "log_loss": "log loss", "ece": "ECE"}
TIMED, CALLS = "rte", 20


def milliseconds(folder, method):
    crowd = Crowd.from_frames(read_crowd(folder)[0], duplicates="first")
    seconds = []
    for _ in range(1 + CALLS):
        start = time.perf_counter()
        jax.block_until_ready(aggregate(crowd, method).class_probs)
        seconds.append(time.perf_counter() - start)
    return 1e3 * min(seconds[1:])


def measure(data, methods):
    """Metrics by method, set and share of gold."""
    rows = []
    for name in SETS:
        for share in (0.0, SHARE):
            found = evaluate_set(data / name, gold_share=share, seed=0, methods=methods)
            rows += [{"set": name, "gold": share, **row} for row in found]
    return pd.DataFrame(rows).set_index(["gold", "method", "set"])[list(METRICS)]


def show(first, columns, rows):
    print(f"| {first} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--methods", nargs="+", default=BASELINES)
    parser.add_argument("--by-set", action="store_true")
    options = parser.parse_args()
    found = measure(options.data, options.methods)
    mean = found.groupby(["gold", "method"]).mean()
    titles = {0.0: "no gold", SHARE: f"{SHARE:.0%} gold"}
    columns = [f"{metric}, {title}" for title in titles.values() for metric in METRICS.values()]
    rows = []
    for method in options.methods:
        cells = [f"{mean.loc[(share, method), m]:.3f}" for share in titles for m in METRICS]
        took = milliseconds(options.data / TIMED, method)
        rows.append((f"`{method}`", [*cells, f"{took:.1f}"]))
    show("method", [*columns, f"ms, {TIMED}"], rows)
    for share in titles if options.by_set else ():
        for metric in ("accuracy", "log_loss"):
            print(f"\n{METRICS[metric]}, {titles[share]}\n")
            at = found[metric].loc[share].to_dict()
            rows = [(name, [f"{at[m, name]:.3f}" for m in options.methods]) for name in SETS]
            show("set", options.methods, rows)


if __name__ == "__main__":
    main()
