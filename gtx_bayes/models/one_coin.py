"""One accuracy per labeler (Dawid and Skene, 1979; Eq. 1 of the GTX paper)."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.evidence import Evidence
from gtx_bayes.labels import Labels
from gtx_bayes.log_space import LogNumber, divide
from gtx_bayes.lookup import look_up
from gtx_bayes.models.base import Counts, Params
from gtx_bayes.models.cohort import Cohort
from gtx_bayes.models.conjugate import (
    AbstractConjugateModel,
    AbstractMeanRows,
    Cells,
    add_votes,
    digammas,
    newton_step,
    prob_of_answer,
)
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.labelers import (
    AbstractConfusionMatrices,
    check_probs,
    right_or_other,
    wrong_alike,
)
from gtx_bayes.padding import on_device
from gtx_bayes.votes import AnyLabels, class_votes, cohort_votes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoin(AbstractConfusionMatrices):
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
        return self.accuracy.shape[-1]

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
        return self._right_where(labels, labels.label)

    def log_prob_of_answers(
        self, labels: Labels, latent: Int[Array, " num_labels"]
    ) -> Float[Array, "num_labels num_classes"]:
        """Right where it is the class."""
        return self._right_where(labels, latent)

    def _right_where(
        self, labels: Labels, place: Int[Array, " num_labels"]
    ) -> Float[Array, "num_labels num_classes"]:
        """For every entry log-probabilities: of a right label in one place, of wrong ones else."""
        is_right = place[:, None] == jnp.arange(self.num_classes)
        right, wrong = (part.log()[labels.labeler][:, None] for part in (self.right, self.wrong))
        return jnp.where(is_right, right, wrong)

    def label_factors(self, labels: Labels) -> LogNumber:
        """Zeros kept apart from the share of a wrong label, which stays where zeros cancel."""
        is_right = labels.label[:, None] == jnp.arange(self.num_classes)
        is_known = self.is_known(labels)[:, None]

        def of_part(right: Array, wrong: Array) -> Array:
            right, wrong = (x[:, None] if x.ndim == 1 else x for x in (right, wrong))
            right, wrong = right[labels.labeler], wrong[labels.labeler]
            return jnp.where(is_known, jnp.where(is_right, right, wrong), 0.0)

        return LogNumber(*map(of_part, self.right, self.wrong))

    def evidence(self, labels: AnyLabels) -> Evidence:
        """What labels say about every example: weighted votes."""
        votes_of = class_votes if self.accuracy.ndim == 1 else cohort_votes

        def votes(weight: Float[Array, "*cohorts num_labelers"]) -> Float[Array, "..."]:
            return jnp.swapaxes(votes_of(labels, weight, self.num_classes), -1, -2)

        return Evidence(
            likelihood=LogNumber(*map(votes, self.vote_weight)),
            common=LogNumber(*(votes(part).sum(axis=-1) for part in self.wrong)),
        )

    def add_evidence(self, evidence: Evidence, labels: Labels) -> Evidence:
        """A vote per label."""
        example = jnp.where(self.is_known(labels), labels.example, labels.num_examples)

        def add(total: Array, weight: Float[Array, " num_labelers"]) -> Array:
            place = (example, labels.label) if total.ndim == 2 else example
            return total.at[place].add(weight[labels.labeler], mode="drop")

        return Evidence(
            likelihood=jax.tree.map(add, evidence.likelihood, self.vote_weight),
            common=jax.tree.map(add, evidence.common, self.wrong),
        )

    def batch_log_prob(self, labels: AnyLabels) -> Float[Array, "*cohorts rows num_classes"]:
        """By weighted votes, certain labelers included."""
        return self.evidence(labels).log_prob()

    def floored_evidence(self, labels: Labels) -> Float[Array, "num_examples num_classes"]:
        """By weighted votes too."""
        right, wrong = self.accuracy, (1.0 - self.accuracy) / (self.num_classes - 1)
        least = jnp.finfo(right.dtype).tiny
        weight = jnp.log(jnp.maximum(right, least)) - jnp.log(jnp.maximum(wrong, least))
        return class_votes(labels, weight, self.num_classes).T

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Labels for every example, one from each labeler asked."""
        prob_right = look_up(self.accuracy, labeler)
        return right_or_other(key, prob_right, true_label, self.num_classes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoinPrior(AbstractMeanRows[OneCoin]):
    r"""Accuracies :math:`\alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)`.

    One row, right and wrong, for all classes. Counts have shape (num_labelers, 3): right labels,
    wrong ones, and the variance of their number.

    Attributes:
        logit_mean: log odds of the mean m.
        log_concentration: logarithm of :math:`\kappa`.
        num_classes: K.
        skill: where the hyperprior has m, from 0 for chance to 1 for perfection.
    """

    logit_mean: Float[Array, ""]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})
    skill: float = dataclasses.field(default=0.5, metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int, skill: float = 0.5) -> "OneCoinPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 labels."""
        hyper = HyperPrior.for_classes(num_classes, skill)
        return cls(
            on_device(np.log(hyper.mean_a / hyper.mean_b)),
            on_device(hyper.log_concentration),
            num_classes,
            skill,
        )

    @staticmethod
    @functools.cache
    def cells(num_classes: int) -> Cells:
        """Right and wrong."""
        row = np.zeros(num_classes, int)
        return Cells(row, right=np.array([0]), wrong=np.ones((1, num_classes), int))

    @property
    def hyper(self) -> HyperPrior:
        """The hyperprior."""
        return HyperPrior.for_classes(self.num_classes, self.skill)

    @property
    def mean_rows(self) -> Float[Array, "one two"]:
        """The mean of right labels and of wrong ones."""
        return jax.nn.sigmoid(jnp.stack([self.logit_mean, -self.logit_mean]))[None]

    @property
    def shape(self) -> Float[Array, " two"]:
        """Both shape parameters of the Beta distribution."""
        return self.weights[0]

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers three"]:
        """As by the cells, in half the time: right labels need no sum of their own."""
        right = prob_of_answer(labels, class_probs)
        none = jnp.zeros(labels.num_labelers, right.dtype)
        num_right = none.at[labels.labeler].add(right)
        variance = none.at[labels.labeler].add(right * (1.0 - right))
        total = none.at[labels.labeler].add(labels.is_class.astype(right.dtype))
        return jnp.stack([num_right, total - num_right, variance], axis=1)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers three"],
    ) -> Float[Array, "num_examples num_classes"]:
        """As by the cells, in half the time: weighted votes."""
        prob_right = prob_of_answer(labels, class_probs)
        right, wrong = (counts[labels.labeler, part] for part in range(2))
        odds = (self.shape[0] + jnp.maximum(right - prob_right, 0.0)) / (
            self.shape[1] + jnp.maximum(wrong - (1.0 - prob_right), 0.0)
        )
        weight = jnp.log(odds * (self.num_classes - 1.0))
        return add_votes(labels, weight)

    def m_step(self, counts: Float[Array, "num_labelers three"]) -> "OneCoinPrior":
        """A Newton step for each parameter on the posterior density of `CohortPrior.fit`."""
        by_cell, _ = self.split(self.known(counts))
        concentration, weights = jnp.exp(self.log_concentration), self.hyper_weights[0]

        def slope(logit_mean: Float[Array, ""]) -> Float[Array, ""]:
            mean = jax.nn.sigmoid(jnp.stack([logit_mean, -logit_mean]))
            shape = mean * concentration
            of_labelers, of_none = digammas(shape[:, None] + by_cell[:, 0].T, shape)
            of_cells = jnp.sum(of_labelers, axis=1) - by_cell.shape[0] * of_none
            of_right, of_wrong = mean[::-1] * (shape * of_cells + weights)
            return of_right - of_wrong

        prior = dataclasses.replace(self, logit_mean=newton_step(slope, self.logit_mean))
        log_concentration = self.concentration_step(prior.mean_rows, by_cell)
        return dataclasses.replace(prior, log_concentration=log_concentration)

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "OneCoinPrior":
        """Another mean and concentration."""
        mean = drawn[0].mean[..., 0]
        return dataclasses.replace(
            self,
            logit_mean=jnp.log(mean) - jnp.log1p(-mean),
            log_concentration=jnp.log(drawn[0].concentration),
        )

    def with_rows(
        self, rng: np.random.Generator, rows: Float[np.ndarray, "..."], counts: Counts
    ) -> OneCoin:
        """The accuracies taken out on the host: on a device that is two programs more."""
        return OneCoin(jax.device_put(rows[:, 0, 0]), self.num_classes)

    def labelers(self, rows: Float[Array, "num_labelers one two"]) -> OneCoin:
        """Labelers of these accuracies."""
        return OneCoin(rows[:, 0, 0], self.num_classes)


@dataclasses.dataclass(frozen=True)
class OneCoinModel(AbstractConjugateModel):
    r"""Labelers who are right with one probability each, partially pooled.

    .. math::
        m \sim \mathrm{Beta}, \quad \log \kappa \sim \mathrm{Normal}, \quad
        \alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)

    with the `HyperPrior` for m and :math:`\log \kappa`; wrong labels are all alike.
    """

    name: ClassVar[str] = "one-coin"
    description: ClassVar[str] = "one accuracy per labeler"
    words: ClassVar[str] = (
        "Every labeler is right with a probability of their own, whatever the class."
    )
    has_tables: ClassVar[bool] = False

    def cohort_prior(self, num_classes: int) -> OneCoinPrior:
        """Beta."""
        return OneCoinPrior.default(num_classes)

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds of a right label."""
        import numpyro

        from gtx_bayes.models.distributions import LogitBeta, learn_cohort

        a, b = learn_cohort(num_classes)
        with numpyro.plate("labeler", num_labelers):
            log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
        accuracy = numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
        return {"log_odds": log_odds, "accuracy": accuracy}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Right or wrong."""
        return log_prob_of_coin(params["log_odds"][:, None], labels)

    def labelers(self, params: Params, reference: Labels) -> OneCoin:
        """By the exact kernels."""
        return OneCoin(params["accuracy"], reference.num_classes)


def log_prob_of_coin(
    log_odds: Float[Array, "num_labelers one_or_num_classes"], labels: Labels
) -> Float[Array, "num_labels num_classes"]:
    r"""Log-probability of labels that are right with their labeler's log odds, wrong ones alike.

    .. math:: I[y_i^j = y] \log \alpha_j + I[y_i^j \neq y] \log \frac{1 - \alpha_j}{K - 1}

    Args:
        log_odds: of a right label, for all classes or each.
        labels: the labels.
    """
    return _right_or_wrong(labels, *(part[labels.labeler] for part in _both(log_odds, labels)))


def log_prob_given_odds(
    log_odds: Float[Array, "num_labels one_or_num_classes"], labels: Labels
) -> Float[Array, "num_labels num_classes"]:
    """The same with log odds for every label."""
    return _right_or_wrong(labels, *_both(log_odds, labels))


def _both(log_odds: Float[Array, "rows columns"], labels: Labels) -> tuple[Array, Array]:
    """Log-probability of a right label and of each wrong one."""
    wrong = jax.nn.log_sigmoid(-log_odds) - jnp.log(labels.num_classes - 1.0)
    return jax.nn.log_sigmoid(log_odds), wrong


def _right_or_wrong(
    labels: Labels,
    right: Float[Array, "num_labels one_or_num_classes"],
    wrong: Float[Array, "num_labels one_or_num_classes"],
) -> Float[Array, "num_labels num_classes"]:
    is_right = labels.label[:, None] == jnp.arange(labels.num_classes)
    return jnp.where(is_right, right, wrong)


def _safe_log(
    log: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]],
    accuracy: Float[Array, "*shape"],
    impossible_at: float,
) -> Float[Array, "*shape"]:
    """`log(accuracy)`, -inf at one end of [0, 1].

    There the gradient is zero: finite, so that it spoils no other labeler's, but no derivative.
    """
    impossible = accuracy == impossible_at
    return jnp.where(impossible, -jnp.inf, log(jnp.where(impossible, 0.5, accuracy)))
