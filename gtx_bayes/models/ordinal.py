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
        ends = ((0, 0), (1, 1), (0, 0))
        above = jnp.pad(jax.nn.log_sigmoid(-place), ends, constant_values=(-jnp.inf, 0.0))
        above = above.at[:, 0].set(0.0).at[:, -1].set(-jnp.inf)
        # log(S(a) - S(b)) of the survival function: exact in both tails where it is not tiny.
        less = jnp.minimum(above[:, 1:] - above[:, :-1], -1e-6)
        rows = above[:, :-1] + jnp.log1p(-jnp.exp(less))
        label = jnp.clip(labels.label, 0, labels.num_classes - 1)
        return jax.nn.log_softmax(rows, axis=1)[labels.labeler, label]
