"""From a crowd to a result: fit a method by name, score every example, keep gold as it is."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from gtx_bayes import decisions
from gtx_bayes.abstentions import Blank
from gtx_bayes.aggregation.alarms import alarms
from gtx_bayes.aggregation.base import AbstractAggregator, AbstractMethod, Fit
from gtx_bayes.aggregation.history import with_earlier
from gtx_bayes.aggregation.joint_method import (
    AUTO,
    DRIFT_COVARIATE,
    LEAST_NAMED,
    NAME,
    GtxBayes,
)
from gtx_bayes.aggregation.opinions import Opinions, Weighed, notes_of_opinions, weigh
from gtx_bayes.aggregation.over_time import Fall, Known, OverTime, by_period, find_falls
from gtx_bayes.aggregation.tables import (
    MOST_CELLS,
    confusion_of,
    confusion_table,
    labeler_table,
    names_of_answers,
    overlaps,
    page,
)
from gtx_bayes.blocs import find_blocs, given_blocs, join, with_members
from gtx_bayes.classes import some_names
from gtx_bayes.columns import AnyTable, Column, Names, Source, Table, as_names, positions
from gtx_bayes.crowd import Crowd, update_crowd
from gtx_bayes.crowd_tables import Duplicates
from gtx_bayes.errors import InputError
from gtx_bayes.frames import of_library
from gtx_bayes.inference.loop import Chunk, ChunksInMemory
from gtx_bayes.inference.model_size import check_num_class_probs
from gtx_bayes.inference.order import keeps_order
from gtx_bayes.inference.variational import clamp
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.padding import LEAST_EXAMPLES, bucket_size, pad_to
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.registry import METHODS

DEFAULT_METHOD = NAME

NamedPrior = Mapping[Any, Any] | pd.Series
"""Probability of each class by its name."""

_SHOWN_CLASSES = 6  # in a notebook


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Aggregation:
    """The result of one method on one crowd.

    Attributes:
        method: name of the method.
        crowd: what it was applied to.
        fit: the fitted method and what it says of the labelers.
        class_probs: probability of each class of each example; one at the known label of gold.
        class_prior: the prior used; None stands for a uniform one.
        blocs: the labelers who count as one, see `blocs.Joined`; None where there are none.
        singly: the crowd with every labeler by itself, where there are blocs.
        weighed: opinions beside the answers, and what they are worth.
        over_time: how labelers do over time, where "auto" is given a covariate of time.
    """

    method: str
    crowd: Crowd
    fit: Fit
    class_probs: Float[Array, "num_examples num_classes"]
    class_prior: ClassPrior | None = None
    blocs: pd.DataFrame | None = None
    singly: Crowd | None = None
    weighed: Weighed | None = None

    @property
    def opinions(self) -> Any:
        """What each opinion is worth, see `opinions.Weighed.table`; None where there are none."""
        if self.weighed is None:
            return None
        return self._as_came(self.weighed.table(np.asarray(self.class_probs)))

    @property
    def in_pandas(self) -> "Aggregation":
        """The same, whose tables are of pandas whatever the answers came in."""
        crowd = dataclasses.replace(self.crowd, library=None)
        return dataclasses.replace(self, crowd=crowd)

    def _as_came(self, frame: pd.DataFrame) -> Any:
        """A table of results, of the library that the answers came in."""
        return of_library(frame, self.crowd.library)

    over_time: OverTime | None = None

    def timed(self, labels: Table) -> Table:
        """Further answers with the times of the drift model, where it is one of the fit's."""
        is_needed = self.over_time is not None and DRIFT_COVARIATE in self.crowd.covariate_names
        return self.over_time.renamed(labels) if is_needed and self.over_time else labels

    @property
    def answered(self) -> Crowd:
        """What came in: the crowd before any labelers counted as one."""
        return self.crowd if self.singly is None else self.singly

    def examples(self, key: Key[Array, ""] | int | None = None, *, mesh: Mesh | None = None) -> Any:
        """One row per example: hard label, confidence, counts, and every class's probability.

        A table of the library that the answers came in, such as Polars; of pandas where they came
        in none. So are those of `labelers`, `confusion`, `opinions` and `predict`. Methods with a
        joint posterior add the 95 % credible interval of the confidence.

        Args:
            key: decides the hard label where classes tie (column `num_tied` shows where), and
                the draws behind the intervals; a seed stands for its key. Seed 0 when absent.
            mesh: devices to work out the intervals on; one where it is absent.

        Raises:
            InputError: for a seed that is none.
            ValueError: if class probabilities are NaN, which `aggregate` never returns.
        """
        crowd = self.crowd
        table, key_left = _example_table(as_key(key), crowd, self.class_probs)
        table.insert(5, "is_gold", self._is_gold)
        if self.fit.joint is not None:
            low, high = self.fit.joint.credible_interval(key_left, crowd.labels, mesh=mesh)
            table.insert(6, "confidence_low", np.where(self._is_gold, 1.0, low))
            table.insert(7, "confidence_high", np.where(self._is_gold, 1.0, high))
        return self._as_came(table)

    @functools.cached_property
    def label(self) -> "pd.Series[Any]":
        """The most probable class of each example, by task; the known one of gold."""
        table, _ = _example_table(as_key(None), self.crowd, self.class_probs)
        return pd.Series(table["label"].to_numpy(), self.probs.index, name="label")

    @property
    def probs(self) -> pd.DataFrame:
        """Probability of each class of each example: examples by task, classes by column."""
        return pd.DataFrame(
            np.asarray(self.class_probs),
            index=pd.Index(self.crowd.example_names, name="task"),
            columns=pd.Index(self.crowd.class_names, name="label"),
        )

    def labelers(self) -> Any:
        """One row per labeler: accuracy with its interval, and the counts behind it.

        `agreement` is the share of a labeler's answers that are the most probable class of their
        example, classes that tie sharing it; the labeler's own answers have had a say in that.
        Shares of all examples: `coverage`, those the labeler answered; `overlap`, those that
        others answered too; `conflict`, those with an answer that differs. Where values were named
        that are abstentions also their number, their share of all that the labeler was asked, and
        its 95 % confidence interval (Wilson).
        """
        crowd, labels = self.crowd, self.crowd.labels.of_classes()
        table = labeler_table(
            crowd.labeler_names,
            self.fit.labeler_accuracy,
            labels.count_by_labeler(),
            crowd.num_abstained(),
        )
        return self._as_came(table.assign(**overlaps(labels, np.asarray(self.class_probs))))

    def confusion(self) -> Any:
        """How each labeler answers examples of each class: one row a labeler, class and answer.

        Columns `worker`, `true_label`, `label`, `probability` (of the answer given the class),
        `num_labels` (how many such answers there are) and `source`, which says what the
        probabilities come from: "model", the labeler model of the fit; for methods of votes
        "gold", the shares of the answers to gold, or without gold "hard labels", those of the
        answers to examples of each most probable class. See `tables.Confusion`.

        Raises:
            InputError: if the table would have more than `tables.MOST_CELLS` rows.
        """
        crowd = self.crowd
        found = confusion_of(self.fit, crowd.labels, crowd.assessment, self.class_probs)
        names = crowd.labeler_names, crowd.class_names, crowd.answer_names
        return self._as_came(confusion_table(found, *names))

    def confusion_matrix(self, worker: object) -> pd.DataFrame:
        """The probabilities of `confusion` for one labeler: true classes by row, answers by column.

        Args:
            worker: the labeler's name.

        Raises:
            InputError: if there is no labeler of that name, or too many classes.
        """
        crowd = self.crowd
        at = int(positions(as_names(map(str, crowd.labeler_names)), as_names([str(worker)]))[0])
        if at < 0:
            raise InputError(
                f"there is no labeler '{worker}'.",
                hint=f"There are {some_names(crowd.labeler_names)}.",
            )
        found = confusion_of(self.fit, crowd.labels, crowd.assessment, self.class_probs, at)
        return pd.DataFrame(
            found.probability[0],
            index=pd.Index(crowd.class_names, name="true_label"),
            columns=pd.Index(
                names_of_answers(crowd.answer_names, found.probability.shape[2]), name="label"
            ),
        )

    def predict(
        self,
        labels: AnyTable,
        key: Key[Array, ""] | int | None = None,
        *,
        duplicates: Duplicates = "error",
        abstain: Sequence[object] = (),
        blank: Blank = "error",
        example_covariates: AnyTable | None = None,
        columns: Mapping[str, str] | None = None,
        opinions: Opinions | None = None,
    ) -> Any:
        """Class probabilities of other examples, which labelers of this crowd have answered.

        Nothing is learnt from the answers: see `update` for that.

        Args:
            labels: one row per answer, as in `Crowd.from_frames`, with the covariates of the fit.
            key: decides the hard label where classes tie; a seed, or seed 0 when absent.
            duplicates: see `Crowd.from_frames`, as for the other arguments.
            abstain: values that are abstentions.
            blank: what a blank answer is.
            example_covariates: one row per example, where the fit knows examples by covariates.
            columns: columns of `labels` by role, where no alias fits.
            opinions: of the new examples, by the names that they had in the fit.

        Returns:
            The columns of `examples` but for those of gold and of intervals.

        Raises:
            InputError: for anything wrong in the table, for labelers and classes that the crowd
                does not have, and where the class prior was given example by example.
        """
        base = self.class_prior if self.weighed is None else self.weighed.base
        if base is not None and base.ndim == 2:
            raise InputError(
                "the class prior was given example by example, and new examples have none.",
                hint="Fit all answers anew, with a prior for each example.",
            )
        table = self.timed(Table.of(labels, "labels"))
        known, blocs = self.crowd.without_examples(), None
        if self.blocs is not None:
            known, blocs = with_members(known, self.blocs)
        new = update_crowd(
            known,
            table,
            duplicates=duplicates,
            abstain=abstain,
            blank=blank,
            example_covariates=example_covariates,
            columns=columns,
        ).crowd
        unknown = new.labeler_names[known.labels.num_labelers :]
        if unknown.size:
            what = f"the fit does not know {some_names(unknown)}."
            raise table.source.error(
                what, "Leave their answers out, or learn from them by `update`."
            )
        if blocs is not None:
            new = join(new, blocs).crowd
        rule = self.fit.aggregator
        if self.weighed is not None:
            rule = rule.with_class_prior(
                jnp.asarray(self.weighed.prior_of(new, {} if opinions is None else opinions))
            )
        elif opinions is not None:
            raise InputError(
                "the fit has no opinions.", where="opinions", hint="Give them to `aggregate` too."
            )
        class_probs = rule.class_probs(new.labels)
        return self._as_came(_example_table(as_key(key), new, class_probs)[0])

    def __repr__(self) -> str:
        """The method, and how much there is of what."""
        return f"<Aggregation by {self._title}: {self._facts}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the first examples and labelers, and what to know of them."""
        examples, _ = _example_table(as_key(None), self.crowd, self.class_probs)
        shown = list(examples.columns[: 4 + _SHOWN_CLASSES + 1])
        tables = (("examples", examples[shown]), ("labelers", self.in_pandas.labelers()))
        return page(f"Aggregation by {self._title}", self._facts, tables, self.notes)

    @property
    def _title(self) -> str:
        return f"{self.method} ({self.fit.model})"

    @property
    def _facts(self) -> str:
        labels = self.crowd.labels
        confidence = self.open_confidence()
        mean = f", mean confidence {confidence.mean():.3f}" if confidence.size else ""
        return (
            f"{labels.num_examples:,} examples ({self.crowd.assessment.num_gold:,} gold), "
            f"{labels.num_labelers:,} labelers, {labels.num_classes:,} classes, "
            f"{labels.num_labels:,} labels{mean}"
        )

    def open_confidence(self) -> npt.NDArray[np.floating]:
        """Confidence of the examples that are not gold."""
        return np.asarray(self.class_probs).max(axis=1)[~self._is_gold]

    @property
    def _is_gold(self) -> npt.NDArray[np.bool_]:
        return self.crowd.assessment.which_gold()

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the tables and the fit."""
        crowd = self.crowd
        found = alarms(
            crowd.labels.of_classes(),
            self.fit.labeler_accuracy.counts,
            np.asarray(self.class_probs),
            ~self._is_gold,
            labeler_names=crowd.labeler_names,
            class_names=crowd.class_names,
        )
        changes = () if self.over_time is None else self.over_time.notes
        of_models = self._notes_of_models()
        return (*crowd.notes, *self.fit.notes, *of_models, *changes, *found)

    def _notes_of_models(self) -> Iterator[str]:
        """What models say of labelers by name, each once with all the weight that it has."""
        names, joint = self.crowd.labeler_names.tolist(), self.fit.joint
        for model, weight in ({} if joint is None else joint.weight_by_model).items():
            if model is not None and weight >= LEAST_NAMED:
                yield from model.notes(names, weight)


def as_key(key: Key[Array, ""] | int | None) -> Key[Array, ""]:
    """A key as it is, and a seed as its key, which is that of `jax.random.key`; seed 0 when absent.

    Raises:
        InputError: for a seed that is none.
    """
    if isinstance(key, jax.Array):
        is_old = key.shape == (2,) and key.dtype == jnp.uint32  # as `jax.random.PRNGKey` makes them
        if is_old or jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
            return key
    if key is not None and not isinstance(key, int):
        raise InputError(
            f"the key is {key!r:.80}.", where="key", hint="Give a whole number, or a key of JAX."
        )
    seed = key or 0
    if not 0 <= seed < 2**32:
        raise InputError(f"the seed is {seed}.", hint=f"Give a whole number below {2**32}.")
    return jax.random.key(seed)


def _example_table(
    key: Key[Array, ""], crowd: Crowd, class_probs: Float[Array, "num_examples num_classes"]
) -> tuple[pd.DataFrame, Key[Array, ""]]:
    """What class probabilities come to, one row per example, and a key that is left."""
    probs = np.asarray(class_probs)
    if np.isnan(probs).any():
        raise ValueError("there are class probabilities that are NaN")
    labels, size = crowd.labels, crowd.labels.num_examples
    decided, key_left = _decide(key, pad_to(probs, bucket_size(size, LEAST_EXAMPLES)))
    found = {name: np.asarray(values)[:size] for name, values in decided.items()}
    columns = {
        "task": crowd.example_names,
        "label": crowd.class_names[found["hard_label"]],
        "confidence": found["confidence"],
        "num_labels": labels.of_classes().count_by_example(),
        "num_tied": found["num_tied"],
        **{f"prob_{name}": probs[:, k] for k, name in enumerate(crowd.class_names)},
    }
    return pd.DataFrame(columns), key_left


@jax.jit
def _decide(
    key: Key[Array, ""], class_probs: Float[Array, "num_examples num_classes"]
) -> tuple[dict[str, Array], Key[Array, ""]]:
    """What class probabilities come to, and a key for what is drawn after the ties."""
    key_ties, key_left = jax.random.split(key)
    decided = {
        "hard_label": decisions.hard_label(key_ties, class_probs),
        "confidence": decisions.confidence(class_probs),
        "num_tied": decisions.num_tied(class_probs),
    }
    return decided, key_left


def aggregate(
    crowd: Crowd | AnyTable,
    method: str | AbstractMethod = DEFAULT_METHOD,
    *,
    class_prior: npt.ArrayLike | NamedPrior | None = None,
    model: str | AbstractLabelerModel = AUTO,
    dependence: float | None = None,
    prior_independent: float | None = None,
    finds_blocs: bool = True,
    finds_verdicts: bool | None = None,
    opinions: Opinions | None = None,
    history: AnyTable | None = None,
    mesh: Mesh | None = None,
) -> Aggregation:
    """Apply a method to a crowd.

    Args:
        crowd: the answers and the gold; or a table of answers alone, which `Crowd.from_frames`
            takes.
        method: a name in `registry.METHODS`, `FILE.py:Class`, or an instance, whose fields are
            the method's options.
        class_prior: probability of each class: a dictionary or a Series by class name, or an
            array of shape (num_classes,) in the order of `crowd.class_names`; or of each class of
            each example, shape (num_examples, num_classes). When absent uniform, but that
            "gtx-bayes" weighs uniform and learnt proportions. Numbers above 1 are counts: how many
            other tasks were of each class. "gtx-bayes" learns the proportions from these too;
            other methods take their shares, one more task added to each class.
        model: how labelers err, for methods with this option such as "gtx-bayes": a name, or
            "auto" for a pool of models, weighed by gold and answers.
        dependence: rho, for methods with this option: how far labelers err together, from 0 to
            1; learnt when absent.
        prior_independent: for methods with this option, the probability before any answer that
            labelers err independently; that of the method when absent.
        finds_blocs: whether "gtx-bayes" counts labelers as one who copy each other, where gold
            shows it, see `blocs`. Groups that the crowd's table gives count as one in any case.
        finds_verdicts: whether "gtx-bayes" looks for copies in the labels of a panel without gold,
            see `inference.two_verdicts`; as `finds_blocs` when absent.
        opinions: class probabilities by classifiers that have not seen the answers: tables by
            name, with columns `task` and `prob_<class>`. None is taken at its word: its weight is
            learnt from gold and from the answers, see `inference.opinions`.
        history: what the labelers did on other tasks whose truth was known, for methods that learn
            from gold alone and for "gtx-bayes" with the model "auto", "one-coin",
            "class-conditional" or "confusion": see `history.read_history`.
        mesh: devices to spread the examples over, from `devices.examples_mesh`; one where it is
            absent.

    Raises:
        InputError: for an unknown method, a method that needs gold without any, a class prior
            that is none, an option that the method does not have, or more classes than the
            answers bear.
    """
    if not isinstance(crowd, Crowd):
        crowd = Crowd.from_frames(crowd)
    chosen = configured(
        method, model=model, dependence=dependence, prior_independent=prior_independent
    )
    finds_verdicts = finds_blocs if finds_verdicts is None else finds_verdicts
    if not finds_verdicts and isinstance(chosen, GtxBayes):
        chosen = dataclasses.replace(chosen, finds_verdicts=False)
    check_num_class_probs(
        num_examples=crowd.labels.num_examples,
        num_labels=crowd.labels.num_labels,
        num_classes=crowd.labels.num_classes,
    )
    prior = class_total = None
    if class_prior is not None:
        class_total = _class_counts(class_prior, crowd.class_names)
        if class_total is not None and not (chosen.name == NAME and chosen.takes_earlier()):
            class_prior = (class_total + 1.0) / (class_total + 1.0).sum()
            class_total = None
        if class_total is None:
            prior = check_class_prior(class_prior, crowd.class_names, crowd.labels.num_examples)
    if crowd.is_counted and chosen.tells_labelers_apart():
        raise InputError(
            f"answers are only counted, and {chosen.name} tells labelers apart.",
            hint="Give one row per answer, or use majority-vote, or gtx-bayes with the model "
            "one-coin or confusion, which then learn how the crowd as a whole errs.",
        )
    crowd, time = _time_set_aside(crowd, chosen)
    crowd = crowd.keeping(**chosen.takes(crowd.labels.num_classes))
    crowd, blocs, singly = _in_blocs(crowd, finds=finds_blocs and chosen.name == DEFAULT_METHOD)
    chosen = _with_order(chosen, crowd)
    if history is not None or class_total is not None:
        crowd = with_earlier(crowd, chosen, history, class_total, blocs, mesh)
    if crowd.assessment.earlier is not None:
        time = None

    def fitted(prior: ClassPrior | None) -> tuple[Fit, Float[Array, "num_examples num_classes"]]:
        fit = chosen.fit(crowd.labels, crowd.assessment, prior, mesh=mesh)
        if fit.joint is not None:
            return fit, fit.joint.class_probs
        if mesh is None:
            class_probs = fit.aggregator.class_probs(crowd.labels)
        else:
            class_probs = _class_probs_by_chunk(fit.aggregator, crowd.labels, prior, mesh)
        return fit, clamp(class_probs, crowd.assessment)

    fit, class_probs = fitted(prior)
    over_time = None if time is None or blocs is not None else _over_time(crowd, fit, time)
    if time is not None and blocs is not None:
        fit = fit._replace(notes=(*fit.notes, _NOT_ASKED))
    if over_time is not None and len(over_time.falls):
        assert isinstance(chosen, GtxBayes)
        assert time is not None
        labels = dataclasses.replace(crowd.labels, covariates={DRIFT_COVARIATE: time.when})
        starts = {} if time.start is None else {DRIFT_COVARIATE: time.start}
        crowd = dataclasses.replace(crowd, labels=labels, starts=starts)
        chosen = dataclasses.replace(chosen, drifts=True)
        fit, class_probs = fitted(prior)
    weighed = None
    if opinions is not None:
        own_prior = None if fit.class_prior is None else np.asarray(fit.class_prior)
        weighed = weigh(crowd, opinions, np.asarray(class_probs), own_prior)
        fit, class_probs = fitted(jax.device_put(weighed.class_prior.astype(class_probs.dtype)))
        notes = notes_of_opinions(weighed.table(np.asarray(class_probs)))
        fit = fit._replace(notes=(*fit.notes, *notes))
    return Aggregation(
        chosen.name,
        crowd,
        fit,
        class_probs,
        fit.class_prior,
        blocs,
        singly,
        weighed,
        over_time,
    )


_NOT_ASKED = (
    "Where labelers count as one, nobody asks whether one gets worse over time. Give no groups, "
    "and finds_blocs=False (--groups none), to have it asked."
)


class _Time(NamedTuple):
    """When answers were given, what that is counted from and what it is called."""

    when: Float[Array, " num_labels"]
    start: str | None
    name: str


def time_covariate(crowd: Crowd, method: AbstractMethod) -> str | None:
    """The covariate of time for which a pool of models asks whether labelers change.

    That is the one called `DRIFT_COVARIATE`, or else the only one that holds times; None for other
    methods, and where they are said to drift.
    """
    if not isinstance(method, GtxBayes) or method.model != AUTO or method.drifts:
        return None
    if DRIFT_COVARIATE in crowd.labels.covariates:
        return DRIFT_COVARIATE
    times = [name for name in crowd.labels.covariates if name in crowd.starts]
    return times[0] if len(times) == 1 else None


def _time_set_aside(crowd: Crowd, method: AbstractMethod) -> tuple[Crowd, _Time | None]:
    """The crowd without its covariate of time, see `time_covariate`."""
    name = time_covariate(crowd, method)
    if name is None:
        return crowd, None
    crowd = crowd.keeping(covariates=True)
    covariates = dict(crowd.labels.covariates)
    time = _Time(covariates.pop(name), crowd.starts.get(name), name)
    labels = dataclasses.replace(crowd.labels, covariates=covariates)
    starts = {key: start for key, start in crowd.starts.items() if key != name}
    return dataclasses.replace(crowd, labels=labels, starts=starts), time


def _over_time(crowd: Crowd, fit: Fit, time: _Time) -> OverTime | None:
    """How labelers do over time, by a fit for which nobody changes; None for too large tables."""
    labelers, joint = fit.aggregator.labelers, fit.joint
    num_classes = crowd.labels.num_classes
    is_large = crowd.labels.num_labelers * num_classes**2 > MOST_CELLS
    if labelers is None or joint is None or is_large:
        return None
    confusion = np.asarray(labelers.confusion_matrix, np.float64)[:, :, :num_classes]
    prior = np.asarray(joint.class_prior, np.float64)
    known = Known(confusion, prior, joint.dependence.mean)
    given = crowd.labels, crowd.assessment, np.asarray(time.when), known
    falls = pd.DataFrame(find_falls(*given), columns=pd.Index(Fall._fields))
    periods = by_period(*given)

    def named(table: pd.DataFrame) -> pd.DataFrame:
        names = crowd.labeler_names[table["labeler"].to_numpy(int)]
        return table.assign(labeler=names).rename(columns={"labeler": "worker"})

    return OverTime(named(falls), named(periods), time.start, time.name)


def _in_blocs(crowd: Crowd, *, finds: bool) -> tuple[Crowd, pd.DataFrame | None, Crowd | None]:
    """The crowd with its blocs as one labeler each, who is in them, and as it was; or as it is."""
    found = given_blocs(crowd)
    if found is not None and crowd.covariate_names:
        raise InputError(
            "a group of labelers has no covariates.", hint="Leave out the groups or the model."
        )
    if found is None and finds and not crowd.covariate_names:
        found = find_blocs(crowd)
    return (crowd, None, None) if found is None else (*join(crowd, found), crowd)


def _class_counts(
    class_prior: npt.ArrayLike | NamedPrior, class_names: Names
) -> npt.NDArray[np.float64] | None:
    """A class prior that is given as counts of tasks; None for one that is not.

    Raises:
        InputError: for counts beside what is less than one task.
    """
    try:
        found = np.asarray(prior_in_order(class_prior, class_names), np.float64)
    except (TypeError, ValueError):
        return None
    is_counts = found.shape == (len(class_names),) and np.isfinite(found).all()
    if not is_counts or (found < 0.0).any() or (found <= 1.0).all():
        return None
    if ((found > 0.0) & (found < 1.0)).any():
        raise InputError(
            "shares and counts are mixed: some numbers are below 1, others above.",
            where="class_prior",
            hint="Give shares that sum to 1, or how many other tasks were of each class.",
        )
    return found


def _with_order(method: AbstractMethod, crowd: Crowd) -> AbstractMethod:
    """The method; one with a pool of models told that classes are in an order, where they are."""
    if not isinstance(method, GtxBayes) or not crowd.has_ordered_classes:
        return method
    is_ordered = crowd.ordered or keeps_order(crowd.labels)
    return dataclasses.replace(method, ordered=method.ordered or is_ordered)


def configured(
    method: str | AbstractMethod,
    *,
    model: str | AbstractLabelerModel = AUTO,
    dependence: float | None = None,
    prior_independent: float | None = None,
) -> AbstractMethod:
    """A method with the options that many share put in; arguments as for `aggregate`.

    Raises:
        InputError: for an unknown method, and an option that the method does not have.
    """
    chosen = METHODS.build(method)
    if not isinstance(model, str | AbstractLabelerModel):
        raise InputError(
            f"the model is {model!r:.80}.", where="model", hint="Give its name, or an instance."
        )
    given = {
        "model": None if model == AUTO else model,
        "dependence": dependence,
        "prior_independent": prior_independent,
    }
    given = {name: value for name, value in given.items() if value is not None}
    options = dataclasses.fields(chosen) if dataclasses.is_dataclass(chosen) else ()
    for name in given:
        if name not in [option.name for option in options]:
            raise InputError(
                f"{chosen.name} has no {name}.", hint=f"Leave it out, or use {DEFAULT_METHOD}."
            )
        default = next(option.default for option in options if option.name == name)
        if getattr(chosen, name) not in (default, given[name]):
            raise InputError(
                f"{chosen.name} has a {name} already, {getattr(chosen, name)}.",
                hint="Give it once: as an option of the method or beside it.",
            )
    found = dataclasses.replace(chosen, **given) if given else chosen
    is_asked = isinstance(found, GtxBayes) and found.model == AUTO and found.dependence is None
    if prior_independent is not None and not is_asked:
        raise InputError(
            "whether labelers are independent is asked of a pool of models alone, and where their "
            "dependence is learnt.",
            where="prior_independent",
            hint="Leave it out, or the model and the dependence.",
        )
    return found


def _class_probs_by_chunk(
    rule: AbstractAggregator, labels: Labels, class_prior: ClassPrior | None, mesh: Mesh
) -> Float[Array, "num_examples num_classes"]:
    """`rule.class_probs`, every device for its own examples."""
    chunks = ChunksInMemory.cut(labels, None, class_prior, list(mesh.devices.flat))

    def one(_: int, chunk: Chunk) -> Float[Array, "num_rows num_classes"]:
        own = rule
        if chunk.class_prior.ndim == 2:  # then the rule has the prior of all examples
            own = rule.with_class_prior(chunk.class_prior)
        return chunk.put(own).class_probs(chunk.labels)

    return jax.device_put(chunks.join(chunks.map("Votes", one)))


def check_class_prior(
    class_prior: npt.ArrayLike | NamedPrior, class_names: Names, num_examples: int
) -> ClassPrior:
    """A prior of the classes, for all examples or for each.

    Raises:
        InputError: for anything that is no distribution over these classes.
    """
    try:
        prior = np.asarray(prior_in_order(class_prior, class_names), np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the class prior is no array of numbers: {error}.",
            where="class_prior",
            hint="Give a probability for each class.",
        ) from error
    num_classes = len(class_names)
    if prior.shape not in ((num_classes,), (num_examples, num_classes)):
        raise InputError(
            f"the class prior has shape {prior.shape}.",
            hint=f"Give {num_classes} probabilities, in the order "
            f"{[str(name) for name in class_names]}, for all examples or for each.",
        )
    if not np.isfinite(prior).all() or (prior < 0).any():
        raise InputError(
            "the class prior holds values that are no probabilities.", hint="Give values in [0, 1]."
        )
    if not np.allclose(prior.sum(axis=-1), 1.0, atol=1e-6):
        raise InputError(
            f"the class prior sums to {prior.sum(axis=-1).flat[0]:g}.",
            hint="Give probabilities that sum to 1.",
        )
    return jax.device_put(prior.astype(jnp.result_type(float)))


def prior_in_order(class_prior: npt.ArrayLike | NamedPrior, class_names: Names) -> npt.ArrayLike:
    """A class prior given by name in the order of the classes; any other as it is.

    Raises:
        InputError: for a name that is no class, a class without a probability, and a data frame,
            whose rows would have to be matched with the examples.
    """
    if isinstance(class_prior, pd.DataFrame):
        raise InputError(
            "the class prior is a data frame, whose rows and columns have names.",
            hint="Give it as one of the `opinions`, or an array in the order of the examples.",
        )
    if not isinstance(class_prior, Mapping | pd.Series):
        return class_prior
    wanted = [str(name) for name in class_names]
    given = Column.of_cells(class_prior.keys(), "class_prior", Source("class_prior")).keys
    unknown = [key for key in given if key not in wanted]
    if unknown:
        raise InputError(
            f"the class prior names {some_names(unknown)}, and the classes are {wanted}.",
            hint="Name the classes as the answers do, or give the probabilities alone, in the "
            "order of the classes.",
        )
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InputError(
            f"the class prior gives no probability to {some_names(missing)}.",
            hint=f"Give one to each of the classes {wanted}; it may be 0.",
        )
    if len(given) > len(wanted):
        raise InputError(
            f"the class prior names a class twice: {some_names(given)}.",
            hint="Give each class one probability.",
        )
    values = np.asarray(
        list(class_prior.values()) if isinstance(class_prior, Mapping) else class_prior
    )
    return values[positions(given, as_names(wanted))]
