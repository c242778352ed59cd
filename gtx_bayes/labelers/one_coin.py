"""The one-coin labeler model (Dawid and Skene, 1979; Eq. 1 of the GTX paper)."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.labelers.base import AbstractLabelerModel
from gtx_bayes.labels import MISSING
from gtx_bayes.log_space import LogNumber, divide


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoin(AbstractLabelerModel):
    r"""Labelers who are right with one probability each, whatever the class.

    .. math::
        P(\mathcal{L}(i) \mid Y_i = y) = \prod_{j \in \mathcal{J}(i)} \alpha_j^{I[y_i^j = y]}
        \left(\frac{1 - \alpha_j}{K - 1}\right)^{I[y_i^j \neq y]}

    Attributes:
        accuracy: probability :math:`\alpha_j` of the correct label, in [0, 1]. At exactly 0 or 1
            a labeler is certain: the posterior lets certain labelers who contradict each other
            cancel one for one, the limit of equal accuracies going to 1.
            Leading axes hold several cohorts, to map over.
        num_classes: K; wrong labels are uniform over the other `num_classes - 1` classes.

    References:
        Kumar et al. (2024), Eq. 1; K classes as in Zhang et al. (2016), JMLR 17.
    """

    accuracy: Float[Array, "*cohorts num_labelers"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @property
    def right(self) -> LogNumber:
        """Probability of the correct label, per labeler."""
        return LogNumber.from_log(_safe_log(jnp.log, self.accuracy, impossible_at=0.0))

    @property
    def wrong(self) -> LogNumber:
        """Probability of each single wrong label, per labeler."""
        log_any_wrong = _safe_log(lambda a: jnp.log1p(-a), self.accuracy, impossible_at=1.0)
        choices = jnp.full(self.accuracy.shape, jnp.log(self.num_classes - 1.0))
        return divide(LogNumber.from_log(log_any_wrong), LogNumber.from_log(choices))

    @property
    def vote_weight(self) -> LogNumber:
        """Likelihood ratio of the class voted for against any other, per labeler.

        Its logarithm is the optimal weight of a vote (Nitzan and Paroush, 1982).
        """
        return divide(self.right, self.wrong)

    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        """Eq. 1 for one example: a product over the labelers who answered."""
        matches = labels[None, :] == jnp.arange(self.num_classes)[:, None]
        answered = (labels != MISSING)[None, :]
        per_label = jax.tree.map(
            lambda right, wrong: jnp.where(matches, right[None, :], wrong[None, :]),
            self.right,
            self.wrong,
        )
        return LogNumber(*(jnp.sum(part, axis=1, where=answered) for part in per_label))

    def sample(
        self, key: Key[Array, ""], true_label: Int[Array, ""]
    ) -> Int[Array, " num_labelers"]:
        """One answer per labeler for an example whose class is `true_label`."""
        key_right, key_wrong = jax.random.split(key)
        right = jax.random.bernoulli(key_right, self.accuracy)
        offset = jax.random.randint(key_wrong, self.accuracy.shape, 1, self.num_classes)
        return jnp.where(right, true_label, (true_label + offset) % self.num_classes)


def _safe_log(
    log: Callable[[Float[Array, " num_labelers"]], Float[Array, " num_labelers"]],
    accuracy: Float[Array, " num_labelers"],
    impossible_at: float,
) -> Float[Array, " num_labelers"]:
    """`log(accuracy)`, -inf at one end of [0, 1].

    There the gradient is zero: finite, so that it spoils no other labeler's, but no derivative.
    """
    impossible = accuracy == impossible_at
    return jnp.where(impossible, -jnp.inf, log(jnp.where(impossible, 0.5, accuracy)))
