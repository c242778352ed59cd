"""Labelers who are the better the longer they have done it: a covariate of labelers."""

import dataclasses
from typing import ClassVar

import numpyro
import numpyro.distributions as dist

from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.models.one_coin import log_prob_of_coin


@dataclasses.dataclass(frozen=True)
class Experience(AbstractLabelerModel):
    """Log odds to be right are a line in the experience, and a labeler's own difference from it."""

    name: ClassVar[str] = "experience"
    description: ClassVar[str] = "one accuracy per labeler, explained by experience"
    covariates: ClassVar[tuple[str, ...]] = ("experience",)

    def parameters(self, num_labelers, num_classes):
        """A line, and what the line leaves over."""
        mean = numpyro.sample("mean", dist.Normal(1.0, 1.0))
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        scale = numpyro.sample("scale", dist.HalfNormal(1.0))
        with numpyro.plate("labeler", num_labelers):
            own = numpyro.sample("own", dist.Normal(0.0, 1.0))
        return {"mean": mean, "slope": slope, "own": scale * own}

    def log_prob(self, params, labels):
        """One coin."""
        line = params["mean"] + params["slope"] * labels.labeler_covariates["experience"]
        return log_prob_of_coin((line + params["own"])[:, None], labels)
