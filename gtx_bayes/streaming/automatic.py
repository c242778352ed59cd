"""Any labeler model fitted to a table in parts: sums of densities and slopes, part by part."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.optimize
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.inference import automatic, joint, variational
from gtx_bayes.inference.automatic import AutomaticPrior, Crowd, Posterior, Scale
from gtx_bayes.inference.dependence import Dependence
from gtx_bayes.inference.joint import Choice
from gtx_bayes.models.base import AbstractLabelerModel, reference_labels
from gtx_bayes.standard_size import on_device, with_room
from gtx_bayes.streaming import survey
from gtx_bayes.streaming.crew import Crew
from gtx_bayes.streaming.parts import Part, PartedTable
from gtx_bayes.streaming.results import AbstractScorer, Scores
from gtx_bayes.streaming.totals import StretchedSums, as_whole, from_whole

_RECORD = "automatic.npz"


class AutomaticFit:
    """A model without conjugate prior, fitted to a table in parts.

    What follows from the covariates of a table, their range and means, is taken from the labels
    that models are chosen by.

    Attributes:
        prior: the fitted model.
        converged: whether the optimiser came to an end by itself.
        num_passes: how many passes over the labels it took.
        class_prior: the prior of the classes that was given; uniform where it is learnt.
    """

    def __init__(
        self, table: PartedTable, model: AbstractLabelerModel, choice: Choice, crew: Crew
    ) -> None:
        given = choice.candidate.class_prior
        num_classes = table.num_classes
        self.class_prior = variational.even(num_classes) if given is None else given
        self._table, self._crew = table, crew
        some = survey.some_of(table).labels  # these tell the range and the means of covariates
        room = table.room_for_labelers
        everybody = dataclasses.replace(
            some,
            num_labelers=room,
            labeler_covariates={
                name: with_room(values, room) for name, values in some.labeler_covariates.items()
            },
        )
        self._scale = Scale(
            model.for_labels(everybody), table.room_for_labelers, num_classes, given is None
        )
        self._reference = reference_labels(everybody)
        if not crew.has(table.work, _RECORD):
            self._fit()
        kept = table.work.read_arrays(_RECORD)
        self.converged, self.num_passes = bool(kept["converged"]), int(kept["num_passes"])
        parts = (jnp.asarray(kept[name], float) for name in Posterior._fields)
        self.prior = AutomaticPrior(Posterior(*parts), self._reference, self._scale)

    def crowd(self, part: Part) -> Crowd:
        """A part of the table as a crowd of its own."""
        return Crowd(part.labels, part.assessment, self.class_prior, self._reference)

    def proportions(self) -> npt.NDArray[np.floating]:
        """The prior of the classes, given or learnt."""
        _, learnt = self._scale.params(self.prior.posterior.location)
        return np.asarray(self.class_prior if learnt is None else learnt)

    def _fit(self) -> None:
        """From the votes to the most probable parameters, and the curvature there."""
        self.num_passes = 0
        scale, table, crew = self._scale, self._table, self._crew
        flat = np.asarray(jax.jit(scale.start_from)(), np.float64)
        for trusts_votes in (True, False):
            found = scipy.optimize.minimize(
                partial(self._loss, trusts_votes=trusts_votes),
                flat,
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": automatic.MAX_STEPS, "ftol": 1e-7, "gtol": 1e-3},
            )
            flat = found.x

        def one(part: int, device: jax.Device) -> tuple[npt.NDArray[np.int64]]:
            crowd = jax.device_put(self.crowd(table.read(part, device)), device)
            return (as_whole(_curvature(scale, crowd, jnp.asarray(flat, float))),)

        found_sum = crew.add_up(self._over_parts("Curvature", one))[0]
        own = jax.jit(lambda at: automatic.curvature(scale.log_prior, at))(jnp.asarray(flat, float))
        total = jnp.asarray(from_whole(found_sum) + np.asarray(own, np.float64), float)
        if crew.team.rank == 0:
            table.work.write_arrays(
                _RECORD,
                location=flat,
                scale=np.asarray(jax.jit(automatic.root_of)(total)),
                log_density=np.array(-found.fun),
                converged=np.array(bool(found.success)),
                num_passes=np.array(self.num_passes),
            )
        crew.team.meet()

    def _loss(
        self, flat: npt.NDArray[np.float64], *, trusts_votes: bool
    ) -> tuple[float, npt.NDArray[np.float64]]:
        """Negative log-density and its slope: a pass over the labels."""
        self.num_passes += 1
        scale, table = self._scale, self._table
        at = jnp.asarray(flat, float)

        def one(part: int, device: jax.Device) -> tuple[npt.NDArray[np.int64], ...]:
            crowd = jax.device_put(self.crowd(table.read(part, device)), device)
            value, slope = _slope(scale, crowd, jax.device_put(at, device), trusts_votes)
            return as_whole(value), as_whole(slope)

        stage = f"Pass {self.num_passes}"
        value, slope = self._crew.add_up(self._over_parts(stage, one))
        own, own_slope = _prior_slope(scale, at)
        return (
            -float(from_whole(value)) - float(own),
            -from_whole(slope) - np.asarray(own_slope, np.float64),
        )

    def _over_parts[T](self, stage: str, one: Callable[[int, jax.Device], T]) -> list[T]:
        table = self._table
        sizes = table.sizes
        return self._crew.do(
            stage, range(table.num_parts), lambda part: sizes[part].num_labels, one
        )


@dataclasses.dataclass(frozen=True)
class AutomaticScorer(AbstractScorer):
    """A model without conjugate prior, dependence and all.

    Attributes:
        fit: the fit.
        dependence: posterior of rho.
    """

    fit: AutomaticFit
    dependence: Dependence

    def scores(self, number: int, part: Part, device: jax.Device) -> Scores:
        """As `joint.report` has them."""
        prior = self.fit.prior
        normal = on_device(automatic.nodes(prior.posterior.location.size))
        given = (self.fit.crowd(part), prior, normal, on_device(self.dependence.nodes()[0]))
        return _scores(*jax.device_put(given, device), part.sums, self.dependence)


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


@jax.jit
def _scores(
    crowd: Crowd,
    prior: AutomaticPrior,
    normal: Float[Array, "nodes num_params"],
    nodes: Float[Array, " num_nodes"],
    sums: StretchedSums,
    dependence: Dependence,
) -> Scores:
    _, evidence, kind_probs, _ = automatic.describe(prior.scale, crowd, prior.posterior, normal)
    return Scores(
        *joint.describe(
            crowd.labels,
            crowd.assessment,
            evidence,
            kind_probs,
            crowd.class_prior,
            prior,
            dependence,
            nodes,
            sums,
        )
    )
