"""Prices of answers from a user's table: by labeler, by example, or by both."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.columns import (
    EXAMPLE_COLUMNS,
    LABELER_COLUMNS,
    Names,
    Source,
    as_names,
    positions,
    read_columns,
)
from gtx_bayes.errors import InputError

COST_ROLES = {"example": EXAMPLE_COLUMNS, "labeler": LABELER_COLUMNS, "cost": ("cost", "price")}


def read_costs(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    source: Source,
    labelers: Names | None,
    examples: Names,
) -> npt.NDArray[np.floating]:
    """The price of an answer of each labeler to each example, as `Seen.costs` has it.

    Args:
        table: column `cost`, and `worker` or `task` or both, each combination once.
        columns: columns for "example" and "labeler", where no alias fits.
        source: where the table comes from, for messages.
        labelers: names of the labelers; None where it does not matter who is who: the rows are
            then the labelers of the table.
        examples: names of the examples.

    Returns:
        Shape (num_labelers, num_examples); one row where the price does not depend on who
        answers, one column where it does not depend on the example.

    Raises:
        InputError: for a table without such columns, prices that are no positive numbers, a
            combination priced twice, and a labeler or example without a price.
    """
    found = read_columns(table, COST_ROLES, columns, source, optional=("example", "labeler"))
    cost = pd.to_numeric(pd.Series(found["cost"].cells, dtype=object), errors="coerce")
    bad = np.flatnonzero(~(np.isfinite(cost) & (cost > 0)))
    if bad.size:
        at = int(bad[0])
        raise InputError(
            f"'{found['cost'].keys[at]}' is no price.",
            where=source.row(at),
            hint="Give a positive number.",
        )
    if len(found) == 1:
        raise InputError(
            "it prices neither workers nor tasks.",
            where=source.name,
            hint="Give a column worker, a column task, or both.",
        )
    index, sizes, priced = [], [], []
    for role, names in (("labeler", labelers), ("example", examples)):
        if role not in found:
            index.append(np.zeros(len(table), np.intp))
            sizes.append(1)
            continue
        keys = found[role].keys
        known = as_names(dict.fromkeys(keys) if names is None else (str(name) for name in names))
        index.append(positions(known, keys))
        sizes.append(known.size)
        priced.append((len(index) - 1, found[role].name, known))
    price = np.full(sizes, np.nan)
    there = (index[0] >= 0) & (index[1] >= 0)
    cell = (index[0][there], index[1][there])
    twice = pd.DataFrame(np.transpose(cell)).duplicated().to_numpy()
    if twice.any():
        row = int(np.flatnonzero(there)[np.flatnonzero(twice)[0]])
        raise InputError(
            "what it prices has a price already.", where=source.row(row), hint="Keep one row."
        )
    price[cell] = cost.to_numpy(float)[there]
    missing = np.argwhere(np.isnan(price))
    if missing.size:
        what = ", ".join(f"{column} '{known[missing[0][axis]]}'" for axis, column, known in priced)
        raise InputError(f"{what} has no price.", where=source.name, hint="Add a row for it.")
    return price.astype(np.float32)
