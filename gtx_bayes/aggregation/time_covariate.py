"""The covariate of time: whether a pool of models asks if labelers change, and what it finds."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from gtx_bayes.aggregation.base import AbstractMethod, Fit
from gtx_bayes.aggregation.joint_method import (
    AUTO,
    DRIFT_COVARIATE,
    GtxBayes,
)
from gtx_bayes.aggregation.over_time import Fall, Known, OverTime, by_period, find_falls
from gtx_bayes.aggregation.tables import (
    MOST_CELLS,
)
from gtx_bayes.crowd import Crowd


class Time(NamedTuple):
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


def set_time_aside(crowd: Crowd, method: AbstractMethod) -> tuple[Crowd, Time | None]:
    """The crowd without its covariate of time, see `time_covariate`."""
    name = time_covariate(crowd, method)
    if name is None:
        return crowd, None
    crowd = crowd.keeping(covariates=True)
    covariates = dict(crowd.labels.covariates)
    time = Time(covariates.pop(name), crowd.starts.get(name), name)
    labels = dataclasses.replace(crowd.labels, covariates=covariates)
    starts = {key: start for key, start in crowd.starts.items() if key != name}
    return dataclasses.replace(crowd, labels=labels, starts=starts), time


def over_time_of(crowd: Crowd, fit: Fit, time: Time) -> OverTime | None:
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
