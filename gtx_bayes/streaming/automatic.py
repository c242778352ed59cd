"""Any labeler model fitted to a table in parts: sums of densities and slopes, part by part."""

import dataclasses
import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.optimize
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.inference import automatic, variational
from gtx_bayes.inference.automatic import AutomaticPrior, Crowd, Posterior, Scale
from gtx_bayes.inference.loop import Chunk
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel, reference_labels
from gtx_bayes.padding import on_device, pad_to
from gtx_bayes.streaming import subsample
from gtx_bayes.streaming.chunks import Fitted, ModelOnDisk
from gtx_bayes.sums import FixedPoint, from_fixed_point, to_fixed_point

_RECORD, _ASKED = "automatic.npz", "asked.npz"


class Frame(NamedTuple):
    """What a fit needs besides the parts of the table.

    What follows from the covariates of a table, their range and means, is taken from the labels
    that models are chosen by.

    Attributes:
        scale: the model and its parameters.
        reference: answers to take range and means from.
    """

    scale: Scale
    reference: Labels

    @classmethod
    def of(cls, model: ModelOnDisk) -> "Frame":
        """That of a table and the model chosen for it, the same object at every call."""
        return model.chunks.once(f"frame {model.number}", lambda: cls._of(model))

    @classmethod
    def _of(cls, model: ModelOnDisk) -> "Frame":
        table, candidate = model.chunks.table, model.candidate
        some, num_labelers = subsample.some_of(table).labels, table.padded_labelers
        everybody = dataclasses.replace(
            some,
            num_labelers=num_labelers,
            labeler_covariates={
                name: pad_to(values, num_labelers)
                for name, values in some.labeler_covariates.items()
            },
        )
        labeler_model = candidate.prior
        assert isinstance(labeler_model, AbstractLabelerModel)
        learns = candidate.class_prior is None
        scale = Scale(labeler_model.for_labels(everybody), num_labelers, table.num_classes, learns)
        return cls(scale, reference_labels(everybody))

    def crowd(self, chunk: Chunk) -> Crowd:
        """A part of the table as a crowd of its own."""
        reference = chunk.put(self.reference)
        return Crowd(chunk.labels, chunk.assessment, chunk.class_prior, reference)


def fit_parts(model: ModelOnDisk) -> Fitted:
    """A model without conjugate prior, by L-BFGS, every value and slope a pass over the labels."""
    if not model.has(_RECORD):
        _search(model)
    prior, kept = _fitted_prior(model), model.store.read_arrays(_RECORD)
    learnt = prior.scale.params(prior.posterior.location)[1]
    class_prior = model.chunks.class_prior if learnt is None else learnt
    counts = jnp.zeros((model.chunks.table.padded_labelers, 2))
    return Fitted(prior, counts, class_prior, int(kept["num_passes"]), bool(kept["converged"]))


def _fitted_prior(model: ModelOnDisk) -> AutomaticPrior:
    frame, kept = Frame.of(model), model.store.read_arrays(_RECORD)
    posterior = Posterior(*(jnp.asarray(kept[name], float) for name in Posterior._fields))
    return AutomaticPrior(posterior, frame.reference, frame.scale)


def describe_part(
    model: ModelOnDisk, chunk: Chunk
) -> tuple[
    Float[Array, "num_examples num_classes"],
    Float[Array, "num_examples num_classes num_subclasses"],
    AutomaticPrior,
]:
    """Evidence and subclass probabilities of a part's examples, and the fit."""
    name = f"fitted prior {model.number}"
    prior = model.chunks.once(name, lambda: _fitted_prior(model))
    normal = on_device(automatic.nodes(prior.posterior.location.size))
    own, normal = chunk.put((prior.posterior, normal))
    crowd = Frame.of(model).crowd(chunk)
    _, evidence, subclass_probs, _ = automatic.describe(prior.scale, crowd, own, normal)
    return evidence, subclass_probs, prior


def slope_of_part(
    model: ModelOnDisk, _: int, chunk: Chunk, value: int
) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: log-likelihood and slope of a part, where the search asks for its next value."""
    frame, at = Frame.of(model), _asked(model, value)
    found = _slope(frame.scale, frame.crowd(chunk), chunk.put(at["at"]), at["trusts_votes"])
    return tuple(map(to_fixed_point, found)), 0.0


def curvature_of_part(
    model: ModelOnDisk, _: int, chunk: Chunk, value: int
) -> tuple[tuple[FixedPoint, ...], float]:
    """A task: curvature of a part's log-likelihood, where the search ended."""
    frame, at = Frame.of(model), _asked(model, value)
    found = _curvature(frame.scale, frame.crowd(chunk), chunk.put(at["at"]))
    return (to_fixed_point(found),), 0.0


def _ask(
    model: ModelOnDisk, flat: npt.NDArray[np.float64], trusts_votes: bool, value: int
) -> Array:
    """Keep the parameters that workers are asked about; the same as they will have them."""
    at = jnp.asarray(flat, float)
    model.store.write_arrays(_ASKED, at=at, trusts_votes=np.array(trusts_votes), value=value)
    return at


def _asked(model: ModelOnDisk, value: int) -> dict[str, Any]:
    found = model.store.read_arrays(_ASKED)
    if int(found["value"]) != value:
        raise RuntimeError("the search has gone on: this task was begun twice")
    return found


def _search(model: ModelOnDisk) -> None:
    """From the votes to the most probable parameters, and the curvature there; kept."""
    numbers = itertools.count(1)
    scale = Frame.of(model).scale

    def loss(
        flat: npt.NDArray[np.float64], trusts_votes: bool
    ) -> tuple[float, npt.NDArray[np.float64]]:
        number = next(numbers)
        at = _ask(model, flat, trusts_votes, number)
        (value, slope), _ = model.total(f"Pass {number}", slope_of_part, number)
        own, own_slope = _prior_slope(scale, at)
        return (
            -float(from_fixed_point(value)) - float(own),
            -from_fixed_point(slope) - np.asarray(own_slope, np.float64),
        )

    flat = np.asarray(jax.jit(scale.start_from)(), np.float64)
    for trusts_votes in (True, False):
        found = scipy.optimize.minimize(
            loss,
            flat,
            args=(trusts_votes,),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": automatic.MAX_STEPS, "ftol": 1e-7, "gtol": 1e-3},
        )
        flat = found.x
    number = next(numbers)
    at = _ask(model, flat, False, number)
    (whole,), _ = model.total("Curvature", curvature_of_part, number)
    own = jax.jit(lambda at: automatic.curvature(scale.log_prior, at))(at)
    total = jnp.asarray(from_fixed_point(whole) + np.asarray(own, np.float64), float)
    model.store.write_arrays(
        _RECORD,
        location=flat,
        scale=np.asarray(jax.jit(automatic.root_of)(total)),
        log_density=np.array(-found.fun),
        converged=np.array(bool(found.success)),
        num_passes=np.array(number - 1),
    )


@partial(jax.jit, static_argnames=("scale",))
def _slope(
    scale: Scale, crowd: Crowd, flat: Float[Array, " num_params"], trusts_votes: ScalarLike
) -> tuple[Float[Array, ""], Float[Array, " num_params"]]:
    """Log-likelihood of a part, and its slope."""
    shares = variational.clamp(variational.vote_shares(crowd.labels, None), crowd.assessment)

    def of(flat: Array) -> Array:
        return automatic.log_likelihood(scale, crowd, flat, shares, trusts_votes)

    return jax.value_and_grad(of)(flat)


@partial(jax.jit, static_argnames=("scale",))
def _prior_slope(
    scale: Scale, flat: Float[Array, " num_params"]
) -> tuple[Float[Array, ""], Float[Array, " num_params"]]:
    """Log-density of the prior, and its slope."""
    return jax.value_and_grad(scale.log_prior)(flat)


@partial(jax.jit, static_argnames=("scale",))
def _curvature(scale: Scale, crowd: Crowd, flat: Float[Array, " num_params"]) -> Array:
    """Curvature of the log-likelihood of a part."""
    none = jnp.zeros((crowd.labels.num_examples, scale.num_classes), flat.dtype)

    def of(flat: Array) -> Array:
        return automatic.log_likelihood(scale, crowd, flat, none, jnp.zeros((), bool))

    return automatic.curvature(of, flat)
