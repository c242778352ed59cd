"""The contract of labeler models: a file with a prior and a likelihood, and all that follows."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpyro import handlers

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state, write_state
from gtx_bayes.collection.next_labels import next_labels
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.loo import leave_one_out
from gtx_bayes.diagnostics.predictive import predictive_checks
from gtx_bayes.diagnostics.sampling import sample_posterior, with_log_likelihood
from gtx_bayes.errors import InputError
from gtx_bayes.models.base import ModelLabelers, reference_labels
from gtx_bayes.models.conjugate import AbstractConjugateModel
from gtx_bayes.registry import MODELS
from tests.test_cli import call

PLUGINS = Path(__file__).parent / "plugins"
SPAMMERS = f"{PLUGINS / 'spammers.py'}:Spammers"
EXPERIENCE = f"{PLUGINS / 'experience.py'}:Experience"

NUM_EXAMPLES, NUM_LABELERS, NUM_CLASSES = 60, 5, 3


def table(rng):
    """Labels of five labelers, right with .85 to .6, and the gold of eight examples."""
    truth = rng.integers(0, NUM_CLASSES, NUM_EXAMPLES)
    is_right = rng.random((NUM_EXAMPLES, NUM_LABELERS)) < [0.85, 0.8, 0.75, 0.7, 0.6]
    other = (truth[:, None] + rng.integers(1, NUM_CLASSES, is_right.shape)) % NUM_CLASSES
    label = np.where(is_right, truth[:, None], other)
    example, labeler = np.indices(label.shape)
    tasks = np.array([f"t{i:02d}" for i in range(NUM_EXAMPLES)])
    names = np.array(list("abc"))
    frame = pd.DataFrame(
        {
            "task": tasks[example.ravel()],
            "worker": [f"w{j}" for j in labeler.ravel()],
            "label": names[label.ravel()],
            "when": (example + 0.1 * labeler).ravel(),
        }
    )
    gold = pd.DataFrame({"task": tasks[:8], "label": names[truth[:8]]})
    return frame, gold, names[truth]


@pytest.fixture(scope="module")
def data():
    return table(np.random.default_rng(5))


@pytest.fixture(scope="module")
def crowd(data):
    """With a covariate of labels, one of labelers, and labels that are no class."""
    frame, gold, _ = data
    found = Crowd.from_frames(frame, gold)
    labels = found.labels
    when = np.asarray(labels.example) + 0.1 * np.asarray(labels.labeler)
    labels = dataclasses.replace(
        labels,
        covariates={"when": jax.device_put(when.astype(np.float32))},
        labeler_covariates={"experience": jnp.linspace(1.0, -1.0, NUM_LABELERS)},
        num_answers=NUM_CLASSES + 1,
    )
    return dataclasses.replace(found, labels=labels)


def models():
    return [*MODELS.names(), SPAMMERS, EXPERIENCE]


def short(name):
    return name.rpartition(":")[2]


EVERY = pytest.mark.parametrize("name", models(), ids=short)


def params_of(key, model, labels):
    """A draw of the prior."""
    seeded = handlers.seed(model.parameters, key)
    return seeded(labels.num_labelers, labels.num_classes)


class TestContract:
    @EVERY
    def test_probabilities(self, key, crowd, name):
        """Of all that a label may be, given each latent state, they sum to one.

        And where a model has faster labelers than the general ones, these say the same.
        """
        labels = crowd.labels
        model = MODELS.build(name).for_labels(labels)
        reference = reference_labels(labels)

        @jax.jit
        def found(key, labels):
            seeded = handlers.seed(model.parameters, key)
            params = seeded(labels.num_labelers, labels.num_classes)
            general = ModelLabelers(params, reference, model)
            classes = dataclasses.replace(labels, num_answers=NUM_CLASSES)
            own = model.labelers(params, reference)

            def of_answer(answer):
                label = jnp.full_like(labels.label, answer)
                return model.log_prob(params, dataclasses.replace(labels, label=label))

            return (
                jax.vmap(of_answer)(jnp.arange(general.num_answers)),
                general.log_subclass_probs,
                general.confusion_matrix,
                general.batch_log_prob(classes),
                own.batch_log_prob(classes),
            )

        log_probs, shares, rows, general, own = found(key, labels)
        num_subclasses = model.num_subclasses(NUM_CLASSES)
        assert log_probs[0].shape == (labels.num_labels, num_subclasses * NUM_CLASSES)
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=0), 1.0, atol=1e-5)
        assert shares.shape == (NUM_CLASSES, num_subclasses)
        np.testing.assert_allclose(np.exp(shares).sum(axis=1), 1.0, atol=1e-6)
        assert rows.shape == (NUM_LABELERS, NUM_CLASSES, model.num_answers(NUM_CLASSES))
        np.testing.assert_allclose(rows.sum(axis=2), 1.0, atol=1e-5)
        np.testing.assert_allclose(own, general, rtol=1e-3, atol=1e-3)

    @EVERY
    def test_description(self, name):
        model = MODELS.build(name)
        assert model.name
        assert model.description
        assert hash(model) == hash(MODELS.build(name))

    def test_a_covariate_is_missing(self, data):
        frame, gold, _ = data
        with pytest.raises(InputError, match="needs the covariate 'when'"):
            aggregate(Crowd.from_frames(frame, gold), model="drift")


GIVEN = {"dependence": 0.0, "class_prior": {"a": 0.3, "b": 0.3, "c": 0.4}}
"""One fit, and none to choose by."""

AUTOMATIC = [
    name for name in models() if not isinstance(MODELS.build(name), AbstractConjugateModel)
]


QUICK_TO_COMPILE = (EXPERIENCE,)
"""The others take up to a minute; their probabilities and gradients are tested beside."""


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK_TO_COMPILE else pytest.mark.slow)
        for name in AUTOMATIC
    ],
    ids=short,
)
def test_everything(key, crowd, data, name, tmp_path):
    """A model without a line elsewhere: every result there is, by one fit."""
    model = MODELS.build(name)
    result = aggregate(crowd, model=model, **GIVEN)
    assert result.fit.model == model.name
    assert result.fit.joint.converged
    truth = data[2]
    examples = result.examples()
    is_open = ~examples["is_gold"].to_numpy()
    num_open = int(is_open.sum())
    # The best of five labelers is right with .85 and all together more often: binomial, 1e-6.
    least = scipy.stats.binom.ppf(1e-6, num_open, 0.85)
    assert (examples["label"].to_numpy() == truth)[is_open].sum() >= least
    assert (examples["confidence_low"] <= examples["confidence"] + 1e-6).all()
    assert (examples["confidence"] <= examples["confidence_high"] + 1e-6).all()
    labelers = result.labelers()
    assert (labelers["ci_low"] < labelers["accuracy"]).all()
    assert (labelers["accuracy"] < labelers["ci_high"]).all()

    rows = result.confusion()
    assert set(rows["worker"]) == set(crowd.labeler_names)
    parameters = result.parameters()
    assert (parameters["ci_low"] < parameters["mean"]).all()
    assert (parameters["mean"] < parameters["ci_high"]).all()
    assert set(parameters["worker"]) <= {"", *crowd.labeler_names}
    chosen = next_labels(key, result, batch=3)
    assert len(chosen.examples) == 3

    checks = predictive_checks(key, result, num_replicates=20)
    assert np.isfinite(checks.agreement_per_example.z)

    path = tmp_path / "state.npz"
    write_state(result, path)
    again = read_state(path, model=model)
    np.testing.assert_allclose(again.class_probs, result.class_probs, atol=1e-6)
    assert again.fit.joint.labeler_model == result.fit.joint.labeler_model


WRONG = """
import dataclasses
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import neighbour
from gtx_bayes.models.base import AbstractLabelerModel


@dataclasses.dataclass(frozen=True)
class Wrong(AbstractLabelerModel):
    name = "wrong"
    description = "wrong in one way"

    def parameters(self, num_labelers, num_classes):
        {plate}
            return {{"p": numpyro.sample("p", dist.Beta(2.0, 2.0))}}

    def log_prob(self, params, labels):
        is_right = labels.label[:, None] == jnp.arange(labels.num_classes)
        p = params["p"][labels.labeler][:, None]
        return {answer}
"""
IN_A_PLATE = "with numpyro.plate('labeler', num_labelers):"
PROBS = "jnp.log(jnp.where(is_right, p, (1 - p) / 2))"


@pytest.mark.parametrize(
    ("plate", "answer", "message"),
    [
        (IN_A_PLATE, "jnp.log(jnp.where(is_right, p, 1 - p))", "over all 3 answers they sum to"),
        (IN_A_PLATE, f"{PROBS}[:, 0]", r"has shape \(5,\), and \(5, 3\) is wanted"),
        ("if True:", PROBS, "the model wrong fails: IndexError"),
    ],
)
def test_a_wrong_model_is_refused_in_its_own_words(data, tmp_path, plate, answer, message):
    """It stands in a file beside another that it imports."""
    frame, gold, _ = data
    (tmp_path / "neighbour.py").write_text("")
    path = tmp_path / "wrong.py"
    path.write_text(WRONG.format(plate=plate, answer=answer))
    with pytest.raises(InputError, match=message):
        aggregate(Crowd.from_frames(frame, gold), model=f"{path}:Wrong", **GIVEN)


@pytest.mark.slow
@pytest.mark.end_to_end
@pytest.mark.filterwarnings("ignore::gtx_bayes.diagnostics.checks.ConvergenceWarning")  # few draws
def test_posterior_draws_and_cross_validation(key, crowd):
    """By NUTS, the classes summed out; the fit's accuracies lie within its spread."""
    result = aggregate(crowd, model=SPAMMERS, **GIVEN)
    tree = sample_posterior(key, result, num_warmup=150, num_draws=100, num_chains=2)
    assert tree.attrs["method"] == "nuts"
    assert tree["posterior"]["effort"].dims == ("chain", "draw", "labeler")
    loo = leave_one_out(with_log_likelihood(tree, result))
    assert loo.pareto_k.shape == (NUM_EXAMPLES,)
    by_chains = np.asarray(tree["class_posterior"]["class_probs"]).mean(axis=0)
    error = np.abs(by_chains - np.asarray(result.class_probs)).mean()
    assert error < 0.05


IN_A_FILE = (
    *("--model", SPAMMERS, "--model-option", "least=2", "--dependence", "none"),
    *("--class-prior", "a=.3,b=.3,c=.4"),
)


def run(*words):
    found = call(*words)
    assert found.exit_code == 0, found.output
    return found


@pytest.fixture
def tables(data, tmp_path):
    """The words that name the tables on a command line."""
    frame, gold, _ = data
    frame.to_csv(tmp_path / "labels.csv", index=False)
    gold.to_csv(tmp_path / "gold.csv", index=False)
    return tmp_path / "labels.csv", "--gold", tmp_path / "gold.csv"


@pytest.mark.slow
def test_a_class_in_a_file_and_its_state(data, tables, tmp_path):
    frame, _, _ = data
    frame[frame["task"] < "t55"].to_csv(tables[0], index=False)
    state = tmp_path / "state.npz"
    run("aggregate", *tables, *IN_A_FILE, "--state", state, "-o", tmp_path / "first")
    frame.to_csv(tables[0], index=False)
    run("aggregate", *tables, *IN_A_FILE, "--state", state, "-o", tmp_path / "grown")
    summary = json.loads((tmp_path / "grown" / "summary.json").read_text())
    assert summary["model"] == "spammers"
    assert summary["num_examples"] == NUM_EXAMPLES
    parameters = pd.read_csv(tmp_path / "grown" / "parameters.csv", keep_default_na=False)
    assert set(parameters["parameter"]) == {"accuracy", "effort", "habit"}
    effort = parameters[parameters["parameter"] == "effort"]
    assert list(effort["worker"]) == [f"w{j}" for j in range(NUM_LABELERS)]


def test_a_class_that_is_not_in_the_file(tables, tmp_path):
    unknown = call("aggregate", *tables, "--model", f"{SPAMMERS}s", "-o", tmp_path / "none")
    assert unknown.exit_code == 2
    assert "It has Spammers" in unknown.output.replace("\n", " ")


@pytest.mark.slow
def test_a_class_in_a_file_streams(data, tables, tmp_path):
    frame, _, _ = data
    frame.drop(columns="when").to_parquet(tmp_path / "labels.parquet")
    run("aggregate", *tables, *IN_A_FILE, "-o", tmp_path / "memory")
    words = (tmp_path / "labels.parquet", *tables[1:], "--stream", *IN_A_FILE)
    run("aggregate", *words, "-o", tmp_path / "streamed")
    streamed = pd.read_parquet(tmp_path / "streamed" / "examples.parquet").set_index("task")
    memory = pd.read_csv(tmp_path / "memory" / "examples.csv").set_index("task")
    columns = [f"prob_{name}" for name in "abc"]
    apart = (streamed[columns] - memory.loc[streamed.index, columns]).abs().to_numpy()
    assert apart.max() < 0.05  # two optimisers in float32, near one place on a flat top
    by_worker = [
        pd.read_csv(tmp_path / of / "labelers.csv").set_index("worker")["accuracy"].sort_index()
        for of in ("streamed", "memory")
    ]
    np.testing.assert_allclose(*by_worker, atol=0.03)


@pytest.mark.slow
def test_a_class_in_a_file_chooses_labels_and_is_reported(tables, tmp_path):
    chosen = run("next", *tables, *IN_A_FILE, "--batch", 3, "--json")
    assert len(json.loads(chosen.stdout)["examples"]) == 3
    run("diagnose", *tables, *IN_A_FILE, "-o", tmp_path / "report")
    assert "spammers" in (tmp_path / "report" / "report.html").read_text()


@pytest.mark.slow
def test_covariates_of_a_stream(data, tmp_path):
    """Drift over the times of a table in parts: probabilities, and mostly right ones."""
    frame, _, truth = data
    frame.to_parquet(tmp_path / "labels.parquet")
    words = ("--stream", "--model", "drift", "--covariate", "when", "--dependence", "none")
    given = ("--class-prior", "a=.3,b=.3,c=.4", "-o", tmp_path / "out")
    found = call("aggregate", tmp_path / "labels.parquet", *words, *given)
    assert found.exit_code == 0, found.output
    examples = pd.read_parquet(tmp_path / "out" / "examples.parquet").set_index("task")
    probs = examples[[f"prob_{name}" for name in "abc"]].to_numpy()
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-5)
    by_task = pd.Series(truth, [f"t{i:02d}" for i in range(NUM_EXAMPLES)])
    # The best labeler is right with .85, all five together more often: binomial, 1e-6.
    least = scipy.stats.binom.ppf(1e-6, NUM_EXAMPLES, 0.85)
    assert (examples["label"] == by_task[examples.index]).sum() >= least
