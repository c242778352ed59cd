"""What a labeler model must say: how probable answers are, and how to draw them."""

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

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
        uniform: Float[Array, "num_labelers num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_labelers num_examples"]:
        """One answer per labeler and example.

        Args:
            key: decides what `uniform` does not.
            uniform: independent even numbers in [0, 1), which decide who is right. Passing them
                in lets a simulation draw only those it needs.
            true_label: class of each example.
        """

    def sample(
        self, key: Key[Array, ""], true_label: Int[Array, ""]
    ) -> Int[Array, " num_labelers"]:
        """One answer per labeler for an example whose class is `true_label`."""
        key_right, key_rest = jax.random.split(key)
        uniform = jax.random.uniform(key_right, (self.num_labelers, 1))
        return self.answer(key_rest, uniform, true_label[None])[:, 0]

    def log_prob(self, labels: Int[Array, " num_labelers"]) -> Float[Array, " num_classes"]:
        r"""Log-likelihood of one example's labels under each true class, in nats.

        .. math:: \log P(\mathcal{L}(i) \mid Y_i = y)

        Args:
            labels: class of each labeler's answer; `MISSING` answers carry no evidence.
        """
        return self.likelihood(labels).log()


def right_or_other(
    key: Key[Array, ""],
    uniform: Float[Array, "num_labelers num_examples"],
    prob_right: Float[Array, "num_labelers one_or_num_examples"],
    true_label: Int[Array, " num_examples"],
    num_classes: int,
) -> Int[Array, "num_labelers num_examples"]:
    """The true class where `uniform` is below `prob_right`, else any other class alike."""
    if num_classes == 2:
        other = 1 - true_label
    else:
        offset = jax.random.randint(key, uniform.shape, 1, num_classes)
        other = (true_label + offset) % num_classes
    return jnp.where(uniform < prob_right, true_label, other)
