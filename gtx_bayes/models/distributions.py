"""Prior distributions on the scale of log odds, and what cohorts share, as NumPyro sites.

Where labelers make hardly any mistake probabilities run into the end of the float format; log odds
and log ratios do not.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import betaln, digamma, gammaln
from jaxtyping import Array, Float, Key
from numpyro.distributions import constraints

from gtx_bayes.models.hyperprior import HyperPrior, better_than_chance


class LogitBeta(dist.Distribution):  # type: ignore[misc]
    r"""The log odds of a Beta variable.

    .. math:: p(x) = \frac{\sigma(x)^a \, \sigma(-x)^b}{B(a, b)}

    Args:
        a: first shape parameter, positive.
        b: second shape parameter, positive.
    """

    arg_constraints = {"a": constraints.positive, "b": constraints.positive}  # noqa: RUF012
    support = constraints.real
    reparametrized_params: list[str] = []  # noqa: RUF012

    def __init__(self, a: Any, b: Any, *, validate_args: bool | None = None) -> None:
        shape = jnp.broadcast_shapes(jnp.shape(a), jnp.shape(b))
        self.a, self.b = jnp.broadcast_to(a, shape), jnp.broadcast_to(b, shape)
        super().__init__(batch_shape=shape, validate_args=validate_args)

    @property
    def mean(self) -> Float[Array, "..."]:
        """A difference of digamma functions."""
        return digamma(self.a) - digamma(self.b)

    def sample(
        self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "..."]:
        """Difference of the logarithms of two Gamma draws."""
        key_a, key_b = jax.random.split(key)
        shape = (*sample_shape, *self.batch_shape)
        return jax.random.loggamma(key_a, self.a, shape) - jax.random.loggamma(key_b, self.b, shape)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log-density at log odds `value`."""
        density = self.a * jax.nn.log_sigmoid(value) + self.b * jax.nn.log_sigmoid(-value)
        return density - betaln(self.a, self.b)


class LogRatioDirichlet(dist.Distribution):  # type: ignore[misc]
    r"""Log-ratios of a Dirichlet vector's entries to its first: `LogitBeta` for more than two.

    .. math::
        x_d = \log \frac{\theta_d}{\theta_0}, \qquad
        p(x) = \frac{1}{B(a)} \prod_{d=0}^{K-1} \theta_d^{a_d}

    Args:
        concentration: parameters :math:`a_0, \ldots, a_{K-1}` on the last axis, positive.
    """

    arg_constraints = {  # noqa: RUF012
        "concentration": constraints.independent(constraints.positive, 1)
    }
    support = constraints.real_vector
    reparametrized_params: list[str] = []  # noqa: RUF012

    def __init__(self, concentration: Any, *, validate_args: bool | None = None) -> None:
        self.concentration = jnp.asarray(concentration)
        *batch, size = self.concentration.shape
        super().__init__(tuple(batch), (size - 1,), validate_args=validate_args)

    @property
    def mean(self) -> Float[Array, "..."]:
        """Differences of digamma functions."""
        digammas = digamma(self.concentration)
        return digammas[..., 1:] - digammas[..., :1]

    def sample(
        self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "..."]:
        """Differences of the logarithms of Gamma draws."""
        log_gamma = jax.random.loggamma(
            key, self.concentration, (*sample_shape, *self.concentration.shape)
        )
        return log_gamma[..., 1:] - log_gamma[..., :1]

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log-density at log-ratios `value`."""
        log_beta = gammaln(self.concentration).sum(-1) - gammaln(self.concentration.sum(-1))
        return jnp.sum(self.concentration * log_simplex(value), axis=-1) - log_beta


def log_simplex(log_ratios: Float[Array, "*batch ratios"]) -> Float[Array, "*batch classes"]:
    """Logarithms of the probabilities, the first of which is the ratios' denominator."""
    first = jnp.zeros_like(log_ratios[..., :1])
    return jax.nn.log_softmax(jnp.concatenate([first, log_ratios], axis=-1), axis=-1)


def learn_cohort(num_classes: int) -> tuple[Float[Array, "*classes"], Float[Array, "*classes"]]:
    """Both shape parameters of the accuracies' Beta prior, under the `HyperPrior`."""
    hyper = HyperPrior.for_classes(num_classes)
    mean = numpyro.sample("mean", dist.Beta(hyper.mean_a, hyper.mean_b))
    concentration = learn_concentration(hyper)
    return mean * concentration, (1.0 - mean) * concentration


def learn_concentration(hyper: HyperPrior) -> Float[Array, "*classes"]:
    """How many labels the prior of a labeler is worth, under the `HyperPrior`."""
    log_concentration = numpyro.sample(
        "log_concentration", dist.Normal(hyper.log_concentration, hyper.log_concentration_sd)
    )
    concentration: Array = numpyro.deterministic("concentration", jnp.exp(log_concentration))
    return concentration


def pooled_log_odds(num_labelers: int, num_classes: int) -> Float[Array, " num_labelers"]:
    r"""Log odds of a right label, partially pooled: an offset of each labeler times a scale.

    .. math::
        \mu \sim \mathrm{Normal}(\mathrm{logit} \, m, 1), \quad
        \tau \sim \mathrm{HalfNormal}(1), \quad
        \mathrm{logit} \, \alpha_j = \mu + \tau z_j

    with m half-way from chance to perfection. For fits at the most probable parameters: of a Beta
    prior with a concentration to learn the joint mode is that all labelers are alike.
    """
    half_way = (1.0 + 1.0 / num_classes) / 2.0
    centre = float(np.log(half_way) - np.log1p(-half_way))
    mean = numpyro.sample("log_odds_mean", dist.Normal(centre, 1.0))
    scale = numpyro.sample("log_odds_scale", dist.HalfNormal(1.0))
    with numpyro.plate("labeler", num_labelers):
        offset = numpyro.sample("log_odds_offset", dist.Normal(0.0, 1.0))
    return numpyro.deterministic("log_odds", mean + scale * offset)


def better_than_chance_rows(num_classes: int) -> Float[Array, "num_classes num_classes"]:
    """Dirichlet parameters of a cohort's mean rows, worth as much as the hyperprior's mean."""
    hyper = HyperPrior.for_classes(num_classes)
    return jnp.asarray(better_than_chance(num_classes)) * (hyper.mean_a + hyper.mean_b)


def right_first(
    rows: Float[Array, "*batch num_classes num_classes"],
) -> Float[Array, "*batch num_classes num_classes"]:
    """Entry d of row y is for answer y + d, counted round."""
    true = jnp.arange(rows.shape[-1])[:, None]
    return rows[..., true, (true + true.T) % rows.shape[-1]]


def in_class_order(
    rows: Float[Array, "*batch num_classes num_classes"],
) -> Float[Array, "*batch num_classes num_classes"]:
    """Undo `right_first`."""
    true = jnp.arange(rows.shape[-1])[:, None]
    return rows[..., true, (true.T - true) % rows.shape[-1]]
