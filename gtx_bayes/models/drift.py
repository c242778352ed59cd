"""Labelers who get better or worse: an accuracy that walks at random over time."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.models.base import AbstractLabelerModel, Params
from gtx_bayes.models.distributions import pooled_log_odds
from gtx_bayes.models.one_coin import log_prob_given_odds


@dataclasses.dataclass(frozen=True)
class DriftModel(AbstractLabelerModel):
    r"""One coin per labeler, whose log odds walk at random over a covariate of the labels.

    .. math::
        \mathrm{logit} \, \alpha_j(t) = \mathrm{logit} \, \alpha_j + w_j(t), \qquad
        w_j(t_{k+1}) - w_j(t_k) \sim \mathrm{Normal}(0, \sigma^2)

    at `num_times` evenly spaced times from `start` to `end`, with straight lines between; before
    and after nothing changes. The walk passes through zero on average over the times, so that
    :math:`\alpha_j` is the accuracy in between.

    Attributes:
        num_times: how many times there are, at least 2.
        start: the first of them; the least value in the table when absent.
        end: the last; the largest value when absent.
        ends: both, as `for_labels` finds them.
    """

    name: ClassVar[str] = "drift"
    description: ClassVar[str] = "an accuracy per labeler that changes over the covariate 'when'"
    covariates: ClassVar[tuple[str, ...]] = ("when",)

    num_times: int = 6
    start: float | None = None
    end: float | None = None
    ends: tuple[float, float] | None = dataclasses.field(default=None, metadata={"option": False})

    def for_labels(self, labels: Labels) -> "DriftModel":
        """With the ends of the table's times."""
        super().for_labels(labels)
        if self.num_times < 2:
            raise InputError(f"num_times is {self.num_times}.", hint="Give at least 2.")
        when = np.asarray(labels.covariates["when"])[np.asarray(labels.label) != MISSING]
        least, largest = (float(when.min()), float(when.max())) if when.size else (0.0, 1.0)
        start = least if self.start is None else float(self.start)
        end = largest if self.end is None else float(self.end)
        if self.end is not None and end <= start:
            raise InputError(f"end is {end:g}, not above the start {start:g}.", hint="Give more.")
        if np.float32(end) <= np.float32(start):  # all labels at one time
            end = start + max(1.0, abs(start))
        return dataclasses.replace(self, ends=(start, end))

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds in between, and the steps of the walks."""
        log_odds = pooled_log_odds(num_labelers, num_classes)
        step_scale = numpyro.sample("step_scale", dist.HalfNormal(0.5))
        with numpyro.plate("labeler", num_labelers):
            steps = numpyro.sample(
                "steps", dist.Normal(0.0, 1.0).expand((self.num_times - 1,)).to_event(1)
            )
        walk = jnp.pad(jnp.cumsum(step_scale * steps, axis=1), ((0, 0), (1, 0)))
        walk = walk - walk.mean(axis=1, keepdims=True)
        return {"log_odds": log_odds[:, None] + walk}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Right or wrong, by the accuracy of the time."""
        odds = self.log_odds_at(params, labels.labeler, labels.covariates["when"])
        return log_prob_given_odds(odds[:, None], labels)

    def log_odds_at(
        self,
        params: Params,
        labeler: Int[Array, " num_labels"],
        when: Float[Array, " num_labels"],
    ) -> Float[Array, " num_labels"]:
        """Log odds of a right label from some labelers at some times."""
        if self.ends is None:
            raise ValueError("the times are not known: ask for_labels for the model of a table")
        start, end = self.ends
        place = (when - start) / (end - start) * (self.num_times - 1)
        place = jnp.clip(place, 0.0, self.num_times - 1.0)
        first = jnp.minimum(place.astype(int), self.num_times - 2)
        share = place - first
        odds = params["log_odds"]
        return (1.0 - share) * odds[labeler, first] + share * odds[labeler, first + 1]
