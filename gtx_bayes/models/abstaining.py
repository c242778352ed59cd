"""Labelers whose "unsure", or silence, says something of the class."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel, Params


@dataclasses.dataclass(frozen=True)
class AbstainingModel(AbstractLabelerModel):
    r"""One coin by class for those who answer, and a probability to answer for each class.

    .. math::
        P(\text{no class} \mid Y_i = y) = \mathrm{logit}^{-1}(c + c_j + d_y + d_{jy}), \qquad
        P(y_i^j = y \mid Y_i = y, \text{a class}) = \alpha_{jy}

    with normal priors whose scales are learnt. All labels that are no class count as one kind:
    give them as abstentions that are kept. A source that speaks of one class only, and is silent
    on the others, tells by its silence.
    """

    name: ClassVar[str] = "abstaining"
    description: ClassVar[str] = "accuracies by class, and abstentions that tell of the class"

    def num_answers(self, num_classes: int) -> int:
        """The classes, and none of them."""
        return num_classes + 1

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds to be right and to abstain."""
        classes = numpyro.plate("class", num_classes, dim=-1)
        shared = numpyro.sample("abstain_mean", dist.Normal(-1.0, 2.0))
        scales = numpyro.sample("abstain_scales", dist.HalfNormal(1.5).expand((3,)).to_event(1))
        centre = float(np.log(num_classes + 1.0) - np.log(num_classes - 1.0))  # as half-way
        with classes:
            mean = numpyro.sample("log_odds_mean", dist.Normal(centre, 1.0))
            scale = numpyro.sample("log_odds_scale", dist.HalfNormal(1.0))
            by_class = numpyro.sample("abstain_class", dist.Normal(0.0, 1.0))
        with numpyro.plate("labeler", num_labelers, dim=-2):
            effect = numpyro.sample("abstain_labeler", dist.Normal(0.0, 1.0))
            with classes:
                offset = numpyro.sample("log_odds_offset", dist.Normal(0.0, 1.0))
                both = numpyro.sample("abstain_both", dist.Normal(0.0, 1.0))
        abstain = shared + scales[0] * by_class + scales[1] * effect + scales[2] * both
        return {"log_odds": mean + scale * offset, "abstain": abstain}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Abstention, or a right or a wrong label."""
        log_odds, abstain = params["log_odds"], params["abstain"]
        answer = jax.nn.log_sigmoid(-abstain)
        right = answer + jax.nn.log_sigmoid(log_odds)
        others = jnp.log(labels.num_classes - 1.0)
        wrong = answer + jax.nn.log_sigmoid(-log_odds) - others
        is_right = labels.label[:, None] == jnp.arange(labels.num_classes)
        found = jnp.where(is_right, right[labels.labeler], wrong[labels.labeler])
        is_class = (labels.label < labels.num_classes)[:, None]
        return jnp.where(is_class, found, jax.nn.log_sigmoid(abstain)[labels.labeler])
