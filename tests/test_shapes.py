"""Tables of other shapes, and files as people have them: the same crowd as the plain long table."""

import gzip
import io
import json
import re
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from gtx_bayes import aggregate
from gtx_bayes.cli.commands import app
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.io import contents, read_crowd
from gtx_bayes.io.readers import read_table
from gtx_bayes.shapes import ANYONE
from tests.exports import ANSWERS, as_csv, as_json
from tests.test_importers import long_table, rows_of

LONG = pd.DataFrame(ANSWERS, columns=["task", "worker", "label"])
WIDE = LONG.pivot_table(index="task", columns="worker", values="label", aggfunc="first")
EXPECTED = rows_of(long_table(None, []))


def text(separator=",", frame=LONG):
    return frame.to_csv(index=False, sep=separator)


class TestFiles:
    """Packed, separated and encoded in any way."""

    @pytest.mark.parametrize(
        ("name", "raw"),
        [
            ("a.csv", text().encode()),
            ("a.csv", text(";").encode()),
            ("a.csv", b"sep=;\r\n" + text(";").replace("\n", "\r\n").encode()),
            ("a.csv", text("\t").encode()),
            ("a.txt", text().encode()),
            ("a.csv", text().encode("utf-16")),
            ("a.csv", text().encode("utf-8-sig")),
            ("a.csv.gz", gzip.compress(text().encode(), mtime=0)),
            ("a.csv", gzip.compress(text(";").encode("utf-16"), mtime=0)),
            ("a.csv.zst", pa.Codec("zstd").compress(text().encode()).to_pybytes()),
            ("a.json", LONG.to_json(orient="records").encode()),
            ("a.json", LONG.to_json(orient="columns").encode()),
            ("a.jsonl", LONG.to_json(orient="records", lines=True).encode()),
        ],
    )
    def test_one_table(self, name, raw, tmp_path):
        if name == "a.json" and raw[:1] == b"{":
            raw = pd.io.json.ujson_dumps(LONG.to_dict("list")).encode()
        (tmp_path / name).write_bytes(raw)
        assert rows_of(read_crowd(tmp_path / name)) == EXPECTED

    def test_rows_are_counted_from_the_header(self, tmp_path):
        (tmp_path / "a.csv").write_text("sep=;\ntask;worker;label\na;u;x\na;v;\n")
        with pytest.raises(InputError, match=r"a.csv, row 4: column 'label' has no value"):
            read_crowd(tmp_path / "a.csv")

    @pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_an_archive_of_several_tables(self, packed, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", packed) as archive:
            archive.writestr("one.csv", text(frame=LONG[:3]))
            archive.writestr("more/two.csv", text(";", frame=LONG[3:]))
            archive.writestr("__MACOSX/._one.csv", "?")
            archive.writestr("read me.md", "no table")
        assert rows_of(read_crowd(tmp_path / "a.zip")) == EXPECTED

    def test_several_tables_and_a_folder(self, tmp_path):
        (tmp_path / "all").mkdir()
        files = [tmp_path / "all" / name for name in ("one.csv", "two.tsv")]
        files[0].write_text(text(frame=LONG[:3]))
        files[1].write_text(text("\t", frame=LONG[["label", "task", "worker"]][3:]))
        for labels in (files, tmp_path / "all"):
            assert rows_of(read_crowd(labels)) == EXPECTED
        files[1].write_text("task,worker,label\n1,ann,dog\n")
        with pytest.raises(InputError, match=r"with 'cat' in row 0 and .*with 'dog' here"):
            read_crowd(files)
        files[1].write_text("task,worker,rating\n1,ann,dog\n")
        with pytest.raises(InputError, match=r"two.tsv: its columns are .*'rating'"):
            read_crowd(files)

    def test_a_folder_holds_what_is_packed_and_below_too(self, tmp_path):
        folder = tmp_path / "all"
        (folder / "more").mkdir(parents=True)
        (folder / "_old").mkdir()
        (folder / "a.csv").write_text(text(frame=LONG[:2]))
        (folder / "more" / "b.csv").write_text(text(frame=LONG[2:4]))
        (folder / "c.csv.zst").write_bytes(
            pa.Codec("zstd").compress(text(frame=LONG[4:6]).encode()).to_pybytes()
        )
        with zipfile.ZipFile(folder / "d.zip", "w") as archive:
            archive.writestr("d.csv", text(frame=LONG[6:]))
        for name in ("_old/e.csv", ".f.csv", "notes.md"):
            (folder / name).write_text("?")
        crowd = read_crowd(folder)
        assert rows_of(crowd) == EXPECTED
        assert "1 file(s) are not read (1 '.md')" in " ".join(crowd.notes)

    def test_of_a_folder_with_parquet_only_that_counts(self, tmp_path):
        folder = tmp_path / "site=7"  # no column
        (folder / "more").mkdir(parents=True)
        LONG[:3].to_parquet(folder / "a.parquet")
        LONG[3:].to_parquet(folder / "more" / "b.parquet")
        (folder / "c.csv").write_text(text())
        crowd = read_crowd(folder)
        assert rows_of(crowd) == EXPECTED
        warned = [note for note in crowd.notes if isinstance(note, WarningNote)]
        assert any("(1 '.csv'): its Parquet files are the table" in note for note in warned)

    def test_packed_too_often_or_too_large(self, tmp_path, monkeypatch):
        raw = text().encode()
        for _ in range(4):
            raw = gzip.compress(raw, mtime=0)
        (tmp_path / "a.csv.gz").write_bytes(raw)
        assert rows_of(read_crowd(tmp_path / "a.csv.gz")) == EXPECTED
        (tmp_path / "a.csv.gz").write_bytes(gzip.compress(raw, mtime=0))
        with pytest.raises(InputError, match="packed more than 4 times"):
            read_crowd(tmp_path / "a.csv.gz")
        raw = text().encode()
        packed = pa.Codec("zstd").compress(raw).to_pybytes()
        monkeypatch.setattr(contents, "_MOST_BYTES", 2 * (len(packed) + len(raw)))
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.csv.zst", packed)
            archive.writestr("b.csv.zst", packed)
        assert len(contents.open_contents(tmp_path / "a.zip")) == 2
        with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
            archive.writestr("c.csv.zst", packed)
        with pytest.raises(InputError, match="holds more than"):
            contents.open_contents(tmp_path / "a.zip")

    def test_a_member_called_by_the_folder_above(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("../a.csv", text())
        assert rows_of(read_crowd(tmp_path / "a.zip")) == EXPECTED

    def test_a_workbook(self, tmp_path):
        with pd.ExcelWriter(tmp_path / "a.xlsx", engine="openpyxl") as book:
            pd.DataFrame().to_excel(book, sheet_name="empty")
            LONG.to_excel(book, sheet_name="answers", index=False)
            LONG.to_excel(book, sheet_name="copy")
        crowd = read_crowd(tmp_path / "a.xlsx")
        assert rows_of(crowd) == EXPECTED
        assert "the sheet 'answers' is read, and not 'copy'" in crowd.notes[0]

    def test_a_formula_without_a_value(self, tmp_path):
        """As programs write them; Excel stores the value too, which may be an empty text."""
        with pd.ExcelWriter(tmp_path / "a.xlsx", engine="openpyxl") as book:
            LONG.assign(label=[*LONG["label"][:-1], "=C2"]).to_excel(book, index=False)
        with pytest.raises(InputError, match=r"formula in cell C9 of .* has no value.*Excel"):
            read_crowd(tmp_path / "a.xlsx")
        sheet = "xl/worksheets/sheet1.xml"
        with zipfile.ZipFile(tmp_path / "a.xlsx") as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        for name, stored in (("text.xlsx", "dog"), ("blank.xlsx", "")):
            cell = rf'<c r="C9" t="str"><f>C2</f><v>{stored}</v></c>'.encode()
            members[sheet], number = re.subn(rb'<c r="C9".*?</c>', cell, members[sheet])
            assert number == 1
            with zipfile.ZipFile(tmp_path / name, "w") as archive:
                for member, raw in members.items():
                    archive.writestr(member, raw)
        assert rows_of(read_crowd(tmp_path / "text.xlsx")) == EXPECTED
        with pytest.raises(InputError, match="column 'label' has no value"):
            read_crowd(tmp_path / "blank.xlsx")

    @pytest.mark.parametrize("raw", [text().encode(), LONG.to_json(orient="records").encode()])
    def test_standard_input(self, raw, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        assert rows_of(read_crowd("-")) == EXPECTED

    @pytest.mark.parametrize(
        ("name", "raw", "message"),
        [
            (
                "a.csv.gz",
                gzip.compress(text().encode(), mtime=0)[:-9],
                "gzip file cannot be unpacked",
            ),
            ("a.csv.zst", b"\x28\xb5\x2f\xfd" + b"?" * 20, "zstd file cannot be unpacked"),
            ("a.zip", b"PK\x03\x04" + b"?" * 40, "zip file cannot be unpacked"),
            ("a.csv", b"\xff\xfea", "has the mark of UTF-16 and is none"),
            ("a.json", b"[1, 2]", "this is a JSON int, not an object"),
            ("a.json", b"7", "this is a JSON int, and no table"),
            ("a.json", b'[{"task": 1}', "this is no JSON"),
            ("a.xml", b"<annotations>", "this is no XML"),
            ("a.xml", b"<table/>", r"the file is XML, and no table.*format="),
            ("a.xlsx", b"PK\x03\x04" + b"?" * 40, "no readable workbook"),
        ],
    )
    def test_what_is_damaged_or_no_table(self, name, raw, message, tmp_path):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(InputError, match=message):
            read_crowd(tmp_path / name)


class TestWide:
    def test_recognised_by_values_that_columns_share(self, tmp_path):
        WIDE.to_csv(tmp_path / "wide.csv")
        for crowd in (read_crowd(tmp_path / "wide.csv"), Crowd.from_frames(WIDE.reset_index())):
            assert rows_of(crowd) == EXPECTED
            assert "read as one column an annotator" in crowd.notes[0]

    def test_by_its_index(self):
        assert rows_of(Crowd.from_frames(WIDE, wide=True)) == EXPECTED

    def test_named_columns_and_others_that_are_no_annotators(self, tmp_path):
        WIDE.assign(text="...", truth="cat").to_csv(tmp_path / "wide.csv")
        with pytest.raises(InputError, match=r"no column holds the labeler.*wide="):
            read_crowd(tmp_path / "wide.csv")
        assert rows_of(read_crowd(tmp_path / "wide.csv", wide=list(WIDE.columns))) == EXPECTED

    @pytest.mark.parametrize("name", ["ground_truth", "Gold label", "target", "answer-key"])
    def test_known_labels_are_no_annotator(self, name, tmp_path):
        WIDE.assign(**{name: ["cat", "dog", "dog", "cat"]}).to_csv(tmp_path / "wide.csv")
        crowd = read_crowd(tmp_path / "wide.csv")
        assert rows_of(crowd) == EXPECTED
        said = f"'{name}' looks like known labels and is not read"
        assert any(said in note and isinstance(note, WarningNote) for note in crowd.notes)
        gold = {"gold": tmp_path / "wide.csv", "gold_columns": {"label": name}}
        known = read_crowd(tmp_path / "wide.csv", **gold)
        assert len(known.to_frames()[1]) == 4
        assert said not in " ".join(known.notes)

    def test_a_label_beside_annotators_is_none(self, tmp_path):
        WIDE.assign(label="cat").to_csv(tmp_path / "wide.csv")
        assert rows_of(read_crowd(tmp_path / "wide.csv", wide=True)) == EXPECTED
        arguments = [str(tmp_path / "wide.csv"), "-o", str(tmp_path / "long.csv"), "--wide", "all"]
        run = CliRunner().invoke(app, ["convert", *arguments])
        assert run.exit_code == 0, run.stderr
        text = " ".join(run.stderr.split())
        assert "give the file as `--gold` too, with `--gold-label-column label`" in text

    def test_numbers_may_be_counts(self, tmp_path):
        path = as_csv(tmp_path / "a.csv", [{"task": t, "0": t % 2, "1": 1} for t in range(4)])
        notes = read_crowd(path).notes
        assert any(isinstance(note, WarningNote) and "`counts=`" in note for note in notes)

    def test_refused(self):
        with pytest.raises(InputError, match="no column 'dan', named as one of annotators"):
            Crowd.from_frames(WIDE, wide=["dan"])
        with pytest.raises(InputError, match="wide and counts are both said"):
            Crowd.from_frames(WIDE, wide=True, counts=True)
        with pytest.raises(InputError, match="`wide` is a text"):
            Crowd.from_frames(WIDE, wide="ann")


class TestCounts:
    MATRIX = pd.crosstab(LONG["task"], LONG["label"])
    ROWS = LONG.groupby(["task", "label"]).size().rename("n").reset_index()

    def test_a_majority_needs_nobodys_name(self, tmp_path):
        expected = aggregate(Crowd.from_frames(LONG), "majority-vote").class_probs
        self.ROWS.to_csv(tmp_path / "rows.csv", index=False)
        self.MATRIX.to_csv(tmp_path / "matrix.csv")
        for crowd in (
            Crowd.from_frames(self.ROWS, count_column="n"),
            Crowd.from_frames(self.MATRIX, counts=True),
            Crowd.from_frames(self.MATRIX.reset_index(), counts=["cat", "dog"]),
            read_crowd(tmp_path / "rows.csv", count_column="n"),
            read_crowd(tmp_path / "matrix.csv", counts=True),
        ):
            assert list(crowd.labeler_names) == [ANYONE]
            assert crowd.is_counted
            found = aggregate(crowd, "majority-vote").class_probs
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))

    def test_classes_may_be_called_true_and_target(self):
        counts = self.MATRIX.set_axis(["true", "target"], axis=1).assign(gold="true")
        crowd = Crowd.from_frames(counts, counts=True)
        assert list(crowd.class_names) == ["target", "true"]
        assert any("'gold' looks like known labels" in note for note in crowd.notes)

    def test_a_model_is_that_of_answers_of_one_labeler(self):
        """Dawid and Skene's of a crowd whose members err alike: the same as with one name."""
        crowd = Crowd.from_frames(self.ROWS, count_column="n")
        same = Crowd.from_frames(LONG.assign(worker=ANYONE), duplicates="all")
        found, expected = (aggregate(each, "dawid-skene").class_probs for each in (crowd, same))
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5)

    @pytest.mark.parametrize("method", ["wawa", "bwa", "weighted-majority-vote"])
    def test_methods_that_tell_labelers_apart_refuse(self, method):
        crowd = Crowd.from_frames(self.ROWS, count_column="n")
        with pytest.raises(InputError, match=r"answers are only counted.*majority-vote"):
            aggregate(crowd, method)

    def test_a_model_that_does(self):
        crowd = Crowd.from_frames(self.ROWS, count_column="n")
        with pytest.raises(InputError, match="answers are only counted"):
            aggregate(crowd, model="communities")

    def test_with_a_column_of_labelers_they_are_known(self):
        crowd = Crowd.from_frames(LONG.assign(n=2), count_column="n")
        assert not crowd.is_counted
        assert crowd.labels.num_labels == 2 * len(LONG)

    @pytest.mark.parametrize("count", [0.5, -1, "many", np.inf])
    def test_what_is_no_count(self, count):
        rows = self.ROWS.assign(n=self.ROWS["n"].astype(object))
        rows.loc[1, "n"] = count
        with pytest.raises(InputError, match=r"row 1: the count .* is no whole number"):
            Crowd.from_frames(rows, count_column="n")

    def test_none_at_all(self):
        with pytest.raises(InputError, match="holds no answer"):
            Crowd.from_frames(self.ROWS.assign(n=0), count_column="n")


class TestNames:
    """Columns called as people call them."""

    @pytest.mark.parametrize(
        "names",
        [
            ("item", "judge", "verdict"),
            ("id", "model", "score"),
            ("sample_id", "user", "answer"),
            ("task_id", "worker_id", "label"),
        ],
    )
    def test_further_aliases(self, names, tmp_path):
        frame = LONG.set_axis(list(names), axis=1)
        frame.to_csv(tmp_path / "a.csv", index=False)
        for crowd in (Crowd.from_frames(frame), read_crowd(tmp_path / "a.csv")):
            assert rows_of(crowd) == EXPECTED

    def test_the_usual_ones_come_first(self):
        frame = LONG.assign(id=range(len(LONG)), user="x", score=0.5, answer="y")
        assert rows_of(Crowd.from_frames(frame)) == EXPECTED

    def test_what_was_guessed_is_said(self, tmp_path):
        frame = LONG.set_axis(["id", "user", "label"], axis=1).assign(answer="y", truth="cat")
        notes = Crowd.from_frames(frame).notes
        assert notes[0] == (
            "labels: taken as task: 'id', worker: 'user', label: 'label'; these would fit too: "
            '`columns={"label": "answer"}`.'
        )
        assert "column 'truth' looks like known labels and is not read" in notes[1]
        assert Crowd.from_frames(LONG).notes == ()
        named = {"task": "id", "worker": "user", "label": "label"}
        assert Crowd.from_frames(frame, {"1": "cat"}, columns=named).notes == ()
        frame.to_csv(tmp_path / "a.csv", index=False)
        output = ["-o", str(tmp_path / "b.csv")]
        run = CliRunner().invoke(app, ["convert", str(tmp_path / "a.csv"), *output])
        assert run.exit_code == 0, run.stderr
        text = " ".join(run.stderr.split())
        assert "these would fit too: `--label-column answer`" in text
        assert "with `--gold-label-column truth`" in text

    def test_two_of_one_rank(self):
        frame = LONG.rename(columns={"worker": "judge"}).assign(annotator_id="x")
        with pytest.raises(InputError, match="'judge' and 'annotator_id' could each hold"):
            Crowd.from_frames(frame)

    def test_columns_by_the_words_of_the_tables(self):
        frame = LONG.set_axis(["a", "b", "c"], axis=1)
        columns = {"task": "a", "worker": "b", "label": "c"}
        assert rows_of(Crowd.from_frames(frame, columns=columns)) == EXPECTED
        with pytest.raises(InputError, match=r"no role \['person'\].*'labeler' \(worker, "):
            Crowd.from_frames(frame, columns={**columns, "person": "b"})

    def test_a_task_of_several_columns(self, tmp_path):
        frame = LONG.assign(page="7")
        expected = sorted((f"{task} / 7", *rest) for task, *rest in ANSWERS)
        gold = pd.DataFrame({"task": ["1"], "page": ["7"], "label": ["cat"]})
        frame.to_csv(tmp_path / "a.csv", index=False)
        gold.to_csv(tmp_path / "gold.csv", index=False)
        columns = {"task": "task,page"}
        for crowd in (
            Crowd.from_frames(frame, gold, columns=columns, gold_columns=columns),
            read_crowd(
                tmp_path / "a.csv", tmp_path / "gold.csv", columns=columns, gold_columns=columns
            ),
        ):
            assert rows_of(crowd) == [expected, [("1 / 7", "cat")]]


@pytest.mark.end_to_end
def test_the_command_line(tmp_path):
    path = tmp_path / "wide.csv"
    WIDE.to_csv(path)
    out = str(tmp_path / "out")
    arguments = ["aggregate", str(path), "-o", out, "--method", "majority-vote"]
    for more in ([], ["--wide", "all"], ["--wide", "ann,bob,cyd"]):
        run = CliRunner().invoke(app, [*arguments, *more])
        assert run.exit_code == 0, run.stderr
        assert read_table(tmp_path / "out" / "examples.csv").frame["num_labels"].sum() == "2" * 4
    run = CliRunner().invoke(app, [*arguments, "--wide", "all", "--counts", "all"])
    assert run.exit_code == 2
    assert "--counts: wide and counts are both said of the table." in run.stderr
    as_json(tmp_path / "a.json", {"task": ["a"], "who": ["u"], "label": ["x"]})
    run = CliRunner().invoke(app, ["aggregate", str(tmp_path / "a.json"), "-o", out])
    assert "say `--wide`; if answers were counted, `--counts`" in run.stderr


@pytest.mark.end_to_end
def test_several_tables_and_standard_input_on_the_command_line(tmp_path):
    for name, rows in {"a.csv": LONG[:3], "b.csv": LONG[3:]}.items():
        rows.to_csv(tmp_path / name, index=False)
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    more = ["-o", str(tmp_path / "out"), "--method", "majority-vote", "--json"]
    run = CliRunner().invoke(app, ["aggregate", *files, *more])
    assert run.exit_code == 0, run.stderr
    found = CliRunner().invoke(app, ["aggregate", "-", *more], input=text())
    assert found.exit_code == 0, found.stderr
    summaries = [json.loads(each.stdout) for each in (run, found)]
    for name in ("num_labels", "num_examples", "agreement", "mean_confidence"):
        assert summaries[0][name] == summaries[1][name]
    assert summaries[0]["agreement"]["percent_agreement"]["value"] == 0.5
