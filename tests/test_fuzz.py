"""Readers and damaged files: a crowd as an independent reader sees it, or an error with a place."""

import collections
import csv
import io
import json
import math
import random
import time
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gtx_bayes.aggregation import aggregate as aggregate_module
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state, write_state
from gtx_bayes.cli.options import parse_prior
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.io import read_crowd
from tests.mutations import FORMATS, NAMES, STRANGE, damaged, parquet
from tests.test_aggregation import FRAME, GOLD

pytestmark = pytest.mark.end_to_end

GAPS = {"", "nan", "NaN", "<NA>"}
SECONDS = 5.0  # of the processor, for files of some hundred bytes: longer would be a hang


def slow_delimited(content, separator):
    """By Python's csv module in its strict mode; None for what is not in order."""
    text = content.decode("utf-8-sig")
    header, *body = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while body and not any(body[-1]):
        body.pop()
    if any(len(row) != len(header) for row in body):
        return None
    return slow_rows([dict(zip(header, row, strict=True)) for row in body], header)


def slow_json(content):
    text = io.StringIO(content.decode("utf-8-sig"), newline=None).read()  # any line end will do
    lines = text.rstrip().split("\n")
    found = [json.loads(line, object_pairs_hook=without_repeats) for line in lines]
    return slow_rows(found, list(dict.fromkeys(key for row in found for key in row)))


def without_repeats(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key more than once")
    return dict(pairs)


def slow_parquet(content):
    table = pq.read_table(io.BytesIO(content))
    return slow_rows(table.to_pylist(), table.column_names)


def slow_rows(found, names):
    """The rows, if each column is there once and each cell is a name."""
    columns = [[name for name in names if name.strip().lower() == role] for role in NAMES]
    if len(set(names)) < len(names) or any(len(each) != 1 for each in columns):
        return None
    cells = [tuple(slow_cell(row.get(name)) for (name,) in columns) for row in found]
    is_whole = all(cell is not None and "\0" not in cell for row in cells for cell in row)
    return cells if cells and is_whole else None


def slow_cell(cell):
    """The cell's text; None if it is no name."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if cell is None or isinstance(cell, (list, dict, bytes)) or cell != cell:
        return None
    text = str(cell).strip()
    text.encode()
    return None if text in GAPS else text


READERS = {
    "csv": lambda content: slow_delimited(content, ","),
    "tsv": lambda content: slow_delimited(content, "\t"),
    "jsonl": slow_json,
    "parquet": slow_parquet,
}


def read_slowly(ending, content):
    try:
        return READERS[ending](content)
    except (
        ValueError,
        TypeError,
        StopIteration,
        csv.Error,
        AttributeError,
        OSError,
        OverflowError,
        RecursionError,
        pa.ArrowException,
    ):
        return None


def counts(table):
    """Numbers of answers, examples, labelers and classes, repeats dropped."""
    return (len(set(table)), *(len(set(column)) for column in zip(*table, strict=True)))


def check_error(error, path=""):
    """It says where and what to do."""
    assert error.where.startswith(str(path)), error
    assert error.hint, error


def check(path, content):
    """What came of reading: "read" or "refused"."""
    path.write_bytes(content)
    start = time.process_time()
    table = read_slowly(path.suffix[1:], content)
    try:
        crowd = read_crowd(path)
    except InputError as error:
        check_error(error, path)
        if table is not None:
            contradicts = len({row[:2] for row in table}) < len(set(table))
            is_one_class = len({label for *_, label in table}) < 2
            assert contradicts or is_one_class, error  # noqa: PT017
        return "refused"
    finally:
        assert time.process_time() - start < SECONDS
    labels = crowd.labels
    if table is not None:
        assert counts(table) == (
            labels.num_labels,
            labels.num_examples,
            labels.num_labelers,
            labels.num_classes,
        )
    return "read" if table is not None else "read, though not in order"


def fuzz(path, make, seed, number):
    """Damage many files, but not all; how often what came of it."""
    draw, found = random.Random(f"{path.suffix} {seed}"), collections.Counter()
    for at in range(number):
        content = make(draw)
        if draw.random() < (0.6 if path.suffix == ".parquet" else 0.9):
            content = damaged(draw, content)
        try:
            found[check(path, content)] += 1
        except BaseException as error:
            error.add_note(f"file {at} of seed {seed}: {content[:1000]!r}")
            raise
    return found


@pytest.mark.parametrize(
    ("seed", "number"), [(0, 150), pytest.param(1, 25_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("ending", FORMATS)
def test_damaged_tables(tmp_path, ending, seed, number):
    found = fuzz(tmp_path / f"labels.{ending}", FORMATS[ending], seed, number)
    assert found["read"] > number / 100
    assert found["refused"] > number / 10


def test_every_plain_parquet_is_read(tmp_path):
    """Nothing is refused but what contradicts itself or has one class; see `check`."""
    draw = random.Random(0)
    found = collections.Counter(
        check(tmp_path / "a.parquet", parquet(draw, plain=True)) for _ in range(30)
    )
    assert set(found) <= {"read", "refused"}
    assert found["read"] > 20


CLASSES = ["yes", "no"]


@pytest.mark.parametrize(
    ("seed", "number"), [(0, 80), pytest.param(1, 10_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_damaged_gold(tmp_path, ending, seed, number):
    """Gold comes to the examples it names, or the error says where; the answers are in order."""
    FRAME.to_csv(tmp_path / "labels.csv", index=False)
    path = tmp_path / f"gold.{ending}"
    draw, found = random.Random(seed), collections.Counter()
    for _ in range(number):
        table = pd.DataFrame(
            {"task": draw.sample("abcdefgh", 4), "label": draw.choices(CLASSES, k=4)}
        )
        by_ending = {
            "csv": table.to_csv(index=False),
            "jsonl": table.to_json(orient="records", lines=True),
        }
        content = by_ending[ending].encode()
        path.write_bytes(damaged(draw, content) if draw.random() < 0.9 else content)
        try:
            crowd = read_crowd(tmp_path / "labels.csv", path)
        except InputError as error:
            check_error(error, path)
            found["refused"] += 1
        else:
            assert 1 <= crowd.assessment.num_gold <= 4 * 60
            found["read"] += 1
    assert min(found.values()) > number / 20


@pytest.mark.parametrize(
    ("seed", "number"), [(0, 300), pytest.param(1, 10_000, marks=pytest.mark.slow)]
)
def test_priors_and_columns_of_any_text(seed, number):
    """What is said by option ends as numbers, as a crowd, or in an error with a hint."""
    draw, taken = random.Random(seed), 0
    crowd = Crowd.from_frames(FRAME, GOLD)
    parts = [*STRANGE, "-0.5", "1e-9", "5e-1", "2", *8 * ["0.5", "0.25", "0.75", "1", "0"]]
    for _ in range(number):
        text = ",".join(draw.choices(parts, k=draw.choice([1, 2, 2, 2, 3])))
        try:
            prior = parse_prior(text)
            aggregate_module.check_class_prior(prior, crowd.class_names, crowd.labels.num_examples)
            taken += 1
            assert math.isclose(sum(prior), 1.0, abs_tol=1e-5)
        except InputError as error:
            check_error(error)
        columns = {
            draw.choice(["example", "labeler", "label", "task"]): draw.choice([*STRANGE, *NAMES])
            for _ in range(draw.randint(0, 2))
        }
        try:
            found = Crowd.from_frames(FRAME, columns=columns)
            assert found.labels.num_labels == crowd.labels.num_labels
        except InputError as error:
            check_error(error)
    assert taken > number / 100


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("state") / "fit.npz"
    write_state(aggregate(Crowd.from_frames(FRAME, GOLD), model="one-coin", dependence=0.2), path)
    return path.read_bytes()


def with_damaged_part(draw, content):
    """One of the arrays or the record changed, and the file written anew."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    name = "record" if draw.random() < 0.3 else draw.choice(sorted(arrays))
    array = np.atleast_1d(arrays[name])
    if name == "record" and draw.random() < 0.8:
        whole = json.loads(array.tobytes())
        components = whole["components"]
        parts = [whole, whole["pool"], *components, *(each["values"] for each in components)]
        part = draw.choice([part for part in parts if part])
        odd = [
            None,
            5,
            -1,
            1e999,
            "",
            "x",
            [],
            [1],
            ["a", "a"],
            {},
            [None],
            [[]],
            True,
            [1e999],
            "1",
        ]
        part[draw.choice(sorted(part))] = draw.choice(odd)
        arrays[name] = np.frombuffer(json.dumps(whole).encode(), np.uint8)
    else:
        odd = [np.nan, np.inf, -np.inf, -1, 2, 127, 1e30, 0]
        changes = [
            lambda: array[:-1] if array.ndim else array,
            lambda: np.zeros((0, *array.shape[1:])),
            lambda: array.astype(
                draw.choice(["f2", "f8", "i8", "u1", "c8", "S3", "U3", "?", "M8[s]"])
            ),
            lambda: array.astype("f8") * 0 + draw.choice(odd),
            lambda: np.where(
                np.arange(array.size).reshape(array.shape) == 0, np.array(draw.choice(odd)), array
            ),
            lambda: array[None],
            lambda: array.T,
            lambda: array[::-1],
            lambda: np.zeros(()),
        ]
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays[name] = draw.choice(changes)()
        if draw.random() < 0.1:
            del arrays[name]
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("seed", "number"), [(0, 80), pytest.param(1, 5_000, marks=pytest.mark.slow)]
)
def test_damaged_states(tmp_path, state, seed, number):
    """A result whose every number is one, or an error that names the file."""
    path, draw, found = tmp_path / "fit.npz", random.Random(seed), collections.Counter()
    for at in range(number):
        damage = draw.choice([damaged, with_damaged_part, with_damaged_part])
        path.write_bytes(damage(draw, state))
        try:
            result = read_state(path)
        except InputError as error:
            check_error(error, path)
            found["refused"] += 1
        except BaseException as error:
            error.add_note(f"state {at} of seed {seed}")
            raise
        else:
            assert np.isfinite(result.class_probs).all()
            assert np.isfinite(result.labelers()["accuracy"]).all()
            found["read"] += 1
    assert min(found.values()) > number / 100
