"""The one-coin labeler model (Dawid and Skene, 1979; Eq. 1 of the GTX paper)."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.evidence import Evidence
from gtx_bayes.labelers.accuracy import check_probs, right_factor, wrong_alike, wrong_factor
from gtx_bayes.labelers.base import AbstractLabelers, check_labels, right_or_other
from gtx_bayes.labels import Labels
from gtx_bayes.log_space import LogNumber, divide
from gtx_bayes.lookup import look_up
from gtx_bayes.votes import AnyLabels, class_votes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoin(AbstractLabelers):
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

    def __post_init__(self) -> None:
        """Refuse what is no probability where arrays are at hand."""
        check_probs("accuracy", self.accuracy)

    @property
    def num_labelers(self) -> int:
        """Number of labelers."""
        return self.accuracy.shape[0]

    @property
    def right(self) -> LogNumber:
        """Probability of the correct label, per labeler."""
        return right_factor(self.accuracy)

    @property
    def wrong(self) -> LogNumber:
        """Probability of each single wrong label, per labeler."""
        return wrong_factor(self.accuracy, self.num_classes)

    @property
    def vote_weight(self) -> LogNumber:
        """Likelihood ratio of the class voted for against any other, per labeler.

        Its logarithm is the optimal weight of a vote (Nitzan and Paroush, 1982).
        """
        return divide(self.right, self.wrong)

    @property
    def confusion_matrix(self) -> Float[Array, "*cohorts num_labelers num_classes num_classes"]:
        """The same labelers' confusion matrices."""
        return wrong_alike(self.accuracy[..., None], self.num_classes)

    @property
    def prob_right(self) -> Float[Array, "*cohorts num_labelers"]:
        """The accuracies."""
        return self.accuracy

    def log_prob_of_labels(self, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Log-probability of a right label under its own class, of a wrong one under others."""
        is_right = labels.label[:, None] == jnp.arange(self.num_classes)
        right, wrong = (part.log()[labels.labeler][:, None] for part in (self.right, self.wrong))
        return jnp.where(is_right, right, wrong)

    def evidence(self, labels: AnyLabels) -> Evidence:
        """What labels say about every example."""

        def votes(weight: Float[Array, " num_labelers"]) -> Float[Array, "num_classes rows"]:
            return class_votes(labels, weight, self.num_classes)

        return Evidence(
            likelihood=LogNumber(*(votes(part).T for part in self.vote_weight)),
            common=LogNumber(*(votes(part).sum(axis=0) for part in self.wrong)),
        )

    def add_evidence(self, evidence: Evidence, labels: Labels) -> Evidence:
        """A vote per label."""
        answered = (labels.label >= 0) & (labels.label < self.num_classes)
        example = jnp.where(answered, labels.example, labels.num_examples)

        def add_votes(
            total: Float[Array, "num_examples num_classes"], weight: Float[Array, " num_labelers"]
        ) -> Float[Array, "num_examples num_classes"]:
            return total.at[example, labels.label].add(weight[labels.labeler], mode="drop")

        def add_common(
            total: Float[Array, " num_examples"], weight: Float[Array, " num_labelers"]
        ) -> Float[Array, " num_examples"]:
            return total.at[example].add(weight[labels.labeler], mode="drop")

        return Evidence(
            likelihood=jax.tree.map(add_votes, evidence.likelihood, self.vote_weight),
            common=jax.tree.map(add_common, evidence.common, self.wrong),
        )

    def batch_log_prob(self, labels: AnyLabels) -> Float[Array, "rows num_classes"]:
        """By weighted votes, certain labelers included."""
        return self.evidence(labels).log_prob()

    def floored_evidence(self, labels: Labels) -> Float[Array, "num_examples num_classes"]:
        """By weighted votes too."""
        right, wrong = self.accuracy, (1.0 - self.accuracy) / (self.num_classes - 1)
        least = jnp.finfo(right.dtype).tiny
        weight = jnp.log(jnp.maximum(right, least)) - jnp.log(jnp.maximum(wrong, least))
        return class_votes(labels, weight, self.num_classes).T

    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        """Eq. 1 for one example: a product over the labelers who answered."""
        check_labels(labels, self.num_labelers)
        matches = labels[None, :] == jnp.arange(self.num_classes)[:, None]
        answered = ((labels >= 0) & (labels < self.num_classes))[None, :]
        per_label = jax.tree.map(
            lambda right, wrong: jnp.where(matches, right[None, :], wrong[None, :]),
            self.right,
            self.wrong,
        )
        return LogNumber(*(jnp.sum(part, axis=1, where=answered) for part in per_label))

    def log_prob_of_answers(
        self, labels: Labels, latent: Int[Array, " num_labels"]
    ) -> Float[Array, "num_labels num_classes"]:
        """Right where it is the class."""
        is_right = latent[:, None] == jnp.arange(self.num_classes)
        right, wrong = (part.log()[labels.labeler][:, None] for part in (self.right, self.wrong))
        return jnp.where(is_right, right, wrong)

    def draw_labels(
        self, key: Key[Array, ""], labels: Labels, latent: Int[Array, " num_examples"]
    ) -> Int[Array, " num_labels"]:
        """By `answer`, every entry an example of its own."""
        return self.answer(key, labels.labeler[None], latent[labels.example])[0]

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Answers to every example, one from each labeler asked."""
        prob_right = look_up(self.accuracy, labeler)
        return right_or_other(key, prob_right, true_label, self.num_classes)
