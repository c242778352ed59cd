r"""Is confidence honest? Class probabilities against true labels that the fit did not see.

Where no other true labels are at hand the gold itself is hidden, part by part, and each part is
scored by a fit without it (`hold_out_gold`). What a fit has seen says nothing here: gold is
certain in its own fit.

**Honest by chance.** Even with honest confidence the calibration error of n labels is not zero, and
the fewer labels, the larger. So what is found is set beside what would be found if every true
label were a draw from its class probabilities (`Calibration.ece_if_honest`).

**Decomposition.** The Brier score of each class is split at the best recalibration in hindsight,
isotonic regression, and summed over classes:

.. math:: \mathrm{Brier} = \text{miscalibration} - \text{discrimination} + \text{uncertainty}

which is exact and has no bins to choose (Dimitriadis, Gneiting and Jordan, 2021).

References:
    Dimitriadis, Gneiting and Jordan (2021), Stable reliability diagrams for probabilistic
    classifiers. PNAS 118.
    Broecker and Smith (2007), Increasing the reliability of reliability diagrams. Weather and
    Forecasting 22, for the labels drawn as if confidence were honest.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.optimize
from jaxtyping import Array, Float, Int, Key, ScalarLike

from gtx_bayes import decisions, metrics
from gtx_bayes.aggregation import joint_method
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.labels import MISSING, scattered_parts
from gtx_bayes.metrics import Estimate, ReliabilityCurve
from gtx_bayes.padding import LEAST_EXAMPLES, bucket_size, on_device, pad_to

INTERVAL_PROB = 0.95
"""Level of the interval of the calibration error."""

FEWEST_LABELS = 30
"""With fewer true labels than this nothing is said for or against confidence."""

MIN_P = 0.01
"""What honest confidence shows less often than this speaks against confidence."""

_NUM_RESAMPLES = 2000
_METRICS = {
    "accuracy": metrics.accuracy,
    "log_loss": metrics.log_loss,
    "brier": metrics.brier,
    "ece": metrics.expected_calibration_error,
}


class HeldOut(NamedTuple):
    """Class probabilities of examples, and true labels that the fit behind them did not see.

    Attributes:
        class_probs: the class probabilities.
        true_label: the true labels; `MISSING` ones are left out.
        example: which examples these are.
        part: which were hidden together.
    """

    class_probs: Float[Array, "num_held_out num_classes"]
    true_label: Int[Array, " num_held_out"]
    example: npt.NDArray[np.intp]
    part: npt.NDArray[np.int64]


class BrierDecomposition(NamedTuple):
    """What the Brier score is made of, summed over the classes.

    Attributes:
        miscalibration: what isotonic recalibration in hindsight would take off; less is better.
        discrimination: what the probabilities, recalibrated, are better than the classes'
            shares; more is better.
        uncertainty: the score of the classes' shares.
    """

    miscalibration: float
    discrimination: float
    uncertainty: float

    @property
    def brier(self) -> float:
        """The Brier score."""
        return self.miscalibration - self.discrimination + self.uncertainty


class Calibration(NamedTuple):
    """How honest confidence is.

    Attributes:
        num_examples: number of true labels.
        metrics: accuracy, log loss, Brier score and calibration error (ECE), by name.
        mean_confidence: the accuracy that confidence promises.
        promised_log_loss: the log loss that it promises: the mean entropy.
        ece_interval: bootstrap interval of the ECE at `INTERVAL_PROB`.
        ece_if_honest: the ECE that honest confidence stays below with that probability, as few
            labels as there are.
        curve: accuracy by confidence, in bins of as many examples: at most ten, of 20 or more.
        brier: what the Brier score is made of.
        p_overconfident: probability of no more right labels, were confidence honest.
        p_underconfident: probability of no fewer.
        p_log_loss: probability of no less log loss.
        p_ece: probability of no less ECE.
        problems: what is wrong, in words; empty where nothing is.
    """

    num_examples: int
    metrics: dict[str, Estimate]
    mean_confidence: float
    promised_log_loss: float
    ece_interval: tuple[float, float]
    ece_if_honest: float
    curve: ReliabilityCurve
    brier: BrierDecomposition
    p_overconfident: float
    p_underconfident: float
    p_log_loss: float
    p_ece: float
    problems: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        if self.num_examples < FEWEST_LABELS:
            return (
                f"Confidence cannot be checked: {self.num_examples} true labels that the fit did "
                f"not see are too few, {FEWEST_LABELS} are the least."
            )
        ece = float(self.metrics["ece"].value)
        if self.problems:
            return "Confidence is not honest. " + ". ".join(self.problems) + "."
        return (
            f"Nothing in {self.num_examples} true labels that the fit did not see speaks against "
            f"confidence: accuracy {float(self.metrics['accuracy'].value):.3f} where "
            f"{self.mean_confidence:.3f} is promised; calibration error {ece:.3f}, up to "
            f"{self.ece_if_honest:.3f} by chance."
        )


def hold_out_gold(result: Aggregation, *, num_parts: int = 5) -> HeldOut:
    """Class probabilities of the gold examples, each part of them from a fit without that part.

    Method, labeler model and a class prior that was given are those of the result; everything
    else is learnt anew, the dependence too unless it was given. Parts are scattered over the
    gold without any draw.

    Args:
        result: of any method.
        num_parts: how many fits; no more than there is gold.

    Raises:
        ValueError: for fewer than two parts, or less gold than that.
        InputError: if the method cannot do without the gold that is hidden.
    """
    crowd = result.crowd
    truth = np.asarray(crowd.assessment.true_label)
    gold = np.flatnonzero(truth != MISSING)
    if num_parts < 2:
        raise ValueError(f"{num_parts} part(s) leave no gold to fit with: hide at least 2 in turn")
    if gold.size < 2:
        raise ValueError(f"{gold.size} gold example(s) cannot be hidden in turn: give at least 2")
    prior, options = as_fitted(result)
    part_of = scattered_parts(gold.size, min(num_parts, gold.size))
    probs = np.zeros((gold.size, crowd.labels.num_classes))
    for part in range(part_of.max() + 1):
        hidden = truth.copy()
        hidden[gold[part_of == part]] = MISSING
        seen = dataclasses.replace(crowd.assessment, true_label=jax.device_put(hidden))
        fitted = aggregate(
            dataclasses.replace(crowd, assessment=seen),
            result.method,
            class_prior=prior,
            finds_blocs=False,  # they are joined already
            **options,
        )
        probs[part_of == part] = np.asarray(fitted.class_probs)[gold[part_of == part]]
    return HeldOut(on_device(probs), jax.device_put(truth[gold]), gold, part_of)


def as_fitted(result: Aggregation) -> tuple[npt.ArrayLike | None, dict[str, Any]]:
    """Class prior and options to fit the method with once more."""
    found = result.fit.joint
    if found is None:
        return result.class_prior, {}
    assert result.method == joint_method.NAME, "the only method with a joint posterior"
    is_pool = found.is_auto and found.dependence.is_learnt
    return found.given_class_prior, {
        "model": joint_method.AUTO if found.is_auto else found.labeler_model,
        "dependence": None if found.dependence.is_learnt else found.dependence.mean,
        "prior_independent": found.prior_independent if is_pool else None,
        "finds_verdicts": found.is_of_verdicts,
    }


def calibration(key: Key[Array, ""], held_out: HeldOut) -> Calibration:
    """How honest the confidence of held-out labels is.

    Args:
        key: random key of the resampling.
        held_out: probabilities and true labels.

    Raises:
        ValueError: if there is no true label.
    """
    known = np.flatnonzero(np.asarray(held_out.true_label) != MISSING)
    if known.size == 0:
        raise ValueError("no true label to compare with")
    own_probs = np.asarray(held_out.class_probs)[known]
    own_truth = np.asarray(held_out.true_label)[known]
    size = bucket_size(known.size, LEAST_EXAMPLES)
    probs = pad_to(own_probs, size, fill=1.0 / own_probs.shape[1])
    truth = pad_to(own_truth, size, fill=MISSING)
    num_bins = max(min(known.size // 20, 10), 1)
    values, confidence, curve = _measured(probs, truth, num_bins)
    found = {name: values[name] for name in _METRICS}  # JAX sorts the keys of what it returns
    resampled, *if_honest = (
        np.asarray(values, np.float64)
        for values in _resampled(key, probs, truth, known.size, _NUM_RESAMPLES)
    )
    right, log_loss, ece = (float(found[name].value) for name in ("accuracy", "log_loss", "ece"))
    right_if, log_loss_if, ece_if = if_honest
    # Resampling adds to the error as much as sampling did: mirrored, that is taken off once.
    tails = (1.0 + INTERVAL_PROB) / 2.0, (1.0 - INTERVAL_PROB) / 2.0
    low, high = np.maximum(2.0 * ece - np.quantile(resampled, tails), 0.0).tolist()
    summary = Calibration(
        num_examples=known.size,
        metrics=found,
        mean_confidence=float(np.mean(np.asarray(confidence)[: known.size])),
        promised_log_loss=float(np.mean(log_loss_if)),
        ece_interval=(low, high),
        ece_if_honest=float(np.quantile(ece_if, INTERVAL_PROB)),
        curve=curve,
        brier=decompose_brier(own_probs, own_truth),
        p_overconfident=_p_at_least(-right, -right_if),
        p_underconfident=_p_at_least(right, right_if),
        p_log_loss=_p_at_least(log_loss, log_loss_if),
        p_ece=_p_at_least(ece, ece_if),
        problems=(),
    )
    return summary._replace(problems=_problems(summary))


def decompose_brier(
    class_probs: Float[Array | np.ndarray, "num_examples num_classes"],
    true_label: Int[Array | np.ndarray, " num_examples"],
) -> BrierDecomposition:
    """Miscalibration, discrimination and uncertainty of the Brier score (see the module).

    Args:
        class_probs: class probabilities.
        true_label: true classes, all known.
    """
    probs = np.asarray(class_probs, np.float64)
    indicator = np.asarray(true_label)[:, None] == np.arange(probs.shape[1])
    share = indicator.mean(axis=0)
    recalibrated = np.stack(
        [_isotonic(p, y.astype(np.float64)) for p, y in zip(probs.T, indicator.T, strict=True)],
        axis=1,
    )
    score, best, climate = (
        float(np.mean(np.sum((forecast - indicator) ** 2, axis=1)))
        for forecast in (probs, recalibrated, share)
    )
    return BrierDecomposition(score - best, climate - best, climate)


def _isotonic(
    forecast: npt.NDArray[np.float64], event: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Best non-decreasing function of the forecast; equal forecasts get one value."""
    _, of_value, size = np.unique(forecast, return_inverse=True, return_counts=True)
    rate = np.bincount(of_value, event) / size
    return np.asarray(scipy.optimize.isotonic_regression(rate, weights=size).x)[of_value]


@partial(jax.jit, static_argnames=("num_bins",))
def _measured(
    class_probs: Float[Array, "num_examples num_classes"],
    true_label: Int[Array, " num_examples"],
    num_bins: int,
) -> tuple[dict[str, Estimate], Float[Array, " num_examples"], ReliabilityCurve]:
    """Metrics and their curve, `MISSING` labels left out, and each example's confidence."""
    return (
        {name: metric(class_probs, true_label) for name, metric in _METRICS.items()},
        decisions.confidence(class_probs),
        metrics.reliability_curve(class_probs, true_label, num_bins=num_bins, binning="equal-mass"),
    )


@partial(jax.jit, static_argnames=("num_resamples",))
def _resampled(
    key: Key[Array, ""],
    class_probs: Float[Array, "num_examples num_classes"],
    true_label: Int[Array, " num_examples"],
    size: ScalarLike,
    num_resamples: int,
) -> tuple[Float[Array, " num_resamples"], ...]:
    """The calibration error of other examples and the scores of other labels, drawn anew.

    Args:
        key: random key.
        class_probs: class probabilities, padded.
        true_label: true classes.
        size: how many examples there are without padding.
        num_resamples: how often to draw.

    Returns:
        The error of as many examples, drawn with replacement; accuracy, log loss and error where
        every true label is a draw from its class probabilities.
    """
    where = jnp.arange(true_label.shape[0]) < size
    bounds = jnp.cumsum(class_probs, axis=1)
    key_bootstrap, key_honest = jax.random.split(key)

    def of_others(key: Key[Array, ""]) -> Float[Array, ""]:
        drawn = jax.random.randint(key, true_label.shape, 0, size)
        return metrics.expected_calibration_error(
            class_probs[drawn], true_label[drawn], where
        ).value

    def if_honest(key: Key[Array, ""]) -> tuple[Float[Array, ""], ...]:
        # A random number per example, not per class as `jax.random.categorical` takes.
        uniform = jax.random.uniform(key, (bounds.shape[0], 1), bounds.dtype) * bounds[:, -1:]
        drawn = jnp.sum(bounds[:, :-1] <= uniform, axis=1)
        of_drawn = (metrics.accuracy, metrics.log_loss, metrics.expected_calibration_error)
        return tuple(metric(class_probs, drawn, where).value for metric in of_drawn)

    keys = (jax.random.split(each, num_resamples) for each in (key_bootstrap, key_honest))
    return jax.lax.map(
        lambda pair: (of_others(pair[0]), *if_honest(pair[1])), tuple(keys), batch_size=20
    )


def _p_at_least(found: float, if_honest: npt.NDArray[np.float64]) -> float:
    """Probability of no less than `found`, were confidence honest; never 0."""
    rounding = 1e-6 * max(abs(found), 1e-6)
    return float((1 + np.sum(if_honest >= found - rounding)) / (1 + if_honest.size))


def _problems(found: Calibration) -> tuple[str, ...]:
    if found.num_examples < FEWEST_LABELS:
        return ()
    right, log_loss, ece = (
        float(found.metrics[name].value) for name in ("accuracy", "log_loss", "ece")
    )
    compared = (
        f"{right:.1%} of the labels are right where {found.mean_confidence:.1%} were promised"
    )
    problems = {
        f"It promises too much: {compared}": found.p_overconfident,
        f"It promises too little: {compared}": found.p_underconfident,
        f"Some labels are wrong that were all but certain: log loss {log_loss:.3f} where "
        f"{found.promised_log_loss:.3f} was promised": found.p_log_loss,
        "Labels of like confidence are right more or less often than it says: calibration error "
        f"{ece:.3f}, up to {found.ece_if_honest:.3f} by chance": found.p_ece,
    }
    return tuple(f"{words} (p = {p:.2g})" for words, p in problems.items() if p < MIN_P)
