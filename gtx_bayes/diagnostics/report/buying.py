"""Which examples are uncertain, and what the next answers would bring."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float, Key, ScalarLike

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.collection.knowledge_gradient import gain_of_outcomes
from gtx_bayes.collection.next_labels import next_labels
from gtx_bayes.columns import positions
from gtx_bayes.diagnostics.report.outcome import num_independent
from gtx_bayes.diagnostics.report.wording import amount, counted
from gtx_bayes.inference.dependence import most_useful
from gtx_bayes.padding import LEAST_LABELERS, bucket_size, pad_to

BATCH = 12
"""How many examples are named as the next to buy answers for."""

_MOST_PROBS = 3
_MOST_ASKED = 200  # labelers that the next answer may come from: the busiest
_LITTLE = 0.25  # of what an expert would mend: a crowd that mends less is not worth asking


class Buying(NamedTuple):
    """What to buy next.

    Attributes:
        batch: the examples whose next answer is worth most: task, its most probable classes with
            their probabilities (probs), the probability that its label is wrong (prob_wrong), the
            number of its answers (num_labels), and by how much one more answer (gain), or as many
            as are worth buying, one at the least (most_gain), would lower that probability; NaN
            for methods that cannot say.
        num_open: how many examples are not gold.
        expected_wrong: how many of their labels are expected to be wrong.
        most_useful: after so many answers to an example the next adds less than a tenth of one;
            None without limit.
        num_beyond: how many open examples have as many.
        is_refuted: whether gold refutes confidence, by which all this is counted.
    """

    batch: pd.DataFrame
    num_open: int
    expected_wrong: float
    most_useful: int | None
    num_beyond: int
    is_refuted: bool

    @property
    def wrong_in_batch(self) -> float:
        """How many labels of the batch are expected to be wrong: what an expert would mend."""
        return float(self.batch["prob_wrong"].sum())

    @property
    def gain(self) -> float:
        """How many wrong labels fewer one more answer for each of the batch would leave."""
        return float(self.batch["gain"].sum(skipna=False))

    @property
    def most_gain(self) -> float:
        """The same of as many answers as are worth buying."""
        return float(self.batch["most_gain"].sum(skipna=False))

    @property
    def shows_gains(self) -> bool:
        """Whether there is a gain to show: not where every one would be written as 0.000."""
        return not self.is_refuted and bool((self.batch["most_gain"] >= 0.0005).any())

    @property
    def is_worth_little(self) -> bool:
        """Whether the answers of this crowd that are worth buying mend little of the batch."""
        return self.most_gain < _LITTLE * self.wrong_in_batch

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        number = len(self.batch)
        if not number:
            return "Nothing is left to label."
        examples = (
            counted(number, "most uncertain example") if number > 1 else ("most uncertain example")
        )
        most = f"The {examples} of {self.num_open:,}"
        if self.is_refuted:
            return (
                f"{most} by confidence, which gold refutes: the order may serve, but what answers "
                "would bring is not counted."
            )
        held = (
            f"{most} {'hold' if number > 1 else 'holds'} {amount(self.wrong_in_batch)} of the "
            f"{amount(self.expected_wrong)} wrong labels that are expected"
        )
        if np.isnan(self.gain):
            return f"{held}."
        bought = (
            f"{held}. Another answer of this crowd for each would mend {amount(self.gain)} of them"
        )
        if self.is_worth_little:
            return f"{bought}: ask an expert instead."
        upto = "all of them" if self.most_useful is None else f"up to {self.most_useful} for each"
        return f"{bought}, {upto} {amount(self.most_gain)}."


def plan_buying(key: Key[Array, ""], result: Aggregation, *, is_refuted: bool = False) -> Buying:
    """The next batch, and what it would bring.

    Args:
        key: random key that breaks ties.
        result: any method's.
        is_refuted: whether gold refutes its confidence.
    """
    crowd, joint = result.crowd, result.fit.joint
    found = next_labels(key, result, batch=BATCH).examples
    at = positions(crowd.example_names, found["task"].to_numpy())
    is_open = ~crowd.assessment.which_gold()
    num_labels = crowd.labels.count_by_example()
    probs = np.asarray(result.class_probs, np.float64)[at]
    best = np.argsort(-probs, axis=1, kind="stable")[:, :_MOST_PROBS]
    cap = None if joint is None else most_useful(joint.dependence.mean)
    gain, most_gain = _gains(result, at)
    batch = pd.DataFrame(
        {
            "task": crowd.example_names[at],
            "probs": [
                [(crowd.class_names[k], row[k]) for k in of_row]
                for row, of_row in zip(probs, best, strict=True)
            ],
            "prob_wrong": 1.0 - probs.max(axis=1, initial=0.0),
            "num_labels": num_labels[at],
            "gain": gain,
            "most_gain": most_gain,
        }
    )
    return Buying(
        batch,
        num_open=int(is_open.sum()),
        expected_wrong=float(np.sum(1.0 - result.open_confidence())),
        most_useful=cap,
        num_beyond=0 if cap is None else int(np.sum(is_open & (num_labels >= cap))),
        is_refuted=is_refuted,
    )


def _gains(
    result: Aggregation, at: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What one more answer, and all that are worth buying, bring to each of these examples.

    Answers come from the crowd's labelers, who answer as often as they did, and count as the part
    of independent ones that the dependence leaves them. Without dependence all are worth buying,
    and leave no doubt. NaN for methods that cannot say.
    """
    joint = result.fit.joint
    if joint is None:
        return np.full(at.size, np.nan), np.full(at.size, np.nan)
    labels = result.crowd.labels
    num_answers = labels.count_by_labeler()
    most_labeled = np.argsort(-num_answers, kind="stable")[:_MOST_ASKED]
    share = num_answers[most_labeled] / num_answers[most_labeled].sum()
    right = joint.labelers.prob_right
    value = value_of_answer if right is None else value_of_coin
    of_all = joint.labelers.confusion_matrix if right is None else right
    padded = pad_to(
        np.asarray(of_all)[most_labeled], bucket_size(most_labeled.size, LEAST_LABELERS), fill=1.0
    )
    class_probs, rho = np.asarray(joint.class_probs), joint.dependence.mean
    cap = most_useful(rho)

    def mended(example: int, num_before: int, num_after: int) -> float:
        worth = num_independent(num_after, rho) - num_independent(num_before, rho)
        each = value(jax.device_put(class_probs[example]), padded, worth)
        return float(np.asarray(each)[: most_labeled.size] @ share)

    num_there = labels.count_by_example().tolist()
    one = [mended(i, num_there[i], num_there[i] + 1) for i in at.tolist()]
    if cap is None:
        return np.array(one), 1.0 - class_probs[at].max(axis=1, initial=0.0).astype(float)
    most = [mended(i, num_there[i], max(cap, num_there[i] + 1)) for i in at.tolist()]
    return np.array(one), np.array(most)


@jax.jit
def value_of_answer(
    class_probs: Float[Array, " num_classes"],
    confusion: Float[Array, "num_labelers num_classes num_classes"],
    worth: ScalarLike,
) -> Float[Array, " num_labelers"]:
    r"""By how much an answer lowers the probability that the best label is wrong.

    .. math:: \sum_l \max_y p_y \theta_{jyl} - \max_y p_y

    for each labeler j, rows of :math:`\theta_j` raised to the power of `worth` and normalised: an
    answer worth half an independent one is that of a labeler half as informative, in log odds.

    Args:
        class_probs: probability of each class.
        confusion: how the labelers answer.
        worth: how many independent answers the answer is worth.
    """
    likelihood = confusion**worth
    likelihood = likelihood / likelihood.sum(axis=-1, keepdims=True)
    return gain_of_outcomes(class_probs, jnp.moveaxis(likelihood, -1, 0)).sum(axis=0)


@jax.jit
def value_of_coin(
    class_probs: Float[Array, " num_classes"],
    accuracy: Float[Array, " num_labelers"],
    worth: ScalarLike,
) -> Float[Array, " num_labelers"]:
    """`value_of_answer` of labelers whose wrong answers are alike, without tables of K x K."""
    num_wrong = class_probs.shape[0] - 1
    right, wrong = accuracy**worth, ((1.0 - accuracy) / num_wrong) ** worth
    total = right + num_wrong * wrong
    # An answer leaves as best its own class, or the best of the others.
    best, second = jax.lax.top_k(class_probs, 2)[0]
    is_best = jnp.arange(num_wrong + 1) == jnp.argmax(class_probs)
    of_rest = jnp.where(is_best, second, best) * (wrong / total)[:, None]
    found = jnp.maximum(class_probs * (right / total)[:, None], of_rest).sum(axis=1)
    return jnp.maximum(found - best, 0.0)
