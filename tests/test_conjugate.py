"""All that follows from a table of cells, against sums over labels in NumPy, in float64."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.models.cohort import Cohort
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.models.conjugate import AbstractRowsPrior, Cells
from gtx_bayes.models.difficulty import HARD_SHARE
from gtx_bayes.registry import MODELS

NUM_CLASSES, NUM_LABELERS, NUM_EXAMPLES, NUM_LABELS = 4, 5, 9, 40
NUM_DRAWS = 4000
CLASS_PRIOR = np.array([0.4, 0.1, 0.3, 0.2])
GROUP = np.array([0, 0, 1, 1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GroupsPrior(AbstractRowsPrior):
    """Two groups of classes, a row for each: right, wrong within the group, and without."""

    @staticmethod
    @functools.cache
    def cells(num_classes):
        wrong = np.where(np.arange(2)[:, None] == GROUP, 1, 2)
        return Cells(GROUP, right=np.zeros(2, int), wrong=wrong)

    def labelers(self, rows):
        cells = self.cells(self.num_classes)
        return ConfusionMatrix((rows / cells.size)[:, GROUP[:, None], table(cells)], NUM_CLASSES)


ALL = {
    name: MODELS.build(name).cohort_prior
    for name in ("one-coin", "class-conditional", "confusion", "difficulty")
}
ALL["groups of classes"] = GroupsPrior.default


def table(cells):
    """The cell of every label given every latent class."""
    is_right = cells.class_of[:, None] == np.arange(cells.wrong.shape[1])
    return np.where(is_right, cells.right[cells.row][:, None], cells.wrong[cells.row])


def crowd():
    """Labels of five labelers, some twice to an example; padding; the last example has none."""
    rng = np.random.default_rng(4)
    label = rng.integers(0, NUM_CLASSES, NUM_LABELS)
    label[[3, 17, -1]] = MISSING
    return Labels(
        jnp.asarray(np.sort(rng.integers(0, NUM_EXAMPLES - 1, NUM_LABELS)), jnp.int32),
        jnp.asarray(rng.integers(0, NUM_LABELERS, NUM_LABELS), jnp.int32),
        jnp.asarray(label, jnp.int8),
        NUM_EXAMPLES,
        NUM_LABELERS,
        NUM_CLASSES,
    )


@jax.jit
def derive(prior, labels, probs, drawn):
    """What the package makes of the table."""
    prior = prior.with_cohorts(drawn)
    counts = prior.counts(labels, probs)
    refitted = jax.lax.fori_loop(0, 60, lambda _, prior: prior.m_step(counts), prior)
    keys = jax.random.split(jax.random.key(0), NUM_DRAWS)
    return {
        "prior": prior,
        "weights": prior.weights,
        "split": prior.split(counts),
        "evidence": prior.evidence(labels, probs, counts),
        "log_marginal": prior.log_marginal(counts),
        "expected_rows": prior.expected_rows(counts),
        "drawn_rows": jax.vmap(lambda key: prior.drawn_rows(key, counts))(keys),
        "labelers": prior.posterior_mean(counts),
        "known": prior.split(prior.known(counts)),
        "cohorts": prior.cohorts(counts, jnp.asarray(CLASS_PRIOR, float)),
        "refitted": (refitted.weights, refitted.split(refitted.known(counts))[0]),
        "log_density": prior.log_density(),
    }


class Reference:
    """The same by loops over labels, latent classes and cells."""

    def __init__(self, prior, found, labels, probs):
        self.cells = prior.cells(NUM_CLASSES)
        self.table, self.row = table(self.cells), self.cells.row
        self.weights = np.asarray(found["weights"], np.float64)
        self.entries = [
            entry
            for entry in np.stack([labels.example, labels.labeler, labels.label], axis=1).tolist()
            if entry[2] != MISSING
        ]
        self.probs = np.asarray(probs, np.float64)
        self.by_cell = np.zeros((NUM_LABELERS, *self.weights.shape))
        self.spread = np.zeros((NUM_LABELERS, len(self.weights), 2))
        for entry in self.entries:
            own = self.own(entry)
            right = np.take_along_axis(own, self.cells.right[:, None], axis=1)[:, 0]
            wrong = own.sum(axis=1) - right
            self.by_cell[entry[1]] += own
            self.spread[entry[1]] += np.stack([right * (1 - right), wrong * (1 - wrong)], axis=1)

    def own(self, entry):
        """How probably one label is in each cell."""
        own = np.zeros(self.weights.shape)
        for latent, row in enumerate(self.row):
            own[row, self.table[latent, entry[2]]] += self.probs[entry[0], latent]
        return own

    def labels_in(self, latent, cell):
        return int((self.table[latent] == cell).sum())

    def right(self, rows):
        return np.stack([rows[..., r, c] for r, c in enumerate(self.cells.right)], axis=-1)


@pytest.fixture(autouse=True, scope="module")
def compile_fast():
    """Gamma functions take longer to compile well than to run here."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


SLOW = ("class-conditional", "confusion", "difficulty")
"""No more than the two groups of classes show; `make test-slow` compiles these too."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in SLOW else []) for name in ALL],
)
def case(request):
    prior, labels = ALL[request.param](NUM_CLASSES), crowd()
    num_latents = NUM_CLASSES * prior.num_subclasses
    probs = np.random.default_rng(1).dirichlet(np.full(num_latents, 0.5), NUM_EXAMPLES)
    probs = jnp.asarray(probs, float)
    num_columns = len(prior.weights) // len(prior.hyperpriors())
    means = np.array([0.55, 0.7, 0.6, 0.5])
    drawn = tuple(
        Cohort(jnp.asarray(7.0 + at, float), jnp.asarray(means[at : at + num_columns], float))
        for at in range(len(prior.hyperpriors()))
    )
    found = derive(prior, labels, probs, drawn)
    return prior, found, Reference(prior, found, labels, probs), drawn


def close(got, expected, rtol=3e-5, atol=3e-6):
    np.testing.assert_allclose(got, expected, rtol, atol)


def test_cells_of_a_latent_class_hold_every_label_once(case):
    prior, _, reference, _ = case
    size = prior.cells(NUM_CLASSES).size
    for latent, row in enumerate(reference.row):
        for cell in range(size.shape[1]):
            assert size[row, cell] == reference.labels_in(latent, cell) > 0


def test_weights_are_those_of_the_cohort_given(case):
    _, _, reference, drawn = case
    concentration = np.concatenate([np.full(each.mean.shape, each.concentration) for each in drawn])
    close(reference.weights.sum(axis=1), concentration)
    means = np.concatenate([each.mean for each in drawn])
    close(reference.right(reference.weights), means * concentration)


def test_counts(case):
    _, found, reference, _ = case
    by_cell, spread = found["split"]
    close(by_cell, reference.by_cell)
    close(spread, reference.spread[:, :, : spread.shape[2]])


def test_evidence_leaves_a_label_s_own_part_out(case):
    prior, found, reference, _ = case
    expected = np.zeros(reference.probs.shape)
    for entry in reference.entries:
        i, j, label = entry
        left = reference.by_cell[j] - reference.own(entry) + reference.weights
        for latent, row in enumerate(reference.row):
            cell = reference.table[latent, label]
            share = left[row, cell] / left[row].sum() / reference.labels_in(latent, cell)
            expected[i, latent] += np.log(share)
    if prior.num_subclasses == 2:
        of_kinds = reference.probs.reshape(NUM_EXAMPLES, NUM_CLASSES, 2).sum(axis=1)
        is_labeled = np.isin(np.arange(NUM_EXAMPLES), [i for i, _, _ in reference.entries])
        others = (of_kinds * is_labeled[:, None]).sum(axis=0) + HARD_SHARE[::-1] - of_kinds
        log_share = np.log(others / others.sum(axis=1, keepdims=True))
        log_share[~is_labeled] = [0.0, -np.inf]
        expected += np.tile(log_share, NUM_CLASSES)
    got = np.asarray(found["evidence"])
    close(got - got[:, :1], expected - expected[:, :1], atol=3e-5)


def test_log_marginal(case):
    prior, found, reference, _ = case
    gammaln, weights, n = scipy.special.gammaln, reference.weights, reference.by_cell
    expected = np.sum(gammaln(weights + n) - gammaln(weights))
    expected += np.sum(gammaln(weights.sum(axis=1)) - gammaln((weights + n).sum(axis=2)))
    for entry in reference.entries:
        for latent in range(len(reference.row)):
            size = reference.labels_in(latent, reference.table[latent, entry[2]])
            expected -= reference.probs[entry[0], latent] * np.log(size)
    if prior.num_subclasses == 2:
        labeled = np.unique([i for i, _, _ in reference.entries])
        kinds = reference.probs[labeled].reshape(-1, 2).sum(axis=0)[::-1]
        expected += scipy.special.betaln(*(HARD_SHARE + kinds)) - scipy.special.betaln(*HARD_SHARE)
    close(found["log_marginal"], expected)


def test_expected_rows_and_labelers(case):
    prior, found, reference, _ = case
    rows = reference.weights + reference.by_cell
    rows /= rows.sum(axis=2, keepdims=True)
    close(found["expected_rows"], rows)
    of_latent = np.stack(
        [
            [rows[:, row, cell] / reference.labels_in(latent, cell) for cell in cells]
            for latent, (row, cells) in enumerate(zip(reference.row, reference.table, strict=True))
        ]
    )
    by_kind = np.moveaxis(of_latent, 2, 0).reshape(NUM_LABELERS, NUM_CLASSES, -1, NUM_CLASSES)
    labelers = found["labelers"]
    kinds = (labelers,) if prior.num_subclasses == 1 else (labelers.easy, labelers.hard)
    for kind, got in enumerate(kinds):
        close(got.confusion_matrix, by_kind[:, :, kind])


def known_of(reference):
    """The prior's weights and what is known: expected counts less the score's variance."""
    rows = reference.weights + reference.by_cell
    total, accuracy = rows.sum(axis=2), reference.right(rows) / rows.sum(axis=2)
    spread = reference.spread
    score = spread[:, :, 0] / accuracy**2 + spread[:, :, 1] / (1 - accuracy) ** 2
    if len(reference.weights) == 1:  # of one row what is not right is wrong
        score += 2 * spread[:, :, 0] / (accuracy * (1 - accuracy))
    left = np.maximum(total - accuracy * (1 - accuracy) * score, reference.weights.sum(axis=1))
    return np.maximum(rows * (left / total)[:, :, None], reference.weights)


def test_known_lacks_the_variance_of_the_score(case):
    _, found, reference, _ = case
    by_cell, spread = found["known"]
    close(by_cell, known_of(reference) - reference.weights, atol=3e-5)
    assert not np.asarray(spread).any()
    assert by_cell.sum() < reference.by_cell.sum()


def test_drawn_rows_have_the_moments_of_dirichlet_distributions(case):
    """Within six standard errors, entry by entry."""
    _, found, reference, _ = case
    shape = known_of(reference)
    total = shape.sum(axis=2, keepdims=True)
    mean = shape / total
    variance = mean * (1 - mean) / (total + 1)
    drawn = np.asarray(found["drawn_rows"], np.float64)
    error = np.abs(drawn.mean(axis=0) - mean)
    assert (error < 6 * np.sqrt(variance / NUM_DRAWS)).all()
    squares = (drawn - mean) ** 2
    error = np.abs(squares.mean(axis=0) - variance)
    assert (error < 6 * squares.std(axis=0) / np.sqrt(NUM_DRAWS)).all()


def test_cohorts_are_what_is_known_of_right_answers(case):
    prior, found, reference, _ = case
    known = known_of(reference) - reference.weights
    right, wrong = reference.right(known), known.sum(axis=2) - reference.right(known)
    weights = np.zeros(len(reference.weights))
    np.add.at(weights, reference.row, CLASS_PRIOR[prior.cells(NUM_CLASSES).class_of])
    if prior.num_subclasses == 2:
        labeled = np.unique([i for i, _, _ in reference.entries])
        kinds = reference.probs[labeled].reshape(-1, 2).sum(axis=0) + HARD_SHARE[::-1]
        weights = kinds / kinds.sum()
    together = [
        np.concatenate([np.atleast_1d(p) for p in parts], axis=-1)
        for parts in zip(*(cohort[:3] for cohort in found["cohorts"]), strict=True)
    ]
    for got, expected in zip(together, (right, wrong, weights), strict=True):
        close(got, expected, atol=3e-5)


def test_coupling_shares_out_what_is_uncertain(case):
    """Of rows r and s: labels right about r that are as possible of s, and the other way round."""
    _, found, reference, _ = case
    known = known_of(reference)
    total, accuracy = known.sum(axis=2), reference.right(known) / known.sum(axis=2)
    information = total / (accuracy * (1 - accuracy))
    right, wrong = reference.spread[:, :, 0], reference.spread[:, :, 1]
    cohort = found["cohorts"][0]
    num_columns = cohort.right.shape[1]
    if num_columns == 1:
        assert cohort.coupling is None
        return
    expected = np.zeros((NUM_LABELERS, num_columns, num_columns))
    for j, r, s in np.ndindex(expected.shape):
        for of, other in ((r, s), (s, r)) if r != s else ():
            others = wrong[j].sum() - wrong[j, of]
            shared = right[j, of] * wrong[j, other] / others if others > 0 else 0.0
            shared /= accuracy[j, of] * (1 - accuracy[j, other])
            expected[j, r, s] -= shared / np.sqrt(information[j, r] * information[j, s])
    close(cohort.coupling, expected, atol=3e-5)


def test_log_density_is_that_of_the_hyperprior(case):
    prior, found, reference, drawn = case
    mean = reference.weights / reference.weights.sum(axis=1, keepdims=True)
    right, per_cohort = reference.right(mean), len(mean) // len(drawn)
    expected = 0.0
    for at, (hyper, cohort) in enumerate(zip(prior.hyperpriors(), drawn, strict=True)):
        z = (np.log(cohort.concentration) - hyper.log_concentration) / hyper.log_concentration_sd
        expected -= z**2 / 2
        for row in range(at * per_cohort, (at + 1) * per_cohort):
            expected += hyper.mean_a * np.log(right[row])
            for cell, size in enumerate(prior.cells(NUM_CLASSES).size[row]):
                if cell != prior.cells(NUM_CLASSES).right[row]:
                    share = size / (NUM_CLASSES - 1)
                    expected += hyper.mean_b * share * np.log(mean[row, cell])
    close(found["log_density"], expected)


def test_refit_ends_where_the_density_is_highest(case):
    """The concentration given the mean rows; and the rows, which are pooled or best themselves."""
    prior, found, _, drawn = case
    weights, by_cell = (np.asarray(part, np.float64) for part in found["refitted"])
    cells, per_cohort = prior.cells(NUM_CLASSES), len(weights) // len(drawn)
    for at, hyper in enumerate(prior.hyperpriors()):
        rows = slice(at * per_cohort, (at + 1) * per_cohort)
        n, own, right = by_cell[:, rows], weights[rows], cells.is_right[rows]
        kappa = own.sum(axis=1)[0]
        hyper_weights = (hyper.mean_a + hyper.mean_b) * cells.mean(hyper)[rows]

        def log_density(mean, kappa, n=n, hyper=hyper, hyper_weights=hyper_weights):
            shape = mean * kappa
            gammaln = scipy.special.gammaln
            of_rows = gammaln(kappa) - gammaln(kappa + n.sum(axis=2))
            z = (np.log(kappa) - hyper.log_concentration) / hyper.log_concentration_sd
            of_cells = gammaln(shape + n) - gammaln(shape)
            own = np.sum(hyper_weights * np.log(mean)) - z**2 / 2
            return of_cells.sum() + of_rows.sum() + own

        best = log_density(own / kappa, kappa)
        assert best > max(log_density(own / kappa, kappa * factor) for factor in (0.8, 1.25))
        if isinstance(prior, AbstractRowsPrior):
            pooled = (n / (kappa + n.sum(axis=2, keepdims=True))).sum(axis=0) + hyper_weights
            pooled /= pooled.sum(axis=1, keepdims=True)
            mean_right = pooled[right][:, None]
            floored = np.maximum(mean_right, 1 / NUM_CLASSES)
            pooled = np.where(right, floored, pooled * (1 - floored) / (1 - mean_right))
            close(own / kappa, pooled, rtol=1e-3)
        else:
            mean = scipy.special.logit(own / kappa)
            for step in (0.1, -0.1):
                moved = scipy.special.expit(mean + np.where(right, step, -step))
                assert best > log_density(moved, kappa)
