"""Labelers who err together: a share of the examples is hard for all of them."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.labelers.accuracy import check_probs, wrong_alike
from gtx_bayes.labelers.base import AbstractLabelers, right_or_other
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Labels
from gtx_bayes.log_space import LogNumber
from gtx_bayes.votes import AnyLabels


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HardExamples(AbstractLabelers):
    r"""One coin for easy examples, another for hard ones; nobody says which is which.

    .. math:: P(\mathcal{L}(i) \mid Y_i = y) = (1 - h) \, P_\alpha(\mathcal{L}(i) \mid Y_i = y) +
        h \, P_\beta(\mathcal{L}(i) \mid Y_i = y)

    Given the class, answers to one example are dependent: who errs makes it likelier that the
    example is hard and that others err too. With :math:`\beta_j` below chance the crowd is
    systematically wrong there, and further answers add to its confidence all the same.

    Attributes:
        accuracy: probability :math:`\alpha_j` of the correct label to an easy example.
        hard_accuracy: :math:`\beta_j`, the same for a hard one.
        hard_share: proportion h of the examples that are hard.
        num_classes: K; wrong labels are uniform over the other classes.
    """

    accuracy: Float[Array, "*cohorts num_labelers"]
    hard_accuracy: Float[Array, "*cohorts num_labelers"]
    hard_share: Float[Array, "*cohorts"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self) -> None:
        """Refuse what is no probability where arrays are at hand."""
        check_probs("accuracy", self.accuracy)
        check_probs("hard_accuracy", self.hard_accuracy)
        check_probs("hard_share", self.hard_share)

    @property
    def num_labelers(self) -> int:
        """Number of labelers."""
        return self.accuracy.shape[0]

    @property
    def easy(self) -> OneCoin:
        """The labelers on easy examples."""
        return OneCoin(self.accuracy, self.num_classes)

    @property
    def hard(self) -> OneCoin:
        """The labelers on hard examples."""
        return OneCoin(self.hard_accuracy, self.num_classes)

    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        """Probability of one example's labels under each true class, hardness summed out."""
        easy, hard = (each.likelihood(labels).log() for each in (self.easy, self.hard))
        return LogNumber.from_log(self.mix(easy, hard))

    def mix(
        self, easy: Float[Array, "*shape"], hard: Float[Array, "*shape"]
    ) -> Float[Array, "*shape"]:
        """Log-probability of answers from those given an easy and given a hard example."""
        return jnp.logaddexp(jnp.log1p(-self.hard_share) + easy, jnp.log(self.hard_share) + hard)

    @property
    def num_subclasses(self) -> int:
        """Easy and hard."""
        return 2

    @property
    def log_subclass_probs(self) -> Float[Array, "num_classes two"]:
        """The same for all classes."""
        shares = jnp.stack([jnp.log1p(-self.hard_share), jnp.log(self.hard_share)])
        return jnp.broadcast_to(shares, (self.num_classes, 2))

    @property
    def prob_right(self) -> Float[Array, " num_labelers"]:
        """Easy and hard examples together."""
        return (1.0 - self.hard_share) * self.accuracy + self.hard_share * self.hard_accuracy

    @property
    def confusion_matrix(self) -> Float[Array, "num_labelers num_classes num_classes"]:
        """Easy and hard examples together."""
        return wrong_alike(self.prob_right[:, None], self.num_classes)

    def log_prob_of_labels(self, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """Of one coin or the other."""
        both = [each.log_prob_of_labels(labels) for each in (self.easy, self.hard)]
        return jnp.stack(both, axis=2).reshape(labels.num_labels, -1)

    def batch_log_prob(self, labels: AnyLabels) -> Float[Array, "rows num_classes"]:
        """By weighted votes, once for easy and once for hard examples."""
        return self.mix(*(each.batch_log_prob(labels) for each in (self.easy, self.hard)))

    def draw_labels(
        self, key: Key[Array, ""], labels: Labels, latent: Int[Array, " num_examples"]
    ) -> Int[Array, " num_labels"]:
        """Right or wrong, by the coin that the example asks for."""
        of_example = latent[labels.example]
        accuracy = jnp.stack([self.accuracy, self.hard_accuracy], axis=1)
        prob_right = accuracy[labels.labeler, of_example % 2][None]
        return right_or_other(key, prob_right, of_example // 2, self.num_classes)[0]

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Answers to every example, one from each labeler asked."""
        key_hard, key_answer = jax.random.split(key)
        is_hard = jax.random.bernoulli(key_hard, self.hard_share, true_label.shape)
        prob_right = jnp.where(is_hard, self.hard_accuracy[labeler], self.accuracy[labeler])
        return right_or_other(key_answer, prob_right, true_label, self.num_classes)
