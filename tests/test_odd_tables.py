"""Tables as people have them: names of every type, files with much else in them, odd classes."""

import datetime
import decimal
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gtx_bayes import aggregate
from gtx_bayes.cli.commands import app
from gtx_bayes.columns import Table
from gtx_bayes.crowd import Crowd, update_crowd
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import match_truth
from gtx_bayes.io import read_crowd, read_table, write_table
from tests.test_crowd import FRAME, write


def crowd_of(labels, **columns):
    """One answer per label, each to another task."""
    tasks = [f"t{at}" for at in range(len(labels))]
    return Crowd.from_frames(
        pd.DataFrame({"task": tasks, "worker": "w", "label": labels, **columns})
    )


class TestOrderOfClasses:
    @pytest.mark.parametrize("odd", ["NAN", "Nan", "-nan", "+NaN"])
    def test_a_class_that_python_takes_for_nan_has_a_fixed_place(self, odd):
        """It compares with no number, so that a sort by number leaves rows where they are."""
        labels = ["3", odd, "1", "2", "10"]
        forward, backward = crowd_of(labels), crowd_of(labels[::-1])
        assert list(forward.class_names) == list(backward.class_names) == sorted(labels)

    def test_equal_numbers_spelt_differently_have_a_fixed_place(self):
        assert list(crowd_of(["1.0", "01", "1"]).class_names) == ["01", "1", "1.0"]
        assert list(crowd_of(["1", "01", "1.0"]).class_names) == ["01", "1", "1.0"]


class TestCategories:
    def test_a_category_that_no_row_has_is_a_class(self):
        labels = pd.Categorical(["cat", "dog", "dog", "cat"], ["cat", "dog", "eel"])
        crowd = Crowd.from_frames(FRAME.assign(label=labels))
        assert list(crowd.class_names) == ["cat", "dog", "eel"]
        assert "'eel' of the categories of column 'label' stand(s) in no row" in crowd.notes[0]

    def test_one_of_the_gold_too(self):
        gold = pd.DataFrame({"task": ["t1"], "label": pd.Categorical(["cat"], ["cat", "eel"])})
        assert list(Crowd.from_frames(FRAME, gold).class_names) == ["cat", "dog", "eel"]

    def test_categories_are_the_names_that_they_are(self):
        plain = pd.DataFrame(
            {"task": [3, 1, 3], "worker": [" a", "b ", "b"], "label": [1.0, 0.0, 1.0]}
        )
        crowd = Crowd.from_frames(plain.astype("category"))
        expected = Crowd.from_frames(plain)
        for names in ("example_names", "labeler_names", "class_names"):
            assert list(getattr(crowd, names)) == list(getattr(expected, names))
        np.testing.assert_array_equal(crowd.labels.dense(), expected.labels.dense())

    def test_a_gap_among_categories_is_found(self):
        frame = FRAME.assign(worker=pd.Categorical(["ann", None, "bob", "bob"]))
        with pytest.raises(InputError, match="row 1: column 'worker' has no value"):
            Crowd.from_frames(frame)

    def test_how_a_file_is_encoded_declares_nothing(self, tmp_path):
        label = pa.DictionaryArray.from_arrays([0, 1, 1, 0], ["cat", "dog", "eel"])
        table = pa.table({"task": ["a", "a", "b", "c"], "worker": [*"uvuv"], "label": label})
        pq.write_table(table, tmp_path / "labels.parquet")
        crowd = read_crowd(tmp_path / "labels.parquet")
        assert list(crowd.class_names) == ["cat", "dog"]
        assert crowd.notes == ()


@pytest.mark.parametrize(
    "cells",
    [
        [frozenset("a"), frozenset("b")],
        pd.Series([["a"], ["b"]], dtype=pd.ArrowDtype(pa.list_(pa.string()))),
        pd.Series([{"x": 1}, {"x": 2}], dtype=pd.ArrowDtype(pa.struct([("x", pa.int64())]))),
        pd.Series([b"a", b"b"], dtype=pd.ArrowDtype(pa.binary())),
        pd.Categorical([("a",), ("b",)]),
        [{"a": 1}.keys(), {"b": 1}.keys()],
    ],
    ids=["frozenset", "arrow list", "arrow struct", "arrow bytes", "categories", "keys"],
)
def test_cells_that_hold_several_things_are_no_names(cells):
    for name in ("task", "worker", "label"):
        frame = pd.DataFrame({"task": ["a", "b"], "worker": ["u", "v"], "label": [0, 1]})
        frame[name] = cells
        with pytest.raises(InputError, match=f"row 0: column '{name}' holds .* neither text nor"):
            Crowd.from_frames(frame)


@pytest.mark.parametrize(
    "dtype", [pa.string(), pa.large_string(), pa.int32(), pa.decimal128(19, 2), pa.date32()]
)
def test_arrow_cells_that_are_names(dtype):
    cells = pa.array([1, 2]).cast(pa.int32()).cast(dtype)
    frame = pd.DataFrame({"task": pd.Series(pd.arrays.ArrowExtensionArray(cells))})
    crowd = Crowd.from_frames(frame.assign(worker="w", label=[0, 1]))
    assert [str(name) for name in crowd.example_names] == cells.cast(pa.string()).to_pylist()


class TestNotesOnClasses:
    def test_json(self):
        cells = ['{"choices":["A","B"]}', '{"choices":["A"]}', "[1]", "[draft]", "x"]
        (note,) = crowd_of(cells).notes
        assert note.startswith("3 class(es) are JSON, such as '[1]': each is taken for a class")

    @pytest.mark.parametrize("between", [",", ", ", ";", "|"])
    def test_several_choices(self, between):
        (note,) = crowd_of(["A", "B", f"A{between}B", f"B{between}A"]).notes
        assert note.startswith(f"2 class(es) hold several choices, such as 'A{between}B'")

    def test_several_choices_where_none_stands_alone(self):
        (note,) = crowd_of(["a|b", "b|c", "a|c"]).notes
        assert note.startswith("3 class(es) hold several choices")

    @pytest.mark.parametrize("labels", [["Lyon, France", "Nice, France"], ["a,b", "c"], [",", ";"]])
    def test_commas_in_names(self, labels):
        assert crowd_of(labels).notes == ()

    def test_numbers_on_a_scale(self):
        rng = np.random.default_rng(0)
        labels = rng.random(200).round(3)
        num_classes = len(set(labels))
        assert num_classes > 150
        (note,) = crowd_of(labels).notes
        assert f"There are {num_classes} classes in 200 answers" in note
        assert crowd_of(list(labels[:30]) * 4).notes == ()


@pytest.mark.parametrize("name", ["count", " Count ", "n", "num_votes", "weight"])
def test_a_column_of_counts_is_noted(tmp_path, name):
    note = f"column '{name}' is not used: every row counts as one answer"
    frame = FRAME.assign(**{name: 3})
    assert note in Crowd.from_frames(frame).notes[0]
    frame.to_csv(tmp_path / "labels.csv", index=False)
    assert note in read_crowd(tmp_path / "labels.csv").notes[0]
    used = Crowd.from_frames(frame.assign(**{name: [1, 2, 1, 2]}), columns={"label": name})
    assert used.notes == ()


class TestNamesThatLookAlike:
    @pytest.mark.parametrize(
        ("one", "other", "shown"),
        [
            ("Ann", "ann", "'Ann' and 'ann'"),
            ("7", "7.0", "'7' and '7.0'"),
            ("caf\u00e9", "cafe\u0301", r"'caf\xe9' and 'cafe\u0301'"),
            ("bob", "bo\u200bb", r"'bob' and 'bo\u200bb'"),
            ("a b", "a\u00a0b", r"'a b' and 'a\xa0b'"),
        ],
    )
    def test_labelers_examples_and_classes(self, one, other, shown):
        frame = pd.DataFrame({"task": ["t1", "t2", "t3"], "worker": "w", "label": ["x", "y", "x"]})
        for column, what in (("task", "examples"), ("worker", "labelers"), ("label", "classes")):
            crowd = Crowd.from_frames(frame.assign(**{column: [one, other, "zz"]}))
            assert crowd.notes == (f"{shown} are taken for different {what}.",)

    def test_gold_that_differs_in_what_cannot_be_seen_is_refused_legibly(self):
        gold = pd.DataFrame({"task": ["t1"], "label": ["caf\u00e9"]})
        answers = FRAME.assign(label=["cafe\u0301", "tea", "tea", "tea"])
        with pytest.raises(InputError, match=r"label 'caf\\xe9' is spelt 'cafe\\u0301' elsewhere"):
            Crowd.from_frames(answers, gold)

    def test_many_pairs_are_counted(self):
        workers = [name for at in range(5) for name in (f"w{at}", f"W{at}")]
        frame = pd.DataFrame({"task": "t", "worker": workers, "label": [*"xy"] * 5})
        notes = Crowd.from_frames(frame).notes
        assert len(notes) == 4
        assert notes[-1].startswith("So are 2 more pairs of labelers")

    def test_a_crowd_that_grows(self):
        more = FRAME.iloc[:1].assign(task="t9", worker="Ann")
        grown = update_crowd(Crowd.from_frames(FRAME), more).crowd
        assert any("'ann' and 'Ann' are taken for different labelers" in n for n in grown.notes)


class TestOnlyWhatIsNeededIsRead:
    """A column that plays no role costs nothing and changes nothing."""

    @pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
    def test_the_same_crowd(self, tmp_path, ending):
        plain = Crowd.from_frames(FRAME)
        more = FRAME.assign(task_text="x,\ty", worker_age=3, label_time=1.5)[
            ["task_text", "label", "worker_age", "task", "worker", "label_time"]
        ]
        write_table(more, tmp_path / f"labels{ending}")
        crowd = read_crowd(tmp_path / f"labels{ending}")
        assert crowd.notes == ()
        np.testing.assert_array_equal(crowd.labels.dense(), plain.labels.dense())
        frame, source = read_table(tmp_path / f"labels{ending}", lambda name: name == "worker")
        assert list(frame.columns) == ["worker"]
        assert list(source.columns) == list(more.columns)

    @pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
    def test_messages_name_the_columns_that_were_not_read(self, tmp_path, ending):
        write_table(FRAME.rename(columns={"label": "says"}), tmp_path / f"labels{ending}")
        with pytest.raises(InputError, match="columns are 'task', 'worker', 'says'"):
            read_crowd(tmp_path / f"labels{ending}")
        found = read_crowd(tmp_path / f"labels{ending}", columns={"label": "says"})
        assert found.labels.num_labels == len(FRAME)

    def test_a_table_none_of_whose_columns_fits(self, tmp_path):
        with pytest.raises(InputError, match="no column holds the example"):
            read_crowd(write(tmp_path, "a,b\n1,2\n"))

    @pytest.mark.parametrize("end", ["", "\n", "\n\n\n", "\n,,,\n,,,", "\r\n,,,\r\n\r\n"])
    def test_blank_ends(self, tmp_path, end):
        path = write(tmp_path, "task,worker,label,note\nt,u,0,\nt,v,1," + end)
        assert read_crowd(path).labels.num_labels == 2

    def test_long_cells(self, tmp_path):
        path = write(tmp_path, f"task,worker,label,note\nt,u,0,{'x' * 200_000}\nt,v,1,\n")
        assert read_crowd(path).labels.num_labels == 2


def test_repeated_keys_inside_what_is_not_read_are_let_be(tmp_path):
    lines = (
        '{"task": 1, "worker": 2, "label": 3, "meta": {"a": 1, "a": 2}}\n'
        '{"task": 1, "worker": 3, "label": 4}\n'
    )
    assert read_crowd(write(tmp_path, lines, "labels.jsonl")).labels.num_labels == 2


def test_objects_that_share_no_keys_are_refused(tmp_path):
    lines = "\n".join(f'{{"task{at}": {at}}}' for at in range(2000))
    with pytest.raises(InputError, match="2000 objects have 2000 different keys"):
        read_table(write(tmp_path, lines, "labels.jsonl"))


NAMES = [
    1,
    "a\rb",
    'say "x",\ny',
    10**25,
    2.5,
    True,
    decimal.Decimal("1.50"),
    pd.Timestamp("2024-01-20"),
    datetime.date(2024, 1, 20),
    uuid.UUID(int=7),
    float("inf"),
]
KINDS = {
    "mixed": NAMES,
    "integers": [3, 1, 2**62],
    "beyond 64 bits": [1, 10**25],
    "fractions": [0.5, 1.25],
    "truth values": [True, False],
    "decimals": [decimal.Decimal("1.50"), decimal.Decimal("2.5")],
    "timestamps": [pd.Timestamp("2024-01-20"), pd.Timestamp("2024-01-21 10:00")],
    "dates": [datetime.date(2024, 1, 20)],
    "uuids": [uuid.UUID(int=7)],
    "line ends": ["a\rb", "a\u2028b", "c\nd", "c\x85d"],
}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_names_of_any_kind_come_back_from_any_format(tmp_path, kind, ending):
    """What `next -o` writes names the tasks as the table of answers does."""
    names = KINDS[kind]
    column = np.empty(len(names), object)
    column[:] = names
    batch = pd.DataFrame({"task": column, "label": pd.Series([None] * len(names), dtype=object)})
    write_table(batch, tmp_path / f"batch{ending}")
    answers = pd.DataFrame({"task": column, "worker": "w", "label": np.arange(len(names)) % 2})
    read, source = read_table(tmp_path / f"batch{ending}")
    again = pd.DataFrame({"task": read["task"], "worker": "v", "label": 0})
    crowd = Crowd.from_frames(answers, classes=[0, 1])
    grown = update_crowd(crowd, Table(again, source)).crowd
    assert len(grown.example_names) == len(names)


def run(*arguments):
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.end_to_end
def test_what_aggregate_writes_of_strange_names_is_evaluated(tmp_path):
    """A carriage return in the name of an example, a labeler and a class."""
    names = ["a\rb", "c\nd", 'e,"f"', "g"]
    answers = pd.DataFrame(
        [(task, worker, "x\ry") for task in names[:3] for worker in ("u\rv", "w")]
        + [("g", "u\rv", "z"), ("g", "w", "z")],
        columns=["task", "worker", "label"],
    )
    write_table(answers, tmp_path / "labels.csv")
    output = tmp_path / "out"
    found = run("aggregate", tmp_path / "labels.csv", "-o", output, "--method", "majority-vote")
    assert found.exit_code == 0, found.output
    truth = pd.DataFrame({"task": names, "label": ["x\ry"] * 3 + ["z"]})
    write_table(truth, tmp_path / "truth.csv")
    examples, _ = read_table(output / "examples.csv")
    assert list(examples["task"]) == names
    scored = match_truth(examples, truth)
    assert scored.true_label.size == 4
    assert list(read_table(output / "labelers.csv").frame["worker"]) == ["u\rv", "w"]
    found = run("evaluate", output / "examples.csv", "--truth", tmp_path / "truth.csv")
    assert found.exit_code == 0, found.output


def test_timestamps_are_the_same_names_in_results(tmp_path):
    """Midnights too, which pandas writes as days."""
    days = pd.to_datetime(["2024-01-20", "2024-01-21"])
    answers = pd.DataFrame({"task": days.repeat(2), "worker": [*"uvuv"], "label": [0, 0, 1, 1]})
    result = aggregate(Crowd.from_frames(answers), "majority-vote")
    probs = np.asarray(result.class_probs)
    table = pd.DataFrame(
        {"task": result.crowd.example_names, "prob_0": probs[:, 0], "prob_1": probs[:, 1]}
    )
    write_table(table, tmp_path / "examples.csv")
    truth = pd.DataFrame({"task": days, "label": [0, 1]})
    assert match_truth(read_table(tmp_path / "examples.csv"), truth).true_label.size == 2


@pytest.mark.parametrize("more", ["", ",note"])
def test_a_quote_left_open_is_found_where_it_begins(tmp_path, more):
    rows = [f"t{i},w,x{more}" for i in range(50)]
    text = "\n".join([f"task,worker,label{more}", f"t,w,y{more}", f't,v,"y{more}', *rows])
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="starting at row 3"):
        read_crowd(tmp_path / "t.csv")
