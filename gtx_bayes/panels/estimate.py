"""From a crowd and a little gold to the shares of the classes, with intervals that hold.

A fit that has seen the gold is certain there, and residuals against it say nothing. So the gold is
hidden in folds, and every residual comes from a fit without its fold: as many fits as folds.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats
from jaxtyping import Float, Int

from gtx_bayes.aggregation.aggregate import DEFAULT_METHOD, aggregate, configured
from gtx_bayes.aggregation.base import AbstractMethod
from gtx_bayes.aggregation.class_priors import NamedPrior
from gtx_bayes.aggregation.joint_method import AUTO
from gtx_bayes.classes import some_names
from gtx_bayes.columns import Names
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.labels import MISSING, Labels, scattered_parts
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.panels.shares import (
    CERTAIN,
    CrossFit,
    Difference,
    Gold,
    Shares,
    cross_fit,
    difference,
    shares,
)
from gtx_bayes.panels.working_model import Proxies

Population = Literal["finite", "infinite"]

ByExample = Mapping[Any, Any] | pd.Series | Sequence[Any] | np.ndarray
"""A value for each example: by its name, or in the order of `Crowd.example_names`."""

NUM_FOLDS = 5
"""How many fits an estimate takes."""

FEW_GOLD = 20
"""With less gold a note says that intervals have not been measured."""

_SMOOTHING = 0.01  # of class posteriors, which may be 0
_SCALE_OF_POSTERIOR, _SCALE_OF_VOTES, _SCALE_OF_JUDGES = 0.5, 0.25, 0.25
_MOST_JUDGES = 20
_ODD_GOLD = 1e-3  # p-value
_WORTHLESS = 1.1  # of gold with the crowd over gold alone, below which the crowd adds nothing


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ShareEstimate:
    """Shares of the classes in a population of examples.

    Attributes:
        class_names: name of every class.
        method: name of the method that read the answers.
        population: "finite" for the shares of these examples, "infinite" for those of what they
            are a sample of.
        num_folds: how many fits it took.
        overall: of all examples.
        slices: of the examples with each value of `by`, by its name; empty without.
        compared: the two slices whose difference is `difference`; None if none was asked for.
        difference: shares of the first less those of the second.
        crowd_share: mean class posterior of all examples, which has no interval that holds.
        vote_share: mean share of votes, likewise.
        notes: what a user should know.
    """

    class_names: Names
    method: str
    population: Population
    num_folds: int
    overall: Shares
    slices: Mapping[str, Shares]
    compared: tuple[str, str] | None
    difference: Difference | None
    crowd_share: Float[np.ndarray, " num_classes"]
    vote_share: Float[np.ndarray, " num_classes"]
    notes: tuple[str, ...] = ()

    def table(self) -> pd.DataFrame:
        """One row a class, and with slices one a slice and class after those of all.

        Columns `slice` (with slices; "(all)" for all examples), `label`, `share` with its 95 %
        limits `low` and `high`, the same of gold alone (`gold_share`, `gold_low`, `gold_high`),
        `worth`, how many gold labels alone would have as narrow an interval, and the sizes
        `num_gold` and `num_examples`. Of all examples also `crowd_share`, the mean class
        posterior, and `vote_share`.
        """
        whole = _table_of(self.overall, self.class_names)
        whole["crowd_share"], whole["vote_share"] = self.crowd_share, self.vote_share
        if not self.slices:
            return whole
        parts = {"(all)": whole}
        parts |= {name: _table_of(each, self.class_names) for name, each in self.slices.items()}
        for name, part in parts.items():
            part.insert(0, "slice", name)
        return pd.concat(parts.values(), ignore_index=True)

    def comparison(self) -> pd.DataFrame | None:
        """The difference of two slices: `label`, `difference`, `low`, `high`; None without."""
        if self.difference is None:
            return None
        found = self.difference
        return pd.DataFrame(
            {
                "label": self.class_names,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
            }
        )

    @property
    def worth(self) -> float:
        """How many gold labels alone would do as well, over the classes: the geometric mean."""
        found = self.overall.worth[np.isfinite(self.overall.worth) & (self.overall.worth > 0.0)]
        return float(np.exp(np.log(found).mean())) if found.size else float(self.overall.num_gold)

    @functools.cached_property
    def outside(self) -> tuple[str, ...]:
        """Classes whose mean class posterior lies outside the interval."""
        found = (self.crowd_share < self.overall.low) | (self.crowd_share > self.overall.high)
        return tuple(str(name) for name in self.class_names[found])

    @property
    def verdict(self) -> str:
        """Which of the figures to trust, in words."""
        number, worth = self.overall.num_gold, self.worth
        if worth < _WORTHLESS * number:
            text = (
                f"The crowd adds next to nothing to {number} gold labels: the estimate is as wide "
                "as gold alone, and both hold."
            )
        else:
            text = (
                f"Trust the estimate: with the crowd, {number} gold labels are worth "
                f"{worth:.0f} without."
            )
        if self.outside:
            text += (
                f" Do not use the crowd's own share of {some_names(self.outside)}: it lies outside "
                "the interval."
            )
        return text

    def __repr__(self) -> str:
        """The shares."""
        overall = self.overall
        rows = zip(self.class_names, overall.share, overall.low, overall.high, strict=True)
        listed = ", ".join(
            f"{name} {p:.3f} ({low:.3f} to {high:.3f})" for name, p, low, high in rows
        )
        return f"<ShareEstimate by {self.method} from {overall.num_gold} gold labels: {listed}>"


def estimate(
    crowd: Crowd,
    method: str | AbstractMethod = DEFAULT_METHOD,
    *,
    by: ByExample | None = None,
    compare: tuple[Any, Any] | None = None,
    cluster: ByExample | None = None,
    gold_weight: ByExample | None = None,
    population: Population = "finite",
    num_folds: int = NUM_FOLDS,
    class_prior: npt.ArrayLike | NamedPrior | None = None,
    model: str | AbstractLabelerModel = AUTO,
    dependence: float | None = None,
    prior_independent: float | None = None,
    finds_blocs: bool = True,
) -> ShareEstimate:
    """Share of every class in the examples of a crowd, with intervals valid whatever the model.

    The gold has to be a random sample of the examples: a plain one, or one drawn with
    probabilities that are known. Everything else may be wrong: labelers, their model, its
    confidence. See `panels.shares` for the estimator and `panels.intervals` for the interval.

    Args:
        crowd: the answers and the gold.
        method: how answers are read, as in `aggregate`.
        by: a value for each example; shares are estimated for the examples of each value too.
        compare: two of these values, whose shares are compared.
        cluster: what each example belongs to that was drawn as a whole, such as a document. With
            `compare`, examples of one cluster are paired.
        gold_weight: of each gold example, one over the probability that it was drawn; a value that
            is blank stands for 1, drawn with certainty. None for a plain random sample.
        population: "finite" for the shares of these examples, "infinite" for those of the
            population that they are a random sample of.
        num_folds: how many fits, each without its part of the gold; no more than there is gold.
        class_prior: as in `aggregate`, as for the arguments below.
        model: how labelers err.
        dependence: how far they err together.
        prior_independent: probability that they err independently.
        finds_blocs: whether labelers who copy each other count as one.

    Raises:
        InputError: without gold, for a weight below 1, a value to compare that no example has, and
            whatever `aggregate` refuses.
    """
    chosen = configured(
        method, model=model, dependence=dependence, prior_independent=prior_independent
    )
    if population not in get_args(Population):
        raise InputError(
            f"the population is '{population}'.", where="population", hint="Say finite or infinite."
        )
    if num_folds < 2:
        raise InputError(
            f"{num_folds} fold(s) leave no gold to fit with.",
            where="num_folds",
            hint="Give at least 2.",
        )
    if compare is not None and by is None:
        raise InputError(
            "there are no slices to compare.", where="compare", hint="Say by what, with `by=`."
        )
    slices = None if by is None else _by_example(by, crowd, "by")
    gold = _gold_of(crowd, cluster, gold_weight, num_folds)
    kept = crowd.keeping(**chosen.takes(crowd.labels.num_classes))
    probs = _fold_probs(crowd, chosen, gold, class_prior, finds_blocs=finds_blocs)
    votes = vote_shares(kept.labels)
    judges = judges_of(kept.labels)
    found = cross_fit(gold, [proxies_of(each, votes, judges) for each in probs])
    is_sample = population == "infinite"
    overall = shares(gold, found, is_sample=is_sample)
    parts: dict[str, Shares] = {}
    if slices is not None:
        for name in dict.fromkeys(sorted(key for key in slices if key)):
            parts[name] = shares(gold, found, among=slices == name, is_sample=is_sample)
    compared, taken = None, None
    if compare is not None:
        compared = _compared(compare, parts)
        taken = difference(gold, *(parts[name] for name in compared))
    return ShareEstimate(
        class_names=crowd.class_names,
        method=chosen.name,
        population=population,
        num_folds=len(probs),
        overall=overall,
        slices=parts,
        compared=compared,
        difference=taken,
        crowd_share=np.mean([each.mean(axis=0) for each in probs], axis=0),
        vote_share=votes[kept.labels.of_classes().count_by_example() > 0].mean(axis=0),
        notes=(*crowd.notes, *_notes(crowd, gold, votes, found, parts)),
    )


def proxies_of(
    class_probs: Float[np.ndarray, "num_examples num_classes"],
    votes: Float[np.ndarray, "num_examples num_classes"],
    judges: Float[np.ndarray, "num_examples num_classes num_judges"],
) -> Proxies:
    """Class posterior, votes and single judges as proxies of the classes.

    Args:
        class_probs: class posteriors.
        votes: shares of votes, as `vote_shares` has them.
        judges: whether each judge named each class, as `judges_of` has it.
    """
    num_classes, num_judges = votes.shape[1], judges.shape[2]
    smoothed = (1.0 - _SMOOTHING) * class_probs + _SMOOTHING / num_classes
    logs = np.stack([np.log(smoothed), np.log(votes)], axis=2)
    return Proxies(
        np.concatenate([logs, judges], axis=2),
        np.concatenate([[1.0, 0.0], np.zeros(num_judges)]),
        np.concatenate(
            [[_SCALE_OF_POSTERIOR, _SCALE_OF_VOTES], np.full(num_judges, _SCALE_OF_JUDGES)]
        ),
    )


def vote_shares(labels: Labels) -> Float[np.ndarray, "num_examples num_classes"]:
    """Shares of votes of each example, one more vote spread over all classes."""
    example, _, label = _answers(labels)
    votes = np.full((labels.num_examples, labels.num_classes), 1.0 / labels.num_classes)
    np.add.at(votes, (example, label), 1.0)
    return votes / votes.sum(axis=1, keepdims=True)


def judges_of(labels: Labels) -> Float[np.ndarray, "num_examples num_classes num_judges"]:
    """Whether each labeler who answered most examples named each class: the panel, if any."""
    example, labeler, label = _answers(labels)
    counts = np.bincount(labeler, minlength=labels.num_labelers)
    panel = np.flatnonzero(2 * counts >= labels.num_examples)
    panel = np.sort(panel[np.argsort(-counts[panel], kind="stable")[:_MOST_JUDGES]])
    votes = np.zeros((labels.num_examples, labels.num_classes, panel.size))
    for at, judge in enumerate(panel):
        of_judge = labeler == judge
        votes[example[of_judge], label[of_judge], at] = 1.0
    return votes


def _answers(labels: Labels) -> tuple[npt.NDArray[np.integer], ...]:
    """Example, labeler and class of the answers that are classes."""
    label = np.asarray(labels.label)
    kept = (label != MISSING) & (label < labels.num_classes)
    return np.asarray(labels.example)[kept], np.asarray(labels.labeler)[kept], label[kept]


def _by_example(given: ByExample, crowd: Crowd, where: str) -> npt.NDArray[Any]:
    """A value for each example, as text; empty for none.

    Raises:
        InputError: for an example without a value, or values that are not as many as examples.
    """
    names = [str(name) for name in crowd.example_names]
    if isinstance(given, Mapping | pd.Series):
        values = {str(name): value for name, value in given.items()}
        missing = [name for name in names if name not in values]
        if missing:
            raise InputError(
                f"there is no value for {len(missing)} example(s), {some_names(missing)}.",
                where=where,
                hint="Give one for every example of the crowd.",
            )
        found = [values[name] for name in names]
    else:
        found = list(given)
        if len(found) != len(names):
            raise InputError(
                f"there are {len(found)} values for {len(names)} examples.",
                where=where,
                hint="Give one for every example of the crowd, in its order.",
            )
    return np.array(["" if pd.isna(value) else str(value).strip() for value in found], object)


def _gold_of(
    crowd: Crowd, cluster: ByExample | None, gold_weight: ByExample | None, num_folds: int
) -> Gold:
    """The gold, in folds that do not depend on the order of the tables.

    Raises:
        InputError: for too little of it, and a weight below 1.
    """
    truth = np.asarray(crowd.assessment.true_label)
    example = np.flatnonzero(truth != MISSING)
    if example.size < 2:
        raise InputError(
            f"there are {example.size} gold label(s).",
            where="gold",
            hint="Give at least 2, better 20, of examples drawn at random.",
        )
    clusters = None
    if cluster is not None:
        named = _by_example(cluster, crowd, "cluster")
        single = np.array([f"\0{at}" for at in range(named.size)], object)
        clusters = np.unique(np.where(named == "", single, named), return_inverse=True)[1]
    weight = None
    is_certain = np.zeros(example.size, bool)
    if gold_weight is not None:
        weight = _gold_weights(gold_weight, crowd, example)
        is_certain = weight <= 1.0
    names = [str(crowd.example_names[at]) for at in example]
    units = np.arange(example.size) if clusters is None else clusters[example]
    order = sorted(np.flatnonzero(~is_certain), key=lambda at: names[at])
    rank: dict[int, int] = {}
    for at in order:
        rank.setdefault(int(units[at]), len(rank))
    size = min(num_folds, max(len(rank), 1))
    if rank and size < 2:
        raise InputError(
            "all gold that was drawn at random is of one cluster.",
            where="cluster",
            hint="Draw gold from several clusters.",
        )
    part = scattered_parts(max(len(rank), 1), size)
    fold = np.full(example.size, CERTAIN)
    for at in order:
        fold[at] = part[rank[int(units[at])]]
    return Gold(example, truth[example].astype(np.int64), fold, weight, clusters)


def _gold_weights(
    given: ByExample, crowd: Crowd, example: Int[np.ndarray, " num_gold"]
) -> Float[np.ndarray, " num_gold"]:
    names = [str(crowd.example_names[at]) for at in example]
    if isinstance(given, Mapping | pd.Series):
        by_name = {str(name): value for name, value in given.items()}
        cells = [by_name.get(name) for name in names]
    else:
        values = list(given)
        if len(values) != crowd.labels.num_examples:
            raise InputError(
                f"there are {len(values)} weights for {crowd.labels.num_examples} examples.",
                where="gold_weight",
                hint="Give one for every example, blank where it is no gold, or by name.",
            )
        cells = [values[at] for at in example]
    weights = pd.to_numeric(pd.Series(cells, dtype=object), errors="coerce")
    is_blank = np.array([cell is None or pd.isna(cell) or str(cell) == "" for cell in cells])
    weight = np.where(is_blank, 1.0, weights.to_numpy(np.float64))
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 1.0)))
    if bad.size:
        raise InputError(
            f"the weight of gold example '{names[bad[0]]}' is '{cells[bad[0]]}'.",
            where="gold_weight",
            hint="Give one over the probability that the example was drawn, 1 or more.",
        )
    return weight


def _fold_probs(
    crowd: Crowd,
    method: AbstractMethod,
    gold: Gold,
    class_prior: npt.ArrayLike | NamedPrior | None,
    *,
    finds_blocs: bool,
) -> list[npt.NDArray[np.float64]]:
    """Class posteriors of all examples by a fit without each fold of the gold.

    Who copies whom is found anew each time: it is learnt from gold too.
    """
    truth = np.asarray(crowd.assessment.true_label)
    found = []
    for fold in range(int(gold.fold.max()) + 1 if (gold.fold != CERTAIN).any() else 1):
        seen = truth.copy()
        seen[gold.example[gold.fold == fold]] = MISSING
        assessment = dataclasses.replace(crowd.assessment, true_label=jax.device_put(seen))
        fitted = aggregate(
            dataclasses.replace(crowd, assessment=assessment),
            method,
            class_prior=class_prior,
            finds_blocs=finds_blocs,
        )
        found.append(np.asarray(fitted.class_probs, np.float64))
    return found


def _compared(compare: tuple[Any, Any], parts: Mapping[str, Shares]) -> tuple[str, str]:
    first, second = (str(name).strip() for name in compare)
    for name in (first, second):
        if name not in parts:
            raise InputError(
                f"no example is of '{name}'.",
                where="compare",
                hint=f"There are {some_names(list(parts))}.",
            )
    if first == second:
        raise InputError(
            f"'{first}' is compared with itself.", where="compare", hint="Name two slices."
        )
    return first, second


def _table_of(found: Shares, class_names: Names) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": class_names,
            "share": found.share,
            "low": found.low,
            "high": found.high,
            "gold_share": found.gold_share,
            "gold_low": found.gold_low,
            "gold_high": found.gold_high,
            "worth": found.worth,
            "num_gold": found.num_gold,
            "num_examples": found.num_examples,
        }
    )


def _notes(
    crowd: Crowd,
    gold: Gold,
    votes: Float[np.ndarray, "num_examples num_classes"],
    found: CrossFit,
    parts: Mapping[str, Shares],
) -> list[str]:
    notes: list[str] = []
    number = gold.example.size
    if number < FEW_GOLD:
        notes.append(
            WarningNote(
                f"{number} gold labels are few: coverage was measured with {FEW_GOLD} and more."
            )
        )
    empty = [name for name, part in parts.items() if np.isnan(part.share).any()]
    if empty:
        notes.append(
            WarningNote(
                f"No gold among the examples of {some_names(empty)}: nothing holds there, and "
                "limits are 0 and 1."
            )
        )
    if gold.weight is None and gold.cluster is None and number < crowd.labels.num_examples:
        p = _unlike_the_rest(gold.example, votes)
        if p < _ODD_GOLD:
            notes.append(
                WarningNote(
                    "Gold has other votes than the rest, as a random sample would have once in "
                    f"{1.0 / max(p, 1e-12):,.0f} times: if it was picked and not drawn, no "
                    "interval here holds. Draw gold at random, or give `gold_weight`."
                )
            )
    if gold.cluster is not None:
        size = int(np.unique(gold.cluster[gold.example]).size)
        if size < FEW_GOLD:
            notes.append(WarningNote(f"Gold is of {size} clusters, few for an interval."))
    return notes


def _unlike_the_rest(
    gold: Int[np.ndarray, " num_gold"], votes: Float[np.ndarray, "num_examples num_classes"]
) -> float:
    """P-value of gold being a random sample, by the shares of votes of each class (Bonferroni)."""
    number, size = votes.shape[0], gold.size
    variance = votes.var(axis=0, ddof=1) * (1.0 / size - 1.0 / number)
    moved = votes[gold].mean(axis=0) - votes.mean(axis=0)
    z = np.abs(moved) / np.sqrt(np.where(variance > 0.0, variance, np.inf))
    return float(min(2.0 * scipy.stats.norm.sf(z.max()) * votes.shape[1], 1.0))
