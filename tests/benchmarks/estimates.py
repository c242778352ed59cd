"""Do intervals of shares hold, and how wide are they? Many draws of gold from few fits.

    python -m tests.benchmarks.estimates DATA --worlds FOLDER [--draws 1000] [--fits 10]
        [--whole 0] [--peers PYTHON] [--work DIR] [--only NAME ...]
        [--output docs/estimates_table.md]

DATA holds one folder per crowd, as in `real_crowds`; FOLDER holds worlds.py. The population is
every example whose class is known. Gold is drawn from it at random, and an interval holds if the
share of the whole population is inside.

Five fits a draw would be far too many. So `--fits` fits are made for each amount of gold, of gold
drawn at random, four fifths as much as a draw has, which is what a fold leaves; and every draw
takes one of these at random for each fold. Examples that are gold of a fit get the posterior of
another one, where they are not. What that leaves out is how a draw's own gold moves its own fits:
with `--whole N` the first N draws are also estimated by `gtx_bayes.estimate` itself, five fits
each. Fits are kept in DIR.

PYTHON is the interpreter of an environment with the packages of `peers_of_shares`, which get the
same draws, shares of votes, and the posterior of a fit without gold.
"""

import argparse
import dataclasses
import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.labels import MISSING, Assessment, scattered_parts
from gtx_bayes.panels.estimate import estimate, judges_of, proxies_of, vote_shares
from gtx_bayes.panels.shares import Gold, cross_fit, shares
from tests.benchmarks.real_crowds import SETS, read_crowd
from tests.benchmarks.simulated import finish, head, row

WORLDS = ("bloc", "looks", "uneven", "swapped")
AMOUNTS = (20, 60, 200)
NUM_FOLDS = 5
PEERS = (
    "ppi-python, votes",
    "ppi-python, posterior",
    "truescore, votes",
    "truescore, posterior",
    "cje-eval, posterior",
)
MOST_GOLD = 0.85  # of the population


class Known(NamedTuple):
    """A crowd whose every example has a known class, and fits of it with some gold."""

    crowd: Crowd
    truth: np.ndarray
    votes: np.ndarray
    judges: np.ndarray


def known_crowd(labels, truth):
    """Those examples of a crowd whose class is known; they are the population."""
    labels, truth = (frame.astype(str) for frame in (labels, truth))
    labels.columns, truth.columns = ["task", "worker", "label"], ["task", "label"]
    labels = labels[labels["task"].isin(truth["task"])]
    classes = sorted(set(labels["label"]) | set(truth["label"]))
    crowd = Crowd.from_frames(labels, truth, duplicates="first", classes=classes)
    found = np.asarray(crowd.assessment.true_label).astype(np.int64)
    kept = crowd.labels.of_classes()
    return Known(crowd, found, vote_shares(kept), judges_of(kept))


def with_gold(crowd, truth, example):
    seen = np.full(truth.size, MISSING, np.int8)
    seen[example] = truth[example]
    known = Assessment(jax.device_put(seen), crowd.labels.num_classes)
    return dataclasses.replace(crowd, assessment=known)


def fits(known, amount, number, path):
    """Which examples are gold in each fit, and the class posteriors; kept in a file."""
    if not path.exists():
        is_gold = np.zeros((number, known.truth.size), bool)
        probs = np.zeros((number, *known.votes.shape), np.float32)
        for at in range(number):
            rng = np.random.default_rng([amount, at])
            size = amount * (NUM_FOLDS - 1) // NUM_FOLDS
            seen = rng.choice(known.truth.size, size, replace=False)
            is_gold[at, seen] = True
            probs[at] = aggregate(with_gold(known.crowd, known.truth, seen)).class_probs
        np.savez(path, is_gold=is_gold, probs=probs)
    found = np.load(path)
    return found["is_gold"], found["probs"].astype(np.float64)


def drawn_gold(known, amount, draws):
    """Which examples are gold in each draw."""
    rng = np.random.default_rng(amount)
    size = known.truth.size
    return np.sort([rng.choice(size, amount, replace=False) for _ in range(draws)], axis=1)


def draw(known, example, proxies, is_gold, order):
    """Gold, and for every fold the proxies of a fit without it; gold of a fit from another one."""
    gold = Gold(example, known.truth[example], scattered_parts(example.size, NUM_FOLDS))
    found = []
    for fold in range(NUM_FOLDS):
        own = proxies[order[fold]]
        values = own.values.copy()
        left = is_gold[order[fold]].copy()
        for other in np.roll(order, -fold - 1)[:-1]:
            taken = left & ~is_gold[other]
            values[taken] = proxies[other].values[taken]
            left &= ~taken
        values[left, :, 0] = values[left, :, 1]  # gold of all fits: they cannot say
        found.append(own._replace(values=values))
    return gold, found


def measure(known, example, is_gold, probs):
    """Limits of each draw with the crowd, and by gold alone."""
    rng = np.random.default_rng(0)
    proxies = [proxies_of(each, known.votes, known.judges) for each in probs]
    limits = []
    for each in example:
        gold, own = draw(known, each, proxies, is_gold, rng.permutation(len(probs)))
        found = shares(gold, cross_fit(gold, own))
        limits.append([[found.low, found.high], [found.gold_low, found.gold_high]])
    return np.swapaxes(limits, 0, 1)


def measure_whole(known, example):
    """The same by the function that users call."""
    found = [estimate(with_gold(known.crowd, known.truth, each)).overall for each in example]
    return np.array([[each.low, each.high] for each in found])


def cell(known, limits):
    """Coverage and width, means over the classes; and the coverage of the worst class."""
    share = np.bincount(known.truth, minlength=known.votes.shape[1]) / known.truth.size
    low, high = np.moveaxis(limits, 1, 0)
    holds = ((low <= share + 1e-9) & (high >= share - 1e-9)).mean(axis=0)
    width = (np.minimum(high, 1.0) - np.maximum(low, 0.0)).mean()
    worst = f" ({holds.min():.3f})" if holds.size > 2 else ""
    return f"{holds.mean():.3f}{worst} / {width:.3f}"


def crowds(data, worlds, only):
    for name in SETS:
        if not only or name in only:
            yield name, known_crowd(*read_crowd(data / name))
    for name in WORLDS:
        if not only or name in only:
            labels, _, truth = worlds.make(name, 2, 0)
            yield f"world {name}", known_crowd(labels, truth)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--worlds", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--fits", type=int, default=10)
    parser.add_argument("--whole", type=int, default=0)
    parser.add_argument("--peers", help="interpreter of an environment with the other packages")
    parser.add_argument("--work", type=Path, default=Path("build/estimates"))
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("worlds", options.worlds / "worlds.py")
    worlds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worlds)
    drawn = options.work / f"draws_{options.draws}"
    drawn.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, known in crowds(options.data, worlds, options.only):
        posterior = None
        for amount in AMOUNTS:
            if amount > MOST_GOLD * known.truth.size:
                continue
            start = time.perf_counter()
            stem = f"{name.replace(' ', '_')}_{amount}"
            example = drawn_gold(known, amount, options.draws)
            path = options.work / f"{stem}.npz"
            found = list(measure(known, example, *fits(known, amount, options.fits, path)))
            if options.whole:
                found.append(measure_whole(known, example[: options.whole]))
            cells = [cell(known, limits) for limits in found]
            if options.peers:
                if posterior is None:
                    blind = with_gold(known.crowd, known.truth, np.arange(0))
                    posterior = np.asarray(aggregate(blind).class_probs, np.float64)
                given = {"truth": known.truth, "votes": known.votes, "posterior": posterior}
                np.savez(drawn / f"{stem}.npz", example=example, **given)
            rows.append((name, known, amount, cells, drawn / f"{stem}_peers.npz"))
            took = f"{time.perf_counter() - start:.0f} s"
            print(row(name, amount, *cells), took, file=sys.stderr, flush=True)
        jax.clear_caches()
    ways = ["with the crowd", "gold alone (Wilson)", *["`estimate` as a whole"][: options.whole]]
    if options.peers:
        peers = Path(__file__).with_name("peers_of_shares.py")
        subprocess.run([options.peers, peers, drawn], check=True)
        ways += PEERS
        for _, known, _, cells, path in rows:
            by = np.load(path)
            cells += [cell(known, by[way]) if way in by else "-" for way in PEERS]
    lines = head("crowd", "examples", "classes", "gold", *ways)
    lines += [
        row(name, *known.votes.shape, amount, *cells) for name, known, amount, cells, _ in rows
    ]
    finish(lines, options.output)


if __name__ == "__main__":
    main()
