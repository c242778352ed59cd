"""What a labeler model must say: how probable answers are, and how to draw them."""

import abc

from jaxtyping import Array, Float, Int, Key

from gtx_bayes.log_space import LogNumber


class AbstractLabelerModel(abc.ABC):
    """How labelers err: a frozen pytree dataclass over the parameters of all labelers.

    A subclass is final and writes `likelihood` and `sample` for one example; callers map them.
    """

    num_classes: int

    @abc.abstractmethod
    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        """Probability of one example's labels under each true class, shape `(num_classes,)`."""

    @abc.abstractmethod
    def sample(
        self, key: Key[Array, ""], true_label: Int[Array, ""]
    ) -> Int[Array, " num_labelers"]:
        """One answer per labeler for an example whose class is `true_label`."""

    def log_prob(self, labels: Int[Array, " num_labelers"]) -> Float[Array, " num_classes"]:
        r"""Log-likelihood of one example's labels under each true class, in nats.

        .. math:: \log P(\mathcal{L}(i) \mid Y_i = y)

        Args:
            labels: class of each labeler's answer; `MISSING` answers carry no evidence.
        """
        return self.likelihood(labels).log()
