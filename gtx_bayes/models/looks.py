r"""Examples that look like a class: the answers of a whole crowd pulled one way, right or wrong.

An example is plain, or it has a look w and a pull :math:`\lambda`: a labeler answers w with
probability :math:`\lambda`, and else as labelers do,

.. math::
    P(y_i^j = l \mid y, w, \lambda) = (1 - \lambda) \, \theta_{jyl} + \lambda \, I[l = w].

An easy look is the class itself, w = y; a misleading one is any other class alike. Labelers are
then right together and wrong together: between two classes this is a random effect that labelers
share, and with a pull near one and a misleading look the crowd is wrong whatever its size.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel, Params
from gtx_bayes.models.confusion import ConfusionMatrix, ConfusionModel
from gtx_bayes.models.labelers import AbstractLabelers, flat_labels, sum_by_example
from gtx_bayes.votes import AnyLabels, check_sizes

PULLS = np.array([0.15, 0.35, 0.55, 0.75, 0.9, 0.98])
"""Values of the pull."""

NUM_GROUPS = 1 + 2 * PULLS.size
"""Plain examples, those with an easy look by pull, and those with a misleading one."""

_EASY = np.array([0.045, 0.047, 0.042, 0.046, 0.048, 0.049])
_MISLEADING = np.array([0.041, 0.043, 0.032, 0.011, 0.006, 0.004])
PRIOR_SHARES = np.array([1.0 - _EASY.sum() - _MISLEADING.sum(), *_EASY, *_MISLEADING])
"""Mean of the groups' shares: that of thirteen crowds of people whose classes were known."""

PRIOR_EXAMPLES = 20.0
"""How many examples the prior of the pulls is worth."""

PRIOR_MISLEADING = 10.0
"""How many examples the prior of the misleading part is worth, pull by pull."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SharedLooks(AbstractLabelers):
    """Labelers with confusion matrices, and examples with looks.

    Attributes:
        base: the labelers on plain examples.
        log_shares: log of the share of each group of examples, in the order of `NUM_GROUPS`.
    """

    base: AbstractLabelers
    log_shares: Float[Array, " num_groups"]

    @property
    def num_labelers(self) -> int:
        """Number of labelers."""
        return self.base.num_labelers

    def padded(self, num_labelers: int) -> "SharedLooks":
        """So many labelers, these first."""
        return SharedLooks(self.base.padded(num_labelers), self.log_shares)

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return self.base.num_classes

    @property
    def num_subclasses(self) -> int:
        """Plain, and every look with every pull, look by look."""
        return 1 + self.num_classes * PULLS.size

    @property
    def log_subclass_probs(self) -> Float[Array, "num_classes num_subclasses"]:
        """A misleading look is any other class alike."""
        return log_probs_of_looks(self.log_shares, self.num_classes)

    def log_prob_of_labels(self, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """By the definition, state by state."""
        log_probs = self.base.log_prob_of_labels(labels)
        is_look = labels.label[:, None] == jnp.arange(self.num_classes)
        to_look = jnp.where(is_look[:, :, None], jnp.log(PULLS), -jnp.inf)  # of look and pull
        not_pulled = jnp.log1p(-PULLS) + log_probs[:, :, None, None]
        pulled = jnp.logaddexp(not_pulled, to_look[:, None]).reshape(*log_probs.shape, -1)
        states = jnp.concatenate([log_probs[:, :, None], pulled], axis=2)
        return states.reshape(log_probs.shape[0], -1)

    def batch_log_prob(self, labels: AnyLabels) -> Float[Array, "rows num_classes"]:
        """By groups, which takes no state of its own for every look."""
        check_sizes(labels, self.num_labelers, self.num_classes)
        flat = flat_labels(labels)
        log_probs, is_known = self.base.log_prob_of_labels(flat), self.base.is_known(flat)
        by_group = log_prob_by_group(labels, log_probs, is_known)
        return jax.nn.logsumexp(by_group + self.log_shares, axis=2)


def log_probs_of_looks(
    log_shares: Float[Array, " num_groups"], num_classes: int
) -> Float[Array, "num_classes num_subclasses"]:
    """Log-probability of every subclass of `SharedLooks` given the class."""
    plain, easy, misleading = jnp.split(log_shares, [1, 1 + PULLS.size])
    is_easy = jnp.eye(num_classes, dtype=bool)[:, :, None]
    of_look = jnp.where(is_easy, easy, misleading - np.log(num_classes - 1.0))
    plain = jnp.broadcast_to(plain, (num_classes, 1))
    return jnp.concatenate([plain, of_look.reshape(num_classes, -1)], axis=1)


def log_prob_by_group(
    labels: AnyLabels,
    log_probs: Float[Array, "num_labels num_classes"],
    is_known: Bool[Array, " num_labels"],
) -> Float[Array, "rows num_classes num_groups"]:
    r"""Log-probability of every example's labels given its class and group, looks summed out.

    .. math::
        \prod_a (1 - \lambda) t_a \sum_w q_y(w) \prod_{a : l_a = w}
        \left(1 + \frac{\lambda}{1 - \lambda} \frac{1}{t_a}\right), \qquad t_a = \theta_{j y l}

    Args:
        labels: the labels, in any form.
        log_probs: log-probability :math:`\log t_a` of each given each class, in the order of
            `flat_labels`.
        is_known: which of them are labels.
    """
    num_classes = log_probs.shape[1]
    log_probs = jnp.where(is_known[:, None], log_probs, 0.0)
    label = flat_labels(labels).label
    is_look = (label[:, None] == jnp.arange(num_classes)) & is_known[:, None]
    plain = sum_by_example(labels, log_probs)
    number = sum_by_example(labels, is_known[:, None].astype(log_probs.dtype))[:, 0]
    # A label that is impossible on plain examples may come of a look, and of that look alone.
    possible = jnp.maximum(log_probs, np.log(jnp.finfo(log_probs.dtype).tiny))
    unlike = jnp.where(jnp.isneginf(log_probs), -jnp.inf, 0.0)
    pulled = sum_by_example(labels, possible)

    def of_pull_and_class(given: tuple[Array, Array]) -> tuple[Array, Array]:
        pull, k = given
        log_odds = jnp.log(pull) - jnp.log1p(-pull)
        ratio = jax.nn.softplus(log_odds - possible[:, k])
        of_look = jnp.where(is_look, ratio[:, None], unlike[:, k, None])
        by_look = sum_by_example(labels, of_look)
        shared = pulled[:, k] + number * jnp.log1p(-pull)
        is_own = jnp.arange(num_classes) == k
        others = jax.nn.logsumexp(jnp.where(is_own, -jnp.inf, by_look), axis=1)
        return shared + by_look[:, k], shared + others - np.log(num_classes - 1.0)

    pulls = jnp.repeat(jnp.asarray(PULLS, log_probs.dtype), num_classes)
    looked = jnp.tile(jnp.arange(num_classes), PULLS.size)
    easy, misleading = (
        found.reshape(PULLS.size, num_classes, -1).T
        for found in jax.lax.map(of_pull_and_class, (pulls, looked))
    )
    return jnp.concatenate([plain[:, :, None], easy, misleading], axis=2)


@dataclasses.dataclass(frozen=True)
class LooksModel(AbstractLabelerModel):
    r"""Confusion matrices, and looks that all labelers share.

    .. math::
        g \sim \mathrm{Dirichlet}(20 \bar g), \quad
        r_\lambda \sim \mathrm{Beta}(10 \bar r_\lambda, 10 (1 - \bar r_\lambda))

    for the shares of plain examples and of every pull, and for the misleading part of each;
    labelers as in `ConfusionModel`. The means are those of thirteen crowds. Labels alone hardly
    tell a misleading look from an easy one: a unanimous crowd may be right or wrong.

    In a pool of models the same looks stand on labelers who are known from a fit without them:
    see `inference.looks`.
    """

    name: ClassVar[str] = "looks"
    description: ClassVar[str] = "a confusion matrix per labeler, and examples that pull them all"
    words: ClassVar[str] = (
        "Every labeler takes each class for each other with a probability of their own, and some "
        "examples look like a class, right or wrong, to everybody."
    )
    explains_dependence: ClassVar[bool] = True

    def num_subclasses(self, num_classes: int) -> int:
        """Plain, and every look with every pull."""
        return 1 + num_classes * PULLS.size

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Those of the confusion matrices, and the shares of the groups."""
        import numpyro
        import numpyro.distributions as dist

        of_pulls = PRIOR_SHARES[1:].reshape(2, -1).sum(axis=0)
        levels = numpyro.sample(
            "pulls", dist.Dirichlet(PRIOR_EXAMPLES * np.array([PRIOR_SHARES[0], *of_pulls]))
        )
        mean = _MISLEADING / of_pulls
        with numpyro.plate("pull", PULLS.size):
            misleading = numpyro.sample(
                "misleading", dist.Beta(PRIOR_MISLEADING * mean, PRIOR_MISLEADING * (1.0 - mean))
            )
        log_levels = jnp.log(levels)
        log_shares = jnp.concatenate(
            [
                log_levels[:1],
                log_levels[1:] + jnp.log1p(-misleading),
                log_levels[1:] + jnp.log(misleading),
            ]
        )
        params = ConfusionModel().parameters(num_labelers, num_classes)
        return params | {"log_shares": log_shares}

    def log_latent(
        self, params: Params, num_classes: int
    ) -> Float[Array, "num_classes num_subclasses"]:
        """Shares of the groups, looks of a group alike."""
        return log_probs_of_looks(params["log_shares"], num_classes)

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """Of the labeler, or of the look."""
        return self._at(params, labels.num_classes).log_prob_of_labels(labels)

    def labelers(self, params: Params, reference: Labels) -> SharedLooks:
        """By groups."""
        return self._at(params, reference.num_classes)

    def _at(self, params: Params, num_classes: int) -> SharedLooks:
        confusion = ConfusionMatrix(jnp.exp(params["log_confusion"]), num_classes)
        return SharedLooks(confusion, params["log_shares"])
