"""What one method says of one crowd: tables by name, and predictions for further answers."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
from gtx_bayes.aggregation.base import Fit
from gtx_bayes.aggregation.joint_method import (
    DRIFT_COVARIATE,
    LEAST_NAMED,
)
from gtx_bayes.aggregation.opinions import Opinions, Weighed
from gtx_bayes.aggregation.over_time import OverTime
from gtx_bayes.aggregation.tables import (
    confusion_of,
    confusion_table,
    labeler_table,
    names_of_answers,
    overlap_counts,
    overlaps,
    page,
    parameter_table,
)
from gtx_bayes.blocs import join, with_members
from gtx_bayes.classes import some_names
from gtx_bayes.columns import AnyTable, Table, as_names, positions
from gtx_bayes.crowd import Crowd, update_crowd
from gtx_bayes.crowd_tables import Duplicates
from gtx_bayes.errors import InputError
from gtx_bayes.frames import of_library
from gtx_bayes.inference.automatic import AutomaticPrior
from gtx_bayes.posterior import ClassPrior

_SHOWN_CLASSES = 6  # in a notebook
_TIES = 1  # the stream of random numbers that decides them


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
    over_time: OverTime | None = None

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
        key = as_key(key)
        table = _example_table(key, crowd, self.class_probs)
        table.insert(5, "is_gold", self._is_gold)
        if self.fit.joint is not None:
            low, high = self.fit.joint.credible_interval(key, crowd.labels, mesh=mesh)
            table.insert(6, "confidence_low", np.where(self._is_gold, 1.0, low))
            table.insert(7, "confidence_high", np.where(self._is_gold, 1.0, high))
        return self._as_came(table)

    @functools.cached_property
    def label(self) -> "pd.Series[Any]":
        """The most probable class of each example, by task; the known one of gold."""
        table = _example_table(as_key(None), self.crowd, self.class_probs)
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
        counts = overlap_counts(labels, np.asarray(self.class_probs))
        shares = overlaps(counts, labels.count_by_labeler(), labels.num_examples)
        return self._as_came(table.assign(**shares))

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

    def parameters(self, num_draws: int = 400) -> Any:
        """What the fit says of the parameters of a labeler model without conjugate prior.

        One row for every number: `parameter`, the name of its NumPyro site; `worker`, whose it is,
        blank where all share it; `entry`, its place in the site where there are several; mean,
        `sd`, and `ci_low` and `ci_high`, the 95 % credible interval, over draws of the normal
        distribution that stands for the posterior. None for other models: `labelers` and
        `confusion` have what there is of them.

        Args:
            num_draws: how many draws.
        """
        prior = None if self.fit.joint is None else self.fit.joint.lead.prior
        if not isinstance(prior, AutomaticPrior):
            return None
        drawn = prior.draw_sites(np.random.default_rng(0), num_draws)
        found = parameter_table(drawn, prior.labeler_sites(), self.crowd.labeler_names)
        return self._as_came(found)

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
        return self._as_came(_example_table(as_key(key), new, class_probs))

    def __repr__(self) -> str:
        """The method, and how much there is of what."""
        return f"<Aggregation by {self._title}: {self._facts}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the first examples and labelers, and what to know of them."""
        examples = _example_table(as_key(None), self.crowd, self.class_probs)
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
) -> pd.DataFrame:
    """What class probabilities come to, one row per example; the key decides ties."""
    probs = np.asarray(class_probs)
    if np.isnan(probs).any():
        raise ValueError("there are class probabilities that are NaN")
    # Apart from what else is drawn by the words of the key alone.
    rng = np.random.default_rng([_TIES, *np.asarray(jax.random.key_data(key)).tolist()])
    found = decisions.decide(rng, probs)
    columns = {
        "task": crowd.example_names,
        "label": crowd.class_names[found.hard_label],
        "confidence": found.confidence,
        "num_labels": crowd.labels.of_classes().count_by_example(),
        "num_tied": found.num_tied,
        **{f"prob_{name}": probs[:, k] for k, name in enumerate(crowd.class_names)},
    }
    return pd.DataFrame(columns)
