"""What the report says of panels whose truth is known: blocs, intervals, whom to spare, alarms.

    python -m tests.benchmarks.panels FOLDER [--seeds 10] [--output docs/panels_table.md]

FOLDER holds worlds.py, as for `tests.benchmarks.worlds`. Seeds begin at 2; every panel has 50 gold
labels. Worlds without blocs are drawn twice as often, and "independent, all answer all" is the
world independent with every labeler answering every example. A pair is named where the report
counts two labelers as one, or says that they agree more than they should; an alarm is a pair named
or an effective number below that of independent labelers. Advice on whom to spare is right where
labels of a fit without those are by the truth worse by no more than 1.5 points, and nobody outside
the families is among them.
"""

import argparse
import importlib.util
import itertools
import sys
import time
from pathlib import Path

import numpy as np

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.report import diagnose
from tests.benchmarks.simulated import finish, head, row

NUM_GOLD = 50
MOST_LOST = 0.015
FAMILIES = {
    "bloc": lambda name: "judge" if name.startswith("judge") else None,
    "two-blocs": lambda name: name[:2] if name.startswith("f") else None,
}
"""The family of a labeler by its name; worlds that are not here have none."""

INDEPENDENT = ("independent", "independent, all answer all", "demo", "uneven", "two-coins")


def draw(worlds, name, seed):
    """Labels, gold and truth."""
    if name != "independent, all answer all":
        return worlds.make(name, seed, NUM_GOLD)
    rng = np.random.default_rng([seed, 1234])
    true_class, labels = worlds.WORLDS["independent"](rng, k=10)
    tasks = [f"t{i:05d}" for i in range(true_class.size)]
    truth = worlds.pd.DataFrame({"task": tasks, "label": true_class})
    known = rng.permutation(true_class.size)[:NUM_GOLD]
    return labels, truth.iloc[np.sort(known)], truth


def named_pairs(content):
    """Pairs of labelers whom the report counts as one, or says to agree too much."""
    blocs = content.result.blocs
    found = {tuple(sorted(map(str, pair.labelers))) for pair in content.labelers.pairs}
    if blocs is not None:
        for _, members in blocs.groupby("bloc"):
            found |= set(itertools.combinations(sorted(members["worker"].astype(str)), 2))
    return found


def holds(members, labels, truth):
    """Whether the intervals of accuracies, and of shares of classes found, hold what is true."""
    own = labels.merge(truth, on="task", suffixes=("", "_true"))
    own["is_right"] = own["label"] == own["label_true"]
    share = own.groupby("worker")["is_right"].mean().reindex(members.table["worker"])
    of_all = (members.table["ci_low"] <= share.to_numpy()) & (
        share.to_numpy() <= members.table["ci_high"]
    )
    found = members.recall()
    by_class = own.groupby(["worker", "label_true"])["is_right"].mean()
    recall = by_class.reindex(list(zip(found["worker"], found["true_label"], strict=True)))
    of_classes = (found["ci_low"] <= recall.to_numpy()) & (recall.to_numpy() <= found["ci_high"])
    return of_all.tolist(), of_classes.tolist()


def accuracy(result, truth, gold):
    """Of the labels that are not gold."""
    left = truth[~truth["task"].isin(gold["task"])].set_index("task")["label"]
    return float((result.label.reindex(left.index) == left).mean())


def measured(worlds, name, seed):
    """What the report says of one panel, held against what is true."""
    labels, gold, truth = draw(worlds, name, seed)
    crowd = Crowd.from_frames(labels, gold)
    result = aggregate(crowd)
    content = diagnose(result)
    judges, panel = content.judges, content.labelers.panel
    family = {worker: FAMILIES.get(name, lambda _: None)(worker) for worker in set(labels.worker)}
    pairs = named_pairs(content)
    inside = {
        pair
        for pair in itertools.combinations(sorted(family), 2)
        if family[pair[0]] is not None and family[pair[0]] == family[pair[1]]
    }
    of_all, of_classes = holds(judges.members, labels, truth)
    spared = [] if judges.spared is None else [str(worker) for worker in judges.spared.who]
    lost = 0.0
    if spared:
        rest = Crowd.from_frames(labels[~labels["worker"].isin(spared)], gold)
        lost = accuracy(result, truth, gold) - accuracy(aggregate(rest), truth, gold)
    has_honest = any(family[worker] is None for worker in spared) and name in FAMILIES
    return {
        "blocs": inside <= pairs,
        "outside": len(pairs - inside),
        "alarm": bool(pairs) or (panel is not None and panel.errs_together),
        "accuracy": of_all,
        "recall": of_classes,
        "effective": np.nan if panel is None else panel.effective,
        "spared": len(spared) / len(family),
        "lost": lost,
        "promised": 0.0 if judges.spared is None else judges.spared.total,
        "right": lost <= MOST_LOST and not has_honest,
        "advised": bool(spared),
    }


def cells(found):
    """A row of the table."""
    number = len(found)
    held = [
        np.concatenate([each[what] for each in found]).mean() for what in ("accuracy", "recall")
    ]
    effective = np.array([each["effective"] for each in found])
    mean = {
        what: float(np.mean([each[what] for each in found]))
        for what in ("spared", "lost", "promised")
    }
    return [
        f"{sum(each['blocs'] for each in found)} of {number}",
        sum(each["outside"] for each in found),
        f"{sum(each['alarm'] for each in found)} of {number}",
        "-" if np.isnan(effective).all() else f"{np.nanmean(effective):.1f}",
        *(f"{share:.3f}" for share in held),
        f"{sum(each['advised'] for each in found)} of {number}",
        f"{mean['spared']:.0%}".replace("%", " %"),
        f"{mean['lost']:+.3f} ({mean['promised']:.3f})",
        f"{sum(each['right'] for each in found)} of {number}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=[*FAMILIES, *INDEPENDENT])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("worlds", options.folder / "worlds.py")
    worlds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worlds)
    lines = head(
        "world",
        "families named whole",
        "pairs named outside",
        "alarms",
        "effective number",
        "accuracies held",
        "shares by class held",
        "somebody to spare",
        "labelers spared",
        "accuracy lost (promised)",
        "advice right",
    )
    for name in options.only:
        number = options.seeds * (1 if name in FAMILIES else 2)
        start, found = time.perf_counter(), []
        for seed in range(2, 2 + number):
            found.append(measured(worlds, name, seed))
            print(name, seed, found[-1], file=sys.stderr, flush=True)
        shown = cells(found)
        shown[0] = shown[0] if name in FAMILIES else "-"
        lines.append(row(name, *shown))
        print(lines[-1], f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    finish(lines, options.output)


if __name__ == "__main__":
    main()
