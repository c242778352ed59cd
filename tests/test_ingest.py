"""How DuckDB reads tables of answers: every row as it stands, of the files that were named."""

import contextlib

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gtx_bayes.errors import InputError
from gtx_bayes.streaming import ingest
from gtx_bayes.streaming.work import WorkDirectory

HEADER = "task,worker,label\n"


@contextlib.contextmanager
def opened(path, work, covariates=()):
    directory = WorkDirectory.begun(work, {}, resume=False)
    with ingest.database(directory, None) as connection:
        table = ingest.open_table(
            connection, path, {}, covariates, directory, lambda *progress: None
        )
        yield connection, table


def read(path, work):
    """How often each labeler and label occurs, and how many rows there are."""
    with opened(path, work) as (connection, table):
        found = ingest.distinct(connection, table)
        counts = {
            role: dict(zip(map(str, each.cells.to_pylist()), each.counts, strict=True))
            for role, each in found.items()
        }
        return counts, table.num_rows


def write(path, worker, label="p", num_rows=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"task": range(num_rows), "worker": worker, "label": label})
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
class TestNames:
    def test_no_file_name_is_a_pattern(self, ending, tmp_path):
        """Beside files that it would match as one."""
        for name in ("l1", "m*", "mm"):
            write(tmp_path / f"{name}.{ending}", name)
        write(tmp_path / f"l[1].{ending}", "brackets")
        for name, worker in (("l[1]", "brackets"), ("m*", "m*")):
            counts, num_rows = read(tmp_path / f"{name}.{ending}", tmp_path / "work")
            assert counts["labeler"] == {worker: 3}
            assert num_rows == 3

    def test_no_folder_name_is_a_column(self, ending, tmp_path):
        """As engines write partitions; nor that of the work directory."""
        write(tmp_path / "label=z" / f"x.{ending}", "u", "q")
        counts, _ = read(tmp_path / "label=z" / f"x.{ending}", tmp_path / "worker=7" / "work")
        assert counts == {"labeler": {"u": 3}, "label": {"q": 3}}

    def test_a_pattern_names_no_hidden_file(self, ending, tmp_path):
        write(tmp_path / f"a.{ending}", "u")
        write(tmp_path / f"._a.{ending}", "ghost")
        counts, _ = read(tmp_path / f"*.{ending}", tmp_path / "work")
        assert counts["labeler"] == {"u": 3}

    def test_columns_of_one_name_are_refused(self, ending, tmp_path):
        frame = pd.DataFrame({"task": [1], "worker": ["u"], "Label": ["p"], "label": ["q"]})
        if ending == "csv":
            frame.to_csv(tmp_path / "a.csv", index=False)
        else:
            frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(InputError, match="two columns are called 'Label' and 'label'"):
            read(tmp_path / f"a.{ending}", tmp_path / "work")

    def test_columns_that_number_rows_are_refused(self, ending, tmp_path):
        frame = pd.DataFrame({"task": [1], "worker": ["u"], "label": ["p"], "File_Row_Number": [5]})
        if ending == "csv":
            frame.to_csv(tmp_path / "a.csv", index=False)
        else:
            frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(InputError, match="a column is called 'File_Row_Number'"):
            read(tmp_path / f"a.{ending}", tmp_path / "work")


class TestText:
    def test_no_line_is_a_comment(self, tmp_path):
        (tmp_path / "a.csv").write_text(HEADER + "a,x,p\n#b,y,q\n#c,z,q\nd,x,p\n")
        counts, num_rows = read(tmp_path / "a.csv", tmp_path / "work")
        assert num_rows == 4
        assert counts["labeler"] == {"x": 2, "y": 1, "z": 1}

    @pytest.mark.parametrize(
        "text",
        [
            HEADER + "a,x,p\n" * 50 + "task,worker,label,note\nb,y,q,n\nc,y,q,n\n",
            HEADER + "a,x,p\n#b,y,q\n#short\nd,x,p\n",
            "answers of May\n" + HEADER + "a,x,p\n",
        ],
    )
    def test_no_line_is_left_out(self, text, tmp_path):
        """Of two tables one below the other, with a short line, or a title above."""
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError):
            read(tmp_path / "a.csv", tmp_path / "work")

    def test_a_blank_covariate_leaves_the_others_numbers(self, tmp_path):
        (tmp_path / "a.csv").write_text("task,worker,label,t\na,x,p,1.5\nb,x,p,\n")
        with opened(tmp_path / "a.csv", tmp_path / "work", ("t",)) as (connection, table):
            assert table.times == []
            assert ingest.lowest(connection, table) == [1.5]


class TestTypes:
    def test_wider_numbers_in_later_files_stay(self, tmp_path):
        """float32, then float64 that it cannot tell apart; 32 bits, then 64."""
        for name, first, second in (
            ("float", pa.array([1.0], pa.float32()), pa.array([16777217.0, 16777216.0])),
            ("int", pa.array([1], pa.int32()), pa.array([2**40, 2**40 + 1], pa.int64())),
        ):
            for number, worker in enumerate((first, second)):
                size = len(worker)
                table = pa.table({"task": range(size), "worker": worker, "label": ["p"] * size})
                folder = tmp_path / name
                folder.mkdir(exist_ok=True)
                pq.write_table(table, folder / f"{number}.parquet")
            counts, _ = read(tmp_path / name, tmp_path / f"work-{name}")
            assert len(counts["labeler"]) == 3


def test_what_was_spilled_is_ours(tmp_path):
    """A run that was killed while DuckDB spilled goes on, or begins anew."""
    work = WorkDirectory.begun(tmp_path / "work", {}, resume=False)
    spilled = work.path / ingest.SPILLED
    spilled.mkdir(exist_ok=True)
    for name in ("duckdb_temp_12803_0_owner", "duckdb_temp_storage_DEFAULT-0.tmp"):
        (spilled / name).write_bytes(b"x")
    WorkDirectory.begun(tmp_path / "work", {}, resume=True)
    WorkDirectory.begun(tmp_path / "work", {}, resume=False)
