"""Cost of an update of a fit that grows against fitting anew, and of the file it is kept in.

    python -m tests.benchmarks.state [--labels 1000000] [--output FILE]

Prints one JSON object as `kernels` does. A crowd of 99 % of the answers is fitted; the last
hundredth brings ten labelers, examples and gold that it has not seen, and `update` learns from them
as tables, names and all. `ratio` is how often the update goes into fitting all answers anew in the
same process, both compiled: by `aggregate`, which chooses a model and learns rho, and by one fit of
the same model with rho known. Every row of an update also holds how far its results are from that
last fit's with the same density of rho: largest and mean difference of class probabilities and of
accuracies.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state, write_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.crowd import Crowd
from gtx_bayes.labels import Assessment, Labels
from tests.benchmarks.kernels import publish, row

ROUNDS = 5
SHARE = 0.01  # of the answers are new
NUM_NEW_LABELERS = 10


def tables(num_labels, num_classes, rng):
    """Answers in order of arrival, right with accuracies U(.6, .95), and who is right."""
    num_examples, num_labelers = num_labels // 5, 1000
    num_new = int(SHARE * num_labels)
    is_new = np.arange(num_labels) >= num_labels - num_new
    # Half of the new answers are to new examples, five to each.
    num_seen = num_examples - num_new // 10
    example = rng.integers(0, num_seen, num_labels)
    unseen = is_new & (rng.random(num_labels) < 0.5)
    example[unseen] = rng.integers(num_seen, num_examples, unseen.sum())
    labeler = rng.integers(0, num_labelers - NUM_NEW_LABELERS, num_labels)
    fresh = is_new & (rng.random(num_labels) < 0.2)
    labeler[fresh] = num_labelers - 1 - rng.integers(0, NUM_NEW_LABELERS, fresh.sum())
    truth = rng.integers(0, num_classes, num_examples)
    right = rng.random(num_labels) < rng.uniform(0.6, 0.95, num_labelers)[labeler]
    other = (truth[example] + rng.integers(1, num_classes, num_labels)) % num_classes
    label = np.where(right, truth[example], other)
    pairs = pd.DataFrame({"example": example, "labeler": labeler})
    once = ~pairs.duplicated().to_numpy()
    columns = (example[once], labeler[once], label[once])
    return columns, truth, int(once[: num_labels - num_new].sum())


def crowd_of(columns, gold, truth, num_classes):
    """What `Crowd.from_frames` makes of them, names t0, t1 ... and w0, w1 ...; quickly."""
    labels = Labels.from_arrays(*columns, num_classes=num_classes)
    gold = gold[gold < labels.num_examples]
    known = Assessment.from_arrays(
        gold, truth[gold], num_examples=labels.num_examples, num_classes=num_classes
    )
    return Crowd(
        labels,
        known,
        np.array([f"t{i}" for i in range(labels.num_examples)], object),
        np.array([f"w{j}" for j in range(labels.num_labelers)], object),
        np.arange(num_classes).astype(object),
    )


def seconds_of(run, rounds=ROUNDS):
    """Fewest seconds of several runs, and the last result."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        np.asarray(result.class_probs)
        taken.append(time.perf_counter() - start)
    return min(taken), result


def update_rows(num_labels, num_classes, rng):
    (example, labeler, label), truth, num_seen = tables(num_labels, num_classes, rng)
    gold = np.arange(0, truth.size, 50)  # 2 %, of which the last hundredth comes in late
    late = gold[rng.random(gold.size) < SHARE]
    seen = tuple(part[:num_seen] for part in (example, labeler, label))
    before = crowd_of(seen, np.setdiff1d(gold, late), truth, num_classes)
    whole = crowd_of((example, labeler, label), gold, truth, num_classes)
    answers = pd.DataFrame(
        {
            "task": [f"t{i}" for i in example[num_seen:]],
            "worker": [f"w{j}" for j in labeler[num_seen:]],
            "label": label[num_seen:],
        }
    )
    new_gold = gold[np.isin(gold, late) | (gold >= before.labels.num_examples)]
    truths = pd.DataFrame({"task": [f"t{i}" for i in new_gold], "label": truth[new_gold]})
    uniform = np.full(num_classes, 1.0 / num_classes)
    kept = aggregate(before)
    model = kept.fit.model
    grown = update(kept, answers, truths)
    ours, result = seconds_of(lambda: update(kept, answers, truths).result)
    anew, _ = seconds_of(lambda: aggregate(whole), rounds=1)  # compiled for the crowd before it
    rho = result.fit.joint.dependence.mean
    known = {"model": model, "dependence": rho, "class_prior": uniform}
    once, _ = seconds_of(lambda: aggregate(whole, **known))
    fit = aggregate(whole).fit.joint
    size = (
        f"{grown.num_new_labels} new answers to {num_labels}, {num_classes} classes, "
        f"{grown.num_new_examples} new examples, {grown.num_new_labelers} new labelers, "
        f"{grown.num_new_gold} new gold; {model}"
    )
    # New names follow the old in order of appearance: put the refit's in that order.
    at = [int(name[1:]) for name in result.crowd.example_names]
    who = [int(name[1:]) for name in result.crowd.labeler_names]
    probs = np.abs(np.asarray(result.class_probs) - np.asarray(fit.class_probs)[at])
    ours_mean, theirs_mean = (np.asarray(of.accuracy.mean) for of in (result.fit.joint, fit))
    accuracy = np.abs(ours_mean - theirs_mean[who])
    apart = {
        "num_recomputed": grown.num_recomputed,
        "class_probs_apart": {"max": float(probs.max()), "mean": float(probs.mean())},
        "accuracy_apart": {"max": float(accuracy.max()), "mean": float(accuracy.mean())},
    }
    yield row("update", size, ours, "aggregate, all anew", anew / ours) | apart
    yield row("update", size, ours, "one fit, all known but the labels", once / ours) | apart
    yield from file_rows(result, size, once)


def file_rows(result, size, once):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.npz"
        write, _ = seconds_of(lambda: write_state(result, path) or result)
        read, _ = seconds_of(lambda: read_state(path))
        size = f"{path.stat().st_size / 1e6:.0f} MB, {size}"
    yield row("state written", size, write, "one fit, all known but the labels", once / write)
    yield row("state read", size, read, "one fit, all known but the labels", once / read)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    results = [
        found for num_classes in (2, 4) for found in update_rows(options.labels, num_classes, rng)
    ]
    publish(results, options.output)


if __name__ == "__main__":
    main()
