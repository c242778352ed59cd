"""Labelers who confuse alike: confusion matrices mixed from those of a few communities."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from gtx_bayes.errors import InputError
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel, Params
from gtx_bayes.models.confusion import ConfusionMatrix
from gtx_bayes.models.distributions import (
    LogRatioDirichlet,
    better_than_chance_rows,
    in_class_order,
    log_simplex,
    right_first,
)


@dataclasses.dataclass(frozen=True)
class CommunitiesModel(AbstractLabelerModel):
    r"""Confusion matrices that lie between those of a few communities.

    .. math::
        \Theta_{cy} \sim \mathrm{Dirichlet}(8 c_y), \quad
        v \sim \mathrm{Dirichlet}(1), \quad
        w_j \sim \mathrm{Dirichlet}(C v), \quad
        \theta_j = \sum_c w_{jc} \Theta_c

    with :math:`c_y` as in `ConfusionModel`. Membership is soft: a labeler may be between
    communities, and labels each example as a community drawn anew with probabilities
    :math:`w_j`. A labeler in one community for good would have to be summed out over all examples
    at once, together with their classes. Communities are exchangeable: compare `confusion`
    between chains, not `membership`.

    Attributes:
        num_communities: C.

    References:
        Venanzi et al. (2014), WWW 23, with one community for each labeler, and labelers who
        deviate from it.
    """

    name: ClassVar[str] = "communities"
    description: ClassVar[str] = "confusion matrices mixed from those of a few communities"
    tells_labelers_apart: ClassVar[bool] = True

    num_communities: int = 3

    def for_labels(self, labels: Labels) -> "CommunitiesModel":
        """The model itself."""
        if self.num_communities < 1:
            raise InputError(f"num_communities is {self.num_communities}.", hint="Give at least 1.")
        return self

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """The communities' confusion matrices, and who belongs where."""
        with (
            numpyro.plate("community", self.num_communities, dim=-2),
            numpyro.plate("class", num_classes, dim=-1),
        ):
            log_ratios = numpyro.sample(
                "community_log_ratios",
                LogRatioDirichlet(right_first(better_than_chance_rows(num_classes))),
            )
        of_community = numpyro.deterministic(
            "community_confusion", jnp.exp(in_class_order(log_simplex(log_ratios)))
        )
        weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(self.num_communities)))
        with numpyro.plate("labeler", num_labelers):
            membership = numpyro.sample(
                "membership", dist.Dirichlet(self.num_communities * weights)
            )
        confusion = jnp.einsum("jc,cyl->jyl", membership, of_community)
        return {"confusion": numpyro.deterministic("confusion", confusion)}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Looked up."""
        label = jnp.clip(labels.label, 0, labels.num_classes - 1)
        return jnp.log(params["confusion"])[labels.labeler, :, label]

    def labelers(self, params: Params, reference: Labels) -> ConfusionMatrix:
        """By their confusion matrices."""
        return ConfusionMatrix(params["confusion"], reference.num_classes)
