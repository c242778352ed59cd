"""What several devices find, against one without a mesh; run with as many of them, prints JSON.

    JAX_NUM_CPU_DEVICES=4 python -m tests.on_devices [--all]

One process for all of it, because devices of a CPU are made when JAX starts. All takes minutes:
every model is compiled for every device.
"""

import argparse
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import NamedSharding, PartitionSpec

from gtx_bayes import Crowd, aggregate
from gtx_bayes.devices import AXIS, examples_mesh
from gtx_bayes.experiments.runs import map_runs
from gtx_bayes.inference import gibbs, loop, variational
from gtx_bayes.inference.loop import ChunksInMemory
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.confusion import ConfusionPrior
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior
from gtx_bayes.posterior import batch_class_posterior
from gtx_bayes.registry import MODELS

NUM_LABELERS, NUM_CLASSES = 12, 3
COLLECTIVE = re.compile(
    r"= (.+?) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)


def numbers_there():
    """1, 2, 4, ... up to all devices."""
    return [2**k for k in range(jax.device_count().bit_length())]


def simulate(num_examples, seed=0):
    """About four answers an example, some of them gold, none to the last; a prior for each."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, NUM_CLASSES, num_examples)
    table = np.where(
        rng.random((NUM_LABELERS, num_examples)) < rng.uniform(0.4, 0.95, (NUM_LABELERS, 1)),
        truth,
        rng.integers(0, NUM_CLASSES, (NUM_LABELERS, num_examples)),
    )
    table[rng.random(table.shape) < 2 / 3] = MISSING
    table[:, -1] = MISSING
    gold = np.where(np.arange(num_examples) % 10 == 0, truth, MISSING)
    own = jnp.asarray(rng.dirichlet([4, 3, 3], num_examples), float)
    labels = Labels.from_dense(table, num_classes=NUM_CLASSES)
    return labels, Assessment(jnp.asarray(gold, jnp.int8), NUM_CLASSES), own, table


def difference(found, expected):
    """The largest, in units of one or of the value."""
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert len(found) == len(expected)
    return max(
        float(np.max(np.abs(np.asarray(a) - b) / np.maximum(1.0, np.abs(b)), initial=0.0))
        for a, b in zip(found, map(np.asarray, expected), strict=True)
    )


def collectives(compiled):
    """What devices exchange: kinds, and the most numbers in one of them."""
    found = COLLECTIVE.findall(compiled.as_text())
    sizes = [
        int(np.prod([int(n) for n in shape.split(",") if n]))
        for shapes, _ in found
        for shape in re.findall(r"\[([\d,]*)\]", shapes)
    ]
    return {"kinds": sorted({kind for _, kind in found}), "most": max(sizes, default=0)}


def fits(labels, assessment, own, wants_all):
    """The variational fit: number of steps, and the difference, by model and devices."""
    results = {}
    models = {"one-coin": None, "confusion": own, "difficulty": None}
    numbers = numbers_there() if wants_all else (2, jax.device_count())
    for model in models if wants_all else ("one-coin",):
        class_prior = models[model]
        prior = MODELS.build(model).cohort_prior(NUM_CLASSES)
        expected = variational.fit(labels, assessment, prior, class_prior)
        first = None
        for number in numbers:
            found = fit(labels, assessment, prior, class_prior, number)
            first = first or found
            results[f"{model} on {number}"] = {
                "steps": [found.num_steps, expected.num_steps],
                "difference": difference(found.class_probs, expected.class_probs),
                "counts": difference(found.counts, expected.counts),
                "from the first": difference(*((f.class_probs, f.counts) for f in (found, first))),
            }
    return results


def fit(labels, assessment, prior, class_prior, number):
    """In chunks on so many devices."""
    chunks = ChunksInMemory.cut(labels, assessment, class_prior, jax.devices()[:number])
    rows = variational.rows_from_gold(labels, assessment)
    score = functools.partial(variational.gold_log_score, labels, assessment)
    return loop.fit(chunks, prior, class_prior, rows, score)


def draws(labels, assessment, own):
    """Gibbs sampling: the difference of parameters, of class posteriors, of log densities."""
    results = {}
    numbers = (None, *numbers_there())
    key = jax.random.key(1)
    models = {
        "one coin": (OneCoinPrior.default(NUM_CLASSES), None),
        "confusion": (ConfusionPrior.default(NUM_CLASSES), own),
    }
    for name, (prior, class_prior) in models.items():
        expected = None
        for number in numbers:
            found = gibbs.run_gibbs(
                key,
                labels,
                assessment,
                prior,
                class_prior,
                num_warmup=20,
                num_draws=40,
                num_chains=2,
                mesh=None if number is None else examples_mesh(number),
            )
            expected = expected or found
            results[f"{name} on {number}"] = [
                difference(found.draws.posterior, expected.draws.posterior),
                difference(found.class_probs, expected.class_probs),
                difference(found.draws.sample_stats, expected.draws.sample_stats),
            ]
    return results


def kernels(table):
    """A dense table with its examples sharded: the difference, and what devices exchange."""
    accuracy = jnp.linspace(0.5, 0.9, NUM_LABELERS)
    whole = jnp.asarray(table[:, : table.shape[1] // 8 * 8], jnp.int8)
    by_example = NamedSharding(examples_mesh(), PartitionSpec(None, AXIS))
    sharded = jax.device_put(whole, by_example)
    results = {}
    for num_classes in (2, NUM_CLASSES):
        model = OneCoin(accuracy, num_classes)
        compiled = jax.jit(batch_class_posterior).lower(model, sharded).compile()
        found = batch_class_posterior(model, sharded)
        results[f"{num_classes} classes"] = {
            "difference": difference(found, batch_class_posterior(model, whole)),
            "devices": len(found.sharding.device_set),
            **collectives(compiled),
        }
    return results


def methods(labels, assessment, own, wants_all):
    """`aggregate` end to end: the difference of what it says of examples and labelers."""
    example, labeler, label = (
        np.asarray(a) for a in (labels.example, labels.labeler, labels.label)
    )
    frame = pd.DataFrame({"task": example, "worker": labeler, "label": label})
    is_gold = np.asarray(assessment.is_gold) & np.isin(np.arange(labels.num_examples), example)
    task = np.flatnonzero(is_gold)
    gold = pd.DataFrame({"task": task, "label": np.asarray(assessment.true_label)[task]})
    crowd = Crowd.from_frames(frame, gold)
    own = own[: crowd.labels.num_examples]
    results = {}
    joint = {"model": "one-coin", "dependence": 0.1}
    every = (
        ("majority-vote", None, {}),
        ("gtx", own, {}),
        ("gtx-bayes", np.full(NUM_CLASSES, 1 / 3), joint),
    )
    for method, class_prior, options in every if wants_all else every[:2]:
        tables = [
            (result.examples(jax.random.key(0), mesh=mesh), result.labelers())
            for mesh in (None, examples_mesh())
            for result in [aggregate(crowd, method, class_prior=class_prior, mesh=mesh, **options)]
        ]
        (examples, labelers), (examples_all, labelers_all) = (
            [table.select_dtypes("number").fillna(-1).to_numpy(float) for table in pair]
            for pair in tables
        )
        results[method] = max(
            difference(examples_all, examples), difference(labelers_all, labelers)
        )
    return results


def runs():
    """Runs of a simulation: whether they are the same."""
    keys = jax.random.split(jax.random.key(2), 21)

    def run(key, scale):
        return {"sum": scale * jnp.sum(jax.random.normal(key, (50,)))}

    expected = map_runs(run, keys, np.arange(21.0))["sum"]
    return {
        str(number): difference(
            map_runs(run, keys, np.arange(21.0), mesh=examples_mesh(number))["sum"], expected
        )
        for number in numbers_there()
    }


def main():
    """Compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true")
    wants_all = parser.parse_args().all
    labels, assessment, own, table = simulate(203)
    small, small_gold, small_own, _ = simulate(5, seed=1)
    prior = MODELS.build("one-coin").cohort_prior(NUM_CLASSES)
    few = difference(
        fit(small, small_gold, prior, small_own, jax.device_count()).class_probs,
        variational.fit(small, small_gold, prior, small_own).class_probs,
    )
    report = {
        "num_devices": jax.device_count(),
        "fits": fits(labels, assessment, own, wants_all),
        "few examples": few,
        "draws": draws(labels, assessment, own) if wants_all else {},
        "kernels": kernels(table),
        "methods": methods(labels, assessment, own, wants_all),
        "runs": runs(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
