"""A result that grows: new answers and gold added to a fit, at a cost that grows with them."""

from typing import NamedTuple, Unpack

from gtx_bayes.aggregation import joint_method
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.columns import AnyTable, Table
from gtx_bayes.crowd import UpdateOptions, update_crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference import incremental
from gtx_bayes.inference.pool import Pool


class Grown(NamedTuple):
    """A result that has grown, and by what.

    Attributes:
        result: the result for the whole crowd.
        num_new_labels: answers that came in.
        num_new_examples: examples that had no answer before.
        num_new_labelers: labelers who had given none.
        num_new_gold: examples that are gold and were not.
        num_recomputed: class posteriors that were computed for it, repeats included.
    """

    result: Aggregation
    num_new_labels: int
    num_new_examples: int
    num_new_labelers: int
    num_new_gold: int
    num_recomputed: int


def update(
    result: Aggregation,
    labels: AnyTable | None = None,
    gold: AnyTable | None = None,
    **options: Unpack[UpdateOptions],
) -> Grown:
    """Learn from new answers and new gold what a fit of "gtx-bayes" does not know yet.

    The models in the pool stay, and are weighed anew. See `inference.incremental`.

    Args:
        result: the fit so far, which stays as it is.
        labels: one row per answer. May repeat what the fit knows, which is skipped: pass the new
            rows, or the whole table each time.
        gold: one row per gold example, likewise.
        **options: `duplicates`, `abstain`, `blank`, `labeler_covariates`, `example_covariates`,
            `columns` and `gold_columns`, as for `crowd.update_crowd`.

    Raises:
        InputError: for a result of another method, for anything wrong in a table, for classes
            that the fit does not have, for gold that contradicts its gold, and for new examples
            where the class prior was given example by example.
    """
    found = joint_of(result)
    if result.blocs is not None:
        raise InputError(
            "a result in which labelers count as one cannot take answers of single labelers.",
            hint="Aggregate with finds_blocs=False and without groups.",
        )
    crowd = result.crowd
    labels = None if labels is None else result.timed(Table.of(labels, "labels"))
    more = update_crowd(crowd, labels, gold, **options)
    grown = more.crowd
    num_new_examples = grown.labels.num_examples - crowd.labels.num_examples
    if found.lead.independent.class_prior.ndim == 2 and num_new_examples:
        raise InputError(
            "the class prior was given example by example, and new examples have none.",
            hint="Fit all answers anew, with a prior for each example.",
        )
    update = incremental.update(
        found, crowd.labels, grown.labels, grown.assessment, more.changed, more.new_gold
    )
    fit = joint_method.report(update.joint, grown.labels, grown.assessment)
    if found.why:
        note = "Models that were left out when the fit was fresh stay out; fit anew to weigh all."
        fit = fit._replace(notes=(*fit.notes, note))
    if result.over_time is not None:
        note = "Who gets worse over time is as of the first fit; fit anew to ask it of all answers."
        fit = fit._replace(notes=(*fit.notes, note))
    whole = Aggregation(
        result.method,
        grown,
        fit,
        update.joint.class_probs,
        update.joint.class_prior,
        over_time=result.over_time,
    )
    return Grown(
        whole,
        more.num_new_labels,
        num_new_examples,
        grown.labels.num_labelers - crowd.labels.num_labelers,
        more.new_gold.size,
        update.num_recomputed,
    )


def joint_of(result: Aggregation) -> Pool:
    """The joint posterior of a result.

    Raises:
        InputError: for a method that has none.
    """
    if result.fit.joint is None:
        raise InputError(
            f"a result of {result.method} cannot grow.",
            hint=f"Use {joint_method.NAME}; other methods are quick to apply anew.",
        )
    if result.crowd.assessment.earlier is not None or result.weighed is not None:
        raise InputError(
            "a result with a history, counts of classes or opinions is not kept and does not grow.",
            hint="Fit all answers anew.",
        )
    return result.fit.joint
