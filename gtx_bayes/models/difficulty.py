"""Easy and hard examples: on the hard ones a crowd can be wrong together."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.models.base import Counts, LatentProbs, Params
from gtx_bayes.models.cohort import Cohort, CohortCounts
from gtx_bayes.models.conjugate import (
    AbstractConjugateModel,
    AbstractConjugatePrior,
    ByCell,
    Cells,
)
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.labelers import AbstractLabelers, check_probs, right_or_other, wrong_alike
from gtx_bayes.models.one_coin import OneCoin, OneCoinPrior, log_prob_of_coin
from gtx_bayes.votes import AnyLabels

HARD_SHARE = (2.0, 18.0)
"""Beta prior of the share of hard examples: a tenth, give or take 0.065."""

_HARD_SKILL = 0.25  # on hard examples, from chance to perfection; on easy ones a half
_SHIFT_SCALE = 3.0  # of the half-normal prior of the shift, in log odds


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HardExamples(AbstractLabelers):
    r"""One coin for easy examples, another for hard ones; nobody says which is which.

    .. math:: P(\mathcal{L}(i) \mid Y_i = y) = (1 - h) \, P_\alpha(\mathcal{L}(i) \mid Y_i = y) +
        h \, P_\beta(\mathcal{L}(i) \mid Y_i = y)

    Given the class, labels of one example are dependent: who errs makes it likelier that the
    example is hard and that others err too. With :math:`\beta_j` below chance the crowd is
    systematically wrong there, and further labels add to its confidence all the same.

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
        return jnp.stack(both, axis=2).reshape(-1, 2 * self.num_classes)

    def batch_log_prob(self, labels: AnyLabels) -> Float[Array, "rows num_classes"]:
        """By weighted votes, once for easy and once for hard examples."""
        easy, hard = (each.batch_log_prob(labels) for each in (self.easy, self.hard))
        return jnp.logaddexp(jnp.log1p(-self.hard_share) + easy, jnp.log(self.hard_share) + hard)

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
        """Labels for every example, one from each labeler asked."""
        key_hard, key_answer = jax.random.split(key)
        is_hard = jax.random.bernoulli(key_hard, self.hard_share, true_label.shape)
        prob_right = jnp.where(is_hard, self.hard_accuracy[labeler], self.accuracy[labeler])
        return right_or_other(key_answer, prob_right, true_label, self.num_classes)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DifficultyPrior(AbstractConjugatePrior):
    r"""Easy and hard examples, on which labelers have another accuracy.

    .. math::
        h \sim \mathrm{Beta}(2, 18), \qquad
        \alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa), \qquad
        \beta_j \sim \mathrm{Beta}(m' \kappa', (1 - m') \kappa')

    with the share h of hard examples, accuracies :math:`\alpha_j` on easy and :math:`\beta_j` on
    hard ones. The hyperprior has m half-way from chance to perfection, and m' a quarter of the
    way: hard examples are those that tell little, and labelers who would mislead there have to
    show it. Subclasses are easy, hard. Counts have shape (num_labelers, 2, 5): for each kind right
    labels, wrong ones, the labeler's part of the examples, 1 / n each where n labelled it, and the
    variances of the numbers of right and of wrong labels.

    Attributes:
        easy: prior of :math:`\alpha_j`.
        hard: prior of :math:`\beta_j`.
        num_classes: K.
    """

    easy: OneCoinPrior
    hard: OneCoinPrior
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int) -> "DifficultyPrior":
        """The centre of the hyperprior."""
        hard = OneCoinPrior.default(num_classes, _HARD_SKILL)
        return cls(OneCoinPrior.default(num_classes), hard, num_classes)

    @staticmethod
    @functools.cache
    def cells(num_classes: int) -> Cells:
        """A row for easy and one for hard examples, right and wrong."""
        row = np.tile([0, 1], num_classes)
        return Cells(row, right=np.zeros(2, int), wrong=np.ones((2, num_classes), int))

    @property
    def weights(self) -> Float[Array, "two two"]:
        """Shape parameters of both Beta distributions."""
        return jnp.concatenate([self.easy.weights, self.hard.weights])

    @property
    def num_subclasses(self) -> int:
        """Easy and hard."""
        return 2

    def start_subclasses(
        self, vote_shares: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_examples num_classes two"]:
        """By disagreement: hard for sure where votes are even, easy where they are unanimous.

        Whatever the class: were examples taken for hard where votes contradict a class, hard
        ones would be those with most votes wrong.
        """
        chance = 1.0 / self.num_classes
        hard = (1.0 - vote_shares.max(axis=1)) / (1.0 - chance)
        by_subclass = jnp.stack([1.0 - hard, hard], axis=1)
        return jnp.broadcast_to(by_subclass[:, None], (*vote_shares.shape, 2))

    def split(self, counts: Counts) -> tuple[ByCell, ByCell]:
        """What is counted of right and wrong labels."""
        return counts[:, :, :2], counts[:, :, 3:]

    def counts(self, labels: Labels, latent_probs: LatentProbs) -> Counts:
        """Expected labels, parts of examples and variances, by labeler and kind."""
        share = self._prob_of_subclasses(latent_probs) / labels.labels_per_example()[:, None]
        share = jnp.where((labels.label != MISSING)[:, None], share[labels.example], 0.0)
        part = jnp.zeros((labels.num_labelers, 2), share.dtype).at[labels.labeler].add(share)
        return jnp.insert(super().counts(labels, latent_probs), 2, part, axis=2)

    def evidence(self, labels: Labels, latent_probs: LatentProbs, counts: Counts) -> LatentProbs:
        """Log-probabilities of the subclass and of the labels under each latent state.

        Their shares are those of the other examples. An example without labels counts as
        easy, so that it tells nothing about h.
        """
        counts_by_example = self._prob_of_subclasses(latent_probs)
        others = jnp.maximum(self.share_shape(counts)[::-1] - counts_by_example, 0.0)
        log_shares = jnp.log(others) - jnp.log(others.sum(axis=1, keepdims=True))
        has_labels = (labels.labels_per_example() > 0)[:, None]
        log_shares = jnp.where(has_labels, log_shares, jnp.array([0.0, -jnp.inf]))
        found = super().evidence(labels, latent_probs, counts)
        return found + jnp.tile(log_shares, self.num_classes)

    def known(self, counts: Counts) -> Counts:
        """Right and wrong labels by subclass, as many as are known; shares as they are."""
        return jnp.insert(super().known(counts), 2, counts[:, :, 2], axis=2)

    def m_step(self, counts: Counts) -> "DifficultyPrior":
        """A step for each of both priors."""
        by_cell, variances = self.split(self.known(counts))
        easy, hard = (
            prior.m_step(prior.join(by_cell[:, [subclass]], variances[:, [subclass], :1]))
            for subclass, prior in enumerate((self.easy, self.hard))
        )
        return dataclasses.replace(self, easy=easy, hard=hard)

    def log_marginal(self, counts: Counts) -> Float[Array, ""]:
        """That of the labels, and of the examples' subclasses."""
        of_subclasses = betaln(*self.share_shape(counts)) - betaln(*jnp.array(HARD_SHARE))
        return super().log_marginal(counts) + of_subclasses

    def log_density(self) -> Float[Array, ""]:
        """Of both hyperpriors."""
        return self.easy.log_density() + self.hard.log_density()

    def share_shape(self, counts: Counts) -> Float[Array, " two"]:
        """Both shape parameters of the Beta posterior of h."""
        num_easy, num_hard = counts[:, :, 2].sum(axis=0)
        return jnp.stack([num_hard, num_easy]) + jnp.array(HARD_SHARE)

    def posterior_mean(self, counts: Counts) -> HardExamples:
        """Accuracies and the share at their posterior means."""
        hard, easy = self.share_shape(counts)
        easy_accuracy, hard_accuracy = self.expected_rows(counts)[:, :, 0].T
        return HardExamples(easy_accuracy, hard_accuracy, hard / (hard + easy), self.num_classes)

    def sample(self, key: Key[Array, ""], counts: Counts) -> HardExamples:
        """Accuracies and the share from their Beta posteriors."""
        key_rows, key_share = jax.random.split(key)
        easy_accuracy, hard_accuracy = self.drawn_rows(key_rows, counts)[:, :, 0].T
        share = jax.random.beta(key_share, *self.share_shape(counts))
        return HardExamples(easy_accuracy, hard_accuracy, share, self.num_classes)

    def with_rows(
        self, rng: np.random.Generator, rows: Float[np.ndarray, "..."], counts: Counts
    ) -> HardExamples:
        """The share of the hard is drawn."""
        share = rng.beta(*np.asarray(self.share_shape(counts), np.float64))
        easy, hard, share = jax.device_put((rows[:, 0, 0], rows[:, 1, 0], rows.dtype.type(share)))
        return HardExamples(easy, hard, share, self.num_classes)

    def cohorts(
        self, counts: Counts, class_prior: Float[Array, " num_classes"]
    ) -> tuple[CohortCounts, ...]:
        r"""Two cohorts, of easy and of hard examples: :math:`(1 - h) \alpha_j + h \beta_j`."""
        (both,) = super().cohorts(counts, class_prior)
        shares = self.share_shape(counts)[::-1] / self.share_shape(counts).sum()
        return tuple(both.column(subclass, shares[subclass]) for subclass in range(2))

    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """Of easy and of hard examples."""
        return (*self.easy.hyperpriors(), *self.hard.hyperpriors())

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "DifficultyPrior":
        """Other means and concentrations on easy and on hard examples."""
        easy, hard = self.easy.with_cohorts(drawn[:1]), self.hard.with_cohorts(drawn[1:])
        return dataclasses.replace(self, easy=easy, hard=hard)

    def _prob_of_subclasses(self, latent_probs: LatentProbs) -> Float[Array, "num_examples two"]:
        """Probability of each kind of example, whatever the class."""
        return latent_probs.reshape(-1, self.num_classes, 2).sum(axis=1)


@dataclasses.dataclass(frozen=True)
class DifficultyModel(AbstractConjugateModel):
    r"""One coin for easy examples, another for hard ones; nobody says which is which.

    .. math::
        h \sim \mathrm{Beta}(2, 18), \quad s \sim \mathrm{HalfNormal}(3), \quad
        \mathrm{logit} \, \beta_j = \mathrm{logit} \, \alpha_j - s

    with :math:`\alpha_j` of `OneCoinModel` for easy examples and :math:`\beta_j` for hard ones.

    Between two classes, n labelers of one accuracy :math:`\alpha` who agree leave odds of

    .. math::
        \frac{(1 - h) \, \alpha^n + h \, \beta^n}
        {(1 - h) \, (1 - \alpha)^n + h \, (1 - \beta)^n}

    that they are right. Where hard examples mislead as surely as easy ones inform,
    :math:`1 - \beta = \alpha`, confidence stops at 1 - h however many agree. It grows to one for
    a smaller shift, which the draws decide: averaged over them, confidence in agreeing labels
    tends to the posterior probability of :math:`s < 2 \, \mathrm{logit} \, \alpha`, and not to
    one. With more classes wrong labels to hard examples scatter, and agreement convinces all
    the same: a shared wrong label is nothing that this model knows.

    Between two even classes only gold tells misleading examples from uninformative ones: for
    labelers of one accuracy the labels are as probable under s as under
    :math:`2 \, \mathrm{logit} \, \alpha - s`.

    References:
        Whitehill et al. (2009), NIPS 22, where every example has a difficulty of its own and the
        crowd is never worse than chance.
    """

    name: ClassVar[str] = "difficulty"
    description: ClassVar[str] = "two accuracies per labeler, for easy and for hard examples"
    words: ClassVar[str] = (
        "Every labeler is right with a probability of their own, and a share of the examples is "
        "hard for everybody."
    )
    has_tables: ClassVar[bool] = False

    def cohort_prior(self, num_classes: int) -> DifficultyPrior:
        """Beta, for easy examples and for hard ones."""
        return DifficultyPrior.default(num_classes)

    def num_subclasses(self, num_classes: int) -> int:
        """Easy and hard."""
        return 2

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds of a right label to easy and to hard examples, and the share of the hard."""
        import numpyro
        import numpyro.distributions as dist

        from gtx_bayes.models.distributions import LogitBeta, learn_cohort

        a, b = learn_cohort(num_classes)
        hard_share = numpyro.sample("hard_share", dist.Beta(*HARD_SHARE))
        shift = numpyro.sample("shift", dist.HalfNormal(_SHIFT_SCALE))
        with numpyro.plate("labeler", num_labelers):
            log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
        numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
        numpyro.deterministic("hard_accuracy", jax.nn.sigmoid(log_odds - shift))
        return {"easy": log_odds, "hard": log_odds - shift, "hard_share": hard_share}

    def log_latent(self, params: Params, num_classes: int) -> Float[Array, "num_classes two"]:
        """The same for all classes."""
        share = params["hard_share"]
        shares = jnp.stack([jnp.log1p(-share), jnp.log(share)])
        return jnp.broadcast_to(shares, (num_classes, 2))

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """Right or wrong, by one coin or the other."""
        both = [
            log_prob_of_coin(params[subclass][:, None], labels) for subclass in ("easy", "hard")
        ]
        return jnp.stack(both, axis=2).reshape(-1, 2 * labels.num_classes)

    def labelers(self, params: Params, reference: Labels) -> HardExamples:
        """By their accuracies."""
        easy, hard = (jax.nn.sigmoid(params[subclass]) for subclass in ("easy", "hard"))
        return HardExamples(easy, hard, params["hard_share"], reference.num_classes)
