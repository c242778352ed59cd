"""What labels say about every example's class: a state that grows label by label."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from gtx_bayes.labels import MISSING, Assessment
from gtx_bayes.log_space import LogNumber, multiply, normalise

ClassPrior = Float[Array, " num_classes"] | Float[Array, "num_examples num_classes"]
"""One prior for all examples, or one per example; zero excludes a class for good."""


class Evidence(NamedTuple):
    """The likelihood of the labels so far.

    Attributes:
        likelihood: probability of the labels under each class, up to `common`.
        common: the factor that all classes of an example share.
    """

    likelihood: LogNumber
    common: LogNumber

    def log_prob(self) -> Float[Array, "*cohorts num_examples num_classes"]:
        """Log-likelihood of the labels under each class, in nats."""
        common = LogNumber(*(part[..., None] for part in self.common))
        return multiply(self.likelihood, common).log()

    def class_posterior(
        self, class_prior: ClassPrior | None = None
    ) -> Float[Array, "num_examples num_classes"]:
        """Posterior of every example's class; uniform prior when absent."""
        num_classes = self.likelihood.coarse.shape[1]
        return normalise(self.likelihood, log_prior(class_prior, num_classes), axis=1)


def no_evidence(num_examples: int, num_classes: int) -> Evidence:
    """The state before any label. Examples yet to come may be counted in `num_examples`."""

    def ones(*shape: int) -> LogNumber:
        return LogNumber(*(jnp.zeros(shape) for _ in LogNumber._fields))

    return Evidence(ones(num_examples, num_classes), ones(num_examples))


def log_prior(
    class_prior: ClassPrior | None, num_classes: int
) -> Float[Array, "one_or_num_examples num_classes"]:
    """The logarithm of a class prior, uniform when absent, with a row for all examples or each.

    Raises:
        ValueError: if it is of another number of classes.
    """
    if class_prior is None:
        return jnp.full((1, num_classes), -jnp.log(num_classes))
    if class_prior.shape[-1] != num_classes:
        raise ValueError(
            f"the class prior has shape {class_prior.shape}, the model {num_classes} classes"
        )
    return jnp.log(jnp.atleast_2d(class_prior))


def joint_with_gold(
    log_prob: Float[Array, "num_examples num_classes"],
    class_prior: ClassPrior,
    assessment: Assessment,
) -> Float[Array, "num_examples num_classes"]:
    r"""Logarithm of :math:`\pi_y P(\mathcal{L}(i) \mid Y_i = y)`; -inf where gold excludes y.

    Gold of a class that the prior excludes counts without the prior.
    """
    known = assessment.true_label[:, None]
    log_prior = jnp.broadcast_to(jnp.log(class_prior), log_prob.shape)
    log_prior = jnp.where((known != MISSING) & jnp.isneginf(log_prior), 0.0, log_prior)
    possible = (known == MISSING) | (known == jnp.arange(log_prob.shape[1]))
    return jnp.where(possible, log_prior + log_prob, -jnp.inf)
