"""`gtx-bayes convert`: exports and tables of any shape in, one row per answer out."""

import contextlib
import time
from pathlib import Path
from typing import Annotated, Any

from gtx_bayes.cli.options import (
    ColumnOfLabels,
    ColumnOfTasks,
    ColumnOfWorkers,
    FormatOptions,
    JsonOption,
    LabelsArgument,
    named,
    output_option,
)
from gtx_bayes.cli.terminal import command, in_options, print_next, print_summary, stage
from gtx_bayes.errors import WarningNote, split_warnings

COMMAND = "gtx-bayes convert"


@command
def convert(
    *,
    labels: LabelsArgument,
    output: Annotated[
        Path, output_option("Table to write (.csv, .tsv, .jsonl, .parquet): task, worker, label.")
    ],
    formats: FormatOptions,
    task_column: ColumnOfTasks = None,
    worker_column: ColumnOfWorkers = None,
    label_column: ColumnOfLabels = None,
    as_json: JsonOption = False,
) -> None:
    """Write the answers of an export, or of a table of any shape, one row each.

    Known labels in an export are written beside it, as NAME.gold with the same ending. Nothing is
    checked but what every command needs: blank and contradictory answers stay.
    """
    start = time.perf_counter()
    from gtx_bayes.io.writers import OutputFile, check_ending, is_written, refuse_results

    check_ending(output)
    refuse_results(output)
    answers_file = OutputFile(output, labels)
    beside = output.with_name(f"{output.stem}.gold{output.suffix}")
    with stage(f"Reading {named(labels)}"):
        from gtx_bayes.crowd_tables import note_unread_columns, read_answers

        given = {"example": task_column, "labeler": worker_column, "label": label_column}
        columns = {role: name for role, name in given.items() if name is not None}
        table = formats.read(labels, columns)
        rows = read_answers(table, columns, "drop")
        answers = _frame({"task": "example", "worker": "labeler", "label": "label"}, rows)
        gold = None
        if table.gold is not None:
            gold = table.gold.frame.drop_duplicates(ignore_index=True)
    with stage(f"Writing {output}"), contextlib.ExitStack() as stack:
        from gtx_bayes.io.writers import fill_table

        files = [(answers, answers_file)]
        if gold is not None:
            files.append((gold, OutputFile(beside, labels)))
        for frame, file in files:
            fill_table(frame, stack.enter_context(file.written()))
    notes = list(table.notes)
    note_unread_columns(table, rows, columns, notes, has_gold=gold is not None)
    if gold is None and is_written(beside):
        what = f"{beside}: these are known labels that were written earlier, not of these answers."
        notes.append(WarningNote(f"{what} Delete the file, or name another output."))
    notes = [in_options(note) for note in notes]
    if table.is_counted:
        notes.append("Counted answers stand as so many rows: read them with --duplicates all.")
    summary: dict[str, Any] = {
        "command": COMMAND,
        "num_labels": len(answers),
        "num_examples": int(answers["task"].nunique()),
        "num_labelers": int(answers["worker"].nunique()),
        "num_gold": 0 if gold is None else len(gold),
        "gold": None if gold is None else str(beside),
        "seconds": round(time.perf_counter() - start, 3),
        **split_warnings(notes),
    }
    overview = {
        "answers": len(answers),
        "examples": summary["num_examples"],
        "labelers": summary["num_labelers"],
        "gold": "none" if gold is None else f"{len(gold)}, in {beside}",
    }
    print_summary(summary, output, overview, output, as_json=as_json)
    if not as_json:
        known = () if gold is None else ("--gold", beside)
        several = ("--duplicates", "all") if table.is_counted else ()
        print_next(("aggregate", output, *known, *several, "--output", "result"))


def _frame(names: dict[str, str], rows: Any) -> Any:
    import pandas as pd

    return pd.DataFrame({name: rows[role].cells for name, role in names.items()})
