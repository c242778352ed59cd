r"""Models whose labelers can be integrated out, derived from a table of cells.

Given the latent class, every label falls into a cell of a row, and the labels of a cell are alike:

.. math::
    P(y_i^j = l \mid c) = \frac{\theta_{j r s}}{n_{r s}}, \qquad
    \theta_{j r} \sim \mathrm{Dirichlet}(w_r), \qquad r = r(c), \; s = s(c, l),

with :math:`n_{rs}` labels in cell s of row r. A model writes down its `Cells` and the weights
:math:`w_r`; expected counts, leave-one-out evidence, marginal probability, posterior means, draws
and what is known of accuracies follow here, in closed form, for every model alike.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, digamma
from jaxtyping import Array, Bool, Float, Int, Key, ScalarLike

from gtx_bayes.evidence import ClassPrior
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior, AbstractLabelerModel, Counts, LatentProbs
from gtx_bayes.models.cohort import Cohort, CohortCounts, CohortPosterior
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.padding import (
    LEAST_LABELERS,
    bucket_size,
    first,
    on_device,
    pad_to,
    padded_to_bucket,
)

ByCell = Float[Array, "num_labelers num_rows num_cells"]
Rows = Float[Array, "num_rows num_cells"]
_Spread = Float[Array, "num_labelers num_rows num_spreads"]

_LEAST_DRAWS = 64
_LARGEST_STEP = 1.0  # of a Newton step, on the scale of logits and logarithms
_NEARBY = 0.05  # where slopes are compared for a curvature, on the same scale


@dataclasses.dataclass(frozen=True, eq=False)
class Cells:
    """Which cell of which row a label falls into, given the latent class.

    Latent classes of one row are of different classes, and share the labels out among the cells
    alike. No table of classes times classes is needed where rows are few.

    Attributes:
        row: of each latent class.
        right: the cell of each row that holds the right answer, and nothing else.
        wrong: the cell of each wrong answer, by row.
    """

    row: Int[np.ndarray, " num_latents"]
    right: Int[np.ndarray, " num_rows"]
    wrong: Int[np.ndarray, "num_rows num_classes"]

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.right.size

    @property
    def num_cells(self) -> int:
        """Number of cells of every row."""
        return 1 + int(max(self.right.max(), self.wrong.max()))

    @property
    def class_of(self) -> Int[np.ndarray, " num_latents"]:
        """The class of each latent class."""
        return np.arange(self.row.size) // (self.row.size // self.wrong.shape[1])

    @property
    def is_shared(self) -> bool:
        """Whether a row is that of several latent classes."""
        return self.row.size > self.num_rows

    @property
    def is_right(self) -> Bool[np.ndarray, "num_rows num_cells"]:
        """Whether a cell is that of right answers."""
        return np.arange(self.num_cells) == self.right[:, None]

    @cached_property
    def of_first(self) -> Int[np.ndarray, "num_rows num_classes"]:
        """The cell of each label, given the first latent class of each row."""
        first_class = self.class_of[np.unique(self.row, return_index=True)[1]]
        is_right = np.arange(self.wrong.shape[1]) == first_class[:, None]
        return np.where(is_right, self.right[:, None], self.wrong)

    @cached_property
    def size(self) -> Float[np.ndarray, "num_rows num_cells"]:
        """How many labels a cell holds."""
        found = np.zeros((self.num_rows, self.num_cells))
        np.add.at(found, (np.arange(self.num_rows)[:, None], self.of_first), 1.0)
        return found

    @cached_property
    def latent(self) -> Int[np.ndarray, "num_rows num_classes"]:
        """The latent class of each row and class; the number of latent classes for none."""
        found = np.full(self.wrong.shape, self.row.size)
        found[self.row, self.class_of] = np.arange(self.row.size)
        return found

    def of_labels(
        self, row: Array, probs: Array, labels: Labels, latent_probs: LatentProbs
    ) -> tuple[Array, Array, Array, Array]:
        """Where each label falls in a row, and how probably: not at all for padding.

        Args:
            row: which one.
            probs: probability that each example is of the row.
            labels: the labels.
            latent_probs: probability that each example is of each latent class.

        Returns:
            The label, zero for padding; its cell, that of wrong answers where several latent
            classes share the row; the probability that the example is of the row; and that the
            label is also right.
        """
        is_label = labels.label != MISSING
        label = jnp.where(is_label, labels.label, 0).astype(jnp.int32)
        either = jnp.where(is_label, 1.0 if self.num_rows == 1 else probs[labels.example], 0.0)
        if not self.is_shared:
            cell = jnp.asarray(self.of_first)[row][label]
            right = jnp.where(cell == jnp.asarray(self.right)[row], either, 0.0)
            return label, cell, either, right
        cell = jnp.asarray(self.wrong[:, 0])[row]
        if (self.wrong != self.wrong[:, :1]).any():
            cell = jnp.asarray(self.wrong)[row][label]
        latent = jnp.asarray(self.latent)[row][label]
        at = labels.example * self.row.size + jnp.minimum(latent, self.row.size - 1)
        is_of_row = is_label & (latent < self.row.size)
        return label, cell, either, jnp.where(is_of_row, latent_probs.reshape(-1)[at], 0.0)

    def mean(self, hyper: HyperPrior) -> Float[np.ndarray, "num_rows num_cells"]:
        """Mean rows under a hyperprior of right answers, wrong answers alike."""
        right = hyper.mean_a / (hyper.mean_a + hyper.mean_b)
        wrong = (1.0 - right) * self.size / (self.wrong.shape[1] - 1)
        return np.where(self.is_right, right, wrong)


class AbstractConjugatePrior(AbstractCohortPrior):
    """The prior of one labeler model: a frozen pytree dataclass. A subclass is final.

    Counts have shape (num_labelers, num_rows, num_cells + 2): expected numbers of labels by cell,
    then the variances of the numbers of right and of wrong ones. Where there is one row, they
    have shape (num_labelers, num_cells + 1), and both variances are one: every label that is not
    right is wrong.
    """

    @staticmethod
    @abc.abstractmethod
    def cells(num_classes: int) -> Cells:
        """The table that all else follows from."""

    @property
    @abc.abstractmethod
    def weights(self) -> Rows:
        """Parameters of the rows' Dirichlet distributions."""

    @abc.abstractmethod
    def m_step(self, counts: Counts) -> "AbstractConjugatePrior":
        """One step towards the most probable prior given the cohort's counts."""

    @abc.abstractmethod
    def log_density(self) -> Float[Array, ""]:
        """Of the prior's own parameters under their hyperprior, up to its constant."""

    @abc.abstractmethod
    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """The hyperprior of every cohort."""

    @abc.abstractmethod
    def with_cohorts(self, drawn: Sequence[Cohort]) -> "AbstractConjugatePrior":
        """The prior with other concentrations, and means of right labels."""

    def start_subclasses(
        self, vote_shares: Float[Array, "num_examples num_classes"]
    ) -> Float[Array, "num_examples num_classes num_subclasses"]:
        """Probability of each subclass given each class, as far as shares of votes tell."""
        return jnp.ones((*vote_shares.shape, 1), vote_shares.dtype)

    def trusting_gold(self) -> "AbstractConjugatePrior":
        """The prior where gold has shown that labelers may be worse than guesses on average."""
        return self

    def split(self, counts: Counts) -> tuple[ByCell, _Spread]:
        """Expected numbers of labels by cell, and variances of those of right and wrong ones."""
        cells = self.cells(self.num_classes)
        rows = counts[:, None] if cells.num_rows == 1 else counts
        return rows[:, :, : cells.num_cells], rows[:, :, cells.num_cells :]

    def join(self, by_cell: ByCell, variances: _Spread) -> Counts:
        """The counts that `split` takes apart."""
        rows = jnp.concatenate([by_cell, variances], axis=2)
        return rows[:, 0] if rows.shape[1] == 1 else rows

    def counts(self, labels: Labels, latent_probs: LatentProbs) -> Counts:
        """Expected counts of every labeler, given the latent classes' probabilities."""
        cells = self.cells(self.num_classes)
        none = jnp.zeros(cells.num_cells * labels.num_labelers, latent_probs.dtype)

        def of_row(given: tuple[Array, Array]) -> tuple[Float[Array, " num_counts"], ...]:
            _, cell, either, right = cells.of_labels(*given, labels, latent_probs)
            wrong, found = either - right, none
            if cells.is_shared:
                found = none.at[_at(jnp.asarray(cells.right)[given[0]], labels)].add(right)
            found = found.at[_at(cell, labels)].add(wrong if cells.is_shared else either)
            parts = (right,) if cells.num_rows == 1 else (right, wrong)
            start = none[: labels.num_labelers]
            return found, *(start.at[labels.labeler].add(part * (1.0 - part)) for part in parts)

        found, *variances = _by_row(of_row, self._rows(latent_probs))
        by_cell = found.reshape(cells.num_rows, cells.num_cells, labels.num_labelers)
        return self.join(jnp.moveaxis(by_cell, 2, 0), jnp.stack(variances, axis=2).swapaxes(0, 1))

    def known_counts(
        self, confusion: Float[Array, "num_labelers num_classes num_classes"]
    ) -> Counts:
        """Counts of answers to examples of known class, where classes have no subclasses.

        Args:
            confusion: how often each labeler gave each answer to each class.
        """
        cells = self.cells(self.num_classes)
        row = cells.row[:, None]
        is_right = cells.class_of[:, None] == np.arange(self.num_classes)
        cell = np.where(is_right, cells.right[row], cells.wrong[cells.row])
        shape = (confusion.shape[0], cells.num_rows, cells.num_cells)
        by_cell = jnp.zeros(shape, confusion.dtype).at[:, row, cell].add(confusion)
        num_spreads = 1 if cells.num_rows == 1 else 2
        return self.join(by_cell, jnp.zeros((*shape[:2], num_spreads), confusion.dtype))

    def evidence(self, labels: Labels, latent_probs: LatentProbs, counts: Counts) -> LatentProbs:
        """Log-probability of each example's labels under each latent class, up to what all share.

        That of the subclass is part of it. The counts are leave-one-out: those of a label's labeler
        without that label's part.
        """
        cells = self.cells(self.num_classes)
        by_cell, _ = self.split(counts)
        example = jnp.where(labels.label == MISSING, labels.num_examples, labels.example)
        none = jnp.zeros(labels.num_examples, latent_probs.dtype)

        def of_row(given: tuple[Array, ...]) -> Float[Array, "num_examples ..."]:
            row, probs, weights, by_cell = given
            label, cell, either, right = cells.of_labels(row, probs, labels, latent_probs)

            def weight(cell: Array, part: Array) -> Float[Array, " num_labels"]:
                """Of one label of the cell, without its own part."""
                others = jnp.maximum(by_cell.reshape(-1)[_at(cell, labels)] - part, 0.0)
                return (weights[cell] + others) / jnp.asarray(cells.size, none.dtype)[row, cell]

            usual, found = weight(cell, either - right if cells.is_shared else either), none
            if cells.num_rows > 1:
                others = jnp.maximum(by_cell.sum(axis=0)[labels.labeler] - either, 0.0)
                log_prob = jnp.log(usual / (weights.sum() + others))
                found = none.at[example].add(log_prob, mode="drop")
            if not cells.is_shared:
                return found
            vote = jnp.log(weight(jnp.asarray(cells.right)[row], right) / usual)
            votes = jnp.zeros(none.size * self.num_classes, none.dtype)
            votes = votes.at[example * self.num_classes + label].add(vote, mode="drop")
            votes = votes.reshape(none.size, self.num_classes)
            return votes if cells.num_rows == 1 else votes + found[:, None]

        # Row by row also saves time: on a CPU arrays with a short last axis are slow.
        rows = (*self._rows(latent_probs), self.weights, jnp.moveaxis(by_cell, 0, 2))
        found = _by_row(of_row, rows)
        if cells.num_rows == 1:
            return found[0]
        return found[cells.row, :, cells.class_of].T if cells.is_shared else found[cells.row].T

    def shared_evidence(
        self, labels: Labels, latent_probs: LatentProbs, counts: Counts
    ) -> Float[Array, " num_examples"]:
        """What all classes share of `evidence`, and it leaves out: where there is one row."""
        cells = self.cells(self.num_classes)
        none = jnp.zeros(labels.num_examples, latent_probs.dtype)
        if cells.num_rows > 1:
            return none
        prob_right = prob_of_answer(labels, latent_probs)
        by_cell = self.split(counts)[0][labels.labeler, 0]
        right, wrong = (by_cell[:, of] for of in (cells.right[0], cells.wrong[0, 0]))
        right, wrong = (
            jnp.maximum(right - prob_right, 0.0),
            jnp.maximum(wrong - (1.0 - prob_right), 0.0),
        )
        to_wrong = self.weights[0, cells.wrong[0, 0]] + wrong
        share = to_wrong / (self.weights.sum() + right + wrong) / (self.num_classes - 1.0)
        log_prob = jnp.where(labels.is_class, jnp.log(share), 0.0)
        return none.at[labels.example].add(log_prob)

    def log_marginal(self, counts: Counts) -> Float[Array, ""]:
        """Log-probability of the counts, labelers integrated out.

        A Dirichlet distribution is a chain of Beta distributions: each cell against the rest.
        """
        by_cell, _ = self.split(counts)
        weights = self.weights
        found = betaln(weights[:, :-1] + by_cell[:, :, :-1], _rest(weights) + _rest(by_cell))
        found = jnp.sum(found - betaln(weights[:, :-1], _rest(weights)))
        return found - jnp.sum(by_cell * np.log(self.cells(self.num_classes).size))

    def expected_rows(self, counts: Counts) -> ByCell:
        """Posterior means of the rows."""
        rows = self.weights + self.split(counts)[0]
        return rows / rows.sum(axis=2, keepdims=True)

    def drawn_rows(self, key: Key[Array, ""], counts: Counts) -> ByCell:
        """A draw of the rows from their posterior, whose concentration is of known labels."""
        return jax.random.dirichlet(key, self.weights + self.split(self.known(counts))[0])

    def known(self, counts: Counts) -> Counts:
        r"""Counts without variance that leave as much to be known.

        Of the information that known classes would hold of a row's accuracy :math:`\alpha`, the
        variance v of its score is missing (Louis, 1982): :math:`v \alpha (1 - \alpha)` labels.
        The prior's part stays. A label's score is that of one row alone, whatever the others are.
        """
        by_cell, variances = self.split(counts)
        rows = self.weights + by_cell
        right, total = self._right(rows), rows.sum(axis=2)
        wrong = total - right
        if variances.shape[2] == 1:  # right and wrong labels make up for each other
            lost = variances[:, :, 0] * total**2
        else:
            lost = variances[:, :, 0] * wrong**2 + variances[:, :, 1] * right**2
        concentration = self.weights.sum(axis=1)
        share = jnp.maximum(total - lost / (right * wrong), concentration) / total
        left = jnp.maximum(share[:, :, None] * rows - self.weights, 0.0)
        return self.join(left, jnp.zeros_like(variances))

    def cohorts(
        self, counts: Counts, class_prior: Float[Array, " num_classes"]
    ) -> tuple[CohortCounts, ...]:
        """What labelers are right in: their accuracy is the weighted sum over all columns.

        One cohort, with a column for each row.
        """
        cells = self.cells(self.num_classes)
        known, _ = self.split(self.known(counts))
        right = self._right(known)
        wrong = known.sum(axis=2) - right
        weights = jax.ops.segment_sum(class_prior[cells.class_of], cells.row, cells.num_rows)
        coupling = self._coupling(right, wrong, counts) if cells.num_rows > 1 else None
        return (CohortCounts(right, wrong, weights, coupling),)

    def draw_cohorts(
        self, rng: np.random.Generator, counts: Counts, num_draws: int
    ) -> tuple[Cohort, ...]:
        """Means and concentrations, without what accuracies of several classes share."""
        found, _ = _uncoupled_counts(*jax.device_put((self, np.asarray(counts))))
        return self._draw_cohorts(rng, found, num_draws)

    def _draw_cohorts(
        self, rng: np.random.Generator, found: tuple[CohortCounts, ...], num_draws: int
    ) -> tuple[Cohort, ...]:
        return tuple(
            CohortPosterior.find(cohort, hyper).draw(rng, num_draws)
            for cohort, hyper in zip(found, self.hyperpriors(), strict=True)
        )

    @abc.abstractmethod
    def with_rows(
        self, rng: np.random.Generator, rows: Float[np.ndarray, "..."], counts: Counts
    ) -> AbstractLabelers:
        """Labelers with these rows; what else they share is drawn."""

    def draw(
        self, rng: np.random.Generator, counts: Counts, num_draws: int
    ) -> Iterator[AbstractLabelers]:
        """Labelers, after what their cohorts share."""
        of_cohorts, known = _uncoupled_counts(*jax.device_put((self, np.asarray(counts))))
        # In few sizes: shares of draws are of any.
        cohorts = self._draw_cohorts(rng, of_cohorts, bucket_size(num_draws, _LEAST_DRAWS))
        weights = np.asarray(_drawn_weights(self, cohorts), np.float64)[:num_draws]
        known, dtype = np.asarray(known, np.float64), np.asarray(counts).dtype
        for cohort_weights in weights:
            yield self.with_rows(
                rng, _draw_dirichlet(rng, cohort_weights + known).astype(dtype), counts
            )

    def drawn_evidence(
        self,
        drawn: AbstractLabelers,
        counts: Counts,
        labels: Labels,
        class_prior: ClassPrior,
        evidence: Float[Array, "num_examples num_classes"],
    ) -> Float[Array, "num_examples num_classes"]:
        """That of the fit, moved by what log-probabilities differ from those at the means.

        Up to what the classes share. Neither knows labelers who cannot err.
        """
        at_mean = self.posterior_mean(counts).floored_evidence(labels)
        return evidence + drawn.floored_evidence(labels) - at_mean

    def accuracy_moments(
        self,
        by_rho: Float[np.ndarray, "num_labelers ..."],
        class_total: Float[np.ndarray, "num_nodes num_classes"],
        weights: Float[np.ndarray, " num_nodes"],
    ) -> tuple[Float[np.ndarray, " num_labelers"], Float[np.ndarray, " num_labelers"]]:
        """By the posterior of the cohorts: see `models.cohort`."""
        counts = _cohort_counts(*jax.device_put((self, by_rho, class_total)))
        mean = square = np.zeros(len(by_rho))
        for at, weight in enumerate(weights):
            at_node = [parts.at(at) for parts in counts]
            found = [
                CohortPosterior.find(part, hyper).moments(part)
                for part, hyper in zip(at_node, self.hyperpriors(), strict=True)
            ]
            of_node, variance = (sum(parts) for parts in zip(*found, strict=True))
            mean = mean + weight * of_node
            square = square + weight * (variance + of_node**2)
        return mean, square - mean**2

    def log_evidence_bound(self, of_classes: Float[Array, ""], counts: Counts) -> float:
        """The mean-field bound."""
        return float(_log_bound(self, of_classes, counts))

    def in_size(
        self, labels: Labels, assessment: Assessment, class_prior: ClassPrior | None
    ) -> tuple[Labels, Assessment, Float[Array, "..."] | None]:
        """The classes alone, in padded size."""
        return padded_to_bucket(labels.of_classes(), assessment, class_prior)

    def counts_in_size(self, counts: Counts) -> Float[Array, "padded_labelers ..."]:
        """With labelers who gave no labels."""
        return pad_to(counts, bucket_size(counts.shape[0], LEAST_LABELERS))

    def first_labelers[L: AbstractLabelers](self, num_labelers: int, labelers: L) -> L:
        """The first of them."""
        return first(num_labelers, labelers)

    def _coupling(
        self,
        right: Float[Array, "num_labelers num_rows"],
        wrong: Float[Array, "num_labelers num_rows"],
        counts: Counts,
    ) -> Float[Array, "num_labelers num_rows num_rows"]:
        """Information that accuracies of two rows share, see `CohortCounts`.

        It comes from labels that name the class of one while that of the other is as possible.
        What the labels to a class are uncertain of is shared out among the other classes in
        proportion to theirs.
        """
        _, variances = self.split(counts)
        weights = self.weights
        total = weights.sum(axis=1) + right + wrong
        accuracy = (self._right(weights) + right) / total
        off_diagonal = variances[:, None, :, -1]
        is_other = ~jnp.eye(weights.shape[0], dtype=bool)
        sums = jnp.where(is_other, off_diagonal, 0.0).sum(axis=2)
        share = off_diagonal / jnp.where(sums > 0, sums, 1.0)[:, :, None]
        named = jnp.where(is_other, variances[:, :, :1] * share, 0.0)
        of_named = named / (accuracy[:, :, None] * (1.0 - accuracy)[:, None, :])
        information = jnp.sqrt(total / (accuracy * (1.0 - accuracy)))
        return -(of_named + jnp.swapaxes(of_named, 1, 2)) / (
            information[:, :, None] * information[:, None, :]
        )

    def _right(
        self, rows: Float[Array, "*axes num_rows num_cells"]
    ) -> Float[Array, "*axes num_rows"]:
        """The entries in cells of right answers."""
        cells = self.cells(self.num_classes)
        return rows[..., np.arange(cells.num_rows), cells.right]

    def _rows(
        self, latent_probs: LatentProbs
    ) -> tuple[Int[Array, " num_rows"], Float[Array, "num_rows num_examples"]]:
        """Each row, and the probability that each example is of it."""
        cells = self.cells(self.num_classes)
        if cells.num_rows == 1:
            return jnp.zeros(1, int), jnp.ones((1, latent_probs.shape[0]), latent_probs.dtype)
        probs = jax.ops.segment_sum(latent_probs.T, cells.row, cells.num_rows)
        return jnp.arange(cells.num_rows), probs


class AbstractMeanRows[L: AbstractLabelers](AbstractConjugatePrior):
    r"""One cohort, whose rows are drawn around mean rows: :math:`w_r = \kappa m_r`.

    Under the hyperprior :math:`\log m` has the weights of some labelers' right and wrong answers,
    and :math:`\log \kappa` is normal.

    Attributes:
        log_concentration: logarithm of :math:`\kappa`, one for all rows: those of their own run
            off where a class is rare.
    """

    log_concentration: Float[Array, ""]

    @property
    @abc.abstractmethod
    def mean_rows(self) -> Rows:
        """The mean rows m."""

    @property
    @abc.abstractmethod
    def hyper(self) -> HyperPrior:
        """The hyperprior."""

    @abc.abstractmethod
    def labelers(self, rows: ByCell) -> L:
        """The labelers with these rows."""

    @property
    def weights(self) -> Rows:
        """Mean rows times the concentration."""
        return self.mean_rows * jnp.exp(self.log_concentration)

    @property
    def hyper_weights(self) -> Float[np.ndarray, "num_rows num_cells"]:
        """How many labels in each cell the hyperprior of the mean rows is worth."""
        mean = self.cells(self.num_classes).mean(self.hyper)
        return (self.hyper.mean_a + self.hyper.mean_b) * mean

    def with_rows(
        self, rng: np.random.Generator, rows: Float[np.ndarray, "..."], counts: Counts
    ) -> L:
        """Nothing else is shared."""
        return self.labelers(jax.device_put(rows))

    def posterior_mean(self, counts: Counts) -> L:
        """The labelers at their posterior means."""
        return self.labelers(self.expected_rows(counts))

    def sample(self, key: Key[Array, ""], counts: Counts) -> L:
        """A draw of the labelers from their posterior given the counts."""
        return self.labelers(self.drawn_rows(key, counts))

    def concentration_step(self, mean_rows: Rows, by_cell: ByCell) -> Float[Array, ""]:
        """The log-concentration after a Newton step, given mean rows and known labels."""
        by_cell = jnp.moveaxis(by_cell, 0, 2)  # arrays with a short last axis are slow
        total, hyper = by_cell.sum(axis=1), self.hyper

        def slope(log_concentration: Float[Array, ""]) -> Float[Array, ""]:
            concentration = jnp.exp(log_concentration)
            weights = mean_rows[:, :, None] * concentration
            given = weights + by_cell, weights, concentration, concentration + total
            of_all, of_none, of_row, of_total = digammas(*given)
            of_cells = jnp.sum(weights * (of_all - of_none))
            of_rows = jnp.sum(of_row - of_total)
            z = (log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
            return of_cells + concentration * of_rows - z / hyper.log_concentration_sd

        return newton_step(slope, self.log_concentration)

    def log_density(self) -> Float[Array, ""]:
        """Of the mean rows and the concentration under the hyperprior."""
        hyper = self.hyper
        z = (self.log_concentration - hyper.log_concentration) / hyper.log_concentration_sd
        return jnp.sum(self.hyper_weights * jnp.log(self.mean_rows)) - z**2 / 2.0

    def hyperpriors(self) -> tuple[HyperPrior, ...]:
        """The only one."""
        return (self.hyper,)


@dataclasses.dataclass(frozen=True)
class AbstractRowsPrior[L: AbstractLabelers](AbstractMeanRows[L]):
    r"""A row for each class, drawn around the cohort's: :math:`\mathrm{Dirichlet}(\kappa m_y)`.

    Attributes:
        mean: mean rows :math:`m_y`.
        log_concentration: logarithm of :math:`\kappa`.
        num_classes: K.
        least_right: what the mean rows' right labels are at least: 1 / K by default, or 0.
    """

    mean: Float[Array, "num_classes num_cells"]
    log_concentration: Float[Array, ""]
    num_classes: int = dataclasses.field(metadata={"static": True})
    least_right: ScalarLike = 0.0

    @classmethod
    def default(cls, num_classes: int) -> "AbstractRowsPrior[L]":
        """The centre of the hyperprior: half-way from chance to perfection, worth 15 labels."""
        hyper = HyperPrior.for_classes(num_classes)
        return cls(
            on_device(cls.cells(num_classes).mean(hyper)),
            on_device(hyper.log_concentration),
            num_classes,
            on_device(1.0 / num_classes),
        )

    @property
    def hyper(self) -> HyperPrior:
        """The hyperprior, one for all rows."""
        return HyperPrior.for_classes(self.num_classes)

    @property
    def shape(self) -> Float[Array, "num_classes num_cells"]:
        """Parameters of the Dirichlet distributions, one row per class."""
        return self.weights

    def trusting_gold(self) -> "AbstractRowsPrior[L]":
        """Without a floor of the mean rows."""
        return dataclasses.replace(self, least_right=on_device(0.0))

    @property
    def mean_rows(self) -> Float[Array, "num_classes num_cells"]:
        """The mean rows."""
        return self.mean

    def m_step(self, counts: Counts) -> "AbstractRowsPrior[L]":
        """Mean rows from the labelers' counts, none worth more than the prior; then a Newton step.

        A labeler's rows enter the mean with weight n / (n + kappa), as if drawn around it. Right
        labels are no rarer than `least_right`: a rare class would else learn rows worse than
        chance, and take in all doubtful examples.
        """
        by_cell, _ = self.split(self.known(counts))
        concentration = jnp.exp(self.log_concentration)
        worth = 1.0 + by_cell.sum(axis=2, keepdims=True) / concentration
        pooled = jnp.sum(by_cell / worth, axis=0) / concentration + self.hyper_weights
        prior = dataclasses.replace(self, mean=pooled / pooled.sum(axis=1, keepdims=True))
        prior = prior._with_right(jnp.maximum(self._right(prior.mean), self.least_right))
        log_concentration = self.concentration_step(prior.mean, by_cell)
        return dataclasses.replace(prior, log_concentration=log_concentration)

    def with_cohorts(self, drawn: Sequence[Cohort]) -> "AbstractRowsPrior[L]":
        """Other means of right labels."""
        log_concentration = jnp.log(drawn[0].concentration)
        prior = dataclasses.replace(self, log_concentration=log_concentration)
        return prior._with_right(jnp.asarray(drawn[0].mean))

    def _with_right(self, right: Float[Array, " num_classes"]) -> "AbstractRowsPrior[L]":
        """Other means of right labels, the wrong ones in proportion as before."""
        is_right = self.cells(self.num_classes).is_right
        scale = (1.0 - right) / (1.0 - self._right(self.mean))
        mean = jnp.where(is_right, right[:, None], self.mean * scale[:, None])
        return dataclasses.replace(self, mean=mean)


class AbstractConjugateModel(AbstractLabelerModel):
    """A labeler model with a conjugate prior, which learns from expected counts."""

    @abc.abstractmethod
    def cohort_prior(self, num_classes: int) -> AbstractConjugatePrior:
        """The prior of a cohort, where its own learning starts."""


@jax.jit
def _log_bound(
    prior: AbstractConjugatePrior, of_classes: Float[Array, ""], counts: Counts
) -> Float[Array, ""]:
    return of_classes + prior.log_marginal(counts)


@jax.jit
def _cohort_counts(
    prior: AbstractConjugatePrior,
    by_rho: Float[Array, "num_labelers ..."],
    class_total: Float[Array, "num_nodes num_classes"],
) -> tuple[CohortCounts, ...]:
    """What accuracies are known by, every array with a first axis for rho."""

    def at(given: tuple[Array, Array]) -> tuple[CohortCounts, ...]:
        counts, class_total = given
        shares = class_total + 1.0
        return prior.cohorts(counts, shares / shares.sum())

    return jax.lax.map(at, (jnp.moveaxis(by_rho, -1, 0), class_total))


@jax.jit
def _drawn_weights(
    prior: AbstractConjugatePrior, cohorts: tuple[Cohort, ...]
) -> Float[Array, "num_draws num_rows num_cells"]:
    """Dirichlet weights of the rows, at every draw of what the cohorts share."""
    return jax.vmap(lambda cohort: prior.with_cohorts(cohort).weights)(cohorts)


def _draw_dirichlet(
    rng: np.random.Generator, parameters: Float[np.ndarray, "*shape num_cells"]
) -> Float[np.ndarray, "*shape num_cells"]:
    """Rows on the host; of Gamma variables one unit larger, lest small ones become zero."""
    log_gamma = np.log(rng.standard_gamma(parameters + 1.0))
    log_gamma += np.log(rng.random(parameters.shape)) / parameters
    rows = np.exp(log_gamma - log_gamma.max(axis=-1, keepdims=True))
    rows = np.maximum(rows, np.finfo(np.float32).tiny)
    return rows / rows.sum(axis=-1, keepdims=True)


@jax.jit
def _uncoupled_counts(
    prior: AbstractConjugatePrior, counts: Counts
) -> tuple[tuple[CohortCounts, ...], ByCell]:
    """What cohorts and labelers are known by, without tables of classes by classes for each."""
    uniform = jnp.full(prior.num_classes, 1.0 / prior.num_classes)
    found = tuple(cohort._replace(coupling=None) for cohort in prior.cohorts(counts, uniform))
    return found, prior.split(prior.known(counts))[0]


def prob_of_answer(
    labels: Labels, class_probs: Float[Array, "num_examples num_classes"]
) -> Float[Array, " num_labels"]:
    """Probability that each label is right; 0 for padding."""
    label = jnp.maximum(labels.label, 0).astype(jnp.int32)

    def by_example(class_probs: Array) -> Array:
        return class_probs.reshape(-1)[labels.example * labels.num_classes + label]

    def by_class(class_probs: Array) -> Array:
        return class_probs.T.reshape(-1)[label * labels.num_examples + labels.example]

    # As they lie in memory: on a TPU another order is a transposition, which takes long to compile.
    found = jax.lax.platform_dependent(class_probs, tpu=by_class, default=by_example)
    return jnp.where(labels.is_class, found, 0.0)


def add_votes(
    labels: Labels, weight: Float[Array, " num_labels"]
) -> Float[Array, "num_examples num_classes"]:
    """The sum of the weights of each example's labels, by the class that they name."""
    size, label = labels.num_examples * labels.num_classes, labels.label.astype(jnp.int32)

    def total(cell: Array, weight: Array) -> Array:
        cell = jnp.where(labels.is_class, cell, size)
        return jnp.zeros(size, weight.dtype).at[cell].add(weight, mode="drop")

    def by_example(weight: Array) -> Array:
        found = total(labels.example * labels.num_classes + label, weight)
        return found.reshape(-1, labels.num_classes)

    def by_class(weight: Array) -> Array:
        found = total(label * labels.num_examples + labels.example, weight)
        return found.reshape(labels.num_classes, -1).T

    return jax.lax.platform_dependent(weight, tpu=by_class, default=by_example)


def digammas(*values: Float[Array, "..."]) -> list[Float[Array, "..."]]:
    """Of several arrays, by one series: every further one takes as long again to compile."""
    flat = digamma(jnp.concatenate([jnp.ravel(part) for part in values]))
    ends = np.cumsum([part.size for part in values])[:-1]
    return [part.reshape(of.shape) for part, of in zip(jnp.split(flat, ends), values, strict=True)]


def newton_step(
    slope: Callable[[Float[Array, "*shape"]], Float[Array, "*shape"]], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """One guarded Newton step uphill, entry by entry, each slope depending on its own entry.

    The curvature is a difference of slopes: derivatives of digamma take seconds to compile.
    """
    # All three at once: written out three times they take three times as long to compile.
    below, at, above = jax.vmap(slope)(jnp.stack([x - _NEARBY, x, x + _NEARBY]))
    step = at / jnp.maximum(jnp.abs(above - below) / (2.0 * _NEARBY), 1e-3)
    return x + jnp.clip(step, -_LARGEST_STEP, _LARGEST_STEP)


def _rest(rows: Float[Array, "*axes num_cells"]) -> Float[Array, "*axes one_less"]:
    """For each cell but the last what the cells after it add up to."""
    return jnp.flip(jnp.cumsum(jnp.flip(rows, axis=-1), axis=-1), axis=-1)[..., 1:]


def _at(cell: Int[Array, "..."], labels: Labels) -> Int[Array, " num_labels"]:
    """Index of each label's cell and labeler in flat counts of a row."""
    return cell * labels.num_labelers + labels.labeler


def _by_row[T](of_row: Callable[..., T], rows: Any) -> T:
    """A function of each row in turn: labels by cells are never held. The only one at once."""
    if jax.tree.leaves(rows)[0].shape[0] > 1:
        return jax.lax.map(of_row, rows)
    found = of_row(jax.tree.map(lambda part: part[0], rows))
    return jax.tree.map(lambda part: part[None], found)
