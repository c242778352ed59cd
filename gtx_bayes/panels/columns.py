"""Columns of a user's tables with a value for each example: slices, clusters, weights of gold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.columns import EXAMPLE_ROLE, TRUTH_ROLES, Table, columns_for, read_columns
from gtx_bayes.crowd import Crowd
from gtx_bayes.crowd_tables import one_value_each
from gtx_bayes.io.readers import read_table, read_tables


def of_examples(
    crowd: Crowd,
    name: str,
    labels: Sequence[Path],
    example_table: Path | None,
    columns: Mapping[str, str],
    header: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The value of every example, by name, from a column of a table.

    Args:
        crowd: whose examples they are.
        name: the column.
        labels: the tables of answers, where it is looked for first; all answers to an example
            have to have the same value.
        example_table: a table of examples; None without.
        columns: the column of the examples, as `Crowd.from_frames` takes it.
        header: names of the columns of `labels`, text without a line that has them.

    Raises:
        InputError: if neither table has the column, an example has two values or none.
    """
    roles = columns_for(EXAMPLE_ROLE, {**columns, "value": name})
    tables = [read_tables(labels, roles, header)]
    if example_table is not None and name not in tables[0].frame:
        tables.append(read_table(example_table, roles))
    found = tables[-1] if name in tables[-1].frame else tables[0]
    values = values_by_example(found, name, columns)
    for key in (str(example) for example in crowd.example_names):
        if key not in values:
            raise found.source.error(
                f"example '{key}' has no row.", f"Give a value of '{name}' for every example."
            )
    return values


def of_gold(
    crowd: Crowd,
    name: str,
    gold: Path,
    columns: Mapping[str, str],
    header: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The weight of every gold example, by name, from a column of the table of gold; may be blank.

    Args:
        crowd: whose gold it is.
        name: the column.
        gold: the table of gold.
        columns: the columns of its examples and labels, as `Crowd.from_frames` takes them.
        header: names of the columns of `gold`, text without a line that has them.

    Raises:
        InputError: if there is no such column, or an example has two weights.
    """
    table = read_table(gold, columns_for(TRUTH_ROLES, {**columns, "value": name}), header)
    of_examples = {role: column for role, column in columns.items() if role == "example"}
    values = values_by_example(table, name, of_examples)
    return {str(key): values.get(str(key), "") for key in crowd.example_names}


def values_by_example(table: Table, name: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """The cells of a column by the example of their row.

    Raises:
        InputError: if there is no such column, or an example has two values.
    """
    if name not in table.frame:
        raise table.source.error(
            f"there is no column '{name}'.", "Name a column as it is spelt in the table."
        )
    example = read_columns(table.frame, EXAMPLE_ROLE, columns, table.source)["example"]
    return one_value_each(
        table,
        name,
        example,
        lambda key, first, now: (
            f"example '{key}' has '{now}' here and '{first}' before in '{name}'."
        ),
        "Give every example one value.",
    )
