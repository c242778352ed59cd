"""Do intervals of shares hold, and how wide are they? Many draws of gold from few fits.

    python -m tests.benchmarks.estimates DATA --worlds FOLDER [--draws 400] [--fits 10]
        [--whole 0] [--work DIR] [--only NAME ...] [--output docs/estimates_table.md]

DATA holds one folder per crowd, as in `real_crowds`; FOLDER holds worlds.py. The population is
every example whose class is known. Gold is drawn from it at random, and an interval holds if the
share of the whole population is inside.

Five fits a draw would be far too many. So `--fits` fits are made for each amount of gold, of gold
drawn at random, four fifths as much as a draw has, which is what a fold leaves; and every draw
takes one of these at random for each fold. Examples that are gold of a fit get the posterior of
another one, where they are not. What that leaves out is how a draw's own gold moves its own fits:
with `--whole N` so many draws per crowd are made by `gtx_bayes.estimate` itself, five fits each.
Fits are kept in DIR.
"""

import argparse
import dataclasses
import importlib.util
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
MOST_GOLD = 0.8  # of the population


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


def draw(known, is_gold, probs, amount, rng):
    """Gold drawn at random, and for every fold the proxies of a fit without it."""
    size = known.truth.size
    example = np.sort(rng.choice(size, amount, replace=False))
    gold = Gold(example, known.truth[example], scattered_parts(amount, NUM_FOLDS))
    order = rng.permutation(len(probs))
    proxies = []
    for fold in range(NUM_FOLDS):
        own = probs[order[fold]].copy()
        left = is_gold[order[fold]].copy()
        for other in np.roll(order, -fold - 1)[:-1]:
            taken = left & ~is_gold[other]
            own[taken] = probs[other][taken]
            left &= ~taken
        own[left] = known.votes[left]  # gold of all fits: they cannot say
        proxies.append(proxies_of(own, known.votes, known.judges))
    return gold, proxies


def ppi_plus_plus(truth, gold_proxy, other_proxy):
    """Share and standard error by PPI++, its weight tuned and not clipped.

    Angelopoulos, Duchi and Zrnic (2023), section 6, for a mean and one proxy.
    """
    size, others = truth.size, other_proxy.size
    spread = np.var(np.concatenate([gold_proxy, other_proxy]), ddof=1)
    weight = 0.0
    if spread > 0.0:
        weight = np.cov(truth, gold_proxy)[0, 1] / spread / (1.0 + size / others)
    share = weight * other_proxy.mean() + (truth - weight * gold_proxy).mean()
    variance = weight**2 * other_proxy.var(ddof=1) / others
    variance += (truth - weight * gold_proxy).var(ddof=1) / size
    return share, np.sqrt(variance)


def intervals(gold, found, known):
    """Limits by each way: ours, gold alone, and PPI++ on shares of votes; and our worth."""
    own = shares(gold, found)
    others = np.ones(known.truth.size, bool)
    others[gold.example] = False
    of_votes = np.array(
        [
            ppi_plus_plus(gold.truth == k, known.votes[gold.example, k], known.votes[others, k])
            for k in range(known.votes.shape[1])
        ]
    ).T
    reach = 1.96 * of_votes[1]
    return [
        [own.low, own.high],
        [own.gold_low, own.gold_high],
        [of_votes[0] - reach, of_votes[0] + reach],
    ]


def measure(known, amount, is_gold, probs, draws):
    """Coverage and width of each interval, by class, means over the draws."""
    rng = np.random.default_rng(amount)
    limits = []
    for _ in range(draws):
        gold, proxies = draw(known, is_gold, probs, amount, rng)
        limits.append(intervals(gold, cross_fit(gold, proxies), known))
    return summary(known, limits)


def measure_whole(known, amount, draws):
    """The same of our interval, by the function that users call."""
    limits = []
    for seed in range(draws):
        rng = np.random.default_rng([amount, seed])
        example = rng.choice(known.truth.size, amount, replace=False)
        own = estimate(with_gold(known.crowd, known.truth, example)).overall
        limits.append([[own.low, own.high]])
    return summary(known, limits)


def summary(known, limits):
    share = np.bincount(known.truth, minlength=known.votes.shape[1]) / known.truth.size
    limits = np.array(limits)  # draws, intervals, limits, classes
    holds = (limits[:, :, 0] <= share + 1e-9) & (limits[:, :, 1] >= share - 1e-9)
    width = np.minimum(limits[:, :, 1], 1.0) - np.maximum(limits[:, :, 0], 0.0)
    return holds.mean(axis=0), width.mean(axis=0)


def cell(holds, width):
    """Coverage and width, means over the classes; and the coverage of the worst class."""
    worst = f" ({holds.min():.3f})" if len(holds) > 2 else ""
    return f"{holds.mean():.3f}{worst} / {width.mean():.3f}"


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
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--fits", type=int, default=10)
    parser.add_argument("--whole", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/estimates"))
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("worlds", options.worlds / "worlds.py")
    worlds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worlds)
    options.work.mkdir(parents=True, exist_ok=True)
    ways = ["with the crowd", "gold alone (Wilson)", "PPI++ on votes"]
    ways += ["`estimate` as a whole"] if options.whole else []
    lines = head("crowd", "examples", "classes", "gold", *ways)
    for name, known in crowds(options.data, worlds, options.only):
        for amount in AMOUNTS:
            if amount > MOST_GOLD * known.truth.size:
                continue
            start = time.perf_counter()
            path = options.work / f"{name.replace(' ', '_')}_{amount}.npz"
            found = measure(known, amount, *fits(known, amount, options.fits, path), options.draws)
            cells = [cell(holds, width) for holds, width in zip(*found, strict=True)]
            if options.whole:
                whole = measure_whole(known, amount, options.whole)
                cells.append(cell(whole[0][0], whole[1][0]))
            lines.append(row(name, *known.votes.shape, amount, *cells))
            print(lines[-1], f"{time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        jax.clear_caches()
    finish(lines, options.output)


if __name__ == "__main__":
    main()
