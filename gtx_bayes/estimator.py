"""The front door in scikit-learn's shape: `fit`, `predict`, `predict_proba`, `get_params`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gtx_bayes.abstentions import Blank
from gtx_bayes.aggregation.aggregate import DEFAULT_METHOD, aggregate
from gtx_bayes.aggregation.base import AbstractMethod
from gtx_bayes.aggregation.class_priors import NamedPrior
from gtx_bayes.aggregation.joint_method import AUTO
from gtx_bayes.aggregation.opinions import Opinions
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.columns import TRUTH_ROLES, Names, Table, read_columns
from gtx_bayes.crowd import Crowd
from gtx_bayes.crowd_tables import Duplicates
from gtx_bayes.errors import InputError
from gtx_bayes.io.readers import read_gold, read_labels
from gtx_bayes.models.base import AbstractLabelerModel


@dataclasses.dataclass(eq=False)
class CrowdClassifier:
    """Classes of tasks from the answers of a crowd, in scikit-learn's shape.

    It clones, pickles and takes `set_params` as scikit-learn's estimators do, which it does not
    need. Rows are answers, not tasks: what is predicted comes by task, as a Series or a data frame
    with the tasks as index.

    Attributes:
        method: see `aggregate`, as for the next four.
        model: how labelers err.
        class_prior: probability of each class.
        dependence: how far labelers err together; learnt when absent.
        prior_independent: probability of independence before any answer.
        duplicates: see `Crowd.from_frames`, as for the next five.
        classes: every class there is.
        abstain: values that say nothing about the class.
        blank: what a blank answer is.
        columns: columns of the answers by role.
        gold_columns: columns of the gold by role.
        seed: decides where classes tie.
        result_: everything that was found, once fitted.
    """

    method: str | AbstractMethod = DEFAULT_METHOD
    model: str | AbstractLabelerModel = AUTO
    class_prior: Sequence[float] | NamedPrior | None = None
    dependence: float | None = None
    prior_independent: float | None = None
    duplicates: Duplicates = "error"
    classes: Sequence[object] | None = None
    abstain: Sequence[object] = ()
    blank: Blank = "error"
    columns: Mapping[str, str] | None = None
    gold_columns: Mapping[str, str] | None = None
    seed: int = 0

    _estimator_type = "classifier"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn, which asks for it, is to know: a classifier that needs no y."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=False),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, categorical=True, string=True, allow_nan=True),
            no_validation=True,
        )

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name; `deep` changes nothing, as none of them has options of its own."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def set_params(self, **params: Any) -> "CrowdClassifier":
        """Set options by name.

        Raises:
            InputError: for an option there is not.
        """
        names = [field.name for field in dataclasses.fields(self)]
        for name, value in params.items():
            if name not in names:
                raise InputError(f"there is no option '{name}'.", hint=f"There are {names}.")
            setattr(self, name, value)
        return self

    def fit(
        self,
        labels: Any,
        gold: Any = None,
        *,
        history: Any = None,
        opinions: Opinions | None = None,
    ) -> "CrowdClassifier":
        """Learn the classes of the tasks and how labelers err.

        Args:
            labels: the answers: a table that `Crowd.from_frames` takes, the path of one that
                `read_crowd` takes, or a `Crowd`.
            gold: what is known: a table, a Series or a dictionary of labels by task, or a path.
            history: what the labelers did on other tasks, see `aggregate`.
            opinions: what classifiers say of the tasks, see `aggregate`.

        Raises:
            InputError: for anything wrong in the tables and the options.
        """
        if isinstance(labels, Crowd):
            if gold is not None:
                raise InputError(
                    "a crowd has its own gold.", where="gold", hint="Give tables, or the crowd."
                )
            crowd = labels
        else:
            crowd = Crowd.from_frames(
                self._answers(labels),
                read_gold(gold, self.gold_columns) if isinstance(gold, str | Path) else gold,
                duplicates=self.duplicates,
                classes=self.classes,
                abstain=self.abstain,
                blank=self.blank,
                columns=self.columns,
                gold_columns=self.gold_columns,
            )
        self.result_ = aggregate(
            crowd,
            self.method,
            class_prior=self.class_prior,
            model=self.model,
            dependence=self.dependence,
            prior_independent=self.prior_independent,
            opinions=opinions,
            history=history,
        )
        return self

    def predict(self, labels: Any = None, *, opinions: Opinions | None = None) -> "pd.Series[Any]":
        """The most probable class of each task.

        Args:
            labels: answers of the same labelers to other tasks, from which nothing is learnt; the
                tasks that were fitted when absent.
            opinions: of these tasks, by the names that they had in the fit.

        Raises:
            InputError: before `fit`, and for anything wrong in the table.
        """
        if labels is None:
            return self._fitted().label
        found = self._of_new(labels, opinions)
        return pd.Series(found["label"].to_numpy(), self._index(found), name="label")

    def predict_proba(
        self, labels: Any = None, *, opinions: Opinions | None = None
    ) -> pd.DataFrame:
        """Probability of each class of each task; arguments as for `predict`."""
        result = self._fitted()
        if labels is None:
            return result.probs
        found = self._of_new(labels, opinions)
        probs = found[[f"prob_{name}" for name in result.crowd.class_names]].to_numpy()
        return pd.DataFrame(probs, self._index(found), columns=result.probs.columns)

    def fit_predict(self, labels: Any, gold: Any = None) -> "pd.Series[Any]":
        """`fit`, and the most probable class of each task."""
        return self.fit(labels, gold).predict()

    def score(self, labels: Any, truth: Any = None) -> float:
        """The share of tasks whose most probable class is the true one.

        Args:
            labels: as for `predict`; or the truth, for the tasks that were fitted.
            truth: true labels: a table, a Series or a dictionary by task.

        Raises:
            InputError: for anything wrong in the tables, and where no task is in both.
        """
        predicted = self.predict(None if truth is None else labels)
        table = Table.of(labels if truth is None else truth, "truth")
        columns = read_columns(
            table.frame, TRUTH_ROLES, self.gold_columns or {}, table.source, with_gaps=("label",)
        )
        known = dict(zip(columns["example"].keys, columns["label"].keys, strict=True))
        pairs = [
            (str(label), known[str(task)])
            for task, label in predicted.items()
            if known.get(str(task))
        ]
        if not pairs:
            raise table.source.error("no task has a true label.", "Name the tasks alike.")
        return float(np.mean([label == true for label, true in pairs]))

    @property
    def classes_(self) -> Names:
        """The classes, in the order of the columns of `predict_proba`."""
        return self._fitted().crowd.class_names

    def _answers(self, labels: Any) -> Any:
        is_path = isinstance(labels, str | Path)
        return read_labels(labels, self.columns) if is_path else labels

    def _of_new(self, labels: Any, opinions: Opinions | None) -> pd.DataFrame:
        found: pd.DataFrame = self._fitted().in_pandas.predict(
            self._answers(labels),
            self.seed,
            duplicates=self.duplicates,
            abstain=self.abstain,
            blank=self.blank,
            columns=self.columns,
            opinions=opinions,
        )
        return found

    def _index(self, found: pd.DataFrame) -> pd.Index:
        return pd.Index(found["task"].to_numpy(), name="task")

    def _fitted(self) -> Aggregation:
        if not hasattr(self, "result_"):
            raise InputError("nothing is fitted yet.", hint="Call `fit` first.")
        return self.result_
