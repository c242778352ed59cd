r"""Conjugate priors that a cohort of labelers shares, and what expected counts make of them.

Where true labels are unknown, inference works with expected counts: how often a labeler is
believed to have been right (one coin), or to have answered l to examples of class y (confusion
matrices). A prior turns counts into posteriors of the labelers, says how probable answers are
given everybody's other answers, and learns its own mean and concentration from the cohort
(empirical Bayes) under a hyperprior that labelers are better than chance.

Examples of a class may be of several kinds, easy and hard ones say, that nobody names. Inference
then goes over latent classes, pairs of a class and a kind: latent class c is of class c // M and
of kind c % M, with M kinds. Where there is one kind, latent classes are the classes themselves.
"""

import abc
import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, digamma, gammaln
from jaxtyping import Array, Float, Key, Shaped

from gtx_bayes.inference.beta import BetaPosterior, HyperPrior
from gtx_bayes.labelers.class_conditional import ClassConditional
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labelers.hard_examples import HardExamples
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.posterior import AnyModel

HARD_SHARE = (2.0, 18.0)
"""Beta prior of the share of hard examples: a tenth, give or take 0.065."""

_LARGEST_STEP = 1.0  # of a Newton step, on the scale of logits and logarithms
_NEARBY = 0.05  # where slopes are compared for a curvature, on the same scale
_HYPER_LABELERS = 8.0  # labelers whose rows the hyperprior of a mean row is worth
_HARD_SKILL = 0.25  # on hard examples, from chance to perfection; on easy ones a half


class AbstractCohortPrior(abc.ABC):
    """The prior of one kind of labeler model: a frozen pytree dataclass. A subclass is final.

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @property
    def num_kinds(self) -> int:
        """M, how many kinds of examples there are within a class."""
        return 1

    def start_kinds(
        self, vote_shares: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_examples num_classes num_kinds"]:
        """Probability of each kind given each class, as far as shares of votes tell."""
        return jnp.ones((*vote_shares.shape, 1), vote_shares.dtype)

    @abc.abstractmethod
    def counts(
        self, labels: Labels, latent_probs: Float[Array, "num_examples num_latents"]
    ) -> Float[Array, "num_labelers ..."]:
        """Expected counts of every labeler, given the latent classes' probabilities."""

    @abc.abstractmethod
    def evidence(
        self,
        labels: Labels,
        latent_probs: Float[Array, "num_examples num_latents"],
        counts: Float[Array, "num_labelers ..."],
    ) -> Float[Array, "num_examples num_latents"]:
        """Log-probability of each example's answers under each latent class, up to what all share.

        That of the kind within the class is part of it. Every answer is judged by what its
        labeler's other answers say of the labeler: its own part of the counts is left out.
        """

    @abc.abstractmethod
    def refit(self, counts: Float[Array, "num_labelers ..."]) -> "AbstractCohortPrior":
        """One step towards the most probable prior given the cohort's counts."""

    @abc.abstractmethod
    def log_marginal(self, counts: Float[Array, "num_labelers ..."]) -> Float[Array, ""]:
        """Log-probability of the counts, labelers integrated out."""

    @abc.abstractmethod
    def posterior_mean(self, counts: Float[Array, "num_labelers ..."]) -> AnyModel:
        """The labelers at their posterior means."""

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], counts: Float[Array, "num_labelers ..."]) -> AnyModel:
        """A draw of the labelers from their posterior given the counts."""

    @abc.abstractmethod
    def accuracy(
        self,
        counts: Float[Array, "num_labelers ..."],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        """Posterior of each labeler's probability of a right answer."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OneCoinPrior(AbstractCohortPrior):
    r"""Accuracies :math:`\alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)`.

    Counts have shape (num_labelers, 2): right and wrong answers.

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
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        hyper = HyperPrior.for_classes(num_classes, skill)
        return cls(
            jnp.asarray(np.log(hyper.mean_a / hyper.mean_b), float),
            jnp.asarray(hyper.log_concentration, float),
            num_classes,
            skill,
        )

    @property
    def shape(self) -> Float[Array, " two"]:
        """Both shape parameters of the Beta distribution."""
        mean = jax.nn.sigmoid(jnp.stack([self.logit_mean, -self.logit_mean]))
        return mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers two"]:
        """Expected right and wrong answers."""
        right = prob_of_answer(labels, class_probs)
        none = jnp.zeros(labels.num_labelers, right.dtype)
        num_right = none.at[labels.labeler].add(right)
        total = none.at[labels.labeler].add(answered(labels).astype(right.dtype))
        return jnp.stack([num_right, total - num_right], axis=1)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers two"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Weighted votes: the log-likelihood ratio of right and wrong, per answer."""
        own = prob_of_answer(labels, class_probs)
        right, wrong = (part[labels.labeler] for part in counts.T)
        odds = (self.shape[0] + jnp.maximum(right - own, 0.0)) / (
            self.shape[1] + jnp.maximum(wrong - (1.0 - own), 0.0)
        )
        weight = jnp.log(odds * (self.num_classes - 1.0))
        cells = labels.num_examples * self.num_classes
        cell = jnp.where(answered(labels), _cell(labels), cells)
        votes = jnp.zeros(cells, weight.dtype).at[cell].add(weight, mode="drop")
        return votes.reshape(labels.num_examples, self.num_classes)

    def refit(self, counts: Float[Array, "num_labelers two"]) -> "OneCoinPrior":
        """A Newton step for each parameter on the posterior density of `CohortPrior.fit`."""
        hyper = HyperPrior.for_classes(self.num_classes, self.skill)
        total = counts.sum(axis=1)

        def slopes(
            logit_mean: Float[Array, ""], log_concentration: Float[Array, ""]
        ) -> tuple[Float[Array, ""], Float[Array, ""]]:
            mean, concentration = jax.nn.sigmoid(logit_mean), jnp.exp(log_concentration)
            a, b = mean * concentration, (1.0 - mean) * concentration
            of_total = digamma(concentration) - digamma(concentration + total)
            slope_a = jnp.sum(digamma(a + counts[:, 0]) - digamma(a) + of_total)
            slope_b = jnp.sum(digamma(b + counts[:, 1]) - digamma(b) + of_total)
            z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
            d_mean = mean * (1.0 - mean) * concentration * (slope_a - slope_b)
            d_mean = d_mean + hyper.mean_a * (1.0 - mean) - hyper.mean_b * mean
            d_concentration = a * slope_a + b * slope_b - z / hyper.log_concentration_sd
            return d_mean, d_concentration

        logit_mean = _newton(lambda x: slopes(x, self.log_concentration)[0], self.logit_mean)
        log_concentration = _newton(lambda x: slopes(logit_mean, x)[1], self.log_concentration)
        return dataclasses.replace(self, logit_mean=logit_mean, log_concentration=log_concentration)

    def log_marginal(self, counts: Float[Array, "num_labelers two"]) -> Float[Array, ""]:
        """Beta-binomial, wrong answers alike."""
        a, b = self.shape
        found = betaln(a + counts[:, 0], b + counts[:, 1]) - betaln(a, b)
        return jnp.sum(found) - jnp.sum(counts[:, 1]) * jnp.log(self.num_classes - 1.0)

    def posterior_mean(self, counts: Float[Array, "num_labelers two"]) -> OneCoin:
        """Accuracies at their posterior means."""
        return OneCoin(BetaPosterior(*(self.shape + counts).T).mean, self.num_classes)

    def sample(self, key: Key[Array, ""], counts: Float[Array, "num_labelers two"]) -> OneCoin:
        """Accuracies from their Beta posteriors."""
        return OneCoin(BetaPosterior(*(self.shape + counts).T).sample(key), self.num_classes)

    def accuracy(
        self, counts: Float[Array, "num_labelers two"], class_prior: Float[Array, " num_classes"]
    ) -> BetaPosterior:
        """The conjugate posterior."""
        return BetaPosterior(*(self.shape + counts).T)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionPrior(AbstractCohortPrior):
    r"""Rows of confusion matrices :math:`\theta_{jy} \sim \mathrm{Dirichlet}(\kappa m_y)`.

    Counts have shape (num_labelers, K, K): by true class, then answer.

    Attributes:
        mean: mean rows :math:`m_y`, the cohort's confusion matrix.
        log_concentration: logarithm of :math:`\kappa`, one for all classes: those of their own
            run off where a class is rare.
        num_classes: K.
    """

    mean: Float[Array, "num_classes num_classes"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int) -> "ConfusionPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        log_concentration = jnp.asarray(
            HyperPrior.for_classes(num_classes).log_concentration, float
        )
        return cls(_better_than_chance(num_classes), log_concentration, num_classes)

    @property
    def shape(self) -> Float[Array, "num_classes num_classes"]:
        """Parameters of the Dirichlet distributions, one row per class."""
        return self.mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers num_classes num_classes"]:
        """Expected answers by labeler, true class and answer."""
        none = jnp.zeros((labels.num_labelers, self.num_classes, self.num_classes), float)
        found = class_probs[labels.example] * answered(labels)[:, None]
        return none.at[labels.labeler, :, jnp.maximum(labels.label, 0)].add(found)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers num_classes num_classes"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Log-probabilities of the answers under each class."""
        label = jnp.maximum(labels.label, 0).astype(jnp.int32)
        answer = labels.labeler * self.num_classes + label
        example = jnp.where(answered(labels), labels.example, labels.num_examples)

        def of_class(
            given: tuple[Float[Array, "..."], ...],
        ) -> Float[Array, " num_examples"]:
            probs, shape, cells = given
            own = probs[labels.example]
            cell = shape[label] + jnp.maximum(cells.reshape(-1)[answer] - own, 0.0)
            row = shape.sum() + jnp.maximum(cells.sum(axis=1)[labels.labeler] - own, 0.0)
            none = jnp.zeros(labels.num_examples, probs.dtype)
            return none.at[example].add(jnp.log(cell / row), mode="drop")

        # Class by class a CPU takes a third of the time: arrays with a short last axis are slow.
        by_class = (class_probs.T, self.shape, jnp.swapaxes(counts, 0, 1))
        return jax.lax.map(of_class, by_class).T

    def refit(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> "ConfusionPrior":
        """Mean rows from the labelers' counts, none worth more than the prior; then a Newton step.

        A labeler's rows enter the mean with weight n / (n + kappa), as if drawn around it.
        """
        mean, log_concentration = _refit_rows(
            self.log_concentration, counts, _better_than_chance(self.num_classes)
        )
        return dataclasses.replace(self, mean=mean, log_concentration=log_concentration)

    def log_marginal(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> Float[Array, ""]:
        """Dirichlet-multinomial rows."""
        return _log_marginal_of_rows(self.shape, counts)

    def posterior_mean(
        self, counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> ConfusionMatrix:
        """Rows at their posterior means."""
        rows = self.shape + counts
        return ConfusionMatrix(rows / rows.sum(axis=2, keepdims=True), self.num_classes)

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers num_classes num_classes"]
    ) -> ConfusionMatrix:
        """Rows from their Dirichlet posteriors."""
        return ConfusionMatrix(jax.random.dirichlet(key, self.shape + counts), self.num_classes)

    def accuracy(
        self,
        counts: Float[Array, "num_labelers num_classes num_classes"],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        r"""The Beta law with the mean and variance of :math:`\sum_y \pi_y \theta_{jyy}`."""
        rows = self.shape + counts
        right = jnp.diagonal(rows, axis1=1, axis2=2)
        return _weighted_mean(BetaPosterior(right, rows.sum(axis=2) - right), class_prior)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClassConditionalPrior(AbstractCohortPrior):
    r"""Accuracies by class :math:`\alpha_{jy} \sim \mathrm{Beta}(m_y \kappa, (1 - m_y) \kappa)`.

    `ConfusionPrior` with wrong answers alike: the same for two classes. Counts have shape
    (num_labelers, K, 2): right and wrong answers by true class.

    Attributes:
        mean: :math:`m_y` and :math:`1 - m_y`, the cohort's right and wrong answers.
        log_concentration: logarithm of :math:`\kappa`, one for all classes.
        num_classes: K.
    """

    mean: Float[Array, "num_classes two"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def default(cls, num_classes: int) -> "ClassConditionalPrior":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 answers."""
        log_concentration = jnp.asarray(
            HyperPrior.for_classes(num_classes).log_concentration, float
        )
        return cls(_right_or_wrong(num_classes), log_concentration, num_classes)

    @property
    def shape(self) -> Float[Array, "num_classes two"]:
        """Parameters of the Beta distributions, one row per class."""
        return self.mean * jnp.exp(self.log_concentration)

    def counts(
        self, labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_labelers num_classes two"]:
        """Expected right and wrong answers by labeler and true class."""
        none = jnp.zeros((labels.num_labelers, self.num_classes), float)
        of_class = class_probs[labels.example] * answered(labels)[:, None]
        total = none.at[labels.labeler].add(of_class)
        label = jnp.maximum(labels.label, 0)
        right = none.at[labels.labeler, label].add(prob_of_answer(labels, class_probs))
        return jnp.stack([right, total - right], axis=2)

    def evidence(
        self,
        labels: Labels,
        class_probs: Float[Array, "num_examples num_classes"],
        counts: Float[Array, "num_labelers num_classes two"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Log-probabilities of the answers under each class."""
        is_right = labels.label[:, None] == jnp.arange(self.num_classes)
        own = class_probs[labels.example]
        of_answer = jnp.where(is_right, counts[labels.labeler, :, 0], counts[labels.labeler, :, 1])
        shape = jnp.where(is_right, self.shape[:, 0], self.shape[:, 1])
        cell = jnp.maximum(of_answer - own, 0.0) + shape
        row = jnp.maximum(counts.sum(axis=2)[labels.labeler] - own, 0.0)
        log_prob = jnp.log(cell) - jnp.log(row + jnp.exp(self.log_concentration))
        log_prob = log_prob - jnp.where(is_right, 0.0, jnp.log(self.num_classes - 1.0))
        log_prob = jnp.where(answered(labels)[:, None], log_prob, 0.0)
        return jnp.zeros_like(class_probs).at[labels.example].add(log_prob)

    def refit(
        self, counts: Float[Array, "num_labelers num_classes two"]
    ) -> "ClassConditionalPrior":
        """As `ConfusionPrior.refit`."""
        mean, log_concentration = _refit_rows(
            self.log_concentration, counts, _right_or_wrong(self.num_classes)
        )
        return dataclasses.replace(self, mean=mean, log_concentration=log_concentration)

    def log_marginal(
        self, counts: Float[Array, "num_labelers num_classes two"]
    ) -> Float[Array, ""]:
        """Beta-binomial, wrong answers alike."""
        num_wrong = jnp.sum(counts[:, :, 1])
        return _log_marginal_of_rows(self.shape, counts) - num_wrong * jnp.log(
            self.num_classes - 1.0
        )

    def posterior_mean(
        self, counts: Float[Array, "num_labelers num_classes two"]
    ) -> ClassConditional:
        """Accuracies at their posterior means."""
        return ClassConditional(self._posterior(counts).mean, self.num_classes)

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers num_classes two"]
    ) -> ClassConditional:
        """Accuracies from their Beta posteriors."""
        return ClassConditional(self._posterior(counts).sample(key), self.num_classes)

    def accuracy(
        self,
        counts: Float[Array, "num_labelers num_classes two"],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        r"""The Beta law with the mean and variance of :math:`\sum_y \pi_y \alpha_{jy}`."""
        return _weighted_mean(self._posterior(counts), class_prior)

    def _posterior(self, counts: Float[Array, "num_labelers num_classes two"]) -> BetaPosterior:
        rows = self.shape + counts
        return BetaPosterior(rows[..., 0], rows[..., 1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DifficultyPrior(AbstractCohortPrior):
    r"""Easy and hard examples, on which labelers have another accuracy.

    .. math::
        h \sim \mathrm{Beta}(2, 18), \qquad
        \alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa), \qquad
        \beta_j \sim \mathrm{Beta}(m' \kappa', (1 - m') \kappa')

    with the share h of hard examples, accuracies :math:`\alpha_j` on easy and :math:`\beta_j` on
    hard ones. The hyperprior has m half-way from chance to perfection, and m' a quarter of the
    way: hard examples are those that tell little, and labelers who would mislead there have to
    show it. Kinds are easy, hard. Counts have shape (num_labelers, 2, 3): for each kind right
    answers, wrong answers, and the labeler's part of the examples, 1 / n each where n answered.

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
        easy, hard = (
            OneCoinPrior.default(num_classes),
            OneCoinPrior.default(num_classes, _HARD_SKILL),
        )
        return cls(easy, hard, num_classes)

    @property
    def num_kinds(self) -> int:
        """Easy and hard."""
        return 2

    def start_kinds(
        self, vote_shares: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_examples num_classes two"]:
        """By disagreement: hard for sure where votes are even, easy where they are unanimous.

        Whatever the class: were examples taken for hard where votes contradict a class, hard
        ones would be those with most votes wrong.
        """
        chance = 1.0 / self.num_classes
        hard = (1.0 - vote_shares.max(axis=1)) / (1.0 - chance)
        by_kind = jnp.stack([1.0 - hard, hard], axis=1)
        return jnp.broadcast_to(by_kind[:, None], (*vote_shares.shape, 2))

    def counts(
        self, labels: Labels, latent_probs: Float[Array, "num_examples num_latents"]
    ) -> Float[Array, "num_labelers two three"]:
        """Expected right and wrong answers and parts of examples, by labeler and kind."""
        own = self._own(labels, latent_probs)
        part = own.sum(axis=2) / labels.labels_per_example()[labels.example, None]
        found = jnp.concatenate([own, part[:, :, None]], axis=2)
        found = jnp.where(answered(labels)[:, None, None], found, 0.0)
        return jnp.zeros((labels.num_labelers, 2, 3), found.dtype).at[labels.labeler].add(found)

    def evidence(
        self,
        labels: Labels,
        latent_probs: Float[Array, "num_examples num_latents"],
        counts: Float[Array, "num_labelers two three"],
    ) -> Float[Array, "num_examples num_latents"]:
        """Log-probabilities of the kind and of the answers under each latent class.

        An example without answers counts as easy, so that it tells nothing about h.
        """
        own = self._own(labels, latent_probs)
        others = jnp.maximum(counts[labels.labeler, :, :2] - own, 0.0)
        shape = others + jnp.stack([self.easy.shape, self.hard.shape])
        log_prob = jnp.log(shape) - jnp.log(shape.sum(axis=2, keepdims=True))
        is_answered = answered(labels)
        right, wrong = log_prob[..., 0], log_prob[..., 1] - jnp.log(self.num_classes - 1.0)
        none = jnp.zeros((labels.num_examples, self.num_classes, 2), right.dtype)
        of_wrong = jnp.where(is_answered[:, None], wrong, 0.0)
        found = none.at[labels.example].add(of_wrong[:, None, :])
        of_right = jnp.where(is_answered[:, None], right - wrong, 0.0)
        found = found.at[labels.example, jnp.maximum(labels.label, 0)].add(of_right)
        return (found + self._log_shares(labels, latent_probs, counts)[:, None]).reshape(
            labels.num_examples, -1
        )

    def refit(self, counts: Float[Array, "num_labelers two three"]) -> "DifficultyPrior":
        """A step for each of both priors."""
        easy, hard = self.easy.refit(counts[:, 0, :2]), self.hard.refit(counts[:, 1, :2])
        return dataclasses.replace(self, easy=easy, hard=hard)

    def log_marginal(self, counts: Float[Array, "num_labelers two three"]) -> Float[Array, ""]:
        """That of easy answers, of hard answers, and of the examples' kinds."""
        of_kinds = betaln(*self.share_shape(counts)) - betaln(*jnp.array(HARD_SHARE))
        of_easy = self.easy.log_marginal(counts[:, 0, :2])
        return of_easy + self.hard.log_marginal(counts[:, 1, :2]) + of_kinds

    def share_shape(self, counts: Float[Array, "num_labelers two three"]) -> Float[Array, " two"]:
        """Both shape parameters of the Beta posterior of h."""
        num_easy, num_hard = counts[:, :, 2].sum(axis=0)
        return jnp.stack([num_hard, num_easy]) + jnp.array(HARD_SHARE)

    def posterior_mean(self, counts: Float[Array, "num_labelers two three"]) -> HardExamples:
        """Accuracies and the share at their posterior means."""
        hard, easy = self.share_shape(counts)
        return HardExamples(
            self.easy.posterior_mean(counts[:, 0, :2]).accuracy,
            self.hard.posterior_mean(counts[:, 1, :2]).accuracy,
            hard / (hard + easy),
            self.num_classes,
        )

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers two three"]
    ) -> HardExamples:
        """Accuracies and the share from their Beta posteriors."""
        key_easy, key_hard, key_share = jax.random.split(key, 3)
        return HardExamples(
            self.easy.sample(key_easy, counts[:, 0, :2]).accuracy,
            self.hard.sample(key_hard, counts[:, 1, :2]).accuracy,
            jax.random.beta(key_share, *self.share_shape(counts)),
            self.num_classes,
        )

    def accuracy(
        self,
        counts: Float[Array, "num_labelers two three"],
        class_prior: Float[Array, " num_classes"],
    ) -> BetaPosterior:
        r"""The Beta law with the mean and variance of :math:`(1 - h) \alpha_j + h \beta_j`."""
        rows = counts[:, :, :2] + jnp.stack([self.easy.shape, self.hard.shape])
        shares = self.share_shape(counts)[::-1]
        each = BetaPosterior(rows[..., 0], rows[..., 1])
        return _weighted_mean(each, shares / shares.sum())

    def _own(
        self, labels: Labels, latent_probs: Float[Array, "num_examples num_latents"]
    ) -> Float[Array, "num_labels two two"]:
        """Probability that the example is of each kind and the answer right, or wrong."""
        by_kind = latent_probs.reshape(labels.num_examples, self.num_classes, 2)
        right = by_kind[labels.example, jnp.maximum(labels.label, 0)]
        either = by_kind.sum(axis=1)[labels.example]
        return jnp.stack([right, either - right], axis=2)

    def _log_shares(
        self,
        labels: Labels,
        latent_probs: Float[Array, "num_examples num_latents"],
        counts: Float[Array, "num_labelers two three"],
    ) -> Float[Array, "num_examples two"]:
        """Logarithms of the shares of easy and hard examples among the others."""
        own = latent_probs.reshape(labels.num_examples, self.num_classes, 2).sum(axis=1)
        others = jnp.maximum(self.share_shape(counts)[::-1] - own, 0.0)
        log_shares = jnp.log(others) - jnp.log(others.sum(axis=1, keepdims=True))
        has_answers = (labels.labels_per_example() > 0)[:, None]
        return jnp.where(has_answers, log_shares, jnp.array([0.0, -jnp.inf]))


PRIORS: dict[str, Callable[[int], AbstractCohortPrior]] = {
    "one-coin": OneCoinPrior.default,
    "class-conditional": ClassConditionalPrior.default,
    "confusion": ConfusionPrior.default,
    "difficulty": DifficultyPrior.default,
}
"""Default prior of every labeler model that inference with unknown labels knows, by name."""


def answered(labels: Labels) -> Shaped[Array, " num_labels"]:
    """Which entries are answers, and not padding."""
    return labels.label != MISSING


def prob_of_answer(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, " num_labels"]:
    """Probability that each answer is right; 0 for padding."""
    found = class_probs.reshape(-1)[_cell(labels)]
    return jnp.where(answered(labels), found, 0.0)


def _cell(labels: Labels) -> Shaped[Array, " num_labels"]:
    return labels.example * labels.num_classes + jnp.maximum(labels.label, 0).astype(jnp.int32)


def _better_than_chance(num_classes: int) -> Float[Array, "num_classes num_classes"]:
    hyper = HyperPrior.for_classes(num_classes)
    right = hyper.mean_a / (hyper.mean_a + hyper.mean_b)
    wrong = (1.0 - right) / (num_classes - 1)
    return jnp.full((num_classes, num_classes), wrong) + (right - wrong) * jnp.eye(num_classes)


def _right_or_wrong(num_classes: int) -> Float[Array, "num_classes two"]:
    right = jnp.diagonal(_better_than_chance(num_classes))
    return jnp.stack([right, 1.0 - right], axis=1)


def _refit_rows(
    log_concentration: Float[Array, ""],
    counts: Float[Array, "num_labelers num_classes num_cells"],
    hyper_mean: Float[Array, "num_classes num_cells"],
) -> tuple[Float[Array, "num_classes num_cells"], Float[Array, ""]]:
    """Mean rows and log-concentration of Dirichlet distributions, a step further."""
    hyper = HyperPrior.for_classes(hyper_mean.shape[0])
    concentration = jnp.exp(log_concentration)
    total = counts.sum(axis=2)
    pooled = jnp.sum(counts / (1.0 + total / concentration)[..., None], axis=0)
    pooled = pooled / concentration + _HYPER_LABELERS * hyper_mean
    mean = pooled / pooled.sum(axis=1, keepdims=True)

    def slope(log_concentration: Float[Array, ""]) -> Float[Array, ""]:
        concentration = jnp.exp(log_concentration)
        shape = mean * concentration
        of_cells = jnp.sum(shape * (digamma(shape + counts) - digamma(shape)))
        of_rows = jnp.sum(digamma(concentration) - digamma(concentration + total))
        z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
        return of_cells + concentration * of_rows - z / hyper.log_concentration_sd

    return mean, _newton(slope, log_concentration)


def _log_marginal_of_rows(
    shape: Float[Array, "num_classes num_cells"],
    counts: Float[Array, "num_labelers num_classes num_cells"],
) -> Float[Array, ""]:
    total = shape.sum(axis=1)
    of_cells = jnp.sum(gammaln(shape + counts) - gammaln(shape))
    return of_cells + jnp.sum(gammaln(total) - gammaln(total + counts.sum(axis=2)))


def _weighted_mean(each: BetaPosterior, weights: Float[Array, " num_parts"]) -> BetaPosterior:
    """The Beta law with the mean and variance of weighted sums, a labeler's parts in a row."""
    total = each.a + each.b
    mean = each.mean @ weights
    variance = (each.mean * (1.0 - each.mean) / (total + 1.0)) @ weights**2
    concentration = mean * (1.0 - mean) / variance - 1.0
    return BetaPosterior(mean * concentration, (1.0 - mean) * concentration)


def _newton(
    slope: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """One guarded Newton step uphill, entry by entry, each slope depending on its own entry.

    The curvature is a difference of slopes: derivatives of digamma take seconds to compile.
    """
    curvature = (slope(x + _NEARBY) - slope(x - _NEARBY)) / (2.0 * _NEARBY)
    step = slope(x) / jnp.maximum(jnp.abs(curvature), 1e-3)
    return x + jnp.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
