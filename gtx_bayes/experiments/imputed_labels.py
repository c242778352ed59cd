"""Labels of a training set, imputed under a budget by every method (paper, sec. 4).

Labelers are assessed on images of known classes, all of them on all. Then they come to the images
of the pool in random order; a method buys their answers until an image is done, goes on to the
next, and stops with the budget or the pool. Every method and budget meets the same labelers, the
same order of images and the same answers.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, ScalarLike

from gtx_bayes import decisions
from gtx_bayes.aggregation import gtx, joint_method
from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import learning, offline
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.offline import Collection, at_count
from gtx_bayes.experiments.setting import AGGREGATORS, ONE_LABEL_IS_CERTAIN
from gtx_bayes.finetune.targets import Targets, known_targets, only, soft_targets
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.inference.plug_in import accuracy_mle
from gtx_bayes.labels import MISSING
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import simulate_answers, uniform_cohort

LABELINGS = (*AGGREGATORS, joint_method.NAME)
"""The paper's four methods, and `gtx-bayes`, which learns the labelers as it buys."""


@dataclasses.dataclass(frozen=True)
class Labeling:
    """How a pool is labelled; the paper's numbers where it gives them.

    Attributes:
        budgets: B, the numbers of labels tried. The paper names the range, 250 to 4,000.
        num_labelers: J of a cohort.
        max_labels: kappa, and the constant number of labels of the majority votes.
        threshold: tau, of the methods that have one.
        gold_per_labeler: images of the assessment that `gtx-bayes` gets to see of each labeler; the
            paper's methods see all.
    """

    budgets: tuple[int, ...] = (250, 500, 750, 1000, 1500, 2000, 3000, 4000)
    num_labelers: int = 10
    max_labels: int = 5
    threshold: float = 0.95
    gold_per_labeler: int = 5

    def threshold_of(self, method: str) -> float:
        """Threshold of a method; no confidence exceeds one, so that all images get `max_labels`."""
        return 1.0 if method in ONE_LABEL_IS_CERTAIN else self.threshold


class Imputed(NamedTuple):
    """What a method makes of a pool, for every budget; images in the order of the pool.

    Attributes:
        hard_label: imputed class of each image; `MISSING` if it is not labelled, or was not
            finished when the budget ended.
        class_probs: the method's class probabilities of each image, labelled or not.
        num_images: how many have a hard label.
        labels_spent: labels bought, those of an unfinished image among them; less than the budget
            where the pool is exhausted.
        noise_rate: share of wrong hard labels.
        expected_noise_rate: mean uncertainty of the hard labels, as the method has it.
        expected_noise_rate_gtx: mean probability that the hard labels are wrong, by the posterior
            of `gtx` on the same answers: the exact one at the accuracies of the assessment.
        gtx_probs: that posterior, of each image.
    """

    hard_label: Int[Array, "*budgets num_images"]
    class_probs: Float[Array, "*budgets num_images num_classes"]
    num_images: Int[Array, "*budgets"]
    labels_spent: Int[Array, "*budgets"]
    noise_rate: Float[Array, "*budgets"]
    expected_noise_rate: Float[Array, "*budgets"]
    expected_noise_rate_gtx: Float[Array, "*budgets"]
    gtx_probs: Float[Array, "*budgets num_images num_classes"]


def hard(imputed: Imputed, num_classes: int) -> Targets:
    """The imputed hard label of each image, as in the paper."""
    return known_targets(imputed.hard_label, num_classes)


def soft(imputed: Imputed, num_classes: int) -> Targets:
    """The class posterior of each labelled image."""
    return only(soft_targets(imputed.class_probs), imputed.hard_label != MISSING)


class Way(NamedTuple):
    """A way to label a pool and to train on it.

    Attributes:
        labeling: which of `LABELINGS`.
        targets: what is trained towards.
        max_labels: kappa.
        threshold: tau, of the methods that have one.
    """

    labeling: str
    targets: Callable[[Imputed, int], Targets] = hard
    max_labels: int = 5
    threshold: float = 0.95


SOFT = f"{joint_method.NAME}-soft"

METHODS = {name: Way(name) for name in LABELINGS} | {SOFT: Way(joint_method.NAME, soft)}
"""The paper's four, and two of ours: `gtx-bayes` sees five gold answers of each labeler."""


@partial(jax.jit, static_argnames=("config", "num_classes"))
def impute(
    key: Key[Array, ""],
    low: ScalarLike,
    high: ScalarLike,
    pool_label: Int[Array, " num_images"],
    assessment_label: Int[Array, " num_assessment"],
    config: Labeling,
    *,
    num_classes: int,
) -> dict[str, Imputed]:
    """One new cohort, assessed once, labels the pool by every method and for every budget.

    Args:
        key: random key.
        low: lower end of the uniform distribution of the labelers' accuracies.
        high: its upper end.
        pool_label: true class of each image to be labelled.
        assessment_label: those of the images that assess the labelers.
        config: how.
        num_classes: K.
    """
    key_cohort, key_gold, key_order, key_answers, key_ties = jax.random.split(key, 5)
    labelers = uniform_cohort(key_cohort, config.num_labelers, low, high, num_classes=num_classes)
    first, whole = assess_on(key_gold, labelers, assessment_label, config.gold_per_labeler)
    order = jax.random.permutation(key_order, pool_label.shape[0])
    queue = simulate_answers(key_answers, labelers, pool_label[order], max_labels=config.max_labels)
    estimate = accuracy_mle(whole).accuracy
    paths = jnp.stack(
        [
            offline.class_prob_path(build(estimate, num_classes), queue)
            for build in AGGREGATORS.values()
        ]
    )
    thresholds = jnp.array([config.threshold_of(method) for method in AGGREGATORS])
    gtx_path = paths[list(AGGREGATORS).index(gtx.NAME)]
    place = jnp.argsort(order)  # from the order of the queue into that of the pool

    def imputed(bought: Collection, path: Array) -> Imputed:
        counted = bought.counted
        class_probs, gtx_probs = (
            jax.vmap(at_count, in_axes=(2, None), out_axes=1)(each, bought.num_labels)
            for each in (path, gtx_path)
        )
        label = decisions.hard_label(key_ties, class_probs)
        is_wrong = (label != queue.true_label).astype(class_probs.dtype)
        wrong_by_gtx = 1.0 - decisions.prob_of_truth(gtx_probs, label)
        return Imputed(
            jnp.where(counted, label, MISSING)[place],
            class_probs[place],
            jnp.sum(counted, dtype=jnp.int32),
            jnp.sum(bought.num_labels, dtype=jnp.int32),
            jnp.mean(is_wrong, where=counted),
            jnp.mean(decisions.uncertainty(class_probs), where=counted),
            jnp.mean(wrong_by_gtx, where=counted),
            gtx_probs[place],
        )

    def spend(budget: Int[Array, ""], path: Array, threshold: Array) -> Imputed:
        policy = ConfidenceThreshold(threshold, config.max_labels)
        return imputed(offline.collect(policy, path, budget), path)

    def spend_and_learn(budget: Int[Array, ""]) -> Imputed:
        policy = ConfidenceThreshold(config.threshold, config.max_labels)
        learnt = learning.collect(policy, first, queue, budget)
        model = OneCoin(learnt.accuracy, num_classes)
        return imputed(learnt.bought, offline.class_prob_path(ClassPosterior(model), queue))

    # One after the other, by one compiled function: of each method's own they would take long.
    budgets = jnp.asarray(config.budgets)
    found = jax.lax.map(
        lambda of: jax.lax.map(lambda budget: spend(budget, *of), budgets), (paths, thresholds)
    )
    by_method = {
        method: jax.tree.map(lambda part, at=at: part[at], found)
        for at, method in enumerate(AGGREGATORS)
    }
    return by_method | {joint_method.NAME: jax.lax.map(spend_and_learn, budgets)}


def assess_on(
    key: Key[Array, ""],
    labelers: OneCoin,
    true_label: Int[Array, " num_assessment"],
    num_first: int,
) -> tuple[GoldCounts, GoldCounts]:
    """How labelers fare who all answer all of these images: on a few of them, and on all."""
    key_order, key_answers = jax.random.split(key)
    gold = simulate_answers(key_answers, labelers, jax.random.permutation(key_order, true_label))
    right = gold.labels == gold.true_label

    def counts(right: Bool[Array, "num_labelers num_gold"]) -> GoldCounts:
        num_labelers, num_gold = right.shape
        num_right = jnp.sum(right, axis=1, dtype=jnp.int32)
        return GoldCounts(num_right, jnp.full(num_labelers, num_gold, jnp.int32))

    return counts(right[:, :num_first]), counts(right)
