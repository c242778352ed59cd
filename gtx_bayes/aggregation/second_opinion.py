"""Class probabilities from elsewhere as evidence beside a crowd's answers."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from gtx_bayes.columns import (
    EXAMPLE_COLUMNS,
    Source,
    as_names,
    positions,
    read_class_probs,
    read_columns,
)
from gtx_bayes.crowd import Crowd, some_names
from gtx_bayes.errors import InputError


def second_opinion(
    crowd: Crowd, table: pd.DataFrame, *, source: Source | None = None
) -> Float[np.ndarray, "num_examples num_classes"]:
    r"""A class prior for each example: what somebody says of it who has not seen its answers.

    .. math:: P(Y_i = y \mid \mathcal{L}(i), x_i) \propto
        P(Y_i = y \mid x_i) \, P(\mathcal{L}(i) \mid Y_i = y)

    holds if answers and opinion are independent given the class. So the opinion on an example
    must not have been learnt from its own answers, and must be honest: `disagreements.csv` of
    `gtx-bayes finetune` is made so. Examples that the table leaves out get its mean.

    Args:
        crowd: the answers.
        table: columns task (or an alias) and prob_<class> for every class of the crowd.
        source: where the table comes from, for messages.

    Raises:
        InputError: for anything wrong with the table, other classes, or no common example.
    """
    source = source or Source("the second opinion")
    tasks = read_columns(table, {"example": EXAMPLE_COLUMNS}, {}, source)["example"]
    twice = np.flatnonzero(pd.Series(tasks.keys).duplicated())
    if twice.size:
        raise InputError(
            f"example '{tasks.keys[twice[0]]}' has more than one row.",
            where=source.row(int(twice[0])),
            mend="Give one row per example.",
        )
    classes, probs = read_class_probs(table, source)
    wanted = [str(name) for name in crowd.class_names]
    if sorted(classes) != sorted(wanted):
        raise InputError(
            f"it is about the classes {classes}, the crowd answers {wanted}.",
            where=source.name,
            mend="Name all the classes (`classes=`), or make the table from the same crowd.",
        )
    probs = probs[:, positions(classes, as_names(wanted))]
    probs = probs / probs.sum(axis=1, keepdims=True)  # tables round
    names = as_names(str(name) for name in crowd.example_names)
    at = positions(tasks.keys, names)
    if (at < 0).all():
        raise InputError(
            f"it names none of the crowd's examples: {some_names(tasks.keys)}, answered are "
            f"{some_names(names)}.",
            where=source.name,
            mend="Use the same names for the examples in both tables.",
        )
    return np.where((at >= 0)[:, None], probs[at], probs.mean(axis=0))
