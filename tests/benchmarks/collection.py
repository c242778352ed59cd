"""Speed and memory of Tables 1 and 2 against NumPy and a heap, in one run.

    python -m tests.benchmarks.collection [--runs 100] [--growth] [--growth-to 1000] [--output FILE]

Prints one JSON object {machine, results: [{name, size, seconds, against, ratio, ...}]}. `ratio` is
ours over theirs in speed, 10 runs over these in memory, and for growth the exponent e in seconds
proportional to runs to the power e. Every pair is timed in turn, compiled beforehand, the fastest
of several rounds counts. The others are timed on a few runs and scaled to all; what they find is
held against ours, so that the same thing is timed.
"""

import argparse
import concurrent.futures
import functools
import heapq
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from gtx_bayes.aggregation import gtx, majority_vote, soft_vote, weighted_majority_vote
from gtx_bayes.cli.streaming import peak_memory
from gtx_bayes.collection import offline
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments import table1, table2
from gtx_bayes.experiments.runs import map_runs
from gtx_bayes.experiments.setting import COHORTS, ONE_LABEL_IS_CERTAIN, Score, collect, map_cohorts
from tests.benchmarks.kernels import fastest, publish, row

NUMPY_RUNS = 20  # of each cohort: long enough to meet what else the machine does, as ours do
IN_A_ROW = 25  # single collections of Table 2 per timing: together about as long as one heap's
COLLECTIONS = 64  # of Table 2 in a simulation
COMPARED = 0.99  # threshold at which the errors of GTX must agree


def every_run(table, runs):
    """Runs of both cohorts: a function that compiles in its first call only."""
    simulate_run = functools.partial(table.simulate_run, config=table.Config())
    return lambda: map_cohorts(simulate_run, jax.random.key(0), runs)


def table1_rows(runs):
    config = table1.Config()
    ours = every_run(table1, runs)
    found = ours()

    def compared(seconds, theirs, against):
        num_runs = runs * len(COHORTS)
        size = f"{runs} runs of each of {len(COHORTS)} cohorts"
        scaled = theirs * num_runs
        rate = {"runs_per_second": round(num_runs / seconds, 1)}
        return row("Table 1", size, seconds, against, scaled / seconds) | rate

    few = [
        (np.random.default_rng([cohort, run]), *limits, config)
        for cohort, limits in enumerate(COHORTS.values())
        for run in range(NUMPY_RUNS)
    ]
    assert_agree(found, list(itertools.starmap(by_numpy, few)), config)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        seconds, one_by_one, in_threads = fastest(
            ours,
            lambda: list(itertools.starmap(by_numpy, few)),
            lambda: list(pool.map(lambda one: by_numpy(*one), few)),
            rounds=5,
        )
    for how, theirs in (
        ("one by one", one_by_one),
        (f"{os.cpu_count()} threads", in_threads),
    ):
        against = f"NumPy, runs {how}, {NUMPY_RUNS} of each cohort scaled"
        yield compared(seconds, theirs / len(few), against)


def assert_agree(ours, theirs, config):
    """The mean errors of GTX differ by no more than five of their difference's standard errors.

    `theirs` has as many runs of each cohort, one cohort after the other.
    """
    at = config.thresholds.index(COMPARED)
    errors = np.array([found[gtx.NAME][at].error for found in theirs]).reshape(len(COHORTS), -1)
    for cohort, others in zip(COHORTS, errors, strict=True):
        error = ours[cohort][gtx.NAME].error[:, at]
        se = np.std(error, ddof=1) * math.sqrt(1 / len(error) + 1 / len(others))
        assert abs(error.mean() - others.mean()) < 5 * se, (cohort, error.mean(), others, se)


def by_numpy(rng, low, high, config):
    """One run of Table 1, in float32 arrays of places in the queue by examples."""
    half = np.float32(0.5)
    accuracy = rng.uniform(low, high, config.num_labelers).astype(np.float32)
    queue = numpy_queue(rng, config)
    positive = rng.random(config.budget, np.float32) < half
    known = accuracy.take(queue)
    says_positive = (rng.random(queue.shape, np.float32) < known) == positive
    truth = 2 * positive.astype(np.float32) - 1
    side = 2 * says_positive.astype(np.float32) - 1

    half_log_odds = (0.5 * np.log(accuracy / (1 - accuracy))).astype(np.float32)
    count = np.arange(1, config.max_labels + 1, dtype=np.float32)[:, None]
    margins = {  # of the probability of class 1 over one half
        majority_vote.NAME: running(np.add, side.copy()) / (2 * count),
        weighted_majority_vote.NAME: running(np.add, known * side) / running(np.add, 2 * known),
        soft_vote.NAME: running(np.add, (known - half) * side) / count,
        gtx.NAME: half * np.tanh(running(np.add, half_log_odds.take(queue) * side)),
    }
    found = {}
    for method, margin in margins.items():
        of_truth = margin * truth
        error = (of_truth < 0).astype(np.float32)
        error += half * (of_truth == 0)
        if method in ONE_LABEL_IS_CERTAIN:
            found[method] = numpy_fixed(error, of_truth, config)
        else:
            found[method] = numpy_thresholds(margin, error, of_truth, config)
    return found


def numpy_queue(rng, config):
    """The first labelers in a random order for each example: each is replaced by the last free."""
    place = np.arange(config.budget, dtype=np.int32)
    free = np.repeat(np.arange(config.num_labelers, dtype=np.int8), config.budget)
    queue = np.empty((config.max_labels, config.budget), np.int8)
    lots = rng.random(queue.shape, np.float32)
    for n, lot in enumerate(lots):
        num_free = config.num_labelers - n
        chosen = (lot * np.float32(num_free)).astype(np.int32) * config.budget + place
        queue[n] = free.take(chosen)
        free[chosen] = free[(num_free - 1) * config.budget : num_free * config.budget]
    return queue


def numpy_fixed(error, of_truth, config):
    found = []
    for n, (error_then, of_truth_then) in enumerate(zip(error, of_truth, strict=True), start=1):
        some = slice(config.budget // n)
        found.append(mean_score(error_then[some], of_truth_then[some], config.budget))
    return found


def numpy_thresholds(margin, error, of_truth, config):
    error, of_truth = error.ravel(), of_truth.ravel()
    highest = running(np.maximum, np.abs(margin[:-1]))
    place = np.arange(config.budget, dtype=np.int32)
    found = []
    for threshold in config.thresholds:
        unsure = highest <= np.float32(threshold - 0.5)
        more = unsure.view(np.int8).sum(axis=0, dtype=np.int8)  # labels after the first
        before_last = more.cumsum(dtype=np.int32)
        before_last += place
        num_examples = before_last.searchsorted(config.budget)
        at = more[:num_examples].astype(np.intp)
        at *= config.budget
        at += place[:num_examples]
        found.append(mean_score(error.take(at), of_truth.take(at), config.budget))
    return found


def mean_score(error, of_truth, budget):
    return Score(len(error), budget / len(error), error.mean(), 0.5 - of_truth.mean())


def running(combine, rows):
    """Every row combined with those before it, in place; NumPy's own `accumulate` is slower."""
    for before, after in itertools.pairwise(rows):
        combine(before, after, out=after)
    return rows


def table2_rows():
    """One collection at a time, and as a simulation has them: many, on all cores."""
    config = table2.Config()
    alone = jax.jit(collect_one)
    for cohort, limits in COHORTS.items():
        keys = jax.random.split(jax.random.key(0), COLLECTIONS)
        draw = jax.jit(jax.vmap(lambda key, limits=limits: table2.draw(key, *limits, config)))
        methods, queues = draw(keys)
        aggregators = methods[gtx.NAME]
        each = [jax.tree.map(lambda x, at=at: x[at], (aggregators, queues)) for at in range(2)]
        for aggregator, queue in each:
            assert_collects_alike(aggregator, queue, config.budget)

        def in_a_row(aggregator=each[0][0], queue=each[0][1]):
            for _ in range(IN_A_ROW):
                jax.block_until_ready(alone(None, aggregator, queue))

        def simulated(keys=keys, aggregators=aggregators, queues=queues):
            return map_runs(collect_one, keys, aggregators, queues)

        aggregator, queue = each[0]
        lists = as_lists(aggregator.model.accuracy, queue)
        one, together, theirs = fastest(
            in_a_row, simulated, functools.partial(heap_collect, *lists, config.budget)
        )
        size = (
            f"{cohort.replace('_', ' ')} cohort, {config.num_examples} examples, "
            f"{config.num_labelers} labelers, {config.budget} labels"
        )
        for name, seconds in (
            ("Table 2, one collection with GTX", one / IN_A_ROW),
            (f"Table 2, each of {COLLECTIONS} collections with GTX", together / COLLECTIONS),
        ):
            yield row(name, size, seconds, "Python heap", theirs / seconds)


def collect_one(key, aggregator, queue):
    """A collection as a run of a simulation."""
    return collect(aggregator, queue, UncertaintySampling(queue.max_labels), table2.Config().budget)


def assert_collects_alike(aggregator, queue, budget):
    """The heap buys the same, but for what rounding decides."""
    path = offline.class_prob_path(aggregator, queue)
    policy = UncertaintySampling(queue.max_labels)
    bought = offline.collect(policy, path, budget).num_labels
    by_heap, _ = heap_collect(*as_lists(aggregator.model.accuracy, queue), budget)
    assert np.abs(np.asarray(bought) - by_heap).sum() <= 0.01 * budget


def as_lists(accuracy, queue):
    """Log odds of each labeler; labelers and answers of each example as they come; true labels."""
    accuracy = np.asarray(accuracy, np.float64)
    labeler, label = np.asarray(queue.answers.labeler), np.asarray(queue.answers.label)
    answers = [
        list(zip(*both, strict=True))
        for both in zip(labeler.T.tolist(), label.T.tolist(), strict=True)
    ]
    log_odds = np.log(accuracy) - np.log1p(-accuracy)
    return log_odds.tolist(), answers, np.asarray(queue.true_label).tolist()


def heap_collect(weight, answers, truth, budget):
    """Uncertainty sampling one label at a time: labels of each example, and its score."""
    log_odds = [0.0] * len(answers)
    num_labels = [0] * len(answers)
    heap = [(-0.5, 0, i) for i in range(len(answers))]
    heapq.heapify(heap)
    for _ in range(budget):
        _, n, i = heapq.heappop(heap)
        j, label = answers[i][n]
        log_odds[i] += weight[j] if label else -weight[j]
        num_labels[i] = n + 1
        if n + 1 < len(answers[i]):
            heapq.heappush(heap, (-1 / (1 + math.exp(abs(log_odds[i]))), n + 1, i))
    wrong = absolute = 0.0
    for odds, label in zip(log_odds, truth, strict=True):
        of_wrong = 1 / (1 + math.exp(odds if label else -odds))
        absolute += of_wrong
        wrong += 0.5 if of_wrong == 0.5 else of_wrong > 0.5
    size = len(answers)
    return num_labels, Score(size, budget / size, wrong / size, absolute / size)


def memory_rows():
    """Peak memory of a process that simulates Table 1: that of one run per core, however many."""
    first = None
    for runs in (10, 100):
        code = f"from tests.benchmarks.collection import peak; print(*peak({runs}))"
        output = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        seconds, peak_bytes = float(output.split()[0]), int(output.split()[1])
        first = first or peak_bytes
        size = f"{runs} runs of each of {len(COHORTS)} cohorts, {peak_bytes / 1e6:.0f} MB"
        found = row("Table 1, peak memory", size, seconds, "memory of 10 runs", first / peak_bytes)
        yield found | {"peak_bytes": peak_bytes}


def peak(runs):
    """Seconds of these runs of Table 1, and the most memory this process has held."""
    seconds = fastest(every_run(table1, runs), rounds=1)[0]
    return seconds, peak_memory()


def growth_rows(most):
    """Seconds by the number of runs; the exponent by least squares on log scales."""
    sizes = [runs for runs in (10, 100, 1000, 10_000) if runs <= most]
    for name, table in {"Table 1": table1, "Table 2": table2}.items():
        seconds = [
            fastest(every_run(table, runs), rounds=3 if runs < 1000 else 1)[0] for runs in sizes
        ]
        exponent = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        size = f"{sizes[0]} to {sizes[-1]} runs of each of {len(COHORTS)} cohorts"
        yield row(f"{name}, growth", size, seconds[-1], "linear growth: 1.0", exponent) | {
            "seconds_by_runs": dict(zip(sizes, np.round(seconds, 4).tolist(), strict=True))
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100, help="of each cohort of Table 1")
    parser.add_argument("--growth", action="store_true", help="time more and more runs")
    parser.add_argument("--growth-to", type=int, default=1000, help="the most runs then")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    results = [
        *memory_rows(),  # first: a child starts from the peak of the process that starts it
        *table1_rows(options.runs),
        *table2_rows(),
        *(growth_rows(options.growth_to) if options.growth else ()),
    ]
    publish(results, options.output)


if __name__ == "__main__":
    main()
