"""A bloc of labelers who report one shared verdict, among labelers who judge by themselves."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from gtx_bayes.errors import InputError
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel, Params
from gtx_bayes.models.distributions import pooled_log_odds
from gtx_bayes.models.one_coin import log_prob_given_odds

_MOST_NAMED = 8


@dataclasses.dataclass(frozen=True)
class BlocModel(AbstractLabelerModel):
    r"""One coin per labeler: tossed for the class, or by members of a bloc for its verdict.

    .. math::
        P(v_i = y \mid Y_i = y) = \beta, \qquad
        P(y_i^j \mid Y_i = y, v_i = v) =
        \begin{cases} p(y_i^j \mid v; \alpha_j) & j \text{ in the bloc} \\
        p(y_i^j \mid y; \alpha_j) & \text{else} \end{cases}

    The verdict v of the bloc on an example is any other class alike where it is wrong; p is that of
    `OneCoinModel`. However many its members are, they tell no more than the verdict does. With
    everybody else in the bloc the likelihood is the same where classes are even: labels do not say
    which of the two is the class.

    Attributes:
        members: indices of the labelers in the bloc.
    """

    name: ClassVar[str] = "bloc"
    description: ClassVar[str] = "an accuracy per labeler, and some who report one shared verdict"
    tells_labelers_apart: ClassVar[bool] = True
    explains_dependence: ClassVar[bool] = True

    members: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """How many are in the bloc."""
        return f"{self.name} of {len(self.members)}" if self.members else self.name

    def for_labels(self, labels: Labels) -> "BlocModel":
        """The same.

        Raises:
            InputError: for a member that is no labeler of the table.
        """
        super().for_labels(labels)
        for member in self.members:
            if not isinstance(member, int) or not 0 <= member < labels.num_labelers:
                raise InputError(
                    f"the bloc has a member {member!r}.",
                    hint=f"Give whole numbers from 0 to {labels.num_labelers - 1}, the places of "
                    "labelers in the table of labelers.",
                )
        return self

    def num_subclasses(self, num_classes: int) -> int:
        """One for every verdict."""
        return num_classes

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds of the labelers, partially pooled, and of the verdict."""
        log_odds = pooled_log_odds(num_labelers, num_classes)
        verdict = numpyro.sample("verdict_log_odds", dist.Normal(0.0, 1.5))
        return {"log_odds": log_odds, "verdict": verdict - np.log(num_classes - 1.0)}

    def log_latent(
        self, params: Params, num_classes: int
    ) -> Float[Array, "num_classes num_subclasses"]:
        """Log-probability of every verdict given the class."""
        right = jax.nn.log_sigmoid(params["verdict"])
        wrong = jax.nn.log_sigmoid(-params["verdict"]) - np.log(num_classes - 1.0)
        return jnp.where(jnp.eye(num_classes, dtype=bool), right, wrong)

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """The coin's, for the class or for the verdict."""
        given = log_prob_given_odds(params["log_odds"][labels.labeler][:, None], labels)
        is_member = jnp.asarray(np.isin(np.arange(labels.num_labelers), self.members))
        of_verdict = is_member[labels.labeler][:, None, None]
        states = jnp.where(of_verdict, given[:, None, :], given[:, :, None])
        return states.reshape(labels.num_labels, -1)

    def notes(self, labeler_names: Sequence[object], weight: float) -> tuple[str, ...]:
        """Who is in the bloc."""
        if not self.members:
            return ()
        listed = ", ".join(str(labeler_names[j]) for j in self.members[:_MOST_NAMED])
        more = f" and {len(self.members) - _MOST_NAMED} more" * (len(self.members) > _MOST_NAMED)
        shared = f"{listed}{more} report one shared verdict and tell no more than one labeler."
        return (f"With a probability of {weight:.2f} {shared}",)
