"""Any labeler model fitted to a table in parts: sums of densities and slopes, part by part."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.optimize
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.inference import automatic, joint, variational
from gtx_bayes.inference.automatic import AutomaticPrior, Crowd, Posterior, Scale
from gtx_bayes.inference.joint import Choice, Described
from gtx_bayes.inference.loop import Chunk
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import AbstractLabelerModel, reference_labels
from gtx_bayes.standard_size import on_device, with_room
from gtx_bayes.streaming import survey
from gtx_bayes.streaming.chunks import ChunksOnDisk
from gtx_bayes.streaming.results import Fitted
from gtx_bayes.sums import Whole, as_whole, from_whole

_RECORD = "automatic.npz"


def fit_automatically(chunks: ChunksOnDisk, model: AbstractLabelerModel, choice: Choice) -> Fitted:
    """A model without conjugate prior, by L-BFGS, every value and slope a pass over the labels.

    What follows from the covariates of a table, their range and means, is taken from the labels
    that models are chosen by.
    """
    table = chunks.table
    some, room = survey.some_of(table).labels, table.room_for_labelers
    everybody = dataclasses.replace(
        some,
        num_labelers=room,
        labeler_covariates={
            name: with_room(values, room) for name, values in some.labeler_covariates.items()
        },
    )
    learns = choice.candidate.class_prior is None
    scale = Scale(model.for_labels(everybody), room, table.num_classes, learns)
    reference = reference_labels(everybody)
    if not chunks.has(_RECORD):
        _search(chunks, scale, reference)
    kept = chunks.store.read_arrays(_RECORD)
    posterior = Posterior(*(jnp.asarray(kept[name], float) for name in Posterior._fields))
    prior = AutomaticPrior(posterior, reference, scale)
    _, learnt = scale.params(posterior.location)

    def scorer(number: int, chunk: Chunk) -> Described:
        normal = on_device(automatic.nodes(posterior.location.size))
        own, normal = chunk.put((posterior, normal))
        found = automatic.describe(scale, _crowd(chunk, reference), own, normal)
        _, evidence, kind_probs, _ = found
        return joint.describe_chunk(chunk, evidence, kind_probs, prior, choice.dependence)

    return Fitted(
        prior,
        chunks.class_prior if learnt is None else learnt,
        int(kept["num_passes"]),
        bool(kept["converged"]),
        scorer,
    )


def _crowd(chunk: Chunk, reference: Labels) -> Crowd:
    """A part of the table as a crowd of its own."""
    return Crowd(chunk.labels, chunk.assessment, chunk.class_prior, chunk.put(reference))


def _search(chunks: ChunksOnDisk, scale: Scale, reference: Labels) -> None:
    """From the votes to the most probable parameters, and the curvature there; kept."""
    numbers = itertools.count(1)

    def loss(
        flat: npt.NDArray[np.float64], trusts_votes: bool
    ) -> tuple[float, npt.NDArray[np.float64]]:
        at = jnp.asarray(flat, float)

        def one(_: int, chunk: Chunk) -> tuple[Whole, Whole]:
            crowd = _crowd(chunk, reference)
            value, slope = _slope(scale, crowd, chunk.put(at), trusts_votes)
            return as_whole(value), as_whole(slope)

        value, slope = chunks.add_up(chunks.map(f"Pass {next(numbers)}", one))
        own, own_slope = _prior_slope(scale, at)
        return (
            -float(from_whole(value)) - float(own),
            -from_whole(slope) - np.asarray(own_slope, np.float64),
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
    at = jnp.asarray(flat, float)

    def one(_: int, chunk: Chunk) -> tuple[Whole]:
        return (as_whole(_curvature(scale, _crowd(chunk, reference), chunk.put(at))),)

    (whole,) = chunks.add_up(chunks.map("Curvature", one))
    own = jax.jit(lambda at: automatic.curvature(scale.log_prior, at))(at)
    total = jnp.asarray(from_whole(whole) + np.asarray(own, np.float64), float)
    chunks.write_once(
        _RECORD,
        location=flat,
        scale=np.asarray(jax.jit(automatic.root_of)(total)),
        log_density=np.array(-found.fun),
        converged=np.array(bool(found.success)),
        num_passes=np.array(next(numbers) - 1),
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
