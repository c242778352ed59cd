"""Every method, and crowd-kit's, on real crowds: without gold and with a tenth of it.

    python -m tests.benchmarks.real_crowds DATA [--draws 10] [--peers PYTHON] [--work DIR]
        [--output docs/real_crowds_table.md] [--json docs/quality.json]

DATA holds one folder per crowd, each with labels.csv (task, worker, label) and gold.csv (task,
label). Gold is drawn at random with seeds 0, 1, ... and scores are on the rest; of contradictory
answers the first counts. PYTHON is the interpreter of an environment with crowd-kit. What its
methods found is kept in DIR: they can take an hour, and a second run does not repeat them.

The JSON has what README and docs quote: means over the crowds for every method, without gold
(`gold` 0) and with a tenth of it, each figure as {mean, se}.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from gtx_bayes.aggregation.aggregate import DEFAULT_METHOD, aggregate
from gtx_bayes.columns import PROB_PREFIX
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import as_record, evaluate, match_truth
from gtx_bayes.io import read_table
from gtx_bayes.registry import METHODS

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
SHARE = 0.1
SHOWN = {"accuracy": "accuracy", "log_loss": "log loss", "brier": "Brier", "ece": "ECE"}
PEERS = ("MajorityVote", "Wawa", "OneCoinDawidSkene", "DawidSkene", "GLAD", "MACE")
TAKES_GOLD = ("DawidSkene",)


def evaluate_set(folder, *, gold_share, seed, methods=METHODS):
    """One row per method that can run: its metrics on the gold it did not see, and its seconds."""
    labels, truth = read_crowd(folder)
    seen = truth.sample(frac=gold_share, random_state=seed) if gold_share else None
    crowd = Crowd.from_frames(labels, seen, duplicates="first")
    rows = []
    for method in methods:
        try:
            start = time.perf_counter()
            result = aggregate(crowd, method)
            jax.block_until_ready(result.class_probs)
            seconds = time.perf_counter() - start
        except InputError:  # no gold for a method that needs it
            continue
        row = score(result.examples(jax.random.key(seed)), truth, seen)
        rows.append({"method": method, "seconds": seconds, **row})
    return rows


def read_crowd(folder):
    return tuple(read_table(folder / name).frame for name in ("labels.csv", "gold.csv"))


def score(examples, truth, seen):
    """Metrics on the gold that is not in `seen`; classes the results lack have probability 0."""
    for name in truth["label"].astype(str).unique():
        if PROB_PREFIX + name not in examples:
            examples[PROB_PREFIX + name] = 0.0
    return as_record(evaluate(match_truth(examples, truth, seen)))


def evaluate_peers(folder, work, python, draws):
    """The same rows for crowd-kit's methods, fitted in their own environment."""
    labels, truth = read_crowd(folder)
    work.mkdir(parents=True, exist_ok=True)
    labels.drop_duplicates(["task", "worker"]).to_csv(work / "labels.csv", index=False)
    for seed in range(draws):
        path = work / f"gold_{seed}.csv"
        truth.sample(frac=SHARE, random_state=seed).to_csv(path, index=False)
    subprocess.run([python, Path(__file__).with_name("peers.py"), work], check=True)
    seconds = json.loads((work / "seconds.json").read_text())
    for method in PEERS:
        yield {
            **(where := {"method": f"crowd-kit {method}", "gold": 0.0, "seed": 0}),
            "seconds": seconds[method],
            **score(read_table(work / f"{method}.csv").frame, truth, None),
        }
        for seed in range(draws):
            name = f"{method}_{seed}" if method in TAKES_GOLD else method
            found, seen = (read_table(work / f"{n}.csv").frame for n in (name, f"gold_{seed}"))
            yield {
                **where,
                "gold": SHARE,
                "seed": seed,
                "seconds": seconds[name],
                **score(found, truth, seen),
            }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--peers", help="interpreter of an environment with crowd-kit")
    parser.add_argument("--work", type=Path, default=Path("build/real_crowds"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name in SETS:
        start = time.perf_counter()
        folder = options.data / name
        for share in (0.0, SHARE):
            for seed in range(options.draws if share else 1):
                found = evaluate_set(folder, gold_share=share, seed=seed)
                if not seed:  # the first call compiles
                    cold = found
                    found = evaluate_set(folder, gold_share=share, seed=seed)
                rows += [{"set": name, "gold": share, "seed": seed, **row} for row in found]
                if not seed and not share:
                    print(f"{name}: first call {cold[-1]['seconds']:.1f} s", file=sys.stderr)
        if options.peers:
            peers = evaluate_peers(folder, options.work / name, options.peers, options.draws)
            rows += [{"set": name, **row} for row in peers]
        jax.clear_caches()
        print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    table = pd.DataFrame(rows)
    options.work.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.work / "results.csv", index=False)
    text = "\n\n".join(_markdown(table[table["gold"] == share], share) for share in (0.0, SHARE))
    if options.output:
        options.output.write_text(text + "\n")
    if options.json:
        found = {"command": "real_crowds", "draws": options.draws, "sets": SETS}
        found["results"] = [
            row for share in (0.0, SHARE) for row in _figures(table[table["gold"] == share], share)
        ]
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(text)


def _figures(table, share):
    """What the first table shows, one row a method."""
    _, mean, error, order, _ = _means(table)
    for method in order:
        figures = {
            metric: {
                "mean": round(float(mean.loc[method, metric]), 5),
                "se": round(float(error.loc[method, f"{metric}_se"]), 5),
            }
            for metric in SHOWN
        }
        yield {"gold": share, "method": method, **figures}


def _means(table):
    """Figures by method and set, means over the sets, their errors, methods in order, seconds."""
    by_set = table.groupby(["method", "set"]).mean(numeric_only=True)
    mean = by_set.groupby("method").mean()
    order = list(mean.sort_values("accuracy", ascending=False).index)
    squares = by_set[[f"{metric}_se" for metric in SHOWN]] ** 2
    error = np.sqrt(squares.groupby("method").sum()) / len(SETS)
    return by_set, mean, error, order, by_set["seconds"].groupby("method").sum()


def _markdown(table, share):
    """Means over the sets, then accuracy and log loss set by set; methods by their accuracy."""
    by_set, mean, error, order, seconds = _means(table)
    title = f"**{share:.0%} gold**" if share else "**Without gold**"
    lines = [f"{title}, means over the sets", ""]
    lines += _table_head("method", [*SHOWN.values(), "seconds, all sets"])
    for method in order:
        cells = [f"{mean.loc[method, m]:.3f} ± {error.loc[method, m + '_se']:.3f}" for m in SHOWN]
        lines.append(_table_row(method, [*cells, f"{seconds[method]:.1f}"]))
    short = [name.removeprefix("crowd-kit ") for name in order]
    for metric in ("accuracy", "log_loss"):
        lines += ["", *_table_head(SHOWN[metric], [*short, "s.e."])]
        for name in SETS:
            cells = [f"{by_set.loc[(method, name), metric]:.3f}" for method in order]
            cells.append(f"{by_set.loc[(DEFAULT_METHOD, name), metric + '_se']:.3f}")
            lines.append(_table_row(name, cells))
    return "\n".join(lines)


def _table_head(first, columns):
    return [_table_row(first, columns), "|---|" + "---|" * len(columns)]


def _table_row(first, cells):
    return f"| {first} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
