"""A crowd when there is none: cohorts of labelers, true labels, and answers as they come in.

Everything is a pure function of a key: jit it, and vmap it over runs.
"""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, ArrayLike, Float, Int, Key

from gtx_bayes.columns import as_names
from gtx_bayes.crowd import Crowd
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.labels import Assessment, Labels, PaddedLabels, check_whole, label_dtype
from gtx_bayes.models.class_conditional import ClassConditional
from gtx_bayes.models.difficulty import HardExamples
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.models.one_coin import OneCoin

_FEW_PLACES = 24  # queues up to here are counted out; for longer ones labelers are sorted at random
_WORD = 2**16  # digits drawn from one random word multiply to at most this: bias below 2**-16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class AnswerQueue:
    """Answers waiting to be bought: labelers come to every example in an order of its own.

    Whoever collects chooses the example and gets the next answer in line; a policy that chooses
    labelers makes a queue of its own first (`offline.in_chosen_order`).

    Attributes:
        answers: by example and place in its queue.
        true_label: class of each example.
    """

    answers: PaddedLabels
    true_label: Int[Array, "*runs num_examples"]

    @property
    def max_labels(self) -> int:
        """How many answers wait for each example."""
        return self.answers.num_places

    @property
    def labels(self) -> Int[Array, "num_labelers num_examples"]:
        """All answers as the labeler-major table, `MISSING` from who is not in the queue."""
        return self.answers.dense()


@partial(jax.jit, static_argnames=("num_examples", "max_labels"))
def simulate_queue(
    key: Key[Array, ""],
    model: AbstractLabelers,
    num_examples: int,
    *,
    max_labels: int | None = None,
    class_balance: Float[Array, " num_classes"] | None = None,
) -> AnswerQueue:
    """Examples with true labels, and the answers that their labelers would give, in random order.

    Args:
        key: random key.
        model: the labelers.
        num_examples: N.
        max_labels: length of each queue, each labeler coming at most once; all when absent.
        class_balance: probability of each class; even when absent.

    Raises:
        ValueError: if there are fewer labelers than answers wanted per example.
    """
    key_truth, key_order, key_answer = jax.random.split(key, 3)
    true_label = _true_labels(key_truth, model.num_classes, num_examples, class_balance)
    return _queue_of_answers(key_order, key_answer, model, true_label, max_labels)


@partial(jax.jit, static_argnames="max_labels")
def simulate_answers(
    key: Key[Array, ""],
    model: AbstractLabelers,
    true_label: Int[Array, " num_examples"],
    *,
    max_labels: int | None = None,
) -> AnswerQueue:
    """The answers that labelers would give to examples with these true labels, in random order.

    Args:
        key: random key.
        model: the labelers.
        true_label: class of each example; none may be `MISSING`.
        max_labels: length of each queue, each labeler coming at most once; all when absent.

    Raises:
        ValueError: if there are fewer labelers than answers wanted per example, or if the true
            labels are no integers.
    """
    check_whole("true_label", true_label)
    key_order, key_answer = jax.random.split(key)
    return _queue_of_answers(key_order, key_answer, model, true_label, max_labels)


def simulate_crowd(
    key: Key[Array, ""],
    model: AbstractLabelers,
    num_examples: int,
    labels_per_example: int,
    *,
    class_balance: Float[Array, " num_classes"] | None = None,
) -> AnswerQueue:
    """Examples each answered by so many labelers, chosen at random: a queue bought to its end.

    Its `labels` are the dense labeler-major table of answers. Arguments and errors are those of
    `simulate_queue`.
    """
    return simulate_queue(
        key, model, num_examples, max_labels=labels_per_example, class_balance=class_balance
    )


class Simulated(NamedTuple):
    """A simulated crowd as a user has it, and what a user does not know.

    Attributes:
        crowd: answers, gold and names.
        truth: true class of every example: columns task and label.
    """

    crowd: Crowd
    truth: pd.DataFrame


def simulate(
    key: Key[Array, ""],
    model: AbstractLabelers,
    num_examples: int,
    labels_per_example: int,
    *,
    num_gold: int = 0,
    class_balance: Float[Array, " num_classes"] | None = None,
) -> Simulated:
    """A crowd by names: examples e0, e1, ..., labelers w0, w1, ... and classes 0, 1, ...

    Args:
        key: random key.
        model: the labelers.
        num_examples: N.
        labels_per_example: how many labelers, chosen at random, answer each example.
        num_gold: so many examples, from the first on, are gold.
        class_balance: probability of each class; even when absent.

    Raises:
        ValueError: if there are fewer labelers than answers wanted per example.
    """
    queue = simulate_crowd(
        key, model, num_examples, labels_per_example, class_balance=class_balance
    )
    true_label, num_classes = np.asarray(queue.true_label), model.num_classes
    gold = np.arange(min(num_gold, num_examples))
    crowd = Crowd(
        Labels.from_dense(queue.labels, num_classes=num_classes),
        Assessment.from_arrays(
            gold, true_label[gold], num_examples=num_examples, num_classes=num_classes
        ),
        example_names=as_names([f"e{i}" for i in range(num_examples)]),
        labeler_names=as_names([f"w{j}" for j in range(model.num_labelers)]),
        class_names=as_names(list(range(num_classes))),
    )
    truth = {"task": crowd.example_names, "label": crowd.class_names[true_label]}
    return Simulated(crowd, pd.DataFrame(truth))


def assess(
    key: Key[Array, ""],
    model: AbstractLabelers,
    sizes: tuple[int, ...],
    *,
    class_balance: Float[Array, " num_classes"] | None = None,
) -> GoldCounts:
    """How labelers fare who all answer the same gold examples (paper, sec. 2.2).

    Args:
        key: random key.
        model: the labelers.
        sizes: numbers of gold examples; a larger assessment contains the smaller ones.
        class_balance: probability of each class; even when absent.

    Returns:
        Counts of shape (number of sizes, number of labelers).
    """
    num_labelers = model.num_labelers
    gold = simulate_crowd(key, model, max(sizes), num_labelers, class_balance=class_balance)
    right = jnp.cumsum(gold.labels == gold.true_label, axis=1, dtype=jnp.int32)
    right = jnp.concatenate([jnp.zeros((num_labelers, 1), jnp.int32), right], axis=1)
    num_gold = jnp.asarray(sizes, jnp.int32)
    return GoldCounts(right[:, num_gold].T, jnp.tile(num_gold[:, None], (1, num_labelers)))


def uniform_cohort(
    key: Key[Array, ""],
    num_labelers: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    num_classes: int = 2,
) -> OneCoin:
    """Labelers with accuracies drawn evenly from [low, high], as in the paper's section 3.2."""
    accuracy = jax.random.uniform(key, (num_labelers,), minval=low, maxval=high)
    return OneCoin(accuracy, num_classes)


def beta_cohort(
    key: Key[Array, ""], num_labelers: int, a: ArrayLike, b: ArrayLike, *, num_classes: int = 2
) -> OneCoin:
    """Labelers with accuracies drawn from Beta(a, b)."""
    return OneCoin(jax.random.beta(key, a, b, (num_labelers,)), num_classes)


def hammer_spammer_cohort(
    key: Key[Array, ""], num_labelers: int, hammer_share: ArrayLike, *, num_classes: int = 2
) -> OneCoin:
    """Labelers who are always right ("hammers"), or guess ("spammers").

    References:
        Karger, Oh and Shah (2011), Iterative learning for reliable crowdsourcing systems.
    """
    is_hammer = jax.random.bernoulli(key, hammer_share, (num_labelers,))
    return OneCoin(jnp.where(is_hammer, 1.0, 1.0 / num_classes), num_classes)


def adversarial_cohort(
    key: Key[Array, ""],
    num_labelers: int,
    low: ArrayLike,
    high: ArrayLike,
    adversary_share: ArrayLike,
    *,
    num_classes: int = 2,
) -> OneCoin:
    """A uniform cohort in which some know as much as the others and say anything but the truth.

    An adversary's accuracy is one minus what it would be honestly.
    """
    key_accuracy, key_adversary = jax.random.split(key)
    honest = uniform_cohort(key_accuracy, num_labelers, low, high).accuracy
    is_adversary = jax.random.bernoulli(key_adversary, adversary_share, (num_labelers,))
    return OneCoin(jnp.where(is_adversary, 1.0 - honest, honest), num_classes)


def class_conditional_cohort(
    key: Key[Array, ""],
    num_labelers: int,
    low: Float[Array, " num_classes"],
    high: Float[Array, " num_classes"],
) -> ClassConditional:
    """Labelers with an accuracy for each class y, drawn evenly from [low[y], high[y]]."""
    num_classes = low.shape[0]
    accuracy = jax.random.uniform(key, (num_labelers, num_classes), minval=low, maxval=high)
    return ClassConditional(accuracy, num_classes)


def hard_examples_cohort(
    key: Key[Array, ""],
    num_labelers: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    hard_share: ArrayLike,
    hard_accuracy: ArrayLike,
    num_classes: int = 2,
) -> HardExamples:
    """A uniform cohort that errs together: on a share of the examples all have `hard_accuracy`."""
    easy = uniform_cohort(key, num_labelers, low, high).accuracy
    hard = jnp.full(num_labelers, jnp.asarray(hard_accuracy, float))
    return HardExamples(easy, hard, jnp.asarray(hard_share, float), num_classes)


def _queue_of_answers(
    key_order: Key[Array, ""],
    key_answer: Key[Array, ""],
    model: AbstractLabelers,
    true_label: Int[Array, " num_examples"],
    max_labels: int | None,
) -> AnswerQueue:
    num_labelers = model.num_labelers
    max_labels = num_labelers if max_labels is None else max_labels
    if not 0 <= max_labels <= num_labelers:
        raise ValueError(f"{num_labelers} labelers cannot give {max_labels} labels each")
    dtype = label_dtype(model.num_classes)
    labeler = _queue(key_order, num_labelers, max_labels, true_label.shape[0])
    # Computed once: a CPU would count out the order anew for every use.
    true_label, labeler = jax.lax.optimization_barrier((true_label.astype(dtype), labeler))
    label = model.answer(key_answer, labeler, true_label).astype(dtype)
    answers = PaddedLabels(labeler, label, num_labelers, model.num_classes)
    return AnswerQueue(answers, true_label)


def _true_labels(
    key: Key[Array, ""],
    num_classes: int,
    num_examples: int,
    class_balance: Float[Array, " num_classes"] | None,
) -> Int[Array, " num_examples"]:
    if class_balance is None:
        return jax.random.randint(key, (num_examples,), 0, num_classes, label_dtype(num_classes))
    if class_balance.shape != (num_classes,):
        raise ValueError(
            f"the class balance has shape {class_balance.shape}, the model {num_classes} classes"
        )
    return jax.random.categorical(key, jnp.log(class_balance), shape=(num_examples,))


def _queue(
    key: Key[Array, ""], num_labelers: int, num_places: int, num_examples: int
) -> Int[Array, "num_places num_examples"]:
    """Who comes to each example at each place: labelers in random order, each at most once.

    In a short queue the next is the d-th of those who have not come, d even (a Lehmer code).
    Finding who that is takes a comparison of bytes with each who has, kept in order.
    """
    if num_places > _FEW_PLACES:
        priority = jax.random.uniform(key, (num_labelers, num_examples))
        return jnp.argsort(priority, axis=0)[:num_places].astype(jnp.int32)
    queue: list[Int[Array, " num_examples"]] = []
    came: list[Int[Array, " num_examples"]] = []  # the same in ascending order
    for digit in _digits(key, num_labelers, num_places, num_examples):
        labeler = digit
        for earlier in came:
            labeler = labeler + (labeler >= earlier).astype(labeler.dtype)
        queue.append(labeler)
        came = _insert(labeler, came)
    if not queue:
        return jnp.zeros((0, num_examples), _index_dtype(num_labelers))
    return jnp.stack(queue)


def _insert(
    value: Int[Array, " num_examples"], in_order: list[Int[Array, " num_examples"]]
) -> list[Int[Array, " num_examples"]]:
    longer = []
    for other in in_order:
        longer.append(jnp.minimum(value, other))
        value = jnp.maximum(value, other)
    return [*longer, value]


def _digits(
    key: Key[Array, ""], num_labelers: int, num_places: int, num_examples: int
) -> list[Int[Array, " num_examples"]]:
    """For each place n an even number below J - n, several from each random word."""
    words: list[list[int]] = [[]]
    for base in range(num_labelers, num_labelers - num_places, -1):
        if math.prod(words[-1]) * base > _WORD:
            words.append([])
        words[-1].append(base)
    random = jax.random.bits(key, (len(words), num_examples), "uint32")
    digits = []
    for word, held in zip(random, words, strict=True):
        rest = word
        for base in held:
            digits.append((rest % base).astype(_index_dtype(num_labelers)))
            rest = rest // base
    return digits


def _index_dtype(num_labelers: int) -> type[np.signedinteger]:
    return np.int8 if num_labelers <= np.iinfo(np.int8).max else np.int32
