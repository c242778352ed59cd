"""Forms of the posterior that other platforms or batches of cohorts take, against the usual one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes.dense_tpu import dense_on_tpu
from gtx_bayes.evidence import log_prior
from gtx_bayes.kernels import probs_by_pairs
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.long_tpu import long_on_tpu
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.posterior import (
    batch_class_posterior,
    batch_log_evidence,
    batch_log_odds,
    no_evidence,
    update,
)
from gtx_bayes.votes import runs_longer_than

pytestmark = [pytest.mark.kernel, pytest.mark.optimised]

PRIORS = {2: [0.3, 0.7], 3: [0.2, 0.8, 0.0]}


@pytest.fixture(params=[2, 3])
def crowd(request):
    """Seven labelers, certain ones among them, and 40 examples."""
    rng = np.random.default_rng(request.param)
    labels = rng.integers(MISSING, request.param, (7, 40)).astype(np.int8)
    accuracy = jnp.array([0.0, 1.0, 1.0, 0.6, 0.75, 0.9, 0.3])
    prior = jnp.array(PRIORS[request.param])
    return OneCoin(accuracy, request.param), jnp.asarray(labels), prior


def test_the_kernel_of_a_tpu(crowd):
    """Interpreted; blocks of examples that the last one does not fill are the compiler's."""
    model, labels, prior = crowd
    log = log_prior(prior, model.num_classes)
    got = dense_on_tpu(model.vote_weight, labels, log, in_log_odds=False, interpret=True)
    np.testing.assert_allclose(got, batch_class_posterior(model, labels, prior), atol=1e-6)
    if model.num_classes == 2:
        odds = dense_on_tpu(model.vote_weight, labels, log, in_log_odds=True, interpret=True)
        np.testing.assert_allclose(odds, batch_log_odds(model, labels, prior), atol=1e-5)


def test_classes_in_pairs(crowd):
    """As a GPU compares them."""
    model, labels, prior = crowd
    weight, one = model.vote_weight, jnp.ones(())
    log = log_prior(prior, model.num_classes)
    got = probs_by_pairs(weight.coarse + weight.fine, one, weight.zeros, labels, log)
    np.testing.assert_allclose(got, batch_class_posterior(model, labels, prior), atol=1e-6)


class TestCohorts:
    """By leading axes and by `vmap`: what comes out cohort by cohort, up to rounding."""

    @pytest.fixture(params=["usual", "certain", "invalid"])
    def accuracy(self, request):
        some = np.random.default_rng(0).uniform(0.4, 0.95, (3, 20))
        some[1, 4] = {"usual": 0.5, "certain": 1.0, "invalid": np.nan}[request.param]
        return some

    @pytest.fixture(params=["dense", "long", "sparse"])
    def labels(self, request):
        """Every form of the sums: of 300 cells one in a hundred is filled in the sparse one."""
        rng = np.random.default_rng(1)
        table = rng.integers(MISSING, 2, (20, 15)).astype(np.int8)
        if request.param == "sparse":
            table = np.where(rng.random(table.shape) < 0.01, table, MISSING)
        return jnp.asarray(table) if request.param == "dense" else long(table)

    def test_log_odds(self, accuracy, labels):
        models = jnp.asarray(accuracy, float)
        expected = np.stack([batch_log_odds(OneCoin(each, 2), labels) for each in models])
        np.testing.assert_allclose(batch_log_odds(OneCoin(models, 2), labels), expected, atol=1e-5)
        mapped = jax.vmap(lambda each: batch_log_odds(OneCoin(each, 2), labels))(models)
        np.testing.assert_allclose(mapped, expected, atol=1e-5)

    def test_more_classes_and_axes(self):
        rng = np.random.default_rng(2)
        models = jnp.asarray(rng.uniform(0.3, 0.9, (2, 3, 6)))
        labels = jnp.asarray(rng.integers(MISSING, 3, (6, 9)).astype(np.int8))
        for call in (batch_class_posterior, batch_log_evidence):
            got = call(OneCoin(models, 3), labels)
            expected = call(OneCoin(models[1, 2], 3), labels)
            np.testing.assert_allclose(got[1, 2], expected, atol=1e-5)
            assert got.shape[:3] == (2, 3, 9)

    def test_crowds_of_their_own(self):
        """Labels differ as well: no product, and the same results."""
        rng = np.random.default_rng(3)
        accuracy = jnp.asarray(rng.uniform(0.3, 0.9, (3, 6)))
        tables = jnp.asarray(rng.integers(MISSING, 2, (3, 6, 9)).astype(np.int8))
        got = jax.vmap(lambda a, t: batch_log_odds(OneCoin(a, 2), t))(accuracy, tables)
        for each, table, found in zip(accuracy, tables, got, strict=True):
            np.testing.assert_allclose(found, batch_log_odds(OneCoin(each, 2), table), atol=1e-6)


def long(table):
    return Labels.from_dense(table, num_classes=2)


def test_padding_at_the_end_is_no_long_run():
    """Tables padded to common sizes keep the fast sums, whose answers alone are counted."""
    rows = [0] * 5 + [1] * 40
    label = np.array([1] * 5 + [MISSING] * 40)
    padded = Labels.from_arrays(rows, np.zeros(45, int), label, num_classes=2)
    assert not runs_longer_than(padded, 32)
    answered = Labels.from_arrays(rows, np.zeros(45, int), np.ones(45, int), num_classes=2)
    assert runs_longer_than(answered, 32)


def kernels():
    """Public kernels with arguments in every form."""
    coins = [OneCoin(jnp.full(5, 0.8), num_classes) for num_classes in (2, 3)]
    table = jnp.zeros((5, 12), jnp.int8)
    answers = Labels.from_arrays([0, 1, 1], [0, 4, 2], [1, 0, 1], num_classes=2, num_labelers=5)
    yield batch_log_odds, (coins[0], table)
    yield batch_class_posterior, (coins[1], table)
    yield batch_class_posterior, (coins[0], answers)
    yield batch_log_evidence, (coins[0], answers)
    yield update, (no_evidence(2, 2), coins[0], answers)


@pytest.mark.parametrize("platforms", [("cpu", "cuda"), ("tpu",)])
def test_kernels_are_exported_for_other_platforms(platforms):
    """On a machine that has none of them; nothing is left to the host. Pallas goes alone."""
    for call, arguments in kernels():
        columns, structure = jax.tree.flatten(arguments)  # JAX puts its own into dataclasses
        flat = jax.jit(lambda *given, f=call, of=structure: f(*of.unflatten(given)))
        exported = jax.export.export(flat, platforms=platforms)(*columns)
        assert exported.platforms == platforms
        assert "python_callback" not in exported.mlir_module()


def test_an_exported_kernel_comes_back():
    """Needs flatbuffers, which the extra `export` brings."""
    pytest.importorskip("flatbuffers")
    labels, accuracy = jnp.int8([[1, 0], [0, 0]]), jnp.array([0.9, 0.6])
    odds = jax.jit(lambda accuracy, labels: batch_log_odds(OneCoin(accuracy, 2), labels))
    again = jax.export.deserialize(jax.export.export(odds)(accuracy, labels).serialize())
    np.testing.assert_allclose(again.call(accuracy, labels), odds(accuracy, labels))


class TestLongFormOnATpu:
    """Interpreted, against the usual form: several blocks, chunks with gaps between, padding."""

    @pytest.fixture(params=[2, pytest.param(3, marks=pytest.mark.slow)])
    def crowd(self, request):
        """Certain labelers, an invalid one, an example with 1,100 labels and 1,000 without any."""
        rng = np.random.default_rng(request.param)
        example = np.sort(np.append(rng.integers(0, 700, 1500), np.full(1100, 701)))
        example = np.concatenate([example, rng.integers(1701, 2500, 400), np.zeros(1100)])
        example[2600:3000].sort()
        labeler = rng.integers(0, 150, 4100)
        labeler[(labeler < 3) & (example > 300)] = 4  # who is certain meets nobody invalid
        labeler[(labeler == 3) & (example <= 300)] = 4
        label = rng.integers(MISSING, request.param + 1, 4100)
        label[3000:] = MISSING
        columns = example.astype(np.int32), labeler.astype(np.int32), label.astype(np.int8)
        accuracy = rng.uniform(0.3, 0.95, 150)
        accuracy[:4] = 0.0, 1.0, 1.0, np.nan
        labels = Labels(*map(jnp.asarray, columns), 2500, 150, request.param)
        return OneCoin(jnp.asarray(accuracy, jnp.float32), request.param), labels

    def test_same_posterior(self, crowd):
        model, labels = crowd
        for prior in (None, jnp.array(PRIORS[model.num_classes])):
            log = log_prior(prior, model.num_classes)
            got = long_on_tpu(model.vote_weight, labels, log, in_log_odds=False, interpret=True)
            expected = batch_class_posterior(model, labels, prior)
            np.testing.assert_allclose(got, expected, atol=1e-5)
            assert np.isnan(got).any()
            assert np.isfinite(got).any()
        if model.num_classes == 2:
            got = long_on_tpu(model.vote_weight, labels, log, in_log_odds=True, interpret=True)
            np.testing.assert_allclose(got, batch_log_odds(model, labels, prior), atol=1e-5)

    def test_unsorted_answers_are_refused(self, crowd):
        model, labels = crowd
        label = jnp.where(labels.label == MISSING, 0, labels.label)  # padding becomes answers
        unsorted = dataclasses.replace(labels, label=label)
        log = log_prior(None, model.num_classes)
        got = long_on_tpu(model.vote_weight, unsorted, log, in_log_odds=False, interpret=True)
        assert np.isnan(got).all()
