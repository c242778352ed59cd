"""What is known of labelers and classes from other tasks."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.history import read_history
from gtx_bayes.aggregation.joint_method import GtxBayes
from gtx_bayes.aggregation.update import update
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.calibration import hold_out_gold
from gtx_bayes.errors import InputError
from gtx_bayes.inference import joint, pool
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.registry import MODELS
from tests.test_cli import call

TOLOKA = pd.DataFrame(
    {
        "task": list("1122333"),
        "worker": list("ABABABC"),
        "label": ["OK", "OK", "OK", "BAD", "OK", "BAD", "BAD"],
    }
)
SKILLS = pd.DataFrame({"worker": ["A", "B", "C"], "skill": [0.7, 0.9, 0.8], "strength": 1e6})
CLASSES = ["OK", "BAD", "404"]
EVEN = [1 / 3] * 3


def crowd():
    return Crowd.from_frames(TOLOKA, classes=CLASSES)


@pytest.mark.parametrize("method", ["gtx", "gtx-bayes"])
def test_aggregation_by_skill_of_toloka(method):
    """The example of its page on dynamic overlap: 97.7, 76.1, and with a third answer 96.2."""
    more = {} if method == "gtx" else {"model": "one-coin", "dependence": 0.0}
    result = aggregate(crowd(), method, history=SKILLS, class_prior=EVEN, **more)
    np.testing.assert_allclose(result.probs.max(axis=1), [0.977, 0.761, 0.962], atol=1e-3)
    assert list(result.label) == ["OK", "BAD", "BAD"]
    assert result.labelers()["num_gold"].sum() == 0
    assert any("history of 3 of 3 labelers counts as 3,000,000" in note for note in result.notes)


def test_scores_of_swap():
    """Marshall et al. (2016), Eq. 2: one answer after the other, by who says LENS of what."""
    skill = {"ann": (0.9, 0.8), "bob": (0.6, 0.95), "cyd": (0.5, 0.5)}
    said = {"1": "YYN", "2": "NYY", "3": "NNN"}
    answers = [
        (task, worker, "LENS" if vote == "Y" else "NOT")
        for task, votes in said.items()
        for worker, vote in zip(skill, votes, strict=True)
    ]
    rows = [
        (worker, true, label, 1e6 * (right if true == label else 1 - right))
        for worker, pair in skill.items()
        for true, right in zip(("LENS", "NOT"), pair, strict=True)
        for label in ("LENS", "NOT")
    ]
    history = pd.DataFrame(rows, columns=["worker", "true_label", "label", "count"])
    result = aggregate(
        pd.DataFrame(answers, columns=["task", "worker", "label"]),
        model="confusion",
        dependence=0.0,
        class_prior={"LENS": 2e-4, "NOT": 1 - 2e-4},
        history=history,
    )
    for task, votes in said.items():
        score = 2e-4
        for (of_lens, of_not), vote in zip(skill.values(), votes, strict=True):
            lens, other = (of_lens, 1 - of_not) if vote == "Y" else (1 - of_lens, of_not)
            score = lens * score / (lens * score + other * (1 - score))
        np.testing.assert_allclose(result.probs.loc[task, "LENS"], score, rtol=1e-3)


def test_history_is_gold_of_other_tasks():
    """The same as answers to gold that nobody asks about, but for who is named."""
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=24)
    rows = [
        (task, worker, CLASSES[truth[task] if rng.random() < 0.7 else rng.integers(3)])
        for task in range(24)
        for worker in "ABCD"
    ]
    answers = pd.DataFrame(rows, columns=["task", "worker", "label"])
    gold = {task: CLASSES[truth[task]] for task in range(12)}
    options = {"model": "confusion", "dependence": 0.0, "class_prior": EVEN}
    whole = aggregate(Crowd.from_frames(answers, gold, classes=CLASSES), **options)
    known = answers[answers["task"] < 12].assign(true_label=lambda of: of["task"].map(gold), n=1)
    rest = Crowd.from_frames(answers[answers["task"] >= 12], classes=CLASSES)
    found = aggregate(rest, history=known, **options)
    odd = pd.concat([known, known.head(1).assign(label="typo")])
    assert "1 row(s) name an answer that is no class" in read_history(rest, odd, None)[1]
    np.testing.assert_allclose(found.probs, whole.probs.iloc[12:], atol=2e-3)
    np.testing.assert_allclose(
        found.labelers()["accuracy"], whole.labelers()["accuracy"], atol=2e-2
    )


def test_only_conjugate_models_take_a_history():
    """So the ordinal and the drift model stand aside, also in fits with some gold hidden."""
    ordered = Crowd.from_frames(
        TOLOKA.assign(when=np.arange(7.0)),
        {"1": "OK", "2": "BAD"},
        classes=CLASSES,
        ordered=True,
        covariates=["when"],
    )
    result = aggregate(ordered, GtxBayes(ordered=True, drifts=True), history=SKILLS)
    assert result.over_time is None
    assert not {"ordinal", "drift"} & set(result.fit.joint.table()["model"])
    assert (np.asarray(hold_out_gold(result).class_probs) < 1.0).all()


@pytest.mark.parametrize("name", ["one-coin", "confusion"])
def test_counts_of_a_model(name):
    """As if each count were a label to an example of known class."""
    prior = MODELS.build(name).cohort_prior(3)
    confusion = np.arange(18.0).reshape(2, 3, 3)
    j, true, label = (place.ravel() for place in np.indices(confusion.shape))
    times = confusion.ravel().astype(int)
    labels = Labels.from_arrays(
        np.repeat(true, times), np.repeat(j, times), np.repeat(label, times), num_classes=3
    )
    by_cell, _ = prior.split(prior.counts(labels, jnp.eye(3)))
    known, spread = prior.split(prior.known_counts(jnp.asarray(confusion, float)))
    np.testing.assert_allclose(known, by_cell, rtol=1e-5)
    assert not np.asarray(spread).any()


def test_results_of_other_tasks_are_a_history():
    """`labelers.csv` counts its gold, and `confusion.csv` its answers."""
    gold = {"1": "OK", "2": "BAD"}
    earlier = aggregate(Crowd.from_frames(TOLOKA, gold, classes=CLASSES), "gtx")
    counts, _ = read_history(crowd(), earlier.labelers(), None)
    np.testing.assert_allclose(counts.sum(axis=(1, 2)), [2, 2, 0])
    np.testing.assert_allclose(np.trace(counts, axis1=1, axis2=2), [1, 2, 0])
    counts, _ = read_history(crowd(), earlier.confusion(), None)
    np.testing.assert_allclose(counts.sum(), len(TOLOKA), rtol=1e-5)


def test_members_of_a_bloc_share_their_history():
    blocs = pd.DataFrame({"bloc": "A and 1 more", "worker": ["A", "B"]})
    joined = Crowd.from_frames(TOLOKA.replace({"worker": {"A": "A and 1 more"}}), classes=CLASSES)
    counts, _ = read_history(joined, SKILLS.assign(strength=[10.0, 30.0, 5.0]), blocs)
    of_bloc = counts[list(joined.labeler_names).index("A and 1 more")]
    np.testing.assert_allclose([of_bloc.sum(), np.trace(of_bloc)], [20.0, (7.0 + 27.0) / 2])


@pytest.mark.slow
def test_counts_of_classes():
    """Numbers above one are other tasks: proportions are learnt from these and from the answers."""
    counts = {"OK": 900, "BAD": 90, "404": 10}
    result = aggregate(crowd(), model="confusion", class_prior=counts, history=SKILLS)
    assert not result.fit.joint.has_given_class_prior
    assert all(each.learns_class_prior for each in result.fit.joint.components)
    np.testing.assert_allclose(result.class_prior, [0.9, 0.09, 0.01], atol=0.01)
    labels = crowd().labels
    silent = dataclasses.replace(labels, label=jnp.where(labels.example < 2, labels.label, MISSING))
    for each in aggregate(
        dataclasses.replace(crowd(), labels=silent), class_prior=counts
    ).fit.joint.components:  # with looks and without
        evidence = joint.evidence_of(each.independent, each.looks)
        np.testing.assert_allclose(jnp.exp(evidence[2]), [0.9, 0.09, 0.01], atol=0.01)
    of_gold = pool._from_gold_alone(None, result.crowd.assessment)
    np.testing.assert_allclose(of_gold.class_prior, np.array([901, 91, 11]) / 1003, rtol=1e-5)
    of_gtx = aggregate(crowd(), "gtx", class_prior=[900, 90, 10], history=SKILLS)
    np.testing.assert_allclose(of_gtx.class_prior, np.array([901, 91, 11]) / 1003, rtol=1e-5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (SKILLS.drop(columns="strength"), "no columns of a history"),
        (SKILLS.drop(columns="worker"), "worker"),
        (SKILLS.assign(skill=[70, 90, 80]), "the accuracy 70 is no share"),
        (SKILLS.assign(strength=[1, -1, 0]), "'-1' in 'strength' is no number"),
        (SKILLS.assign(worker=list("xyz")), "names none of the crowd's labelers"),
        (SKILLS.assign(worker="A"), "two rows"),
        (pd.DataFrame({"worker": ["A"], "right": [3], "total": [2]}), "3 of 2 answers are right"),
        (pd.DataFrame({"worker": ["A"], "right": [3]}), "no columns of a history"),
        (
            pd.DataFrame({"worker": ["A"], "true_label": ["x"], "label": ["OK"], "n": [1]}),
            "'x' is none of the classes",
        ),
    ],
)
def test_tables_that_do_not_do(table, message):
    with pytest.raises(InputError, match=message) as caught:
        read_history(crowd(), table, None)
    assert caught.value.hint


def test_who_takes_none():
    for method in ("dawid-skene", "majority-vote"):
        with pytest.raises(InputError, match="learns nothing from the history"):
            aggregate(crowd(), method, history=SKILLS)
    for model in ("communities", "difficulty"):
        with pytest.raises(InputError, match="learns nothing from the history"):
            aggregate(crowd(), model=model, history=SKILLS)
    result = aggregate(crowd(), model="one-coin", history=SKILLS)
    with pytest.raises(InputError, match="does not grow"):
        update(result, TOLOKA.assign(task="9"))


@pytest.mark.end_to_end
def test_command(tmp_path):
    TOLOKA.to_csv(tmp_path / "labels.csv", index=False)
    SKILLS.to_csv(tmp_path / "skills.csv", index=False)
    words = ("aggregate", tmp_path / "labels.csv", "--method", "gtx", "--history")
    words += (tmp_path / "skills.csv", "--classes", ",".join(CLASSES), "--json")
    run = call(*words, "--class-prior", "OK=5,BAD=5,404=5", "-o", tmp_path / "out")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["class_prior"] == pytest.approx(dict.fromkeys(CLASSES, 1 / 3))
    examples = pd.read_csv(tmp_path / "out" / "examples.csv")
    np.testing.assert_allclose(examples["confidence"], [0.977, 0.761, 0.962], atol=1e-3)
    run = call(*words, "--state", tmp_path / "s", "-o", tmp_path / "out", "--method", "gtx-bayes")
    assert run.exit_code == 2
    assert "--history" in run.stderr
