"""Prices of answers from a user's table: by labeler, by example, or by both."""

from collections.abc import Mapping
from typing import NamedTuple

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


class Prices(NamedTuple):
    """Prices of answers.

    Attributes:
        price: as `Seen.costs` has it: shape (num_labelers, num_examples); one row where it does not
            depend on who answers, one column where it does not depend on the example.
        labelers: who has a price: the labelers asked for, then others of the table in its order;
            None where the price does not depend on who answers.
    """

    price: npt.NDArray[np.floating]
    labelers: Names | None


def of_blocs(
    price: npt.NDArray[np.floating],
    answered: npt.NDArray[np.bool_],
    bloc: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]]:
    """What a label of a bloc costs: the price of its cheapest member who has not answered.

    Args:
        price: as in `Prices`.
        answered: whether each labeler has answered each example.
        bloc: index of each labeler's bloc; of a labeler alone too.

    Returns:
        Price by bloc and example, infinite where all members have answered, and the member.
    """
    left = np.where(answered, np.inf, price).astype(np.float32)
    least = np.full((bloc.max(initial=-1) + 1, answered.shape[1]), np.inf, np.float32)
    member = np.zeros(least.shape, np.intp)
    for labeler, of in enumerate(bloc):
        is_cheaper = left[labeler] < least[of]
        least[of] = np.where(is_cheaper, left[labeler], least[of])
        member[of] = np.where(is_cheaper, labeler, member[of])
    return least, member


def prices_labelers(table: pd.DataFrame, columns: Mapping[str, str], source: Source) -> bool:
    """Whether a table of prices says who they are of."""
    found = read_columns(table, COST_ROLES, columns, source, optional=("example", "labeler"))
    return "labeler" in found


def read_costs(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    source: Source,
    labelers: Names | None,
    examples: Names,
    *,
    with_others: bool = False,
) -> Prices:
    """The price of an answer of each labeler to each example.

    Args:
        table: column `cost`, and `worker` or `task` or both, each combination once.
        columns: columns for "example" and "labeler", where no alias fits.
        source: where the table comes from, for messages.
        labelers: names of the labelers; None where it does not matter who is who: the rows are
            then the labelers of the table.
        examples: names of the examples.
        with_others: whether labelers who have a price alone, and no answer yet, count too.

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
    who = None
    for role, names in (("labeler", labelers), ("example", examples)):
        if role not in found:
            index.append(np.zeros(len(table), np.intp))
            sizes.append(1)
            continue
        keys = found[role].keys
        given = () if names is None else (str(name) for name in names)
        is_open = names is None or (with_others and role == "labeler")
        known = as_names(dict.fromkeys((*given, *keys)) if is_open else given)
        who = known if role == "labeler" else who
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
    return Prices(price.astype(np.float32), who)
