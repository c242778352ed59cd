"""Classes in an order: labelers see a number through noise and cut it into classes."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel, Params


@dataclasses.dataclass(frozen=True)
class OrdinalModel(AbstractLabelerModel):
    r"""Labels near the class are likelier than labels far from it.

    .. math::
        P(y_i^j \le l \mid Y_i = y) = \mathrm{logit}^{-1}\left(
        \frac{l + \tfrac{1}{2} + b_j - y}{s_j}\right), \qquad
        \log s_j \sim \mathrm{Normal}(\mu, \tau), \quad b_j \sim \mathrm{Normal}(0, \sigma)

    The classes are taken in the order of the table of classes: a labeler has a spread s and a
    bias b, in classes.

    References:
        McCullagh (1980), JRSS B 42, for cut points; Raykar et al. (2010), JMLR 11, for ordinal
        labels of several annotators.
    """

    name: ClassVar[str] = "ordinal"
    description: ClassVar[str] = "classes in an order, a spread and a bias per labeler"

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Spreads and biases, partially pooled."""
        location = numpyro.sample("log_spread_mean", dist.Normal(-0.7, 1.0))
        scale = numpyro.sample("log_spread_scale", dist.HalfNormal(0.5))
        bias_scale = numpyro.sample("bias_scale", dist.HalfNormal(0.5))
        with numpyro.plate("labeler", num_labelers):
            of_spread = numpyro.sample("spread_offset", dist.Normal(0.0, 1.0))
            of_bias = numpyro.sample("bias_offset", dist.Normal(0.0, 1.0))
        return {"spread": jnp.exp(location + scale * of_spread), "bias": bias_scale * of_bias}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Between two cut points of a logistic distribution."""
        classes = jnp.arange(labels.num_classes)
        cuts = jnp.arange(labels.num_classes - 1) + 0.5
        place = cuts[None, :, None] + params["bias"][:, None, None] - classes
        place = place / params["spread"][:, None, None]
        # Between a and b = a + 1 / spread: sigmoid(b) sigmoid(-a) (1 - exp(a - b)), in both tails.
        below = jnp.pad(jax.nn.log_sigmoid(place), ((0, 0), (0, 1), (0, 0)))
        above = jnp.pad(jax.nn.log_sigmoid(-place), ((0, 0), (1, 0), (0, 0)))
        width = jnp.log(-jnp.expm1(-1.0 / params["spread"]))
        is_inner = (classes > 0) & (classes < labels.num_classes - 1)
        rows = below + above + jnp.where(is_inner, width[:, None], 0.0)[:, :, None]
        label = jnp.clip(labels.label, 0, labels.num_classes - 1)
        return rows[labels.labeler, label]
