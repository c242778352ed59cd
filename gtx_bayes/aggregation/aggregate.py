"""From a crowd to a result: fit a method by name, score every example, keep gold as it is."""

import dataclasses

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import AbstractAggregator, AbstractMethod, Fit
from gtx_bayes.aggregation.class_priors import NamedPrior, check_class_prior, class_counts
from gtx_bayes.aggregation.history import with_earlier
from gtx_bayes.aggregation.joint_method import (
    AUTO,
    DRIFT_COVARIATE,
    NAME,
    GtxBayes,
)
from gtx_bayes.aggregation.opinions import Opinions, notes_of_opinions, weigh
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.aggregation.time_covariate import over_time_of, set_time_aside
from gtx_bayes.blocs import find_blocs, given_blocs, join
from gtx_bayes.columns import AnyTable
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.inference.loop import Chunk, ChunksInMemory
from gtx_bayes.inference.model_size import check_num_class_probs
from gtx_bayes.inference.order import keeps_order
from gtx_bayes.inference.variational import clamp
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.padding import LEAST_EXAMPLES, LEAST_LABELS, bucket_size, first, padded
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.registry import METHODS

DEFAULT_METHOD = NAME

_MOST_PADDED = 2**20  # answers; with more, padding costs more than compiling anew


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
        class_total = class_counts(class_prior, crowd.class_names)
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
    crowd, time = set_time_aside(crowd, chosen)
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
            return fit, _class_probs(fit.aggregator, crowd.labels, crowd.assessment, prior)
        class_probs = _class_probs_by_chunk(fit.aggregator, crowd.labels, prior, mesh)
        return fit, clamp(class_probs, crowd.assessment)

    fit, class_probs = fitted(prior)
    over_time = None if time is None or blocs is not None else over_time_of(crowd, fit, time)
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


def _class_probs(
    rule: AbstractAggregator,
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None,
) -> Float[Array, "num_examples num_classes"]:
    """`rule.class_probs` and the gold, by one program for crowds of like size up to a million."""
    size = labels.num_examples
    if labels.num_labels > _MOST_PADDED:
        return clamped_class_probs(rule, labels, assessment)
    labels, assessment, class_prior = padded(
        labels,
        assessment,
        class_prior,
        num_labels=bucket_size(labels.num_labels, LEAST_LABELS),
        num_examples=bucket_size(size, LEAST_EXAMPLES),
        num_labelers=max(labels.num_labelers, 1),
    )
    if class_prior is not None and class_prior.ndim == 2:
        rule = rule.with_class_prior(class_prior)
    return first(size, clamped_class_probs(rule, labels, assessment))


@jax.jit
def clamped_class_probs(
    rule: AbstractAggregator, labels: Labels, assessment: Assessment
) -> Float[Array, "num_examples num_classes"]:
    """`rule.class_probs` and the gold."""
    return clamp(rule.class_probs(labels), assessment)


def _class_probs_by_chunk(
    rule: AbstractAggregator, labels: Labels, class_prior: ClassPrior | None, mesh: Mesh
) -> Float[Array, "num_examples num_classes"]:
    """`rule.class_probs`, every device for its own examples."""
    chunks = ChunksInMemory.cut(labels, None, class_prior, list(mesh.devices.flat))

    def one(_: int, chunk: Chunk) -> Float[Array, "num_rows num_classes"]:
        of_chunk = rule
        if chunk.class_prior.ndim == 2:  # then the rule has the prior of all examples
            of_chunk = rule.with_class_prior(chunk.class_prior)
        return chunk.put(of_chunk).class_probs(chunk.labels)

    return jax.device_put(chunks.join(chunks.map("Votes", one)))
