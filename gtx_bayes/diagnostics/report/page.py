"""The page: what a report says, put into HTML that needs nothing but itself."""

import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Array, Key

from gtx_bayes.aggregation.result import Aggregation, as_key
from gtx_bayes.diagnostics.report import trust
from gtx_bayes.diagnostics.report.content import Content, examine
from gtx_bayes.diagnostics.report.figures import draw_all
from gtx_bayes.diagnostics.report.judges import Prices
from gtx_bayes.diagnostics.report.template import page_template
from gtx_bayes.diagnostics.report.wording import counted, plain
from gtx_bayes.errors import InputError
from gtx_bayes.io.writers import write_csv

PAGE = "report.html"
EXAMPLES = "examples.csv"
LABELERS = "labelers.csv"
PANEL = "panel.csv"
CONFUSION = "confusion.csv"

_MOST_LISTED = 12  # labelers of a group


class Origin(NamedTuple):
    """Where a result comes from, for the page's title and foot.

    Attributes:
        name: what the crowd is called.
        options: what was asked for, by name; of files the names without their folders.
        started: `time.perf_counter()` when the work began.
    """

    name: str
    options: Mapping[str, str]
    started: float


def diagnose(
    result: Aggregation,
    path: str | Path | None = None,
    *,
    key: Key[Array, ""] | int | None = None,
    prices: Prices | None = None,
) -> Content:
    """What came of a crowd, whether to believe it, and what to do next.

    Args:
        result: of any method; see `content.examine` for what it costs.
        path: a directory to write the page and its tables to, as `write_report` does; made if it
            is not there. Those of an earlier report are replaced.
        key: random key, or a seed; seed 0 when absent.
        prices: of the labels of a panel; see `judges.Prices`.

    Raises:
        InputError: for a seed that is none, and a path that is a file or holds files of the names
            of a report's without being one.
    """
    key = as_key(key)
    if path is None:
        return examine(key, result, prices=prices)
    path = Path(path).expanduser()
    if path.exists() and not path.is_dir():
        raise InputError("it is no directory.", where=str(path), hint="Name one for the report.")
    tables = [name for name in (EXAMPLES, LABELERS, PANEL, CONFUSION) if (path / name).exists()]
    if tables and not (path / PAGE).exists():
        raise InputError(
            f"it holds '{tables[0]}', and no report.",
            where=str(path),
            hint="Name another directory for the report.",
        )
    path.mkdir(parents=True, exist_ok=True)
    return write_report(key, result, path, prices=prices)


def write_report(
    key: Key[Array, ""],
    result: Aggregation,
    path: str | Path,
    *,
    origin: Origin | None = None,
    prices: Prices | None = None,
) -> Content:
    """Write `report.html`, and beside it the tables it names.

    Those are `examples.csv` and `labelers.csv`, and of a panel `panel.csv` and `confusion.csv`.

    Args:
        key: random key.
        result: of any method; see `content.examine` for what it costs.
        path: an existing directory.
        origin: where the result comes from, for the page's title and foot.
        prices: of the labels of a panel; see `judges.Prices`.

    Returns:
        What the page says.
    """
    path = Path(path)
    origin = origin or Origin("A crowd", {}, time.perf_counter())
    content = examine(key, result, prices=prices)
    write_csv(content.examples, path / EXAMPLES)
    write_csv(content.labelers.table, path / LABELERS)
    if content.judges is not None:
        table = content.judges.table()
        write_csv(table.assign(words=table["words"].map(plain)), path / PANEL)
        write_csv(content.judges.members.confusion, path / CONFUSION)
    (path / PAGE).write_text(render(content, origin), encoding="utf-8")
    return content


def render(content: Content, origin: Origin) -> str:
    """The page."""
    return page_template(__package__, "page.html.jinja").render(
        **content._asdict(),
        actions=content.actions,
        figures=draw_all(content),
        origin=origin,
        counted=counted,
        check_words=trust.in_words,
        most_listed=_MOST_LISTED,
        examples_file=EXAMPLES,
        labelers_file=LABELERS,
        panel_file=PANEL,
        confusion_file=CONFUSION,
        version=version("gtx_bayes"),
        seconds=time.perf_counter() - origin.started,
    )
