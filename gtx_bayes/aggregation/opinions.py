"""Opinions of classifiers as evidence beside a crowd's answers, by name and calibrated."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
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
from gtx_bayes.errors import InputError
from gtx_bayes.inference.opinions import Calibration, ClassProbs, calibrate

Opinions = Mapping[str, AnyTable]
"""Tables of class probabilities by name."""


class Weighed(NamedTuple):
    """Opinions whose weights are learnt.

    Attributes:
        names: of the opinions.
        calibration: what they are worth.
        base: the class prior without them, for all examples or for each.
        class_prior: with them, of each class of each example.
        probs: class probabilities by each; NaN for examples that it does not speak of.
    """

    names: tuple[str, ...]
    calibration: Calibration
    base: Float[np.ndarray, "..."]
    class_prior: ClassProbs
    probs: tuple[ClassProbs, ...]

    def table(self, class_probs: ClassProbs) -> pd.DataFrame:
        """One row an opinion, beside the class probabilities in the end.

        Columns `opinion`, `weight` (1 is its word, 0 leaves it out), `num_examples` that it speaks
        of, its mean `confidence` in its most probable class, and `accuracy`, the mean probability
        of that class in the end.
        """
        rows = []
        for name, weight, probs in zip(
            self.names, self.calibration.weights, self.probs, strict=True
        ):
            at = np.flatnonzero(~np.isnan(probs[:, 0]))
            right = class_probs[at, probs[at].argmax(axis=1)]
            rows.append((name, weight, at.size, probs[at].max(axis=1).mean(), right.mean()))
        columns = ["opinion", "weight", "num_examples", "confidence", "accuracy"]
        return pd.DataFrame(rows, columns=pd.Index(columns))

    def prior_of(self, crowd: Crowd, opinions: Opinions) -> ClassProbs:
        """The class prior of other examples.

        Raises:
            InputError: for opinions that the fit did not have, and what is wrong with their tables.
        """
        _check(opinions)
        unknown = sorted({str(name) for name in opinions} - set(self.names))
        if unknown:
            raise InputError(
                f"the fit has no opinion {some_names(unknown)}.",
                where="opinions",
                hint=f"Name those that it has: {some_names(self.names)}.",
            )
        found = read_opinions(crowd, opinions)
        nothing = np.full((crowd.labels.num_examples, crowd.labels.num_classes), np.nan)
        heard = [found.get(name, nothing) for name in self.names]
        return self.calibration.class_prior(heard, self.base)


def weigh(
    crowd: Crowd,
    opinions: Opinions,
    class_probs: ClassProbs,
    class_prior: Float[np.ndarray, "..."] | None,
) -> Weighed:
    """What opinions are worth, and the class prior of each example that they give.

    Args:
        crowd: the answers and the gold.
        opinions: tables by name: columns task (or an alias) and prob_<class> for every class. An
            opinion must not have been learnt from the answers, else it agrees with them for no
            good reason.
        class_probs: what a fit without the opinions says; one at gold.
        class_prior: the prior of that fit; None for a uniform one.

    Raises:
        InputError: for anything wrong with a table, other classes, or no common example.
    """
    found = read_opinions(crowd, opinions)
    if not found:
        raise InputError("there is no opinion.", where="opinions", hint="Leave it out.")
    probs = tuple(found.values())
    num_classes = crowd.labels.num_classes
    prior = np.full(num_classes, 1.0 / num_classes) if class_prior is None else class_prior
    likelihood = np.where(prior > 0.0, class_probs / np.where(prior > 0.0, prior, 1.0), 0.0)
    calibration = calibrate(probs, likelihood, prior)
    return Weighed(tuple(found), calibration, prior, calibration.class_prior(probs, prior), probs)


def notes_of_opinions(table: pd.DataFrame) -> list[str]:
    """What to say of each opinion of a `Weighed.table`."""
    return [
        f"Opinion {row.opinion} counts with weight {row.weight:.2f}, where 1 is its word: sure "
        f"{row.confidence:.2f} on average of what it says, it is right with probability "
        f"{row.accuracy:.2f}."
        for row in table.itertuples()
    ]


def read_opinions(crowd: Crowd, opinions: Opinions) -> dict[str, ClassProbs]:
    """Class probabilities by name, NaN for examples that a table leaves out.

    Raises:
        InputError: for what is no dictionary of tables, and anything wrong with one of them.
    """
    _check(opinions)
    return {str(name): _read(crowd, table, str(name)) for name, table in opinions.items()}


def _check(opinions: object) -> None:
    if not isinstance(opinions, Mapping):
        raise InputError(
            f"the opinions are {type(opinions).__name__}.",
            where="opinions",
            hint='Give a dictionary of tables, such as {"resnet": table}.',
        )


def _read(crowd: Crowd, given: AnyTable, name: str) -> ClassProbs:
    frame, source = Table.of(given, f"opinions[{name!r}]")
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
    return np.where((at >= 0)[:, None], probs[at], np.nan)
