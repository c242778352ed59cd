"""Tables of users: what is read, and what is refused with the place and the hint."""

import decimal
import json
import os
import shutil
import uuid

import jaxtyping
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gtx_bayes.columns import Column, Source, Table
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.io import read_crowd, read_table, write_table
from gtx_bayes.io.writers import OutputDirectory
from tests.outputs import FILES, directory

ROWS = [("t1", "ann", "cat"), ("t1", "bob", "dog"), ("t2", "ann", "dog"), ("t3", "bob", "cat")]
FRAME = pd.DataFrame(ROWS, columns=["task", "worker", "label"])
GOLD = pd.DataFrame({"task": ["t3", "t1"], "label": ["cat", "dog"]})


def write(folder, text, name="labels.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


class TestWhatIsRead:
    def test_names_and_numbers(self):
        crowd = Crowd.from_frames(FRAME, GOLD)
        assert list(crowd.example_names) == ["t1", "t2", "t3"]
        assert list(crowd.labeler_names) == ["ann", "bob"]
        assert list(crowd.class_names) == ["cat", "dog"]
        np.testing.assert_array_equal(crowd.labels.dense(), [[0, 1, -1], [1, -1, 0]])
        np.testing.assert_array_equal(crowd.assessment.true_label, [1, -1, 0])
        assert crowd.notes == ()

    @pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
    def test_every_format_gives_the_same(self, tmp_path, ending):
        for name, frame in (("labels", FRAME), ("gold", GOLD)):
            write_table(frame, tmp_path / f"{name}{ending}")
        crowd = read_crowd(tmp_path / f"labels{ending}", tmp_path / f"gold{ending}")
        expected = Crowd.from_frames(FRAME, GOLD)
        for attribute in ("example_names", "labeler_names", "class_names"):
            np.testing.assert_array_equal(getattr(crowd, attribute), getattr(expected, attribute))
        np.testing.assert_array_equal(crowd.labels.label, expected.labels.label)
        np.testing.assert_array_equal(crowd.assessment.true_label, expected.assessment.true_label)

    @pytest.mark.parametrize(
        "columns",
        [
            ("example", "labeler", "label"),
            ("item", "rater", "rating"),
            ("Task", " Annotator ", "LABEL"),
        ],
    )
    def test_aliases(self, columns):
        crowd = Crowd.from_frames(pd.DataFrame(ROWS, columns=list(columns)))
        assert crowd.labels.num_labels == 4

    def test_columns_by_option(self):
        frame = pd.DataFrame(ROWS, columns=["id", "who", "choice"])
        crowd = Crowd.from_frames(
            frame, columns={"example": "id", "labeler": "who", "label": "choice"}
        )
        assert crowd.labels.num_labelers == 2

    def test_numbers_stay_numbers_and_text_stays_text(self):
        frame = pd.DataFrame(
            {"task": [10, 9, 10], "worker": ["007", "7", "7"], "label": [10, 9, 9]}
        )
        crowd = Crowd.from_frames(frame, pd.DataFrame({"task": ["9"], "label": ["10"]}))
        assert list(crowd.example_names) == [10, 9]
        assert list(crowd.labeler_names) == ["007", "7"]
        assert list(crowd.class_names) == [9, 10]
        np.testing.assert_array_equal(crowd.assessment.true_label, [-1, 1])

    def test_a_gap_does_not_turn_integers_into_other_names(self):
        gold = pd.DataFrame({"task": [1.0, 2.0], "label": [0.0, 1.0]})
        frame = pd.DataFrame({"task": [1, 2], "worker": ["a", "a"], "label": [0, 1]})
        assert Crowd.from_frames(frame, gold).assessment.num_gold == 2

    def test_given_classes_set_the_order_and_may_be_more(self):
        crowd = Crowd.from_frames(FRAME, classes=["dog", "eel", "cat"])
        assert list(crowd.class_names) == ["dog", "eel", "cat"]
        assert crowd.labels.num_classes == 3

    def test_crlf_bom_and_blank_end(self, tmp_path):
        text = "\ufefftask,worker,label\r\nt1,ann,1\r\nt1,bob,0\r\n\r\n"
        crowd = read_crowd(write(tmp_path, text))
        assert list(crowd.class_names) == ["0", "1"]

    def test_quoted_names_survive(self, tmp_path):
        path = write(tmp_path, 'task,worker,label\n"a, ""b""",<script>,"x\ny"\nc,NA,None\n')
        crowd = read_crowd(path)
        assert list(crowd.example_names) == ['a, "b"', "c"]
        assert list(crowd.labeler_names) == ["<script>", "NA"]
        assert list(crowd.class_names) == ["None", "x\ny"]

    def test_round_trip(self):
        crowd = Crowd.from_frames(FRAME, GOLD)
        again = Crowd.from_frames(*crowd.to_frames())
        np.testing.assert_array_equal(again.labels.dense(), crowd.labels.dense())
        np.testing.assert_array_equal(again.assessment.true_label, crowd.assessment.true_label)


class TestNotes:
    def test_gold_nobody_labelled(self):
        gold = pd.DataFrame({"task": ["t1", "t9"], "label": ["cat", "dog"]})
        crowd = Crowd.from_frames(FRAME, gold)
        assert "gold: 1 gold example(s) that nobody labelled are left out: 't9'" in crowd.notes[0]
        assert crowd.assessment.num_gold == 1

    def test_gold_class_never_used(self):
        gold = pd.DataFrame({"task": ["t1", "t2"], "label": ["cat", "eel"]})
        crowd = Crowd.from_frames(FRAME, Table(gold, Source("gold.csv", 2)))
        assert "gold.csv, row 3: no labeler ever answered 'eel'" in crowd.notes[0]
        assert list(crowd.class_names) == ["cat", "dog", "eel"]

    def test_classes_that_look_alike(self):
        frame = FRAME.assign(label=["cat", "Cat", "dog", "cat"])
        assert "'cat' and 'Cat'" in Crowd.from_frames(frame).notes[0]


DUPLICATED = pd.DataFrame(
    [
        ("t", "w", "a"),
        ("t", "w", "a"),
        ("u", "w", "a"),
        ("u", "w", "b"),
        ("u", "w", "a"),
        ("u", "v", "b"),
    ],
    columns=["task", "worker", "label"],
)


class TestDuplicates:
    def test_identical_repeats_are_dropped_and_counted(self):
        crowd = Crowd.from_frames(DUPLICATED.iloc[[0, 1, 3]])
        assert crowd.labels.num_labels == 2
        assert crowd.notes == ("1 repeated answers of a labeler to an example were dropped.",)

    def test_contradictions_are_refused(self):
        with pytest.raises(
            InputError, match=r"answers.csv, row 5: 'w' answered 'u' with 'a' in row 4 and with 'b'"
        ):
            Crowd.from_frames(Table(DUPLICATED, Source("answers.csv", 2)))

    @pytest.mark.parametrize(("choice", "counts"), [("first", "a"), ("last", "b")])
    def test_one_counts(self, choice, counts):
        """Rows a, b: the first is a, the last b."""
        crowd = Crowd.from_frames(DUPLICATED.drop(index=4), duplicates=choice)
        assert crowd.labels.num_labels == 3
        dense = np.asarray(crowd.labels.dense())
        assert crowd.class_names[dense[0, 1]] == counts
        assert f"in 1 pair(s) they contradict, and the {choice} counts" in crowd.notes[0]

    def test_last_is_the_last_row(self):
        crowd = Crowd.from_frames(DUPLICATED.iloc[[2, 3, 5]], duplicates="last")
        assert list(crowd.class_names[np.asarray(crowd.labels.label)]) == ["b", "b"]

    def test_a_misspelt_choice_is_refused(self):
        with pytest.raises((InputError, jaxtyping.TypeCheckError)):  # the latter in tests alone
            Crowd.from_frames(DUPLICATED, duplicates="keep")

    def test_all_count(self):
        crowd = Crowd.from_frames(DUPLICATED, duplicates="all")
        assert crowd.labels.num_labels == 6


BROKEN = {
    "no such file": (None, "there is no such file"),
    "empty": ("", "the file is empty"),
    "header alone": ("task,worker,label\n", "no rows"),
    "blank": ("\n\n", "the first line is blank"),
    "blank line first": ("\ntask,worker,label\na,b,1\n", "the first line is blank"),
    "no label column": ("task,worker,says\na,b,1\n", "no column holds the label.*'says'"),
    "two columns fit": (
        "task,item,worker,label\na,b,c,1\n",
        "'task' and 'item' could each hold the example",
    ),
    "a name twice": ("task,worker,label,label\na,b,1,0\n", r"names \['label'\] more than once"),
    "latin-1": ("task,worker,label\ncaf\xe9,b,1\n".encode("latin-1"), "0xe9 is not UTF-8"),
    "empty cell": ("task,worker,label\na,b,1\nc,,0\n", "row 3: column 'worker' has no value"),
    "nan": ("task,worker,label\na,b,1\nc,d,nan\n", "row 3: column 'label' has no value"),
    "short row": ("task,worker,label\na,b,1\nc,d\n", "row 3: column 'label' has no value"),
    "long row": ("task,worker,label\na,b,1\nc,d,0,9\n", "cannot be told apart.*line 3"),
    "all rows long": ("task,worker,label\na,b,1,9\nc,d,0,9\n", "more fields than the header"),
    "open quote": ('task,worker,label\n"a,b,1\nc,d,0\n', "told apart|no value"),
    "one class": ("task,worker,label\na,b,1\nc,d,1\n", "every label is '1'"),
    "contradiction": (
        "task,worker,label\na,b,1\na,b,0\n",
        "row 3: 'b' answered 'a' with '1' in row 2 and with '0'",
    ),
}


MORE = "task,worker,label,note\nt,u,0,\n"
BROKEN_OTHER_COLUMNS = {
    "long": ("a,b,1,x,9\n", "Expected 4 fields in line 3, saw 5"),
    "long by a blank": ("a,b,1,x,\n", "Expected 4 fields in line 3, saw 5"),
    "text behind a quote": ('a,b,1,"x"y\n', "expected after"),
    "open quote": ('a,b,1,"x\n', "cannot be told apart"),
    "blank but for the note": (",,,x\n", "row 3: column 'task' has no value"),
    "blank row": (",,,\na,b,1,x\n", "row 3: column 'task' has no value"),
}
GOOD_LINE = json.dumps({"task": "a", "worker": "b", "label": 1})
BROKEN_JSON = {
    "cut": ('{"task": "a"', "row 2: this is no JSON"),
    "a list": ("[1]", "row 2: this is a JSON list"),
    "a huge number": ('{"task": ' + "9" * 5000 + "}", "row 2: this is no JSON"),
    "a deep nest": ("[" * 200_000, "row 2: this is no JSON"),
    "half a character": (
        r'{"task": "\ud800", "worker": "b", "label": 0}',
        "column 'task' holds half a character",
    ),
    "an object": (
        '{"task": {"id": 1}, "worker": "b", "label": 0}',
        "row 2: column 'task' holds {'id': 1}, which is neither text nor a number",
    ),
    "null": ('{"task": null, "worker": "b", "label": 0}', "row 2: column 'task' has no value"),
    "NUL": (r'{"task": "a\u0000", "worker": "b", "label": 0}', "row 2: .* NUL character"),
    "a key twice": (
        '{"task": 1, "label": 3, "label": 4}',
        "row 2: the object has the key 'label' more than once",
    ),
}
BROKEN_FILES = {
    **{case: ("labels.csv", *found) for case, found in BROKEN.items()},
    **{
        f"columns that are not read, {case}": ("labels.csv", MORE + rows, message)
        for case, (rows, message) in BROKEN_OTHER_COLUMNS.items()
    },
    **{
        f"JSON, {case}": ("labels.jsonl", f"{GOOD_LINE}\n{line}\n", message)
        for case, (line, message) in BROKEN_JSON.items()
    },
}


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_broken_labels(tmp_path, case):
    name, content, message = BROKEN_FILES[case]
    if content is not None:
        write(tmp_path, content, name)
    with pytest.raises(InputError, match=message) as caught:
        read_crowd(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert caught.value.hint


BROKEN_GOLD = {
    "misspelt class": ("task,label\nt1,Cat\n", "row 2: label 'Cat' is spelt 'cat' elsewhere"),
    "class turned float": ("task,label\nt1,1.0\n", "label '1.0' is spelt '1' elsewhere"),
    "contradiction": (
        "task,label\nt1,cat\nt1,dog\n",
        "row 3: example 't1' is 'cat' in an earlier row and 'dog' here",
    ),
    "other examples": ("task,label\nx1,cat\n", "no gold example .'x1'. was labelled by anyone"),
    "other classes": ("task,label\nt1,eel\n", "no gold label .'eel'. is ever given"),
    "no label": ("task,label\nt1,\n", "column 'label' has no value in any row"),
}


@pytest.mark.parametrize("case", BROKEN_GOLD)
def test_broken_gold(tmp_path, case):
    content, message = BROKEN_GOLD[case]
    labels = "task,worker,label\nt1,ann,cat\nt1,bob,dog\nt2,ann,1\n"
    with pytest.raises(InputError, match=message):
        read_crowd(write(tmp_path, labels), write(tmp_path, content, "gold.csv"))


def test_classes_given_must_cover_the_tables():
    with pytest.raises(InputError, match="row 1: label 'dog' is none of the classes"):
        Crowd.from_frames(FRAME, classes=["cat", "eel"])
    with pytest.raises(InputError, match="repeat"):
        Crowd.from_frames(FRAME, classes=["cat", "dog", "cat"])


def test_column_options_are_checked():
    with pytest.raises(InputError, match="no column is called 'who', for the labeler"):
        Crowd.from_frames(FRAME, columns={"labeler": "who"})
    twice = pd.DataFrame([("a", "b", "c", "d")], columns=["task", "worker", "x", "x"])
    with pytest.raises(InputError, match="more than one column is called 'x'"):
        Crowd.from_frames(twice, columns={"label": "x"})
    with pytest.raises(InputError, match="'worker' cannot be the example and the labeler at once"):
        Crowd.from_frames(FRAME, columns={"example": "worker"})
    with pytest.raises(InputError, match="no role"):
        Crowd.from_frames(FRAME, columns={"person": "worker"})


def test_json_lines_that_are_right(tmp_path):
    """Line separators inside strings, 1 beside 1.0, blank lines at the end."""
    lines = [
        '{"task": "x\u2028y", "worker": "b", "label": 1}',
        '{"task": "z", "worker": 7, "label": 1.0}',
        '{"task": "z", "worker": 7.0, "label": 1}',
        '{"task": "z", "worker": 8, "label": 0}',
    ]
    crowd = read_crowd(write(tmp_path, "\n".join(lines) + "\n\n\n", "labels.jsonl"))
    assert list(crowd.example_names) == ["x\u2028y", "z"]
    assert list(crowd.labeler_names) == ["b", 7, 8]
    assert list(crowd.class_names) == [0, 1]
    assert crowd.labels.num_labels == 3


def test_identifiers_of_other_types_are_names():
    """As databases hand them out."""
    ids = [uuid.UUID(int=1), decimal.Decimal("1.50"), pd.Timestamp("2026-01-02")]
    frame = pd.DataFrame({"task": [1, 2, 3], "worker": ids, "label": [True, False, True]})
    crowd = Crowd.from_frames(frame)
    assert list(crowd.labeler_names) == ids
    assert list(crowd.class_names) == [False, True]


def test_numbers_too_large_for_an_integer_are_names_too():
    frame = pd.DataFrame({"task": [1e20, 2.5], "worker": ["a", "a"], "label": [0, 1]})
    assert list(Crowd.from_frames(frame).example_names) == [10**20, 2.5]


def test_gaps_among_integers_are_found():
    frame = FRAME.assign(worker=pd.array([2**62 + 1, None, 2**62, 0], "Int64"))
    with pytest.raises(InputError, match=r"row 1: column 'worker' has no value"):
        Crowd.from_frames(frame)


def test_what_pandas_noted_of_a_parquet_table_is_not_heeded(tmp_path):
    """A column may hide in its index, and the note may be damaged."""
    FRAME.set_index("task").to_parquet(tmp_path / "indexed.parquet")
    assert read_crowd(tmp_path / "indexed.parquet").labels.num_labels == len(FRAME)
    for note in (b'{"index_columns": 5, "columns": null}', b"\x80", b'{"columns": [{}]}'):
        table = pa.Table.from_pandas(FRAME).replace_schema_metadata({b"pandas": note})
        pq.write_table(table, tmp_path / "noted.parquet")
        assert read_crowd(tmp_path / "noted.parquet").labels.num_labels == len(FRAME)


def test_long_integers_beside_a_gap_stay_apart(tmp_path):
    """As floats they would be one."""
    pq.write_table(pa.table({"task": pa.array([2**62, 2**62 + 1, None])}), tmp_path / "a.parquet")
    frame, source = read_table(tmp_path / "a.parquet")
    column = Column.read_with_gaps(frame, "task", source)
    assert list(column.keys) == [str(2**62), str(2**62 + 1), ""]


def test_rows_that_an_open_quote_swallows(tmp_path):
    """Closed by the next quote there is, with something behind it."""
    table = 'task,worker,label\na,u,1\na,v,"0\nb,u,0\nb,v,"1"\n'
    with pytest.raises(InputError, match=r"told apart: .*in line 5 or before"):
        read_table(write(tmp_path, table))
    frame, _ = read_table(write(tmp_path, 'task,worker,label\n"a\nb",u,"1 ""x"""\n\n'))
    assert frame.to_numpy().tolist() == [["a\nb", "u", '1 "x"']]


def test_damaged_parquet(tmp_path):
    """Cut short, and with a column whose name is no UTF-8."""
    write_table(FRAME, tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    for damaged in (data[: len(data) // 2], data.replace(b"worker", b"\x86orker")):
        with pytest.raises(InputError, match="no readable Parquet"):
            read_table(write(tmp_path, damaged, "damaged.parquet"))
        with pytest.raises(InputError, match="no readable Parquet"):
            read_crowd(tmp_path / "damaged.parquet")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_json_lines_of_any_line_end(tmp_path, line_end):
    lines = FRAME.to_json(orient="records", lines=True).splitlines()
    path = write(tmp_path, line_end.join(lines), "labels.jsonl")
    frame, _ = read_table(path)
    pd.testing.assert_frame_equal(frame, FRAME, check_dtype=False)
    assert read_crowd(path).labels.num_labels == len(FRAME)


def test_unknown_endings(tmp_path):
    with pytest.raises(InputError, match=r"'.docx' names no known format"):
        read_table(write(tmp_path, "x", "labels.docx"))
    with pytest.raises(InputError, match="names no known format"):
        write_table(FRAME, tmp_path / "labels.docx")
    with pytest.raises(InputError, match="is a directory"):
        read_table(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="is no regular file"):
        read_table(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / ("x" * 5000))


class TestOutputDirectory:
    @staticmethod
    def names(folder):
        return sorted(path.name for path in folder.iterdir())

    def test_appears_whole_and_replaces_an_earlier_result_whole(self, tmp_path):
        assert directory(tmp_path / "deep", "old").read_text() == "old"
        assert directory(tmp_path / "deep", "new").read_text() == "new"
        assert self.names(tmp_path / "deep") == ["out"]
        assert self.names(tmp_path / "deep" / "out") == ["a.txt", "summary.json", "t.parquet"]

    @pytest.mark.parametrize("error", [RuntimeError, FileNotFoundError])
    def test_a_failure_leaves_what_was_there(self, tmp_path, error):
        """Also where the new directory vanishes before it takes its place."""
        directory(tmp_path, "old")

        def fail():
            if error is RuntimeError:
                raise error
            (new,) = tmp_path.glob(".out.*/new")
            shutil.rmtree(new)

        with pytest.raises(error):
            directory(tmp_path, "new", fail)
        assert (tmp_path / "out" / "a.txt").read_text() == "old"
        assert self.names(tmp_path) == ["out"]

    @pytest.mark.parametrize("is_dangling", [False, True])
    def test_writes_through_links(self, tmp_path, is_dangling):
        if not is_dangling:
            (tmp_path / "real").mkdir()
        (tmp_path / "out").symlink_to(tmp_path / "real")
        directory(tmp_path, "new")
        assert (tmp_path / "real" / "a.txt").exists()
        assert self.names(tmp_path) == ["out", "real"]

    @pytest.mark.parametrize("name", ["thesis.tex", "t.parquet", "a.txt"])
    def test_refuses_files_of_the_users(self, tmp_path, name):
        """Also files called as those of a result, when no result of ours is there."""
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).touch()
        with pytest.raises(InputError, match=f"holds '{name}', which is no result of test"):
            directory(tmp_path, "new")

    def test_refuses_results_of_another_command_and_links_inside(self, tmp_path):
        out = directory(tmp_path, "old").parent
        with pytest.raises(InputError, match="which is no result of other"):
            OutputDirectory(out, "other", (*FILES, "t.parquet"))
        (out / "a.txt").unlink()
        (out / "a.txt").symlink_to(tmp_path)
        with pytest.raises(InputError, match=r"holds 'a.txt'"):
            directory(tmp_path, "new")

    def test_refuses_files_and_the_working_directory(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        for target, message in (
            (tmp_path / "file", "there is a file of that name"),
            (".", "this is the working directory"),
            ("x" * 5000, "cannot write there"),
        ):
            with pytest.raises(InputError, match=message):
                OutputDirectory(target, "test", FILES)
