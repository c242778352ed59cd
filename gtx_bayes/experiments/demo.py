"""The demonstration: a simulated crowd, aggregated every way, scored against the truth."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Key

from gtx_bayes import metrics
from gtx_bayes.aggregation.aggregate import DEFAULT_METHOD, aggregate
from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.crowd import Crowd
from gtx_bayes.evaluation import Scored, as_record, evaluate
from gtx_bayes.metrics import ReliabilityCurve
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.registry import METHODS
from gtx_bayes.simulation import simulate_crowd, uniform_cohort

KNOWN_ACCURACY = "known accuracies"


@dataclasses.dataclass(frozen=True)
class Config:
    """A crowd like the paper's less accurate cohort (sec. 3.2), assessed on little gold.

    Attributes:
        num_labelers: number of labelers.
        low: lowest accuracy.
        high: highest accuracy.
        num_examples: examples to label.
        labels_per_example: answers each gets.
        gold_per_labeler: gold examples that everybody answers beforehand.
    """

    num_labelers: int = 10
    low: float = 0.6
    high: float = 0.9
    num_examples: int = 2000
    labels_per_example: int = 5
    gold_per_labeler: int = 5


class Result(NamedTuple):
    """What came of it.

    Attributes:
        crowd: the tables a user would have.
        truth: true label of every example, columns task and label.
        comparison: one row per method, metrics and their standard errors.
        reliability: reliability curve of every method.
        best: the default method's result.
        accuracy: true accuracy of every labeler.
    """

    crowd: Crowd
    truth: pd.DataFrame
    comparison: pd.DataFrame
    reliability: dict[str, ReliabilityCurve]
    best: Aggregation
    accuracy: np.ndarray


def run(key: Key[Array, ""], config: Config | None = None) -> Result:
    """Simulate, aggregate with every method and with the true accuracies, and compare."""
    config = config or Config()
    key_cohort, key_gold, key_answers = jax.random.split(key, 3)
    labelers = uniform_cohort(key_cohort, config.num_labelers, config.low, config.high)
    gold = simulate_crowd(key_gold, labelers, config.gold_per_labeler, config.num_labelers)
    open_ = simulate_crowd(key_answers, labelers, config.num_examples, config.labels_per_example)
    true_label = np.concatenate([gold.true_label, open_.true_label])
    names = np.array(
        [f"gold{i:03d}" for i in range(config.gold_per_labeler)]
        + [f"e{i:05d}" for i in range(config.num_examples)]
    )
    truth = pd.DataFrame({"task": names, "label": true_label})
    table = np.concatenate([gold.labels, open_.labels], axis=1)
    example, labeler = np.nonzero(table.T >= 0)
    answers = pd.DataFrame(
        {
            "task": names[example],
            "worker": [f"w{j:02d}" for j in labeler],
            "label": table[labeler, example],
        }
    )
    crowd = Crowd.from_frames(answers, truth.head(config.gold_per_labeler))

    scored = slice(config.gold_per_labeler, None)
    by_number = np.array([int(str(name)[1:]) for name in crowd.labeler_names])
    oracle = ClassPosterior(OneCoin(labelers.accuracy[by_number], labelers.num_classes))
    results = {name: aggregate(crowd, name) for name in METHODS}
    probs = {name: result.class_probs for name, result in results.items()}
    probs[KNOWN_ACCURACY] = oracle.class_probs(crowd.labels)
    truth_scored = jnp.asarray(true_label[scored])
    rows, curves = [], {}
    for name, class_probs in probs.items():
        estimates = evaluate(Scored(class_probs[scored], truth_scored))
        rows.append({"method": name, **as_record(estimates)})
        curves[name] = metrics.reliability_curve(class_probs[scored], truth_scored, num_bins=10)
    return Result(
        crowd=crowd,
        truth=truth,
        comparison=pd.DataFrame(rows),
        reliability=curves,
        best=results[DEFAULT_METHOD],
        accuracy=np.asarray(labelers.accuracy)[by_number],
    )
