"""Numbers that go with answers, labelers and examples, and answers that are no class.

Each covariate is a function of the answer's example and labeler: whatever is done to the table, it
must stay that function.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state, write_state
from gtx_bayes.cli.commands import app
from gtx_bayes.crowd import Crowd, update_crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference.loop import ChunksInMemory
from gtx_bayes.inference.svi import Batches
from gtx_bayes.labels import MISSING, Assessment, Labels, PaddedLabels
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.padding import padded_to_bucket
from gtx_bayes.posterior import batch_class_posterior, batch_log_prob, gather_evidence, update
from gtx_bayes.streaming.aggregate import aggregate_table
from gtx_bayes.streaming.parts import PartedTable, names_of
from gtx_bayes.streaming.request import Request
from gtx_bayes.streaming.work import WorkDirectory
from gtx_bayes.sums import count_by_segment, from_fixed_point, to_fixed_point

UNSURE = 2  # an answer to two classes
DENSE = np.array(
    [[0, 1, MISSING, 1, UNSURE], [1, MISSING, MISSING, 0, 1], [MISSING, UNSURE, MISSING, 1, 0]],
    np.int8,
)
GOLD = Assessment.from_arrays([0, 3], [0, 1], num_examples=5, num_classes=2)


def when(example, labeler):
    return 10.0 * np.asarray(example) + np.asarray(labeler)


def table(num_answers=3):
    """The answers, out of order until they are sorted."""
    example, labeler = np.nonzero(DENSE.T != MISSING)
    order = np.random.default_rng(0).permutation(example.size)
    example, labeler = example[order], labeler[order]
    return Labels.from_arrays(
        example,
        labeler,
        DENSE[labeler, example],
        num_classes=2,
        num_examples=5,
        num_labelers=3,
        num_answers=num_answers,
        covariates={"when": when(example, labeler)},
        labeler_covariates={"skill": np.arange(3) + 0.5},
        example_covariates={"length": np.arange(5) - 0.25},
    )


def assert_kept(labels, num_labels, examples=None):
    """Every answer has its own covariates; `examples` are the indices that the examples had."""
    examples = np.arange(5) if examples is None else np.asarray(examples)
    there = np.asarray(labels.label) != MISSING
    assert there.sum() == num_labels
    assert labels.num_answers == 3
    example, labeler = np.asarray(labels.example)[there], np.asarray(labels.labeler)[there]
    found = np.asarray(labels.covariates["when"])
    np.testing.assert_array_equal(found[there], when(examples[example], labeler))
    np.testing.assert_array_equal(found[~there], np.zeros((~there).sum()))
    assert labels.labeler_covariates["skill"].shape == (labels.num_labelers,)
    np.testing.assert_array_equal(labels.labeler_covariates["skill"][:3], np.arange(3) + 0.5)
    assert labels.example_covariates["length"].shape == (labels.num_examples,)
    np.testing.assert_array_equal(
        labels.example_covariates["length"][: examples.size], examples - 0.25
    )


def total_skill(labels):
    """The skill of each answer's labeler, added up by labeler."""
    skill = labels.labeler_covariates["skill"][labels.labeler]
    skill = jnp.where(labels.label != MISSING, skill, 0.0)
    return jax.ops.segment_sum(skill, labels.labeler, labels.num_labelers)


def dense_view():
    return Labels.from_dense(
        DENSE,
        num_classes=2,
        num_answers=3,
        covariates={"when": when(np.arange(5)[None, :], np.arange(3)[:, None])},
        labeler_covariates={"skill": np.arange(3) + 0.5},
        example_covariates={"length": np.arange(5) - 0.25},
    )


class TestKept:
    @pytest.mark.parametrize(
        ("labels", "num_labels", "examples"),
        [
            (table, 10, None),
            (dense_view, 10, None),
            (lambda: table().entries(np.array([1, 4, 7])), 3, None),
            (lambda: table().of_examples(np.array([4, 1])), 5, [4, 1]),
            (lambda: table().of_examples(np.array([3, 5])), 3, [3]),  # one is to come
            (lambda: padded_to_bucket(table(), GOLD, None)[0], 10, None),
        ],
        ids=["sorted", "dense", "entries", "examples", "to come", "padded"],
    )
    def test_by(self, labels, num_labels, examples):
        assert_kept(labels(), num_labels, examples)

    def test_by_a_tree_map_and_a_replacement(self):
        labels = jax.tree.map(lambda values: values, table())
        assert_kept(dataclasses.replace(labels, label=labels.label), 10)

    def test_in_mini_batches(self, key):
        batches = Batches.shuffled(key, table(), GOLD, 2)
        order = (np.asarray(batches.labels.example_covariates["length"]) + 0.25).astype(int)
        assert sorted(order) == [0, 1, 2, 3, 4]
        labels, gold = batches.batch(jnp.array(1))
        count = np.sum(DENSE[:, order[1:3]] != MISSING)
        assert_kept(labels, count, examples=order[1:3])
        np.testing.assert_array_equal(gold.true_label, GOLD.true_label[order[1:3]])

    def test_in_chunks(self):
        chunks = ChunksInMemory.cut(table(), None, None, jax.devices()[:1])
        labels = [chunk.labels for chunk in chunks.chunks]
        totals = [
            jax.ops.segment_sum(own.covariates["when"], own.example, own.num_examples)
            for own in labels
        ]
        is_there = DENSE != MISSING
        expected = (when(np.arange(5)[None, :], np.arange(3)[:, None]) * is_there).sum(axis=0)
        np.testing.assert_array_equal(chunks.join(totals), expected)
        lengths = [own.example_covariates["length"] for own in labels]
        np.testing.assert_array_equal(chunks.join(lengths), np.arange(5) - 0.25)
        (skill,) = chunks.add_up(
            chunks.map(
                "Skill",
                lambda _, chunk: (
                    chunk.by_labeler(count_by_segment(total_skill, chunk.labels, chunk.segments)),
                ),
            )
        )
        counts = is_there.sum(axis=1)
        np.testing.assert_array_equal(from_fixed_point(skill), counts * (np.arange(3) + 0.5))

    def test_by_place(self):
        labeler = np.tile(np.arange(3)[:, None], (1, 5))
        padded = PaddedLabels(
            jnp.asarray(labeler),
            jnp.asarray(DENSE),
            3,
            2,
            {
                "when": jnp.asarray(
                    np.where(DENSE == MISSING, 0, when(np.arange(5), labeler)), float
                )
            },
            {"skill": jnp.asarray(np.arange(3) + 0.5, float)},
            {"length": jnp.asarray(np.arange(5) - 0.25, float)},
            3,
        )
        assert_kept(padded.long(), 10)
        shorter = padded.first(1)
        assert shorter.num_answers == 3
        there = np.asarray(shorter.long().label) != MISSING
        assert there.sum() == np.sum(DENSE[0] != MISSING)


class TestPlain:
    """A table without covariates is the table that it was."""

    def test_nothing_more_to_compile(self):
        plain = Labels.from_arrays([0, 1], [0, 0], [1, 0], num_classes=2)
        assert len(jax.tree.leaves(plain)) == 3
        assert plain.num_answers == 2
        assert plain.of_classes() is plain

    def test_constructor(self):
        assert Labels(*[jnp.zeros(2, jnp.int32)] * 3, 1, 1, 4).num_answers == 4
        assert PaddedLabels(jnp.zeros((1, 1), int), jnp.zeros((1, 1), int), 1, 4).num_answers == 4

        assert dataclasses.replace(table(), num_classes=4).num_answers == 4


def test_of_classes():
    labels = table().of_classes()
    assert len(jax.tree.leaves(labels)) == 3
    assert labels.num_answers == 2
    np.testing.assert_array_equal(labels.dense(), np.where(DENSE == UNSURE, MISSING, DENSE))
    assert labels.label.dtype == np.int8


class TestModelsOfClasses:
    """Answers that are no class are no evidence of one, in every kernel."""

    @pytest.fixture
    def coin(self):
        return OneCoin(jnp.array([0.9, 0.8, 0.6]), 2)

    def test_one_coin(self, coin, rtol):
        labels = table()
        wanted = batch_class_posterior(coin, labels.of_classes())
        np.testing.assert_allclose(batch_class_posterior(coin, labels), wanted, rtol=rtol)
        dense = labels.of_classes().dense()
        np.testing.assert_allclose(batch_class_posterior(coin, dense), wanted, rtol=rtol)
        first, rest = (labels.entries(at) for at in (np.arange(5), np.arange(5, 10)))
        found = update(gather_evidence(coin, first), coin, rest)
        np.testing.assert_allclose(found.class_posterior(), wanted, rtol=rtol)

    def test_confusion(self, rtol):
        model = ConfusionMatrix(jnp.tile(jnp.array([[0.8, 0.2], [0.3, 0.7]]), (3, 1, 1)), 2)
        labels = table()
        np.testing.assert_allclose(
            batch_log_prob(model, labels), batch_log_prob(model, labels.of_classes()), rtol=rtol
        )


@pytest.mark.parametrize(
    ("covariates", "message"),
    [
        ({"when": [0.0]}, r"covariates\['when'\] has shape \(1,\), not \(2,\)"),
        ({"when": [0.0, np.nan]}, r"\['when'\]\[1\] is nan"),
        ({"when": ["early", "late"]}, "values"),
    ],
)
def test_bad_covariates(covariates, message):
    with pytest.raises(InputError, match=message):
        Labels.from_arrays([0, 1], [0, 0], [1, 0], num_classes=2, covariates=covariates)


def test_too_few_answers():
    with pytest.raises(InputError, match="1 possible answers to 2 classes"):
        Labels.from_arrays([0], [0], [0], num_classes=2, num_answers=1)
    with pytest.raises(InputError, match=r"label\[0\] is 3"):
        Labels.from_arrays([0], [0], [3], num_classes=2, num_answers=3)


def frame():
    """The answers as a user's table, "unsure" among them, each with a time and a number."""
    example, labeler = np.nonzero(DENSE.T != MISSING)
    return pd.DataFrame(
        {
            "task": [f"t{i}" for i in example],
            "worker": [f"w{j}" for j in labeler],
            "label": np.array(["no", "yes", "unsure"])[DENSE[labeler, example]],
            "when": when(example, labeler),
        }
    )


WORKERS = pd.DataFrame(
    {"worker": ["w2", "w0", "w1"], "skill": ["2.5", "0.5", "1.5"], "town": ["A", "B", "A"]}
)
TASKS = pd.DataFrame({"task": [f"t{i}" for i in range(6)], "length": np.arange(6) - 0.25})
KEPT = {"abstain": ("unsure",), "keep_abstentions": True}


def crowd_of(rows, **options):
    return Crowd.from_frames(
        rows,
        **{
            "covariates": ["when"],
            "labeler_covariates": WORKERS,
            "example_covariates": TASKS,
            **KEPT,
            **options,
        },
    )


def assert_named(crowd, num_labels):
    """What `assert_kept` asserts, by the numbers in the names of labelers and of examples."""
    labels = crowd.labels
    assert labels.num_labels == num_labels
    example, labeler = (
        np.array([int(name[1:]) for name in names])
        for names in (crowd.example_names, crowd.labeler_names)
    )
    found = when(example[np.asarray(labels.example)], labeler[np.asarray(labels.labeler)])
    np.testing.assert_array_equal(labels.covariates["when"], found)
    np.testing.assert_array_equal(labels.labeler_covariates["skill"], labeler + 0.5)
    np.testing.assert_array_equal(labels.example_covariates["length"], example - 0.25)


class TestRead:
    def test_frames(self):
        crowd = crowd_of(frame().sample(frac=1.0, random_state=1))
        assert_named(crowd, 10)
        assert list(crowd.answer_names) == ["no", "yes", "unsure"]
        assert (crowd.labels.num_classes, crowd.labels.num_answers) == (2, 3)
        np.testing.assert_array_equal(sorted(crowd.num_abstained()), [0, 1, 1])
        assert any("'town' hold(s) no numbers" in note for note in crowd.notes)
        assert any("2 row(s) are of no example here" in note for note in crowd.notes)

    def test_rows_dropped(self):
        """Blank rows and repeats go with their covariates, which may then be blank."""
        rows = frame()
        extra = rows.iloc[[0]].assign(label="", when=np.nan)
        again = rows.iloc[[3]].assign(when=-1.0)
        crowd = crowd_of(pd.concat([extra, rows, again]), blank="drop")
        assert_named(crowd, 10)

    def test_blank_answers_kept(self):
        rows = frame()
        rows.loc[rows["label"] == "unsure", "label"] = ""
        crowd = crowd_of(rows, abstain=(), blank="abstain")
        assert_named(crowd, 10)
        assert list(crowd.answer_names) == ["no", "yes", "(blank)"]

    def test_round_trip(self):
        crowd = crowd_of(frame())
        assert_named(crowd_of(crowd.to_frames()[0]), 10)

    def test_times(self):
        rows = frame().assign(when="2026-11-28T12:00")
        rows.loc[2, "when"] = "2026-11-27 06:00"
        crowd = crowd_of(rows)
        days = np.full(10, 1.25)
        days[2] = 0.0
        np.testing.assert_array_equal(crowd.labels.covariates["when"], days)
        assert any("days since the first, 2026-11-27T06:00" in note for note in crowd.notes)
        as_dates = crowd_of(rows.assign(when=pd.to_datetime(rows["when"], format="ISO8601")))
        np.testing.assert_array_equal(as_dates.labels.covariates["when"], days)

    @pytest.mark.parametrize(
        ("rows", "options", "message"),
        [
            (frame().assign(when="early"), {}, "'early', which is no number or time"),
            (frame().assign(when=[*[1.0] * 9, None]), {}, r"row 9: .*'when' has no finite value"),
            (frame(), {"covariates": ["hour"]}, "'hour' is not one column"),
            (frame(), {"covariates": "when"}, "not several columns"),
            (frame(), {"labeler_covariates": WORKERS[:2]}, r"1 labeler\(s\) have no row: 'w1'"),
            (frame(), {"labeler_covariates": WORKERS.iloc[[0, 0]]}, "'w2' has two rows"),
            (frame(), {"abstain": ()}, "no abstentions to keep"),
        ],
    )
    def test_refused(self, rows, options, message):
        with pytest.raises(InputError, match=message):
            crowd_of(rows, **options)

    def test_of_classes(self):
        """A model that knows the classes alone is given what it is given without any of this."""
        reduced = crowd_of(frame()).keeping()
        plain = Crowd.from_frames(frame(), abstain=("unsure",))
        for name in ("example", "labeler", "label"):
            np.testing.assert_array_equal(
                getattr(reduced.labels, name), getattr(plain.labels, name)
            )
        for found, wanted in zip(reduced.abstentions, plain.abstentions, strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert not reduced.covariate_names
        assert not reduced.other_names.size
        assert any("takes no covariates: 'when', 'skill', 'length'" in n for n in reduced.notes)
        assert plain.keeping() is plain


class TestGrown:
    def test_with_its_covariates(self):
        rows = frame().sample(frac=1.0, random_state=3)
        crowd = crowd_of(rows[:6])
        growth = update_crowd(
            crowd, rows, labeler_covariates=WORKERS, example_covariates=TASKS, duplicates="last"
        )
        assert growth.num_new_labels == 4
        assert_named(growth.crowd, 10)
        assert growth.crowd.labels.num_answers == 3

    def test_an_answer_replaced(self):
        rows = frame()
        crowd = crowd_of(rows)
        new = rows.iloc[[4]].assign(label="unsure", when=7.0)
        grown = update_crowd(crowd, new, duplicates="last").crowd.labels
        changed = np.flatnonzero(np.asarray(grown.covariates["when"]) == 7.0)
        assert changed.size == 1
        assert grown.label[changed[0]] == UNSURE
        assert grown.num_labels == 10

    def test_times_from_the_same_start(self):
        rows = frame().assign(when="2026-11-28")
        crowd = crowd_of(rows[1:])
        grown = update_crowd(crowd, rows[:1].assign(when="2026-11-26"), duplicates="all").crowd
        assert sorted(set(np.asarray(grown.labels.covariates["when"]))) == [-2.0, 0.0]

    def test_from_labelers_alone(self):
        """What a fit is asked of other examples has covariates on the fit's scales."""
        rows = frame()
        start = crowd_of(rows.assign(when="2026-11-28")).without_examples()
        new = rows.assign(when="2026-11-26")
        grown = update_crowd(start, new, example_covariates=TASKS).crowd
        assert list(grown.labeler_names) == list(start.labeler_names)
        np.testing.assert_array_equal(grown.labels.covariates["when"], np.full(10, -2.0))
        example = np.array([int(name[1:]) for name in grown.example_names])
        np.testing.assert_array_equal(grown.labels.example_covariates["length"], example - 0.25)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"when": "2026-11-28"}, "holds times, and numbers in the fit"),
            ({"worker": "w9"}, "'w9' are new, and the fit knows labelers by 'skill'"),
            ({"when": None}, "no number or time|no finite value"),
        ],
    )
    def test_refused(self, changes, message):
        crowd = crowd_of(frame())
        with pytest.raises(InputError, match=message):
            update_crowd(crowd, frame()[:1].assign(**changes), duplicates="last")

    def test_without_the_column(self):
        with pytest.raises(InputError, match="'when' is not one column"):
            update_crowd(crowd_of(frame()), frame().drop(columns="when"))


class TestAggregated:
    GOLD_ROWS = pd.DataFrame({"task": ["t0", "t3"], "label": ["no", "yes"]})

    def test_model_of_classes(self, key):
        """Abstentions that are kept count as abstentions, and the result is the same."""
        options = {"model": "one-coin", "dependence": 0.0}
        kept = aggregate(crowd_of(frame(), gold=self.GOLD_ROWS), **options)
        plain = aggregate(
            Crowd.from_frames(frame(), self.GOLD_ROWS, abstain=("unsure",)), **options
        )
        pd.testing.assert_frame_equal(kept.examples(key), plain.examples(key))
        pd.testing.assert_frame_equal(kept.labelers(), plain.labelers())
        assert any("'unsure' count as abstentions" in note for note in kept.notes)

    def test_state(self, tmp_path):
        rows = frame()
        crowd = crowd_of(rows, gold=self.GOLD_ROWS)
        result = aggregate(crowd, model="one-coin", dependence=0.0)
        write_state(dataclasses.replace(result, crowd=crowd), tmp_path / "fit")
        found = read_state(tmp_path / "fit").crowd
        assert_named(found, 10)
        assert list(found.answer_names) == ["no", "yes", "unsure"]
        assert update_crowd(found, rows).num_new_labels == 0


def test_command_line(tmp_path):
    frame().to_csv(tmp_path / "labels.csv", index=False)
    WORKERS.to_csv(tmp_path / "workers.csv", index=False)
    shared = [str(tmp_path / "labels.csv"), "--abstain", "unsure", "--keep-abstentions"]
    shared += ["--covariate", "when", "--labeler-table", str(tmp_path / "workers.csv")]
    runner = CliRunner()
    found = runner.invoke(
        app, ["aggregate", *shared, "-o", str(tmp_path / "out"), "--method", "majority-vote"]
    )
    assert found.exit_code == 0, found.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["num_labels"], summary["num_abstained"]) == (8, 2)
    assert any("takes no covariates: 'when', 'skill'" in note for note in summary["warnings"])
    found = runner.invoke(app, ["next", *shared, "--method", "majority-vote", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["num_open"] == 4


class TestStreamed:
    """A part of a table in parts has the covariates of its answers, whatever rows came where."""

    def request(self, folder, rows, **options):
        folder.mkdir()
        for at, some in enumerate(np.array_split(np.arange(len(rows)), 2)):
            rows.iloc[some].to_parquet(folder / f"{at}.parquet", index=False)
        WORKERS.to_csv(folder.parent / "workers.csv", index=False)
        return Request(
            folder,
            method="majority-vote",
            covariates=("when",),
            labeler_covariates=folder.parent / "workers.csv",
            most_per_part=4,
            **KEPT,
            **options,
        )

    def in_parts(self, tmp_path, monkeypatch, rows, **options):
        """The table as a method gets it that would use all of it, and the result of one."""
        found = []
        keeping = PartedTable.keeping
        monkeypatch.setattr(
            PartedTable,
            "keeping",
            lambda self, **taken: found.append(self) or keeping(self, **taken),
        )
        device = jax.devices()[0]
        request = self.request(tmp_path / "labels", rows, **options)
        work = WorkDirectory.begun(tmp_path / "work", request.identity(), resume=False)
        outcome = aggregate_table(request, work, tmp_path / "examples", num_devices=1)
        table = found[0]
        parts = [
            (table.read(at, device, jnp.ones(2) / 2), names_of(at, work).to_pylist())
            for at in range(table.num_parts)
        ]
        return table, parts, outcome

    def test_kept(self, tmp_path, monkeypatch):
        rows = frame().sample(frac=1.0, random_state=5)
        again = rows.iloc[[2]].assign(when=-1.0)
        table, parts, outcome = self.in_parts(tmp_path, monkeypatch, pd.concat([rows, again]))
        assert table.num_parts == 4
        skill = parts[0][0].chunk.labels.labeler_covariates["skill"]
        assert skill.shape == (table.padded_labelers,)
        num_labels = 0
        for part, names in parts:
            labels, size = part.chunk.labels, part.num_labels
            example = np.array([int(name[1:]) for name in names] or [0])
            own = example[np.asarray(labels.example)[:size]]
            # The labelers' numbers are told by their covariate.
            labeler = np.asarray(skill)[np.asarray(labels.labeler)[:size]] - 0.5
            found = np.asarray(labels.covariates["when"])
            np.testing.assert_array_equal(found[:size], when(own, labeler))
            np.testing.assert_array_equal(found[size:], np.zeros(found.size - size))
            answers = DENSE[labeler.astype(int), own]
            np.testing.assert_array_equal(np.asarray(labels.label)[:size] == UNSURE, answers == 2)
            assert labels.num_answers == 3
            num_labels += size
            # Counted as several labelers, a labeler keeps the covariates.
            counted = count_by_segment(total_skill, labels, part.chunk.segments)
            found = part.chunk.by_labeler(counted)
            counts = np.bincount(np.asarray(labels.labeler)[:size], minlength=skill.size)
            np.testing.assert_array_equal(found, to_fixed_point(counts * np.asarray(skill)))
        assert num_labels == 10
        assert any("takes no covariates: 'when', 'skill'" in note for note in outcome.notes)

    def test_majority_vote(self, tmp_path, monkeypatch):
        """A method that knows the classes alone says what it says of the table in memory."""
        _, _, outcome = self.in_parts(tmp_path, monkeypatch, frame())
        found = outcome.labelers.sort_values("worker", ignore_index=True)
        wanted = aggregate(crowd_of(frame()), "majority-vote").labelers()
        wanted = wanted.sort_values("worker", ignore_index=True)
        pd.testing.assert_frame_equal(found, wanted[found.columns], check_dtype=False)
        assert (outcome.table.num_labels, outcome.num_abstained) == (8, 2)

    def test_times(self, tmp_path, monkeypatch):
        days = pd.to_datetime("2026-11-27 06:00") + pd.to_timedelta(np.arange(10.0), unit="D")
        rows = frame().assign(when=days.to_numpy()[::-1])
        _, parts, outcome = self.in_parts(tmp_path, monkeypatch, rows)
        found = [
            np.asarray(part.chunk.labels.covariates["when"])[: part.num_labels] for part, _ in parts
        ]
        np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(10.0))
        assert any("days since the first, 2026-11-27T06:00" in note for note in outcome.notes)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (["early"] * 10, "covariate 'when' holds VARCHAR, neither numbers nor times"),
            ([*[1.0] * 9, None], r"1.parquet, row 5: covariate 'when' has no finite value"),
        ],
    )
    def test_refused(self, tmp_path, monkeypatch, values, message):
        with pytest.raises(InputError, match=message):
            self.in_parts(tmp_path, monkeypatch, frame().assign(when=values))


def test_numbers_beyond_the_float_type_are_refused():
    too_much = 10.0 * float(jnp.finfo(jnp.result_type(float)).max)
    with pytest.raises(InputError, match="'when' has no finite value"):
        Crowd.from_frames(frame().assign(when=too_much), covariates=["when"])


def test_an_update_of_abstentions_alone_needs_no_times():
    table = frame().assign(when="2026-01-0" + (frame().index % 9 + 1).astype(str))
    crowd = Crowd.from_frames(table, covariates=["when"], abstain=["skip"])
    found = update_crowd(crowd, table.head(1).assign(label="skip"), abstain=["skip"])
    assert found.crowd.labels.num_labels == crowd.labels.num_labels
