"""Valid tables and states, and what can befall them, drawn by a seeded generator."""

import datetime
import decimal
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq

NAMES = ["task", "worker", "label"]
STRANGE = [
    *("\ufeff", "\u2028", "\x85", "\x00", "\x1a", "\x1f", "\r", "\n", "\r\n", "\t", "\x0b", "\x0c"),
    *('"', '""', "'", ",", ";", "\\", "#", " ", "\xa0", "\u3000", "{}", "[]", "[" * 2000),
    *(
        "é",
        "e\u0301",
        "\u202e",
        "🙂",
        "\U0010ffff",
        "\u0131",
        "\u0130",
        "ß",
        '"\\ud800"',
        "\\u0000",
    ),
    *(
        "nan",
        "NaN",
        "<NA>",
        "None",
        "null",
        "NULL",
        "N/A",
        "inf",
        "-inf",
        "Infinity",
        "true",
        "True",
    ),
    *("1e999", "-0", "0x10", "1_0", "\u0663", "9" * 25, "1.0", "1e5", "9" * 5000, "=1+1", "prob_a"),
    *('{"a":' * 1500, '{"task":"x"}', '"task"', "1" + "0" * 400 + ".5"),
]


def rows(draw: random.Random) -> list[tuple[object, object, object]]:
    """A small crowd; no labeler answers an example twice."""
    pairs = [(task, worker) for task in range(4) for worker in range(3)]
    chosen = draw.sample(pairs, draw.randint(2, 12))
    text = draw.choice([lambda at: f"t{at}", lambda at: at, lambda at: at / 2 + 0.25])
    classes = draw.choice([("yes", "no"), (0, 1), (1.0, 2.5), ("a,b", 'say "x"'), ("é", "e")])
    return [(text(task), f"w{worker}", draw.choice(classes)) for task, worker in chosen]


def delimited(draw: random.Random, separator: str) -> bytes:
    """A table as text, written without help from a library."""

    def cell(value: object) -> str:
        text = str(value)
        plain = not set(text) & set(f'{separator}"\r\n')
        return text if plain and draw.random() < 0.8 else '"' + text.replace('"', '""') + '"'

    end = draw.choice(["\n", "\r\n"])
    lines = [separator.join(NAMES)] + [separator.join(map(cell, row)) for row in rows(draw)]
    return (draw.choice(["", "\ufeff"]) + end.join(lines) + draw.choice(["", end])).encode()


def json_lines(draw: random.Random) -> bytes:
    lines = [json.dumps(dict(zip(NAMES, row, strict=True))) for row in rows(draw)]
    return "\n".join(lines).encode()


VALUES = {
    "string": (pa.string(), "s"),
    "large_string": (pa.large_string(), "s"),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), "s"),
    "dictionary of numbers": (pa.dictionary(pa.int32(), pa.int64()), "i"),
    "int8": (pa.int8(), "i"),
    "int64": (pa.int64(), "i"),
    "uint64": (pa.uint64(), "big"),
    "float32": (pa.float32(), "f"),
    "float64": (pa.float64(), "f"),
    "bool": (pa.bool_(), "b"),
    "null": (pa.null(), "null"),
    "decimal": (pa.decimal128(20, 4), "decimal"),
    "date": (pa.date32(), "date"),
    "timestamp": (pa.timestamp("us", tz="UTC"), "time"),
    "nanoseconds": (pa.timestamp("ns"), "time"),
    "time": (pa.time64("us"), "clock"),
    "duration": (pa.duration("us"), "delta"),
    "binary": (pa.binary(), "bytes"),
    "fixed binary": (pa.binary(2), "bytes"),
    "list": (pa.list_(pa.int64()), "list"),
    "struct": (pa.struct([("x", pa.int64())]), "struct"),
    "map": (pa.map_(pa.string(), pa.int64()), "map"),
    "half": (pa.float16(), "half"),
}
NESTED = {"binary", "fixed binary", "list", "struct", "map"}
EPOCH = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def value(kind: str, at: int) -> object:
    """A value of that kind, another for every number from 0 to 9."""
    return {
        "s": lambda: f"v{at}",
        "i": lambda: at,
        "big": lambda: 2**63 + at,
        "f": lambda: at + 0.5,
        "half": lambda: at + 0.5,
        "b": lambda: bool(at % 2),
        "null": lambda: None,
        "decimal": lambda: decimal.Decimal(at) / 4,
        "date": lambda: (EPOCH + datetime.timedelta(days=at)).date(),
        "time": lambda: EPOCH + datetime.timedelta(hours=at),
        "clock": lambda: datetime.time(at),
        "delta": lambda: datetime.timedelta(seconds=at),
        "bytes": lambda: bytes([65, at]),
        "list": lambda: [at],
        "struct": lambda: {"x": at},
        "map": lambda: [("k", at)],
    }[kind]()


def parquet(draw: random.Random, *, plain: bool = False) -> bytes:
    """A Parquet table, its columns of all types there are; of ordinary ones if plain."""
    table = [(draw.randint(0, 3), draw.randint(0, 3), draw.randint(0, 1)) for _ in range(6)]
    table = list({row[:2]: row for row in table}.values())
    common = ["string", "dictionary", "int64", "float64"]
    kinds = [draw.choice(common if plain or draw.random() < 0.6 else list(VALUES)) for _ in NAMES]
    arrays = []
    for column, name in enumerate(kinds):
        kind, maker = VALUES[name]
        cells = [value(maker, row[column]) for row in table]
        if not plain and draw.random() < 0.2:
            cells[draw.randrange(len(cells))] = None
        if maker == "half":
            cells = [None if cell is None else float(cell) for cell in cells]
        if pa.types.is_dictionary(kind):
            arrays.append(pa.array(cells, kind.value_type).dictionary_encode())
        else:
            arrays.append(pa.array(cells, kind))
    names = list(NAMES)
    found = pa.table(arrays, names=names)
    if not plain and draw.random() < 0.1:
        found = found.slice(0, 0)
    if not plain and draw.random() < 0.1:
        found = found.append_column(draw.choice(["note", "task", ""]), arrays[0][: len(found)])
    if plain and draw.random() < 0.5:
        found = pa.Table.from_pandas(found.to_pandas())
    if not plain and draw.random() < 0.1:
        about = {"index_columns": draw.choice([["task"], ["absent"], [{}], 5])}
        about |= {"columns": draw.choice([[], [{}], None]), "column_indexes": []}
        found = found.replace_schema_metadata({b"pandas": json.dumps(about).encode()})
    file = io.BytesIO()
    pq.write_table(found, file, compression=draw.choice(["none", "snappy", "gzip", "zstd"]))
    return file.getvalue()


def damaged(draw: random.Random, content: bytes) -> bytes:
    """One to three mishaps."""
    for _ in range(draw.choice([1, 1, 2, 3])):
        content = mishap(draw, content)
    return content


def mishap(draw: random.Random, content: bytes) -> bytes:
    at = draw.randrange(len(content) + 1)
    to = min(len(content), at + draw.choice([1, 2, 5, 20, 100]))
    strange = draw.choice(STRANGE).encode("utf-8", "surrogatepass")
    lines = content.split(b"\n")
    changes = [
        lambda: content[:at],
        lambda: content[:at] + content[to:],
        lambda: content[:at] + strange + content[at:],
        lambda: content[:at] + strange + content[to:],
        lambda: content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :],
        lambda: content[:at] + draw.randbytes(draw.choice([1, 4, 30])) + content[to:],
        lambda: content[:at] + content[at:to] * draw.choice([2, 50]) + content[to:],
        lambda: b"\n".join([*lines, draw.choice(lines)]),
        lambda: b"\n".join(draw.sample(lines, len(lines))),
        lambda: b"\n".join(lines[:1] + draw.sample(lines[1:], len(lines) // 2)),
        lambda: content.replace(b",", strange, 1),
        lambda: content.replace(b'"', strange, draw.choice([1, 3])),
    ]
    return draw.choice(changes)()


FORMATS = {
    "csv": lambda draw: delimited(draw, ","),
    "tsv": lambda draw: delimited(draw, "\t"),
    "jsonl": json_lines,
    "parquet": parquet,
}
