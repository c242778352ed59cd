import concurrent.futures
import contextlib
import dataclasses
import datetime
import decimal
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import hypothesis
import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.cli import streaming
from gtx_bayes.cli.streaming import StreamOptions, stream
from gtx_bayes.cli.terminal import in_options
from gtx_bayes.crowd import Crowd
from gtx_bayes.decisions import num_tied
from gtx_bayes.errors import InputError, LostWorkersError, WarningNote
from gtx_bayes.evaluation import match_truth
from gtx_bayes.inference import pool, variational, weighing
from gtx_bayes.io import read_crowd, read_table, write_table
from gtx_bayes.models.one_coin import OneCoinPrior
from gtx_bayes.padding import fine_bucket_size
from gtx_bayes.registry import METHODS
from gtx_bayes.streaming import chunks as chunks_on_disk
from gtx_bayes.streaming import executor as executors
from gtx_bayes.streaming import parts, results, subsample
from gtx_bayes.streaming.aggregate import aggregate_table
from gtx_bayes.streaming.executor import dask_cluster, silent
from gtx_bayes.streaming.ingest import database, lowest, number_of_parts, open_table
from gtx_bayes.streaming.parts import PartedTable, stable_order
from gtx_bayes.streaming.request import Request
from gtx_bayes.streaming.work import WorkDirectory
from gtx_bayes.sums import SEGMENT, Segments, from_fixed_point, further_segments, to_fixed_point

NUM_EXAMPLES, NUM_LABELERS, CLASSES = 600, 40, ["cat", "dog", "fox"]


def crowd_tables(seed=0):
    """Answers of 40 labelers to 600 examples, seven each, in scattered order; and gold."""
    rng = np.random.default_rng(seed)
    accuracy = rng.beta(8, 3, NUM_LABELERS)
    truth = rng.integers(0, 3, NUM_EXAMPLES)
    example = np.repeat(np.arange(NUM_EXAMPLES), 7)
    labeler = np.concatenate(
        [rng.choice(NUM_LABELERS, 7, replace=False) for _ in range(NUM_EXAMPLES)]
    )
    is_right = rng.random(example.size) < accuracy[labeler]
    label = np.where(
        is_right, truth[example], (truth[example] + rng.integers(1, 3, example.size)) % 3
    )
    rows = rng.permutation(example.size)
    answers = pd.DataFrame(
        {
            "task": [f"image {i}" for i in example[rows]],
            "worker": [f"w{j}" for j in labeler[rows]],
            "label": [CLASSES[k] for k in label[rows]],
        }
    )
    gold = pd.DataFrame(
        {"task": [f"image {i}" for i in range(30)], "label": [CLASSES[k] for k in truth[:30]]}
    )
    return answers, gold


def write_folder(folder, answers, *, num_files=3, rows_per_group=400):
    """The answers as a folder of Parquet files with several row groups each."""
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(answers)), num_files)):
        table = pa.Table.from_pandas(answers.iloc[rows], preserve_index=False)
        pq.write_table(table, folder / f"{number}.parquet", row_group_size=rows_per_group)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """The answers and the gold, as frames and as files."""
    place = tmp_path_factory.mktemp("tables")
    answers, gold = crowd_tables()
    write_folder(place / "answers", answers)
    gold.to_csv(place / "gold.csv", index=False)
    return answers, gold, place


def opened(path, work):
    """What is found in the files of a table."""
    work = WorkDirectory.begun(work, {}, resume=False)
    with database(work, None) as connection:
        return open_table(connection, path, {}, (), work, silent)


def request(place, **options):
    """A request for the tables, four parts."""
    given = {
        "labels": place / "answers",
        "gold": place / "gold.csv",
        "options": {"model": "one-coin", "dependence": 0.1},
        "class_prior": [1 / 3] * 3,
        "most_per_part": 1_100,
    }
    return Request(**(given | options))


def run(wanted, output, *, resume=False):
    """The result of a streamed run: examples by name, labelers, summary."""
    summary = stream(wanted, output, StreamOptions(resume=resume))
    return read_result(output), summary


def read_result(output):
    examples = pd.read_parquet(output / "examples.parquet")
    return examples, pd.read_csv(output / "labelers.csv")


def in_memory(answers, gold, method, duplicates="error", **options):
    """The same tables; without the intervals of confidences, which take long to compile."""
    crowd = Crowd.from_frames(answers, gold, duplicates=duplicates)
    result = aggregate(crowd, method, **options)
    probs = np.asarray(result.class_probs)
    examples = {
        "task": crowd.example_names,
        "label": crowd.class_names[probs.argmax(axis=1)],
        "confidence": probs.max(axis=1),
        "num_labels": np.asarray(crowd.labels.labels_per_example()),
        "num_tied": np.asarray(num_tied(result.class_probs)),
        "is_gold": np.asarray(crowd.assessment.is_gold),
        **{f"prob_{name}": probs[:, k] for k, name in enumerate(crowd.class_names)},
    }
    return pd.DataFrame(examples), result.labelers()


def assert_same(found, expected, *, atol=2e-5):
    """The same labels, counts, probabilities and labelers, whatever the order of examples."""
    examples, labelers = found
    wanted, wanted_labelers = expected
    assert len(examples) == len(wanted)
    both = wanted.merge(examples, on="task", suffixes=("", "_found"), validate="1:1")
    assert len(both) == len(wanted)
    settled = both[both["num_tied"] == 1]
    assert (settled["label"] == settled["label_found"]).all()
    for name in ("num_labels", "num_tied", "is_gold"):
        assert (both[name] == both[f"{name}_found"]).all()
    for name in [name for name in wanted if name.startswith("prob_")] + ["confidence"]:
        np.testing.assert_allclose(both[f"{name}_found"], both[name], atol=atol)
    assert list(labelers["worker"]) == list(wanted_labelers["worker"])
    assert list(labelers.columns) == list(wanted_labelers.columns)
    for name in labelers.columns[1:]:
        np.testing.assert_allclose(labelers[name], wanted_labelers[name], atol=atol)


STREAMED = sorted(
    name for name in METHODS if name == "gtx-bayes" or METHODS.find(name).learns_from_gold_alone
)


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(STREAMED)))
def test_other_methods_are_refused_with_words(tmp_path, method):
    with pytest.raises(InputError, match=f"{method} learns from all answers at once"):
        Request(labels=tmp_path / "answers", method=method).check()


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "gtx-bayes" else [])
        for name in STREAMED
    ],
)
def test_every_method_streams_to_what_it_says_in_memory(tables, tmp_path, method):
    answers, gold, place = tables
    is_joint = method == "gtx-bayes"
    options = {"model": "one-coin", "dependence": 0.1} if is_joint else {}
    prior = [1 / 3] * 3 if is_joint else None
    found, summary = run(
        request(place, method=method, options=options, class_prior=prior), tmp_path / "out"
    )
    expected = in_memory(answers, gold, method, class_prior=prior, **options)
    assert_same(found, expected)
    assert summary["num_labels"] == len(answers)
    assert summary["num_parts"] == 4
    assert not (tmp_path / "out.work").exists()


@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("class-conditional", "difficulty")],
)
def test_every_model_streams_to_what_it_says_in_memory(tables, tmp_path, model):
    answers, gold, place = tables
    options = {"model": model, "dependence": 0.0}
    found, _ = run(request(place, options=options), tmp_path / "out")
    expected = in_memory(answers, gold, "gtx-bayes", class_prior=[1 / 3] * 3, **options)
    # Either fit stops when no probability changes by more, and sums of parts round otherwise. The
    # prior of difficulty is learnt along a flat ridge: fits in memory of 75 and 155 steps are .02
    # apart, their bounds .7 nats.
    assert_same(found, expected, atol=0.03 if model == "difficulty" else variational.TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["confusion", "ordinal"])
def test_intervals_on_demand(tables, tmp_path, model):
    """Of ten labelers, whom both pad alike: by the same draws as in memory, gold certain."""
    answers, gold, _ = tables
    few = answers[answers["worker"].isin([f"w{j}" for j in range(10)])]
    gold = gold[gold["task"].isin(few["task"])]
    write_folder(tmp_path / "answers", few)
    gold.to_csv(tmp_path / "gold.csv", index=False)
    options = {"model": model, "dependence": 0.1}
    found, _ = run(request(tmp_path, options=options, intervals=True), tmp_path / "out")[0]
    crowd = Crowd.from_frames(few, gold)
    expected = aggregate(crowd, class_prior=[1 / 3] * 3, **options).examples(0)
    found = found.set_index("task").loc[expected["task"]]
    assert list(found.columns) == list(expected.columns[1:])
    if model == "confusion":  # the draws of models without conjugate prior depend on the padding
        for name in ("confidence_low", "confidence_high"):
            np.testing.assert_allclose(found[name], expected[name].to_numpy(), atol=1e-4)
    assert (found["confidence_low"] < found["confidence_high"])[~found["is_gold"]].mean() > 0.9
    assert (found["confidence_low"] <= found["confidence"]).all()
    assert (found["confidence"] <= found["confidence_high"]).all()
    assert (found.loc[found["is_gold"], "confidence_low"] == 1.0).all()


def test_a_method_without_a_posterior_has_no_intervals(tables, tmp_path):
    _, _, place = tables
    wanted = request(place, method="gtx", options={}, intervals=True)
    with pytest.raises(InputError, match="no intervals of confidences"):
        run(wanted, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("intervals", [False, True])
def test_labelers_as_if_alike_are_a_part(tables, tmp_path, intervals):
    """Gold that labels have nothing to do with: its proportions are the best guess."""
    answers, _, place = tables
    gold = pd.DataFrame({"task": [f"image {i}" for i in range(60)]})
    gold["label"] = [CLASSES[0] if i % 5 else CLASSES[1] for i in range(60)]
    gold.to_csv(tmp_path / "gold.csv", index=False)
    given = {"gold": tmp_path / "gold.csv", "options": {}, "class_prior": None}
    found, summary = run(request(place, **given, intervals=intervals), tmp_path / "out")
    weight = {row["model"]: row["weight"] for row in summary["pool"]}[pool.ALIKE]
    assert weight > 0.5
    atol = len(summary["pool"]) * weighing.LEAST_WEIGHT
    assert_same(found, in_memory(answers, gold, "gtx-bayes", finds_blocs=False), atol=atol)
    if intervals:
        limits = found[0].loc[~found[0]["is_gold"], ["confidence_low", "confidence_high"]]
        assert (limits.to_numpy() != 1.0).all()


@pytest.mark.parametrize("is_thinned", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_pool_streams_to_what_it_says_in_memory(tables, tmp_path, monkeypatch, is_thinned):
    """All models, weighed by sums over parts; looks learnt from all examples or from some."""
    answers, gold, place = tables
    if is_thinned:
        monkeypatch.setattr(weighing, "SUBSAMPLE_SIZE", 2_100)
    wanted = request(place, options={}, class_prior=None, intervals=not is_thinned)
    found, summary = run(wanted, tmp_path / "out")
    crowd = Crowd.from_frames(answers, gold)
    expected = aggregate(crowd, finds_blocs=False)
    table = expected.fit.joint.table()
    weights, names = {}, ["model", "has_looks", "learns_class_prior"]
    for of, record in (("streamed", summary["pool"]), ("in memory", table.to_dict("records"))):
        weights[of] = pd.DataFrame(record).set_index(names)["weight"]
    both = pd.DataFrame(weights).fillna(0.0)
    assert len(both) > 2
    # Models of less than this are left out before all labels are looked at.
    atol = 0.05 if is_thinned else len(both) * weighing.LEAST_WEIGHT
    np.testing.assert_allclose(both["streamed"], both["in memory"], atol=atol)
    assert_same(found, in_memory(answers, gold, "gtx-bayes", finds_blocs=False), atol=atol)
    if not is_thinned:
        expected_examples = expected.examples(0).set_index("task")
        examples = found[0].set_index("task").loc[expected_examples.index]
        # By other draws of the labelers, whose number is padded otherwise: 64 of them.
        for name in ("confidence_low", "confidence_high"):
            assert abs(examples[name] - expected_examples[name]).mean() < 0.02
    rho = expected.fit.joint.dependence
    assert summary["dependence"]["mean"] == pytest.approx(rho.mean, abs=atol)
    assert next(note for note in summary["notes"] if note.startswith("Pool of models"))


@pytest.mark.parametrize("how", ["by a column", pytest.param("by gold", marks=pytest.mark.slow)])
def test_blocs_count_as_one_labeler(tmp_path, how):
    """Three copies of a judge beside three who err by themselves, all asked everything."""
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 2, 400)
    judge = np.where(rng.random(400) < 0.7, truth, 1 - truth)
    said = [np.where(rng.random(400) < 0.97, judge, 1 - judge) for _ in range(3)]
    said += [np.where(rng.random(400) < 0.8, truth, 1 - truth) for _ in range(3)]
    labeler, example = (of.ravel() for of in np.indices((6, 400)))
    answers = pd.DataFrame(
        {
            "task": [f"t{i}" for i in example],
            "worker": [f"w{j}" for j in labeler],
            "label": np.array(["no", "yes"])[np.stack(said).ravel()],
            "family": np.where(labeler < 3, " copies ", ""),
        }
    )
    gold = pd.DataFrame(
        {"task": [f"t{i}" for i in range(60)], "label": np.array(["no", "yes"])[truth[:60]]}
    )
    write_folder(tmp_path / "answers", answers)
    gold.to_csv(tmp_path / "gold.csv", index=False)
    groups = "family" if how == "by a column" else None
    method = "gtx" if groups else "gtx-bayes"
    options = {} if groups else {"model": "one-coin", "dependence": 0.0}
    wanted = Request(
        tmp_path / "answers",
        tmp_path / "gold.csv",
        method=method,
        options=options,
        class_prior=[0.5, 0.5],
        groups=groups,
        most_per_part=900,
    )
    found, summary = run(wanted, tmp_path / "out")
    assert summary["num_blocs"] == 1
    assert summary["num_labelers"] == 4
    crowd = Crowd.from_frames(answers, gold, groups=groups)
    expected = aggregate(crowd, method, class_prior=[0.5, 0.5], **options)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out" / "blocs.csv"), expected.blocs, check_dtype=False
    )
    assert {in_options(note) for note in expected.crowd.notes} <= set(summary["notes"])
    probs = expected.probs
    examples = found[0].set_index("task").loc[probs.index]
    np.testing.assert_allclose(examples[["prob_no", "prob_yes"]], probs, atol=1e-3)
    np.testing.assert_allclose(found[1]["accuracy"], expected.labelers()["accuracy"], atol=1e-3)
    answers.loc[2, "family"] = "another"
    answers.to_csv(tmp_path / "twice.csv", index=False)
    twice = dataclasses.replace(wanted, labels=tmp_path / "twice.csv", groups="family")
    with pytest.raises(InputError, match="'w0' is in the groups 'copies' and 'another'") as caught:
        run(twice, tmp_path / "out2")
    assert caught.value.where.endswith("twice.csv, row 4")


@pytest.mark.parametrize(
    "method", [pytest.param("gtx-bayes", marks=pytest.mark.slow), "gtx", "soft-vote"]
)
def test_confusion_matrices_and_plots(tables, tmp_path, method):
    """By sums over parts what all answers say in memory; and pictures where they are asked for.

    Of a fit of confusion matrices all else too.
    """
    answers, gold, place = tables
    is_joint = method == "gtx-bayes"
    options = {"model": "confusion", "dependence": 0.1} if is_joint else {}
    prior = None if method == "soft-vote" else [1 / 3] * 3
    wanted = request(place, method=method, options=options, class_prior=prior)
    stream(wanted, tmp_path / "out", StreamOptions(), plots=is_joint)
    found = pd.read_csv(tmp_path / "out" / "confusion.csv")
    result = aggregate(Crowd.from_frames(answers, gold), method, class_prior=prior, **options)
    if is_joint:
        memory = in_memory(answers, gold, method, class_prior=prior, **options)
        assert_same(read_result(tmp_path / "out"), memory, atol=variational.TOLERANCE)
    expected = result.confusion()
    names = ["worker", "true_label", "label", "source"]
    pd.testing.assert_frame_equal(found[names], expected[names], check_dtype=False)
    # Counts are sums of probabilities, each within the tolerance of either fit.
    atol = variational.TOLERANCE * expected["num_labels"].max()
    for name in ("probability", "num_labels"):
        np.testing.assert_allclose(found[name], expected[name], atol=atol)
    pictures = {file.name for file in (tmp_path / "out").glob("*.png")}
    drawn = {"confidence.png", "confusion.png", "labelers.png"}
    assert pictures == (drawn if is_joint else set())


@pytest.mark.parametrize(
    "options",
    [{"model": "one-coin", "dependence": 0.1}, pytest.param({}, marks=pytest.mark.slow)],
    ids=["one model", "pool"],
)
def test_a_state_of_a_streamed_run_is_one_in_memory(tables, tmp_path, options):
    """It grows by further answers, predicts, and says of every example what the run said."""
    answers, gold, place = tables
    first = answers[answers["task"] != "image 599"]
    write_folder(tmp_path / "answers", first)
    wanted = request(
        place, labels=tmp_path / "answers", options=options, class_prior=None, finds_blocs=False
    )
    state = tmp_path / "fit.npz"
    summary = stream(wanted, tmp_path / "out", StreamOptions(), state=state)
    assert summary["state"] == str(state)
    kept = read_state(state)
    examples = read_result(tmp_path / "out")[0].set_index("task")
    names = [f"prob_{name}" for name in CLASSES]
    np.testing.assert_allclose(kept.class_probs, examples[names].loc[kept.crowd.example_names],
                               atol=1e-6)  # fmt: skip
    assert kept.crowd.assessment.num_gold == len(gold)
    again = update(kept, answers, gold)
    assert again.num_new_examples == 1
    new = answers[answers["task"] == "image 599"]
    expected = aggregate(Crowd.from_frames(answers, gold), finds_blocs=False, **options).probs
    np.testing.assert_allclose(again.result.probs.loc[expected.index], expected, atol=0.02)
    predicted = kept.predict(new)
    assert predicted["label"].tolist() == [expected.loc["image 599"].idxmax()]
    with pytest.raises(InputError, match="exists, and a state learns"):
        stream(wanted, tmp_path / "out", StreamOptions(), state=state)
    alone = request(place, options={"model": "ordinal", "dependence": 0.1})
    with pytest.raises(InputError, match="no state of a model without conjugate prior"):
        stream(alone, tmp_path / "other", StreamOptions(), state=tmp_path / "other.npz")


@pytest.mark.slow
def test_learnt_proportions_dependence_and_model(tables, tmp_path, monkeypatch):
    """The heaviest model of the pool, as of a table in memory that is as large as one on disk."""
    monkeypatch.setattr(pool, "MOST_AT_ONCE", 0)
    answers, gold, place = tables
    wanted = request(place, options={}, class_prior=None, pool=False)
    found, summary = run(wanted, tmp_path / "out")
    expected = aggregate(Crowd.from_frames(answers, gold))
    assert summary["model"] == expected.fit.model
    # Almost surely zero, so that the mean is no point of the interval's middle.
    expected_mean = expected.fit.joint.dependence.mean
    assert summary["dependence"]["mean"] == pytest.approx(expected_mean, abs=5e-3)
    best = np.asarray(expected.class_probs).argmax(axis=1)
    wanted = pd.Series(expected.crowd.class_names[best], expected.crowd.example_names)
    assert (found[0].set_index("task")["label"].reindex(wanted.index) == wanted).mean() > 0.99


@pytest.mark.slow
@pytest.mark.end_to_end
def test_gold_against_the_votes(tables, tmp_path):
    """Labelers who name the wrong class of two: gold turns the streamed fit round as well."""
    answers, gold, _ = tables
    wrong = {"cat": "dog", "dog": "cat", "fox": "fox"}
    answers = answers.assign(label=answers["label"].map(wrong))
    write_folder(tmp_path / "answers", answers)
    gold.to_csv(tmp_path / "gold.csv", index=False)
    wanted = request(tmp_path, options={"model": "confusion", "dependence": 0.1})
    found, _ = run(wanted, tmp_path / "out")
    expected = in_memory(
        answers, gold, "gtx-bayes", model="confusion", dependence=0.1, class_prior=[1 / 3] * 3
    )
    assert_same(found, expected, atol=2e-4)
    votes = answers.groupby("task")["label"].agg(lambda of: of.mode()[0]).map(wrong)
    labels = found[0].set_index("task")["label"]
    assert (labels == votes[labels.index]).mean() > 0.9


@pytest.mark.slow
@pytest.mark.end_to_end
def test_one_class_sources(tmp_path):
    """Every source only ever gives one class: streamed as in memory, and said."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 300)
    gives = np.array(["yes"] * 5 + ["no"])
    speaks = rng.random((300, 6)) < np.where((truth == 1)[:, None] == (gives == "yes"), 0.5, 0.1)
    example, source = np.nonzero(speaks)
    answers = pd.DataFrame(
        {
            "task": [f"t{i}" for i in example],
            "worker": [f"s{j}" for j in source],
            "label": gives[source],
        }
    )
    gold = pd.DataFrame(
        {"task": [f"t{i}" for i in range(30)], "label": np.where(truth[:30] == 1, "yes", "no")}
    )
    gold = gold[gold["task"].isin(answers["task"])]
    write_folder(tmp_path / "answers", answers)
    gold.to_csv(tmp_path / "gold.csv", index=False)
    wanted = request(tmp_path, options={"dependence": 0.1}, class_prior=None, intervals=True)
    found, summary = run(wanted, tmp_path / "out")
    assert_same(found, in_memory(answers, gold, "gtx-bayes", dependence=0.1), atol=2e-4)
    examples = found[0]
    assert (examples["confidence_low"] <= examples["confidence"]).all()
    assert (examples["confidence"] <= examples["confidence_high"]).all()
    assert (examples["confidence_low"] < examples["confidence_high"])[~examples["is_gold"]].any()
    assert "known from gold alone" in " ".join(summary["notes"])
    assert "6 of 6 labelers only ever give one class" in " ".join(summary["warnings"])


@pytest.mark.end_to_end
@pytest.mark.parametrize("form", ["int64", "dictionary", "large_string", "float64", "blanks"])
def test_names_of_any_kind(tables, tmp_path, form):
    answers, gold, _ = tables
    numbers = answers["task"].str.removeprefix("image ").astype(int)
    gold = gold.assign(task=gold["task"].str.removeprefix("image "))
    column = {
        "int64": pa.array(numbers, pa.int64()),
        "float64": pa.array(numbers.astype(float)),
        "dictionary": pa.array(numbers.astype(str)).dictionary_encode(),
        "large_string": pa.array(numbers.astype(str), pa.large_string()),
        "blanks": pa.array([f" {number} " for number in numbers]),
    }[form]
    table = pa.table({"item": column, "rater": answers["worker"], "rating": answers["label"]})
    pq.write_table(table, tmp_path / "answers.parquet")
    gold.to_csv(tmp_path / "gold.csv", index=False)
    wanted = request(tmp_path, labels=tmp_path / "answers.parquet", method="gtx", options={})
    examples, _ = run(wanted, tmp_path / "out")[0]
    plain = answers.assign(task=numbers.astype(str))
    expected, _ = in_memory(plain, gold, "gtx", class_prior=[1 / 3] * 3)
    both = expected.merge(examples.assign(task=examples["task"].astype(str)), on="task")
    assert len(both) == NUM_EXAMPLES
    np.testing.assert_allclose(both["prob_cat_x"], both["prob_cat_y"], atol=2e-5)
    assert examples["task"].dtype == (np.int64 if form in ("int64", "float64") else "str")


TYPES = {
    "fractions": pa.array([0.5, 1.25, 2.0]),
    "whole numbers as floats": pa.array([0.0, 1.0, 2.0]),
    "floats beyond 64 bits": pa.array([1e20, 2e20, 3e20]),
    "half floats": pa.array([0.5, 1.5, 2.0], pa.float32()).cast(pa.float16()),
    "unsigned": pa.array([1, 2, 3], pa.uint64()),
    "unsigned beyond 63 bits": pa.array([2**63, 2**63 + 1, 1], pa.uint64()),
    "decimals": pa.array([decimal.Decimal(at) / 4 for at in (1, 2, 3)], pa.decimal128(9, 4)),
    "dates": pa.array([datetime.date(2026, 1, day) for day in (1, 2, 3)]),
    "timestamps": pa.array([0, 1, 3_600_000_000], pa.timestamp("us", tz="UTC")),
    "nanoseconds": pa.array([0, 1, 86_400 * 10**9], pa.timestamp("ns")),
    "times": pa.array([0, 1, 3_600_000_000], pa.time64("us")),
    "durations": pa.array([0, 1, 90_000_000_000], pa.duration("us")),
    "truth values": pa.array([False, True]),
    "text": pa.array(["a", "b ", "c\u2028d"]),
}


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("kind", "is_encoded"),
    [*((kind, False) for kind in TYPES), ("decimals", True), ("dates", True)],
)
def test_names_are_those_of_a_table_in_memory(tmp_path, kind, is_encoded):
    """Whatever their type; as examples, labelers, classes and in the gold."""
    names = TYPES[kind]
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names))]
    columns = {
        "task": [i for i, _ in pairs],
        "worker": [j for _, j in pairs],
        "label": [i % 2 for i, _ in pairs],
    }
    columns = {name: names.take(pa.array(at)) for name, at in columns.items()}
    if is_encoded:
        columns = {name: cells.dictionary_encode() for name, cells in columns.items()}
    pq.write_table(pa.table(columns), tmp_path / "answers.parquet")
    crowd = read_crowd(tmp_path / "answers.parquet")
    gold = pd.DataFrame({"task": crowd.example_names[:1], "label": crowd.class_names[:1]})
    write_table(gold, tmp_path / "gold.csv")
    wanted = request(
        tmp_path,
        labels=tmp_path / "answers.parquet",
        method="majority-vote",
        options={},
        class_prior=None,
    )
    (examples, _), summary = run(wanted, tmp_path / "out")
    labelers, _ = read_table(tmp_path / "out" / "labelers.csv")
    assert sorted(map(str, examples["task"])) == sorted(map(str, crowd.example_names))
    assert list(labelers["worker"]) == list(map(str, crowd.labeler_names))
    assert summary["classes"] == list(map(str, crowd.class_names))
    assert summary["num_gold"] == 1


@pytest.mark.parametrize("cells", [[[1], [2]], [{"x": 1}, {"x": 2}], [b"a", b"b"]])
def test_what_is_no_name_is_refused_as_in_memory(tmp_path, cells):
    table = pa.table({"task": ["a", "b"], "worker": pa.array(cells), "label": ["x", "y"]})
    pq.write_table(table, tmp_path / "answers.parquet")
    for read in (read_crowd, lambda path: opened(path, tmp_path / "work")):
        with pytest.raises(InputError, match=r"column 'worker' holds .*neither text nor"):
            read(tmp_path / "answers.parquet")


def test_a_streamed_table_has_the_notes_of_one_in_memory(tmp_path):
    table = pd.DataFrame(
        {
            "id": [f"t{at}" for at in range(12)],
            "worker": ["Ann", "ann"] * 6,
            "label": ["a", "b", "a|b", "b|a", "[1]", *map(str, range(7))],
            "answer": "a",
            "truth": "a",
            "count": 2,
        }
    )
    table.to_parquet(tmp_path / "answers.parquet")
    wanted = Request(labels=tmp_path / "answers.parquet", method="majority-vote")
    _, summary = run(wanted, tmp_path / "out")
    expected = read_crowd(tmp_path / "answers.parquet").notes
    assert len(expected) == 7
    found = {*summary["warnings"], *summary["notes"]}
    assert {in_options(note) for note in expected} <= found


@pytest.mark.end_to_end
@pytest.mark.parametrize("duplicates", ["first", "last", "all"])
def test_repeated_answers(tables, tmp_path, duplicates):
    answers, gold, place = tables
    again = answers.iloc[:50].copy()
    again.loc[again.index[:20], "label"] = "fox"
    longer = pd.concat([answers, again], ignore_index=True)
    write_folder(tmp_path / "answers", longer)
    wanted = request(
        place, labels=tmp_path / "answers", method="soft-vote", options={}, class_prior=None
    )
    with pytest.raises(InputError, match=r"answered '.*' in different ways.*`duplicates=.first"):
        run(wanted, tmp_path / "out")
    wanted = dataclasses.replace(wanted, duplicates=duplicates)
    found, summary = run(wanted, tmp_path / "out")
    assert_same(found, in_memory(longer, gold, "soft-vote", duplicates))
    crowd = Crowd.from_frames(longer, gold, duplicates=duplicates)
    assert next(note for note in crowd.notes if "repeated" in note) in summary["notes"]


class Stopped(BaseException):
    """Stands for whatever ends a process."""


def stop_at(monkeypatch, moment):
    """Let a run end when it tells its progress for that many times; moments that were told."""
    told = []

    def callback(stage, done, total):
        told.append((stage, done, total))
        if len(told) - 1 == moment:
            raise Stopped

    monkeypatch.setattr(streaming, "stages", lambda *, is_shown: contextlib.nullcontext(callback))
    return told


@pytest.mark.end_to_end
@pytest.mark.parametrize("model", ["one-coin", pytest.param("auto", marks=pytest.mark.slow)])
def test_a_run_stopped_anywhere_resumes_to_the_last_digit(tables, tmp_path, monkeypatch, model):
    _, _, place = tables
    wanted = request(place, options={"model": model, "dependence": None})
    whole, _ = run(wanted, tmp_path / "whole")
    with monkeypatch.context() as patch:
        told = stop_at(patch, None)
        run(wanted, tmp_path / "told")
    moments = len(told)
    assert moments > 30
    for moment in range(1, moments, 9 if model == "one-coin" else 20):
        output = tmp_path / f"out{moment}"
        with monkeypatch.context() as patch:
            stop_at(patch, moment)
            with pytest.raises(Stopped):
                run(wanted, output)
        assert not output.exists()
        resumed, _ = run(wanted, output, resume=True)
        for one, other in zip(resumed, whole, strict=True):
            pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert not list(tmp_path.glob(".*"))


def test_what_is_done_is_not_done_again(tables, tmp_path, monkeypatch):
    _, _, place = tables
    wanted = request(place)
    with monkeypatch.context() as patch:
        told = stop_at(patch, None)
        run(wanted, tmp_path / "told")
    third_pass = next(at for at, (stage, *_) in enumerate(told) if stage.startswith("Pass 3"))
    with monkeypatch.context() as patch:
        stop_at(patch, third_pass)
        with pytest.raises(Stopped):
            run(wanted, tmp_path / "out")
    with monkeypatch.context() as patch:
        again = stop_at(patch, None)
        run(wanted, tmp_path / "out", resume=True)
    assert again[0][0].startswith("Pass 3")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, which holds so many bytes until `grow` is called."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options):
        order = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        return subprocess.run(order, capture_output=True, check=False).returncode

    if mount("size=100k"):
        pytest.skip("only root may mount")
    yield place, lambda size: mount(f"remount,size={size}")
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.end_to_end
@pytest.mark.parametrize("size", ["100k", "200k"])
def test_a_full_disk_keeps_the_work(tables, by_threads, small_disk, tmp_path, size):
    """With more room the run goes on."""
    _, _, place = tables
    disk, grow = small_disk
    assert grow(size) == 0
    options = StreamOptions(work=disk / "work")
    with pytest.raises(OSError, match="the work is kept: go on with --resume") as caught:
        stream(request(place), tmp_path / "out", options)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "out").exists()
    assert grow("50m") == 0
    stream(request(place), tmp_path / "out", dataclasses.replace(options, resume=True))
    folder = tmp_path / "out" / "examples.parquet"
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert found == {name: of for name, of in by_threads.items() if name in found}
    assert not (disk / "work").exists()


def test_files_of_the_work_are_not_mapped(tables, tmp_path, monkeypatch):
    """Pages of mapped files count against the memory limit of a worker, which pauses beyond it."""
    if not Path("/proc/self/maps").exists():
        pytest.skip("the system does not tell what is mapped")
    _, _, place = tables
    seen, mapped = [], []

    def watched(function):
        def looking(*arguments):
            found = function(*arguments)
            maps = Path("/proc/self/maps").read_text()
            seen.append(function.__name__)
            mapped.extend(line for line in maps.splitlines() if str(tmp_path) in line)
            return found

        return looking

    for where, name in (
        (parts, "rows_of"),
        (WorkDirectory, "read_arrays"),
        (results, "names_of"),
        (PartedTable, "read"),
    ):
        monkeypatch.setattr(where, name, watched(getattr(where, name)))
    run(request(place, method="gtx", options={}), tmp_path / "out")
    assert set(seen) == {"rows_of", "read_arrays", "names_of", "read"}
    assert not mapped


def test_progress_is_true(tables, tmp_path, monkeypatch):
    """Every stage ends at its total, which is all rows, and never goes back."""
    answers, _, place = tables
    told = stop_at(monkeypatch, None)
    run(request(place), tmp_path / "out")
    stages = dict.fromkeys(stage for stage, *_ in told)
    for stage in stages:
        mine = [(done, total) for name, done, total in told if name == stage]
        assert [done for done, _ in mine] == sorted(done for done, _ in mine)
        assert mine[-1][0] == mine[-1][1]
        if stage not in ("Choosing a model", "Sorting"):
            assert mine[-1][1] == len(answers)


def test_resuming_something_else_is_refused(tables, tmp_path, monkeypatch):
    _, _, place = tables
    with monkeypatch.context() as patch:
        stop_at(patch, 20)
        with pytest.raises(Stopped):
            run(request(place), tmp_path / "out")
    with pytest.raises(InputError, match="another seed"):
        run(request(place, seed=1), tmp_path / "out", resume=True)
    run(request(place, seed=1), tmp_path / "out")  # without --resume it begins anew


@pytest.mark.parametrize("devices", ["all", 2])
def test_a_run_takes_the_devices_it_is_told(tables, tmp_path, monkeypatch, devices):
    taken = set()
    read = PartedTable.read

    def reading(self, part, device, class_prior):
        taken.add(device)
        return read(self, part, device, class_prior)

    monkeypatch.setattr(PartedTable, "read", reading)
    _, _, place = tables
    wanted = request(place, method="majority-vote", options={}, class_prior=None)
    stream(wanted, tmp_path / "out", StreamOptions(), devices=devices)
    there = jax.local_devices()
    assert len(there) == 4  # as many as parts
    assert taken == set(there if devices == "all" else there[:devices])


def test_devices_that_there_are_not_are_refused(tables, tmp_path):
    _, _, place = tables
    with pytest.raises(InputError, match="4000 devices"):
        stream(request(place), tmp_path / "out", StreamOptions(), devices=4000)
    assert not list(tmp_path.iterdir())


@pytest.mark.end_to_end
def test_a_table_mended_after_an_error_is_read_anew(tables, tmp_path):
    """In the same process, with the same work directory: nothing of the first try is left."""
    answers, _, place = tables
    twice = pd.concat([answers, answers.iloc[:1].assign(label="nothing")], ignore_index=True)
    write_folder(tmp_path / "answers", twice)
    wanted = request(
        place, labels=tmp_path / "answers", method="majority-vote", options={}, class_prior=None
    )
    with pytest.raises(InputError, match="different ways"):
        run(wanted, tmp_path / "out")
    shutil.rmtree(tmp_path / "answers")
    mended = answers.assign(label=answers["label"].replace("fox", "wolf"))
    write_folder(tmp_path / "answers", mended)
    found, _ = run(wanted, tmp_path / "out")
    others = found[0].loc[~found[0]["is_gold"], "label"]
    assert set(others) == {"cat", "dog", "wolf"}


def test_foreign_directories_are_left_alone(tables, tmp_path):
    _, _, place = tables
    foreign = tmp_path / "out.work"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="no work of gtx-bayes"):
        run(request(place), tmp_path / "out")
    assert (foreign / "thesis.tex").read_text() == "precious"
    with pytest.raises(InputError, match="in each other"):
        stream(request(place), tmp_path / "out", StreamOptions(work=tmp_path / "out" / "work"))


def broken(kind, folder, answers):
    """A folder with one thing wrong in its second file; what the message must name."""
    write_folder(folder, answers)
    second = folder / "1.parquet"
    table = pq.read_table(second)
    if kind == "cut short":
        second.write_bytes(second.read_bytes()[:-500])
        return "no readable Parquet"
    if kind == "damaged":
        raw = bytearray(second.read_bytes())
        raw[200:2000] = os.urandom(1800)
        second.write_bytes(raw)
        return "1.parquet"
    if kind == "not Parquet":
        second.write_text("task,worker,label\n")
        return "no readable Parquet"
    if kind == "a name that is no UTF-8":
        second.write_bytes(second.read_bytes().replace(b"worker", b"\x86orker"))
        return "1.parquet"
    if kind == "numbers turn to text":
        first = answers.assign(label=1)
        pq.write_table(pa.Table.from_pandas(first, preserve_index=False), folder / "0.parquet")
        return "holds BIGINT.*here VARCHAR"
    if kind == "column missing":
        pq.write_table(table.drop_columns(["worker"]), second)
        return "no column holds the labeler"
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns["task" if "example" in kind else "label"][700] = {
        "an empty example": "",
        "no example": None,
        "no label": None,
        "a blank label": "  ",
        "NUL in example": "a\0b",
    }[kind]
    pq.write_table(pa.table(columns), second)
    return "NUL" if "NUL" in kind else "row 701: column '(task|label)' has no value"


@pytest.mark.parametrize(
    "kind",
    [
        "cut short",
        "damaged",
        "not Parquet",
        "a name that is no UTF-8",
        "numbers turn to text",
        "column missing",
        "an empty example",
        "no example",
        "no label",
        "a blank label",
        "NUL in example",
    ],
)
def test_broken_files_are_named(tables, tmp_path, kind):
    answers, _, place = tables
    message = broken(kind, tmp_path / "answers", answers)
    with pytest.raises(InputError, match=message) as caught:
        run(request(place, labels=tmp_path / "answers"), tmp_path / "out")
    assert "1.parquet" in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.end_to_end
def test_files_of_every_kind(tables, tmp_path, monkeypatch):
    """Text, compressed or not, one file or several: what Parquet says."""
    answers, _, place = tables
    monkeypatch.chdir(tmp_path)
    first, second = answers[:2_000], answers[2_000:]
    answers.to_csv("all.csv", index=False)
    answers.to_csv("all.tsv", index=False, sep="\t")
    answers.to_json("all.jsonl.gz", orient="records", lines=True)
    Path("texts").mkdir()
    first.to_csv("texts/1.csv.gz", index=False)
    second.to_csv("texts/2.csv.gz", index=False)
    expected = None
    for name in (
        place / "answers",
        "all.csv",
        "all.tsv",
        "all.jsonl.gz",
        "texts",
        "texts/*.csv.gz",
    ):
        wanted = request(
            place, labels=Path(name), method="majority-vote", options={}, class_prior=None
        )
        found = led(wanted, tmp_path / f"out {str(name).replace('/', ' ')}", None)
        expected = expected or found
        assert found == expected


def test_rows_of_text_are_counted_as_in_memory(tables, tmp_path):
    answers, _, _ = tables
    gap = answers[:50].copy()
    gap.loc[7, "label"] = None
    twice = pd.concat([answers[:50], answers[:1].assign(label="nothing")])
    for frame, what in ((gap, "no value"), (twice, "'w0' answered")):
        frame.to_csv(tmp_path / "answers.csv", index=False)
        wanted = Request(tmp_path / "answers.csv", method="majority-vote")
        places = []
        for read in (
            lambda: read_crowd(tmp_path / "answers.csv"),
            lambda wanted=wanted: run(wanted, tmp_path / "out"),
        ):
            with pytest.raises(InputError, match=what) as caught:
                read()
            places.append(caught.value.where)
        assert places[0] == places[1]


def test_covariates_of_text(tmp_path):
    """Numbers and times, told apart; what is neither is refused."""
    columns = {
        "task": ["a", "b"],
        "worker": ["x", "y"],
        "label": ["0", "1"],
        "seconds": ["1.5", "2"],
        "when": ["2026-11-28 09:30", "2026-11-29"],
        "mood": ["good", "2026-11-29"],
    }
    pd.DataFrame(columns).to_csv(tmp_path / "answers.csv", index=False)
    work = WorkDirectory.begun(tmp_path / "work", {}, resume=False)
    with database(work, "100MB") as connection:
        path, named = tmp_path / "answers.csv", ("seconds", "when")
        table = open_table(connection, path, {}, named, work, silent)
        assert table.times == ["when"]
        days = pd.Timestamp("2026-11-28 09:30") - pd.Timestamp("1970-01-01")
        assert lowest(connection, table) == [1.5, days / pd.Timedelta(days=1)]
        with pytest.raises(InputError, match="'mood' holds VARCHAR, neither numbers nor times"):
            open_table(connection, path, {}, ("mood",), work, silent)


def test_what_is_not_installed_and_no_memory(tmp_path, monkeypatch):
    """Nothing is downloaded that was not asked for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="extension httpfs, which is not installed") as caught:
        opened(Path("s3://bucket/labels/*.parquet"), tmp_path / "work")
    assert "INSTALL httpfs" in caught.value.hint
    work = WorkDirectory.begun(tmp_path / "work", {}, resume=False)
    with pytest.raises(InputError, match="'lots' is no size of memory"), database(work, "lots"):
        pass
    with pytest.raises(InputError, match="no such table"):
        opened(tmp_path / "nothing*.parquet", tmp_path / "work")


def test_empty_folders_and_tables(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no Parquet file"):
        opened(tmp_path / "empty", tmp_path / "work")
    nothing = pa.table({"task": pa.array([], pa.string()), "worker": [], "label": []})
    pq.write_table(nothing.cast(pa.schema([(n, pa.string()) for n in nothing.column_names])),
                   tmp_path / "empty" / "0.parquet")  # fmt: skip
    with pytest.raises(InputError, match="no rows"):
        opened(tmp_path / "empty", tmp_path / "work")


@pytest.mark.end_to_end
def test_gold_that_nobody_labelled(tables, tmp_path):
    _, gold, place = tables
    more = pd.concat([gold, pd.DataFrame({"task": ["elsewhere"], "label": ["cat"]})])
    more.to_csv(tmp_path / "gold.csv", index=False)
    _, summary = run(
        request(place, gold=tmp_path / "gold.csv", method="gtx", options={}), tmp_path / "out"
    )
    assert any("1 gold example(s) that nobody labelled" in note for note in summary["warnings"])
    gold.assign(task="nowhere").iloc[:1].to_csv(tmp_path / "gold.csv", index=False)
    with pytest.raises(InputError, match="labelled by anyone"):
        run(request(place, gold=tmp_path / "gold.csv"), tmp_path / "out2")


@hypothesis.given(st.integers(0, 10**9), st.integers(1, 300))
@hypothesis.example(16, 17)
@hypothesis.example(57, 29)
def test_close_sizes(size, least):
    close = fine_bucket_size(size, least)
    assert close >= max(size, least)
    assert close <= max(least, size + size // 8 + 1)
    assert fine_bucket_size(close, least) == close


@hypothesis.given(st.lists(st.integers(0, 2**31 - 1), max_size=60))
def test_order_is_that_of_a_stable_sort(codes):
    codes = np.array(codes, np.int32)
    np.testing.assert_array_equal(stable_order(codes), np.argsort(codes, kind="stable"))


@hypothesis.given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=40), st.randoms())
def test_whole_sums_do_not_depend_on_order(values, random):
    whole = to_fixed_point(np.array(values))
    shuffled = list(whole)
    random.shuffle(shuffled)
    assert sum(shuffled) == whole.sum()
    np.testing.assert_allclose(
        from_fixed_point(np.array(whole.sum())), np.sum(values), atol=len(values) * 2**-20
    )


@hypothesis.given(st.lists(st.integers(0, 3), max_size=300), st.integers(0, 2**32 - 1))
def test_segments(labelers, seed):
    """Nobody is counted for more than a segment, and together it is everybody's own."""
    labeler = np.repeat(np.array(labelers, np.int32), 40)
    labeler = np.random.default_rng(seed).permutation(labeler)
    further, owner = further_segments(labeler)
    sizes = {"num_labelers": 4, "num_labels": labeler.size, "num_further": owner.size + 3}
    segments = Segments.of(labeler, further, owner, **sizes)
    np.testing.assert_array_equal(segments.segment_labeler[segments.of_label], labeler)
    counted = np.bincount(segments.of_label, minlength=segments.segment_labeler.size)
    assert counted.max(initial=0) <= SEGMENT
    together = segments.by_labeler(counted, 4)
    np.testing.assert_array_equal(together, to_fixed_point(np.bincount(labeler, minlength=4)))


@pytest.mark.end_to_end
def test_a_labeler_with_very_many_answers(tmp_path):
    """Half of 200,000 answers, one a part, to examples that nobody else answered: 0.9 each.

    By symmetry the accuracy stays where the prior has it. Added one by one as float32 the counts
    of right answers would drift by more than a thousandth.
    """
    num_answers = 200_000
    answers = pd.DataFrame(
        {
            "task": np.arange(num_answers),
            "worker": np.where(np.arange(num_answers) % 2, "busy", "other"),
            "label": np.arange(num_answers) // 2 % 2,
        }
    )
    write_folder(tmp_path / "answers", answers, rows_per_group=100_000)
    _, summary = run(
        Request(
            labels=tmp_path / "answers",
            options={"model": "one-coin", "dependence": 0.0},
            class_prior=[0.5, 0.5],
        ),
        tmp_path / "out",
    )
    assert summary["num_parts"] == 1
    labelers = pd.read_csv(tmp_path / "out" / "labelers.csv")
    expected = float(OneCoinPrior.default(2).shape[0] / OneCoinPrior.default(2).shape.sum())
    np.testing.assert_allclose(labelers["accuracy"], expected, atol=1e-4)


def test_number_of_parts():
    assert number_of_parts(1, 2**20) == 1
    assert number_of_parts(100_000_000, 2**20) == 128
    assert number_of_parts(10**12, 2**20) == 2**14


@pytest.mark.end_to_end
def test_tables_of_many_sizes_share_programs(tables, tmp_path):
    """A table a little larger is no new program."""
    answers, _, place = tables
    wanted = request(place, method="gtx", options={}, most_per_part=2**20)
    run(wanted, tmp_path / "first")
    write_folder(tmp_path / "smaller", answers.iloc[:-5])
    with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
        compiled = []
        import logging

        class Kept(logging.Handler):
            def emit(self, record):
                if "Compiling" in record.getMessage():
                    compiled.append(record.getMessage())

        handler = Kept()
        logger = logging.getLogger("jax._src.interpreters.pxla")
        logger.addHandler(handler)
        patch.setattr(logger, "propagate", False)
        run(dataclasses.replace(wanted, labels=tmp_path / "smaller"), tmp_path / "second")
        logger.removeHandler(handler)
    own = [message for message in compiled if "clamped_class_probs" in message]
    assert not own


def test_other_commands_read_folders(tables, tmp_path):
    """The examples of a streamed run are evaluated, and its table is read into memory."""
    _, gold, place = tables
    run(request(place, method="majority-vote", options={}, class_prior=None), tmp_path / "out")
    found, _ = read_table(tmp_path / "out" / "examples.parquet")
    assert len(found) == NUM_EXAMPLES
    assert match_truth(found, gold).true_label.size == len(gold)
    assert len(read_crowd(place / "answers").example_names) == NUM_EXAMPLES


# Workers


def every_byte(output):
    """What a run wrote, but for the times it took."""
    files = sorted((output / "examples.parquet").iterdir())
    return {file.name: file.read_bytes() for file in (*files, output / "labelers.csv")}


def led(wanted, output, executor, callback=silent):
    """A run by some executor; what it wrote."""
    output.mkdir()
    work = WorkDirectory.begun(
        output.with_name(f"{output.name}.work"), wanted.identity(), resume=True
    )
    outcome = aggregate_table(
        wanted,
        work,
        output / "examples.parquet",
        executor=executor,
        num_devices=1,
        callback=callback,
    )
    outcome.labelers.to_csv(output / "labelers.csv", index=False)
    return every_byte(output)


@pytest.fixture(scope="module")
def by_threads(tables, tmp_path_factory):
    """What threads write."""
    _, _, place = tables
    return led(request(place), tmp_path_factory.mktemp("threads") / "out", None)


@pytest.fixture(scope="module")
def cluster():
    """The executor of two processes."""
    pytest.importorskip("distributed")
    with dask_cluster("local:2") as (executor, said):
        assert not said
        yield executor


@pytest.fixture
def worker_here(monkeypatch):
    """Starts a Dask scheduler with workers in this process, which is quick."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(executors, "LOST_AFTER_SECONDS", 1.0)
    with contextlib.ExitStack() as stack:

        def start(**options):
            return stack.enter_context(
                distributed.LocalCluster(
                    processes=False,
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",
                    **options,
                )
            )

        yield start


@pytest.mark.end_to_end
def test_a_cluster_writes_the_bytes_of_threads(tables, tmp_path, cluster, by_threads):
    """With two workers, each of which compiles a pass once; and with one killed in a pass."""
    _, _, place = tables
    client = cluster._client
    assert led(request(place), tmp_path / "two", cluster) == by_threads

    def times_compiled():
        from gtx_bayes.inference import loop

        return loop.e_step_of._cache_size()

    assert max(client.run(times_compiled).values()) == 1
    killed = []

    def kill(stage, done, total):
        if stage.startswith("Pass 2") and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)

    assert led(request(place), tmp_path / "killed", cluster, kill) == by_threads
    assert killed


@pytest.mark.slow
def test_a_cluster_writes_the_bytes_of_threads_with_a_pool(tables, tmp_path, cluster):
    """Scores and looks are sums over parts as well."""
    _, _, place = tables
    wanted = request(place, options={}, class_prior=None)
    by_threads = led(wanted, tmp_path / "threads", None)
    assert led(wanted, tmp_path / "two", cluster) == by_threads
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert led(wanted, tmp_path / "one", executor) == by_threads


@pytest.mark.end_to_end
def test_a_model_in_a_file_reaches_the_workers(tables, tmp_path, cluster):
    _, _, place = tables
    (tmp_path / "own.py").write_text(
        "import dataclasses\n"
        "from gtx_bayes.models.one_coin import OneCoinModel\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Mine(OneCoinModel):\n"
        "    name = 'mine'\n"
        "    description = 'one coin'\n"
    )
    named = request(place, options={"model": f"{tmp_path}/own.py:Mine", "dependence": 0.1})
    found = led(named, tmp_path / "cluster", cluster)
    assert found == led(named, tmp_path / "threads", None)


def test_a_fault_that_a_worker_finds_has_its_file_and_row(tables, tmp_path, cluster):
    answers, _, place = tables
    twice = pd.concat([answers, answers.iloc[:1].assign(label="nothing")], ignore_index=True)
    write_folder(tmp_path / "answers", twice)
    wanted = request(place, labels=tmp_path / "answers")
    with pytest.raises(InputError, match=r"also in .*0\.parquet, row 1\.") as caught:
        led(wanted, tmp_path / "out", cluster)
    assert caught.value.where == f"{tmp_path / 'answers' / '2.parquet'}, row 1400"
    assert "duplicates=" in caught.value.hint


def test_workers_of_another_version_are_refused(tables, tmp_path, cluster, monkeypatch):
    _, _, place = tables
    here = (*chunks_on_disk.versions()[:-1], "numpy 1.0")
    monkeypatch.setattr(chunks_on_disk, "versions", lambda: here)
    with pytest.raises(InputError, match=r"has numpy 2.*this run numpy 1\.0") as caught:
        led(request(place), tmp_path / "out", cluster)
    assert caught.value.where.startswith("worker on")


def test_a_task_may_be_done_twice(tables, tmp_path, by_threads):
    class Twice(concurrent.futures.ThreadPoolExecutor):
        def submit(self, function, *arguments):
            def twice():
                function(*arguments)
                return function(*arguments)

            return super().submit(twice)

    _, _, place = tables
    with Twice(2) as executor:
        assert led(request(place), tmp_path / "out", executor) == by_threads


def test_workers_that_are_gone_end_the_run_which_resumes(tables, tmp_path, worker_here, by_threads):
    _, _, place = tables
    local = worker_here(n_workers=1)

    def leave(stage, done, total):
        if stage.startswith("Pass 2"):
            local.scale(0)

    with dask_cluster(local.scheduler_address) as (executor, said):
        assert "dashboard" in said[0]
        with pytest.raises(LostWorkersError, match="no worker takes tasks"):
            led(request(place), tmp_path / "out", executor, leave)
    shutil.rmtree(tmp_path / "out")
    told = []
    found = led(request(place), tmp_path / "out", None, lambda *of: told.append(of))
    assert found == by_threads
    assert told[0][0].startswith("Pass 2")


def test_workers_without_memory_end_the_run(tables, tmp_path, worker_here):
    """Dask pauses them for as long as they hold more than their share, which may be for ever."""
    _, _, place = tables
    local = worker_here(n_workers=1, memory_limit="1 MB")
    with (
        dask_cluster(local.scheduler_address) as (executor, _),
        pytest.raises(LostWorkersError, match="out of memory"),
    ):
        led(request(place), tmp_path / "out", executor)


@pytest.mark.slow
def test_a_process_beyond_its_memory_limit_ends_the_run(tables, tmp_path, monkeypatch, by_threads):
    """Dask pauses it, or kills it and starts another, which does no better: no run waits for ever.

    A worker that has imported JAX and compiled a pass has more than this.
    """
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(executors, "LOST_AFTER_SECONDS", 5.0)
    _, _, place = tables
    begun = time.monotonic()
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            memory_limit="350 MB",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as local,
        dask_cluster(local.scheduler_address) as (executor, _),
        pytest.raises(LostWorkersError),
    ):
        led(request(place), tmp_path / "out", executor)
    assert time.monotonic() - begun < 300
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert led(request(place), tmp_path / "out", None) == by_threads


def test_a_cluster_without_workers_and_none_at_all(worker_here, monkeypatch):
    local = worker_here(n_workers=0)
    with (
        pytest.raises(LostWorkersError, match="none has come"),
        dask_cluster(local.scheduler_address),
    ):
        pass
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 1.0)
    with pytest.raises(InputError, match="no Dask scheduler"), dask_cluster("127.0.0.1:1"):
        pass
    for wrong in ("local:0", "local:many"):
        with pytest.raises(InputError, match="no number of processes"), dask_cluster(wrong):
            pass


def test_slow_settings_of_workers_are_told(worker_here, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    local = worker_here(n_workers=1)
    with dask_cluster(local.scheduler_address) as (_, said):
        assert [type(note) for note in said] == [str, WarningNote]
        assert "1 worker(s)" in said[1]


def test_a_worker_that_does_not_see_the_work(tmp_path):
    job = chunks_on_disk.Job(
        "run", str(tmp_path / "elsewhere"), b"", (), None, False, chunks_on_disk.versions()
    )
    with pytest.raises(InputError, match="does not see the work directory"):
        chunks_on_disk.do_parts(job, subsample.count_to_gold, (0,), ())


# Processes of their own

PROGRAM = sys.executable, "-m", "gtx_bayes"


def start(place, output, *, resume=False, cluster=None, **options):
    """A streamed run in a process of its own."""
    wanted = dataclasses.asdict(request(place, **options))
    wanted |= {name: str(wanted[name]) for name in ("labels", "gold")}
    record = {
        "request": wanted,
        "output": str(output),
        "work": f"{output}.work",
        "resume": resume,
        "cluster": cluster,
    }
    path = Path(f"{output}.json")
    path.write_text(json.dumps(record))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.streamed", str(path)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*children, timeout=600):
    """Exit codes and what was said on stderr."""
    said = [child.communicate(timeout=timeout)[1] for child in children]
    return [child.returncode for child in children], said


def wait_for(path, children, timeout=600):
    """Until a file is there."""
    end = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < end
        assert all(child.poll() is None for child in children), [c.stderr.read() for c in children]
        time.sleep(0.005)


@pytest.mark.slow
def test_the_shell_hears_of_a_fault_that_a_worker_finds(tables, tmp_path):
    """Exit code 2, the file and the row; nothing is left but the work."""
    pytest.importorskip("distributed")
    answers, _, _ = tables
    twice = pd.concat([answers, answers.iloc[:1].assign(label="nothing")], ignore_index=True)
    write_folder(tmp_path / "answers", twice)
    done = subprocess.run(
        [*PROGRAM, "aggregate", "answers", "-o", "out", "--cluster", "local:2"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 2, done.stderr
    assert "answers/2.parquet, row 1400" in done.stderr
    assert "in different ways" in done.stderr
    assert not done.stdout
    assert not (tmp_path / "out").exists()


READING = """
import sys
from pathlib import Path
from gtx_bayes.cli.streaming import peak_memory
from gtx_bayes.streaming.executor import silent
from gtx_bayes.streaming.ingest import database, distinct, open_table, partition
from gtx_bayes.streaming.work import WorkDirectory
path = Path(sys.argv[1])
work = WorkDirectory.begun(path.with_suffix(".work"), {}, resume=False)
with database(work, "100MB") as connection:
    table = open_table(connection, path, {}, (), work, silent)
    distinct(connection, table)
    partition(connection, table, 4, work, silent)
work.clear()
print(peak_memory())
"""


def write_text(path, num_rows, length=100):
    """Answers as CSV, ten to an example, whose names are a little longer than `length`."""
    query = (
        f"SELECT 'https://pictures.example/{'x' * length}/' || k // 10 AS task, "
        "'w' || (k % 10 * 50 + k // 10 % 50) AS worker, "
        "['cat', 'dog', 'fox'][1 + (k // 10 + (hash(k) % 4 = 0)::INT) % 3] AS label "
        f"FROM (SELECT i * 7919 % {num_rows} AS k FROM range({num_rows}) AS rows(i))"
    )
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT csv, HEADER)")


@pytest.mark.slow
@pytest.mark.end_to_end
def test_reading_takes_no_more_memory_of_a_longer_table(tmp_path):
    """Of 160 MB of text, with buffers of 100 MB, beside a twelfth of it."""
    if sys.platform != "linux":
        pytest.skip("elsewhere the peak is what started the process had, too")
    peaks = []
    for name, num_rows in (("short", 100_000), ("long", 1_200_000)):
        write_text(tmp_path / f"{name}.csv", num_rows)
        order = [sys.executable, "-c", READING, str(tmp_path / f"{name}.csv")]
        done = subprocess.run(
            order, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    grown = (tmp_path / "long.csv").stat().st_size - (tmp_path / "short.csv").stat().st_size
    assert grown > 140e6
    assert peaks[1] - peaks[0] < grown / 2


@contextlib.contextmanager
def limited(num_bytes):
    """A control group of so much memory, pages of files included; where a process joins it."""
    root = Path("/sys/fs/cgroup")
    is_first = (root / "memory").is_dir()  # version 1
    group = (root / "memory" if is_first else root) / f"gtx-bayes-{os.getpid()}"
    limit = "memory.limit_in_bytes" if is_first else "memory.max"
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no control group may be made here")
    try:
        try:
            (group / limit).write_text(str(num_bytes))
        except OSError:
            pytest.skip("no memory may be limited here")
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


@pytest.mark.slow
def test_text_larger_than_memory(tmp_path):
    """3 GB of CSV on what is, to the process, a machine of 2 GB."""
    write_text(tmp_path / "answers.csv", 10_200_000, 256)
    assert (tmp_path / "answers.csv").stat().st_size > 3e9
    options = ["aggregate", "answers.csv", "-o", "out", "--memory", "800MB", "--json"]
    options += ["--model", "one-coin", "--dependence", "0"]
    with limited(2 * 10**9) as members:
        begun = time.monotonic()
        done = subprocess.run(
            ["sh", "-c", f'echo $$ > {members}; exec "$@"', "sh", *PROGRAM, *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["num_labels"] == 10_200_000
    assert summary["peak_memory_bytes"] < 2e9
    print(f"{time.monotonic() - begun:.0f} s, {summary['peak_memory_bytes'] / 1e9:.2f} GB")


@pytest.mark.slow
def test_twenty_kills_twenty_resumes(tables, tmp_path):
    """SIGKILL at random moments of a run, from its first file to its last."""
    _, _, place = tables
    expected, _ = run(request(place), tmp_path / "alone")
    output = tmp_path / "out"
    child = start(place, output)
    wait_for(tmp_path / "out.work" / "manifest.json", [child])
    begun = time.monotonic()
    finish(child)
    lasts = time.monotonic() - begun
    rng = np.random.default_rng(1)
    stopped = tries = 0
    while stopped < 20:
        tries += 1
        assert tries <= 60
        moment = rng.uniform(0.0, lasts)
        shutil.rmtree(output)
        child = start(place, output)
        wait_for(tmp_path / "out.work" / "manifest.json", [child])
        time.sleep(moment)
        child.send_signal(signal.SIGKILL)
        codes, _ = finish(child)
        if codes == [-signal.SIGKILL]:
            stopped += 1
        else:
            lasts = min(lasts, moment)  # it had ended by itself
        if not output.exists():
            codes, said = finish(start(place, output, resume=True))
            assert codes == [0], said
        for one, other in zip(read_result(output), expected, strict=True):
            pd.testing.assert_frame_equal(one, other, check_exact=True)
