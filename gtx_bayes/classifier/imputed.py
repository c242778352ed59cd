"""What a classifier learns from: a class posterior for every task, or labels that are known."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from gtx_bayes.abstentions import abstain_keys
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.columns import LABELER_COLUMNS, Names, Source, Table, distinct_examples
from gtx_bayes.crowd_tables import read_truths
from gtx_bayes.errors import InputError
from gtx_bayes.finetune.images import numbered_labels

KNOWN = "known labels"
"""What stands for a method where nothing was aggregated."""

_WITH_A_POSTERIOR = ("gtx", "gtx-bayes")


@dataclasses.dataclass(frozen=True, eq=False)
class Imputed:
    """Class probabilities of tasks, and where they come from.

    Attributes:
        method: name of the method that aggregated, or `KNOWN`.
        names: of the tasks.
        class_names: of the classes.
        class_probs: probability of each class of each task; one at a label that is known.
        class_prior: what they held before any answer.
        num_labels: answers to each task.
        is_known: whether the label was given rather than imputed.
        notes: what a user should know about the tables and the fit.
    """

    method: str
    names: Names
    class_names: Names
    class_probs: Float[np.ndarray, "num_tasks num_classes"]
    class_prior: Float[np.ndarray, "num_tasks num_classes"]
    num_labels: Int[np.ndarray, " num_tasks"]
    is_known: Bool[np.ndarray, " num_tasks"]
    notes: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    @classmethod
    def by(cls, result: Aggregation) -> "Imputed":
        """What a method made of a crowd; of the tasks that have an answer or a known label."""
        probs = np.asarray(result.class_probs, np.float64)
        prior = 1.0 / probs.shape[1] if result.class_prior is None else result.class_prior
        crowd = result.crowd
        num_labels, is_known = crowd.labels.count_by_example(), crowd.assessment.which_gold()
        tasks = np.flatnonzero((num_labels > 0) | is_known)  # others hold abstentions alone
        return cls(
            result.method,
            crowd.example_names[tasks],
            crowd.class_names,
            probs[tasks],
            np.broadcast_to(np.asarray(prior, np.float64), probs.shape)[tasks],
            num_labels[tasks],
            is_known[tasks],
            result.notes,
        )

    @classmethod
    def known(
        cls,
        frame: pd.DataFrame,
        *,
        columns: Mapping[str, str] | None = None,
        classes: Sequence[object] | None = None,
        abstain: Sequence[object] = (),
        source: Source | None = None,
    ) -> "Imputed":
        """A table of known labels: columns `task` and `label`, or aliases, and no worker.

        Args:
            frame: one row per task.
            columns: column for "example" or "label", where no alias fits.
            classes: every class there is, in the order wanted; found in the table when absent.
            abstain: labels that say nothing about the class; such rows and those without a label
                are left out.
            source: where the table comes from, for messages.

        Raises:
            InputError: for anything wrong with the table, or if it has only one class.
        """
        notes = ["The table names no workers: every label counts as known, nothing is aggregated."]
        keys = abstain_keys(abstain, classes)
        read = read_truths(Table(frame, source or Source("labels")), columns, notes, keys)
        kept = distinct_examples(read["example"], read["label"])
        number, class_names = numbered_labels(read["label"], classes, notes)
        if class_names.size < 2:
            raise InputError(
                f"every label is '{class_names[0]}': there is nothing to learn.",
                where=read["label"].source.name,
                hint="Give labels of two classes or more.",
            )
        probs = np.eye(class_names.size)[number[kept]]
        return cls(
            KNOWN,
            read["example"].cells[kept],
            class_names,
            probs,
            np.full_like(probs, 1.0 / class_names.size),
            np.ones(kept.size, np.int32),
            np.ones(kept.size, bool),
            tuple(notes),
        )

    def default_targets(self) -> str:
        """How to train towards these: "soft" with a posterior, "hard" with votes or known labels.

        A share of votes is no probability of being right, and is not to be believed as one.
        """
        return "soft" if self.method in _WITH_A_POSTERIOR else "hard"


def has_labelers(frame: pd.DataFrame, columns: Mapping[str, str]) -> bool:
    """Whether a table of labels says who gave them."""
    named = [str(name).strip().lower() for name in frame.columns]
    return "labeler" in columns or any(name in LABELER_COLUMNS for name in named)
