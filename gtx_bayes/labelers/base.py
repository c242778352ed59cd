"""What a labeler model must say: how probable answers are, and how to draw them."""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from gtx_bayes.labels import MISSING, check_whole
from gtx_bayes.log_space import LogNumber


class AbstractLabelerModel(abc.ABC):
    """How labelers err: a frozen pytree dataclass over the parameters of all labelers.

    A subclass is final and writes `num_labelers`, `likelihood` for one example, and `answer`.
    """

    num_classes: int

    @property
    @abc.abstractmethod
    def num_labelers(self) -> int:
        """Number of labelers."""

    @abc.abstractmethod
    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        """Probability of one example's labels under each true class, shape `(num_classes,)`."""

    @abc.abstractmethod
    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Answers to every example, one from each labeler asked.

        Args:
            key: random key.
            labeler: who is asked.
            true_label: class of each example.
        """

    def sample(
        self, key: Key[Array, ""], true_label: Int[Array, ""]
    ) -> Int[Array, " num_labelers"]:
        """One answer per labeler for an example whose class is `true_label`."""
        everybody = jnp.arange(self.num_labelers)[:, None]
        return self.answer(key, everybody, true_label[None])[:, 0]

    def log_prob(self, labels: Int[Array, " num_labelers"]) -> Float[Array, " num_classes"]:
        r"""Log-likelihood of one example's labels under each true class, in nats.

        .. math:: \log P(\mathcal{L}(i) \mid Y_i = y)

        Args:
            labels: class of each labeler's answer; `MISSING`, and what is no class, carries no
                evidence.
        """
        return self.likelihood(labels).log()


def check_labels(labels: Shaped[Array, "..."], num_labelers: int) -> None:
    """Raise `ValueError` unless these are one label per labeler; known to the compiler."""
    check_whole("labels", labels)
    if labels.shape != (num_labelers,):
        raise ValueError(
            f"the labels have shape {labels.shape}: give one for each of {num_labelers} labelers, "
            f"{MISSING} where there is none"
        )


def right_or_other(
    key: Key[Array, ""],
    prob_right: Float[Array, "num_places num_examples"],
    true_label: Int[Array, " num_examples"],
    num_classes: int,
) -> Int[Array, "num_places num_examples"]:
    """The true class with probability `prob_right`, else any other class alike."""
    key_right, key_other = jax.random.split(key)
    if num_classes == 2:
        other = 1 - true_label
    else:
        offset = jax.random.randint(key_other, prob_right.shape, 1, num_classes)
        other = (true_label + offset) % num_classes
    right = jax.random.uniform(key_right, prob_right.shape) < prob_right
    return jnp.where(right, true_label, other)
