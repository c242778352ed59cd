"""Whom to ask: labelers by name, their prices, and those who count as one."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.collection.costs import Prices, of_blocs
from gtx_bayes.columns import Names, as_names, positions
from gtx_bayes.crowd import Crowd
from gtx_bayes.labels import MISSING


class Asked(NamedTuple):
    """Who can be asked at which price; blocs as one labeler.

    Attributes:
        price: by labeler or bloc, and example; infinite where all have answered.
        member: whose price that is, by place in `names`.
        names: of every labeler by itself; None where nobody is known by name.
    """

    price: npt.NDArray[np.floating]
    member: npt.NDArray[np.integer]
    names: Names | None

    @classmethod
    def of(
        cls,
        result: Aggregation | None,
        place: npt.NDArray[np.intp],
        prices: Prices | None,
    ) -> "Asked":
        """Of some examples.

        Args:
            result: the answers so far; None before the first.
            place: of each example among those of the crowd, after the last where it is none.
            prices: of the labelers, those of the crowd first; all alike when absent.
        """
        names = None if prices is None else prices.labelers
        price = np.ones((1, 1), np.float32) if prices is None else prices.price
        num_known, bloc = 0, np.zeros(0, np.intp)
        if result is not None:
            known = result.answered.labeler_names
            num_known = known.size
            names = known if names is None else as_names([*known, *names[num_known:]])
            bloc = _bloc_of_each(result)
        num_labelers = 1 if names is None else names.size
        num_blocs = bloc.max(initial=-1) + 1
        bloc = np.append(bloc, num_blocs + np.arange(num_labelers - num_known))
        answered = np.zeros((num_labelers, place.size), bool)
        if result is not None:
            _mark_answered(answered, result.answered, place)
        found, member = of_blocs(price, answered, bloc)
        return cls(found, member, names)

    def named(
        self, whom: npt.NDArray[np.integer], at: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.object_] | None, npt.NDArray[np.float64]]:
        """Names of the labelers to ask of some examples, and their prices."""
        cost = self.price[whom[at], at].astype(np.float64)
        return (None if self.names is None else self.names[self.member[whom[at], at]]), cost


def _bloc_of_each(result: Aggregation) -> npt.NDArray[np.intp]:
    """Index, among those whom the fit knows, of each labeler by itself."""
    if result.blocs is None:
        return np.arange(result.crowd.labels.num_labelers)
    of_bloc = dict(zip(result.blocs["worker"], result.blocs["bloc"], strict=True))
    counted = [of_bloc.get(name, name) for name in result.answered.labeler_names]
    return positions(result.crowd.labeler_names, as_names(counted))


def _mark_answered(
    answered: npt.NDArray[np.bool_], crowd: Crowd, place: npt.NDArray[np.intp]
) -> None:
    """Who has answered which examples, abstentions included."""
    row = np.full(crowd.labels.num_examples + 1, MISSING)
    row[place] = np.arange(place.size)
    row[crowd.labels.num_examples] = MISSING
    given = np.asarray(crowd.labels.label) != MISSING
    both = [(np.asarray(crowd.labels.labeler)[given], np.asarray(crowd.labels.example)[given])]
    if crowd.abstentions is not None:
        both.append((crowd.abstentions.labeler, crowd.abstentions.example))
    for labeler, example in both:
        is_open = row[example] != MISSING
        answered[labeler[is_open], row[example][is_open]] = True


def whom_to_ask(
    result: Aggregation, blocs: pd.DataFrame, place: npt.NDArray[np.intp]
) -> "pd.Series[Any]":
    """The most accurate labeler whose bloc has not answered each example; None where none is left.

    For a bloc its member with the most labels, the first of several.
    """
    labels = result.answered.labels  # where a bloc ties it has answered too
    row = np.full(labels.num_examples + 1, MISSING)
    row[place] = np.arange(place.size)
    row[labels.num_examples] = MISSING  # where an example is not of the crowd
    given = np.asarray(labels.label) != MISSING
    row_of_label = np.where(given, row[np.asarray(labels.example)], MISSING)
    is_of_batch = row_of_label != MISSING
    score = np.tile(result.in_pandas.labelers()["accuracy"].to_numpy(np.float64), (place.size, 1))
    counted = {name: at for at, name in enumerate(result.crowd.labeler_names)}
    of_bloc = dict(zip(blocs["worker"], blocs["bloc"], strict=True))
    as_one = np.array([counted[of_bloc.get(name, name)] for name in result.answered.labeler_names])
    score[row_of_label[is_of_batch], as_one[np.asarray(labels.labeler)[is_of_batch]]] = np.nan
    busiest = blocs.sort_values("num_labels", ascending=False, kind="stable")
    member = busiest.drop_duplicates("bloc").set_index("bloc")["worker"].to_dict()
    names = [member.get(name, name) for name in result.crowd.labeler_names]
    best = np.nan_to_num(score, nan=-1.0).argmax(axis=1)
    nobody = np.isnan(score).all(axis=1)
    found = [None if none else names[at] for at, none in zip(best, nobody, strict=True)]
    return pd.Series(found, dtype=object)
