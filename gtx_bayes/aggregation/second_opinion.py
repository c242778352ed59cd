"""Class probabilities from elsewhere as evidence beside a crowd's answers."""

import numpy as np
from jaxtyping import Float

from gtx_bayes.classes import some_names
from gtx_bayes.columns import (
    EXAMPLE_ROLE,
    AnyTable,
    Table,
    as_names,
    check_one_row_each,
    positions,
    read_class_probs,
    read_columns,
)
from gtx_bayes.crowd import Crowd


def second_opinion(crowd: Crowd, table: AnyTable) -> Float[np.ndarray, "num_examples num_classes"]:
    r"""A class prior for each example: what somebody says of it who has not seen its answers.

    .. math:: P(Y_i = y \mid \mathcal{L}(i), x_i) \propto
        P(Y_i = y \mid x_i) \, P(\mathcal{L}(i) \mid Y_i = y)

    holds if answers and opinion are independent given the class. So the opinion on an example
    must not have been learnt from its own answers, and must be honest: `disagreements.csv` of
    `gtx-bayes finetune` is made so. Examples that the table leaves out get its mean.

    Args:
        crowd: the answers.
        table: columns task (or an alias) and prob_<class> for every class of the crowd.

    Raises:
        InputError: for anything wrong with the table, other classes, or no common example.
    """
    frame, source = Table.of(table, "the second opinion")
    tasks = read_columns(frame, EXAMPLE_ROLE, {}, source)["example"]
    check_one_row_each(tasks)
    classes, probs = read_class_probs(frame, source)
    wanted = [str(name) for name in crowd.class_names]
    if sorted(classes) != sorted(wanted):
        raise source.error(
            f"it is about the classes {classes}, the crowd answers {wanted}.",
            "Name all the classes (`classes=`), or make the table from the same crowd.",
        )
    probs = probs[:, positions(classes, as_names(wanted))]
    probs = probs / probs.sum(axis=1, keepdims=True)  # tables round
    names = as_names(str(name) for name in crowd.example_names)
    at = positions(tasks.keys, names)
    if (at < 0).all():
        raise source.error(
            f"it names none of the crowd's examples: {some_names(tasks.keys)}, answered are "
            f"{some_names(names)}.",
            "Use the same names for the examples in both tables.",
        )
    return np.where((at >= 0)[:, None], probs[at], probs.mean(axis=0))
