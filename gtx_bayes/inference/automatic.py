r"""Inference for any labeler model, from its `parameters` and `log_prob` alone.

The classes are summed out, and the parameters, on the scale where they are unconstrained, are put
at their most probable values,

.. math:: \hat u = \arg\max_u \; \log p(u) + \sum_i \log \sum_y \pi_y \,
    P(\mathcal{L}(i) \mid Y_i = y, u),

by L-BFGS, from where expected labels would be if the votes were the truth. What the labels leave
unknown of the parameters is a normal distribution with the curvature there (Laplace). A class
posterior is the mean over draws from it,
:math:`P(Y_i \mid \mathcal{L}) = \mathrm{E}_u \, P(Y_i \mid \mathcal{L}(i), u)`.

NumPyro and Optax are imported where they are used: conjugate fits do without.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, ScalarLike

from gtx_bayes.errors import InputError
from gtx_bayes.evidence import ClassPrior, joint_with_gold
from gtx_bayes.inference import variational
from gtx_bayes.inference.variational import Rows, VariationalFit
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.base import (
    AbstractCohortPrior,
    AbstractLabelerModel,
    Params,
    reference_labels,
)
from gtx_bayes.models.conjugate import prob_of_answer
from gtx_bayes.models.labelers import AbstractLabelers, sum_by_example
from gtx_bayes.padding import on_device

MAX_STEPS = 300
TOLERANCE = 1e-3
"""How far an unconstrained parameter may still move in a step that counts as converged."""

MOST_DENSE = 512
"""Parameters up to which their curvature is a whole matrix; of more the diagonal is estimated."""

_NUM_PROBES = 32  # for the diagonal
_NUM_NODES = 32  # draws behind a class posterior, in pairs of opposite ones
_LEAST_CURVATURE = 0.1  # standard deviations of 3 at most, on the scale of log odds and logarithms

_OWN = "gtx_bayes."  # modules of models that need no check

Sites = dict[str, Array]


class Posterior(NamedTuple):
    """A normal distribution of unconstrained parameters.

    Attributes:
        location: their most probable values, flat.
        scale: what standard normal numbers are multiplied by: a matrix, or a diagonal.
        log_density: log of the posterior density there, up to the probability of the labels.
    """

    location: Float[Array, " num_params"]
    scale: Float[Array, "num_params num_params"] | Float[Array, " num_params"]
    log_density: Float[Array, ""]

    def at(self, normal: Float[Array, " num_params"]) -> Float[Array, " num_params"]:
        """The parameters that standard normal numbers stand for."""
        moved = self.scale @ normal if self.scale.ndim == 2 else self.scale * normal
        return self.location + moved

    def draw(self, key: Key[Array, ""]) -> Float[Array, " num_params"]:
        """Parameters drawn from it."""
        return self.at(jax.random.normal(key, self.location.shape, self.location.dtype))

    def log_evidence(self) -> float:
        """Laplace's approximation to the log-probability of all labels, in nats."""
        scale = np.asarray(self.scale, np.float64)
        diagonal = np.diagonal(scale) if scale.ndim == 2 else scale
        of_volume = np.log(np.abs(diagonal)).sum() + diagonal.size * np.log(2.0 * np.pi) / 2.0
        return float(self.log_density) + float(of_volume)


@dataclasses.dataclass(frozen=True)
class Scale:
    """The unconstrained scale of a model's parameters: a constant to the compiler.

    Attributes:
        model: the model.
        num_labelers: J.
        num_classes: K.
        learns_class_prior: whether proportions of the classes are a parameter, with a flat prior.
    """

    model: AbstractLabelerModel
    num_labelers: int
    num_classes: int
    learns_class_prior: bool

    def prior(self) -> tuple[Params, Array | None]:
        """The NumPyro model of the parameters, and of the classes' proportions."""
        import numpyro
        import numpyro.distributions as dist

        params = self.model.parameters(self.num_labelers, self.num_classes)
        if not self.learns_class_prior:
            return params, None
        proportions = dist.Dirichlet(jnp.ones(self.num_classes))
        return params, numpyro.sample("class_prior", proportions)

    def start(self) -> Sites:
        """Unconstrained values at the means of the prior, site by site."""
        from numpyro import handlers
        from numpyro.infer.initialization import init_to_mean
        from numpyro.infer.util import unconstrain_fn

        seeded = handlers.seed(self.prior, jax.random.key(0))  # for what has no mean: a median
        trace = handlers.trace(
            handlers.substitute(seeded, substitute_fn=init_to_mean())
        ).get_trace()
        sites = {
            name: site
            for name, site in trace.items()
            if site["type"] == "sample" and not site["is_observed"]
        }
        for name, site in sites.items():
            if site["fn"].support.is_discrete:
                raise InputError(
                    f"the site '{name}' of the model {self.model.name} is discrete.",
                    hint="Sum it out in log_prob, or say what it is of an example by log_latent.",
                )
        values = {name: site["value"] for name, site in sites.items()}
        return dict(unconstrain_fn(seeded, (), {}, values))

    def flat_start(self) -> Float[Array, " num_params"]:
        """`start` as one vector."""
        return ravel_pytree(self.start())[0]

    def start_from(self) -> Float[Array, " num_params"]:
        """The means of the prior, but what is alike there, communities say, must not stay so."""
        start = self.flat_start()
        return start + 0.05 * jnp.sin(jnp.arange(start.size, dtype=start.dtype) * 2.399963)

    def log_prior(self, flat: Float[Array, " num_params"]) -> Float[Array, ""]:
        """Log-density of unconstrained parameters before any label."""
        from numpyro.infer.util import potential_energy

        return -potential_energy(self.prior, (), {}, _unravel(self)(flat))

    def sites(self, flat: Float[Array, " num_params"]) -> Sites:
        """Values of the NumPyro sites."""
        from numpyro.infer.util import constrain_fn

        return dict(constrain_fn(self.prior, (), {}, _unravel(self)(flat)))

    def params(self, flat: Float[Array, " num_params"]) -> tuple[Params, Array | None]:
        """What the model's `log_prob` takes, and the classes' proportions if they are learnt."""
        from numpyro import handlers

        found: tuple[Params, Array | None] = handlers.substitute(self.prior, self.sites(flat))()
        return found


@functools.lru_cache
def _unravel(scale: Scale) -> Callable[[Float[Array, " num_params"]], Sites]:
    """The way from a vector back to the sites, whose shapes are found once: it takes a trace."""
    shapes = jax.eval_shape(scale.start)
    zeros = {name: np.zeros(site.shape, site.dtype) for name, site in shapes.items()}
    unravel: Callable[[Array], Sites] = ravel_pytree(zeros)[1]
    return unravel


class Crowd(NamedTuple):
    """What a fit is of.

    Attributes:
        labels: the labels.
        assessment: the gold.
        class_prior: prior of the classes; uniform where proportions are learnt.
        reference: see `ModelLabelers`.
    """

    labels: Labels
    assessment: Assessment
    class_prior: ClassPrior
    reference: Labels


def fit(
    model: AbstractLabelerModel,
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None = None,
    *,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> VariationalFit:
    """Class posteriors and labelers, from gold and from the crowd's own labels.

    Starts from the votes; where gold speaks against them (`variational.rows_from_gold`) from gold
    as well, and keeps of both the one that `variational.best_start` would.

    Args:
        model: the labeler model.
        labels: the labels.
        assessment: the gold.
        class_prior: prior of each class, or of each class of each example; when absent the
            proportions of the classes are learnt.
        max_steps: the most steps of the optimiser from a start.
        tolerance: stop when no unconstrained parameter moves by more.

    Raises:
        InputError: if the labels lack a covariate that the model needs.
    """
    model = model.for_labels(labels)
    scale = Scale(model, labels.num_labelers, labels.num_classes, class_prior is None)
    prior = variational.uniform(labels.num_classes) if class_prior is None else class_prior
    crowd = Crowd(labels, assessment, prior, reference_labels(labels))
    check_answers(scale, crowd.reference)
    rows = variational.rows_from_gold(labels, assessment)
    begin = _begin(scale)

    def fitted(best: "_Optimum") -> VariationalFit:
        posterior = _spread(scale, crowd, best.location)
        found = _as_fit(scale, crowd, posterior, on_device(nodes(best.location.size)))
        return found._replace(num_steps=int(best.num_steps), converged=bool(best.converged))

    by_votes, *by_gold = (
        _optimise(scale, crowd, begin, _start_shares(labels, assessment, at), max_steps, tolerance)
        for at in ((None,) if rows is None else (None, rows))
    )
    density, *others = (
        np.nan_to_num(float(each.log_density), nan=-np.inf) for each in (by_votes, *by_gold)
    )
    if not np.isfinite(max((density, *others))):
        raise InputError(
            f"the model {model.name} gives these labels a probability that is zero or no number.",
            hint="Look at its log_prob, at labels that it takes for impossible.",
        )
    if not others or others[0] <= density:
        return fitted(by_votes)
    turned = fitted(by_gold[0])
    if not np.isfinite(density):
        return turned
    plain = fitted(by_votes)
    scores = (variational.gold_log_score(labels, assessment, each) for each in (plain, turned))
    return turned if variational.is_turned(*scores) else plain


def check_answers(scale: Scale, reference: Labels) -> None:
    """Whether what a user's model says of answers are probabilities, in the shape of the contract.

    Of all that a labeler may answer they sum to one, given each latent state. At one value of the
    parameters, for one entry per labeler; models of this package are tested and not looked at.

    Args:
        scale: the model and its parameters.
        reference: see `ModelLabelers`.

    Raises:
        InputError: if they are not, or if `parameters` or `log_prob` fail.
    """
    model, num_answers = scale.model, scale.model.num_answers(scale.num_classes)
    if type(model).__module__.startswith(_OWN):
        return

    def log_probs() -> Array:
        params = scale.params(scale.start_from())[0]
        entries = [
            dataclasses.replace(
                reference, label=jnp.full_like(reference.label, answer), num_answers=num_answers
            )
            for answer in range(num_answers)
        ]
        return jnp.stack([model.log_prob(params, labels) for labels in entries])

    try:
        found = np.asarray(jax.jit(log_probs)(), np.float64)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"the model {model.name} fails: {type(error).__name__}: {error}",
            where=type(model).__name__,
            hint="Sites of labelers stand in `numpyro.plate('labeler', num_labelers)`, and "
            "`log_prob` has a row for every answer.",
        ) from error
    num_latents = scale.num_classes * model.num_subclasses(scale.num_classes)
    wanted = (num_answers, reference.num_labels, num_latents)
    if found.shape != wanted:
        raise InputError(
            f"log_prob of the model {model.name} has shape {found.shape[1:]}, and {wanted[1:]} is "
            "wanted: a row for every answer, a column for every latent state.",
            where=type(model).__name__,
            hint="Compare the answers with `jnp.arange(num_classes)` along a second axis.",
        )
    sums = np.exp(found).sum(axis=0)
    if not np.allclose(sums, 1.0, atol=1e-3):
        worst = sums.flat[np.nanargmax(np.abs(np.nan_to_num(sums, nan=np.inf) - 1.0))]
        raise InputError(
            f"log_prob of the model {model.name} gives no probabilities: over all {num_answers} "
            f"answers they sum to {worst:.3g}.",
            where=type(model).__name__,
            hint="Given each latent state, the probabilities of all answers sum to one.",
        )


class _Optimum(NamedTuple):
    location: Float[Array, " num_params"]
    log_density: Float[Array, ""]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]


@partial(jax.jit, static_argnames=("scale",))
def _begin(scale: Scale) -> Float[Array, " num_params"]:
    return scale.start_from()


@jax.jit
def _start_shares(
    labels: Labels, assessment: Assessment, rows: Rows | None
) -> Float[Array, "num_examples num_classes"]:
    """Where examples start: at the votes, or at what gold says of all labelers together."""
    return variational.clamp(variational.vote_shares(labels, rows), assessment)


def log_joint(
    scale: Scale, crowd: Crowd, flat: Float[Array, " num_params"]
) -> Float[Array, "num_examples num_classes"]:
    r""":math:`\log \pi_y P(\mathcal{L}(i) \mid Y_i = y, u)`; -inf where gold excludes the class."""
    params, proportions = scale.params(flat)
    labelers = scale.model.labelers(params, crowd.reference)
    log_prob = labelers.batch_log_prob(crowd.labels)
    prior = crowd.class_prior if proportions is None else proportions
    return joint_with_gold(log_prob, prior, crowd.assessment)


def log_likelihood(
    scale: Scale,
    crowd: Crowd,
    flat: Float[Array, " num_params"],
    shares: Float[Array, "num_examples num_classes"],
    trusts_shares: ScalarLike,
) -> Float[Array, ""]:
    """Log-probability of all labels, classes summed out; or expected, given shares of the classes.

    Where proportions of the classes are learnt, that of the classes of other tasks as well.

    Args:
        scale: what the parameters are.
        crowd: the labels.
        flat: the unconstrained parameters.
        shares: shares of the classes.
        trusts_shares: whether they are given.
    """
    joint = log_joint(scale, crowd, flat)
    finite = jnp.where(jnp.isfinite(joint), joint, 0.0)
    given = jnp.sum(shares * finite, axis=1)
    summed = jax.nn.logsumexp(joint, axis=1)
    found = jnp.sum(jnp.where(trusts_shares, given, summed))
    proportions = scale.params(flat)[1]
    if proportions is None or crowd.assessment.earlier is None:
        return found
    return found + crowd.assessment.known_class_total @ jnp.log(proportions)


def log_density(scale: Scale, crowd: Crowd, flat: Float[Array, " num_params"]) -> Float[Array, ""]:
    """Of parameters and labels."""
    none = jnp.zeros((crowd.labels.num_examples, scale.num_classes), flat.dtype)
    return scale.log_prior(flat) + log_likelihood(scale, crowd, flat, none, jnp.zeros((), bool))


class _At(NamedTuple):
    """Where the optimiser is, its state, and how far the last step went."""

    flat: Float[Array, " num_params"]
    state: Any
    num_steps: Int[Array, ""]
    change: Float[Array, ""]


@partial(jax.jit, static_argnames=("scale",))
def _optimise(
    scale: Scale,
    crowd: Crowd,
    start: Float[Array, " num_params"],
    shares: Float[Array, "num_examples num_classes"],
    max_steps: ScalarLike,
    tolerance: ScalarLike,
) -> _Optimum:
    """L-BFGS: given shares of the classes first, then with these summed out."""
    import optax

    optimiser = optax.lbfgs(memory_size=10)

    def phase(start: Array, trusts_shares: Array) -> _At:
        def loss(flat: Array) -> Array:
            likelihood = log_likelihood(scale, crowd, flat, shares, trusts_shares)
            return -likelihood - scale.log_prior(flat)

        def goes_on(at: _At) -> Array:
            return (at.num_steps < max_steps) & (at.change > tolerance)

        def go_on(at: _At) -> _At:
            value, grad = optax.value_and_grad_from_state(loss)(at.flat, state=at.state)
            step, state = optimiser.update(
                grad, at.state, at.flat, value=value, grad=grad, value_fn=loss
            )
            is_finite = jnp.all(jnp.isfinite(step))
            step = jnp.where(is_finite, step, 0.0)
            change = jnp.where(is_finite, jnp.max(jnp.abs(step), initial=0.0), jnp.nan)
            return _At(at.flat + step, state, at.num_steps + 1, change)

        first = _At(start, optimiser.init(start), jnp.int32(0), jnp.full((), jnp.inf, start.dtype))
        return jax.lax.while_loop(goes_on, go_on, first)

    def both(flat: Array, trusts_shares: Array) -> tuple[Array, _At]:
        at = phase(flat, trusts_shares)
        return at.flat, at

    # A scan: one compilation for both.
    flat, at = jax.lax.scan(both, start, jnp.array([True, False]))
    density = log_density(scale, crowd, flat)
    return _Optimum(
        flat, density, jnp.sum(at.num_steps), (at.change[-1] <= tolerance) & jnp.isfinite(density)
    )


@partial(jax.jit, static_argnames=("scale",))
def _spread(scale: Scale, crowd: Crowd, location: Float[Array, " num_params"]) -> Posterior:
    """The normal distribution with the curvature at the most probable parameters."""
    found = curvature(lambda flat: log_density(scale, crowd, flat), location)
    return Posterior(location, root_of(found), log_density(scale, crowd, location))


def curvature(
    log_density: Callable[[Float[Array, " num_params"]], Float[Array, ""]],
    location: Float[Array, " num_params"],
) -> Float[Array, "num_params num_params"] | Float[Array, " num_params"]:
    r"""Second derivatives, negated: the matrix, or of many parameters an estimate of its diagonal.

    The diagonal is the mean over random signs v of :math:`v \odot H v` (Bekas, Kokiopoulou and
    Saad, 2007), which errs where parameters depend on each other.
    """
    size = location.size

    def along(direction: Array) -> Array:
        return -jax.jvp(jax.grad(log_density), (location,), (direction,))[1]

    if size <= MOST_DENSE:
        return jax.lax.map(along, jnp.eye(size, dtype=location.dtype))

    signs = _signs(size, location.dtype)
    return jax.lax.map(lambda signs: signs * along(signs), signs).mean(axis=0)


def _signs(size: int, dtype: Any) -> Float[Array, "probes num_params"]:
    """Random signs, the same each time: they are part of the method, not of the data."""
    keys = jax.random.split(jax.random.key(0), _NUM_PROBES)
    return jax.lax.map(lambda key: jax.random.rademacher(key, (size,), dtype), keys)


def root_of(
    curvature: Float[Array, "num_params num_params"] | Float[Array, " num_params"],
) -> Float[Array, "num_params num_params"] | Float[Array, " num_params"]:
    """What standard normal numbers are multiplied by for this curvature."""
    if curvature.ndim == 1:
        return jax.lax.rsqrt(jnp.maximum(curvature, _LEAST_CURVATURE))
    values, vectors = jnp.linalg.eigh((curvature + curvature.T) / 2.0)
    scale = vectors * jax.lax.rsqrt(jnp.maximum(values, _LEAST_CURVATURE))
    return jnp.linalg.qr(scale.T, mode="r").T  # triangular: its diagonal tells the volume


def nodes(num_params: int, num_nodes: int = _NUM_NODES) -> Float[np.ndarray, "nodes num_params"]:
    """Standard normal numbers in opposite pairs, always the same: what means are taken over."""
    half = np.random.default_rng(0).standard_normal((num_nodes // 2, num_params))
    return np.concatenate([half, -half])


@partial(jax.jit, static_argnames=("scale",))
def _as_fit(
    scale: Scale,
    crowd: Crowd,
    posterior: Posterior,
    normal: Float[Array, "nodes num_params"],
) -> VariationalFit:
    class_probs, evidence, subclass_probs, proportions = describe(scale, crowd, posterior, normal)
    prior = AutomaticPrior(posterior, crowd.reference, scale)
    counts = prior.counts(crowd.labels, variational.latent_probs(class_probs, subclass_probs))
    return VariationalFit(
        class_probs,
        subclass_probs,
        evidence,
        crowd.class_prior,
        crowd.class_prior if proportions is None else proportions,
        counts,
        prior,
        num_steps=0,
        converged=False,
    )


@partial(jax.jit, static_argnames=("scale",))
def describe(
    scale: Scale, crowd: Crowd, posterior: Posterior, normal: Float[Array, "nodes num_params"]
) -> tuple[Array, Array, Array, Array | None]:
    """Class posteriors, the evidence that goes with the class prior, subclasses, proportions.

    Classes of an example compare by means over nodes; its answers' probability, classes summed
    out, is that of `_log_prob_by_others`, on which nodes in the tails have no bearing.

    Args:
        scale: what the parameters are.
        crowd: the labels.
        posterior: of the parameters.
        normal: standard normal numbers to take means over, in opposite pairs, see `nodes`.
    """
    none = jnp.full_like(crowd.assessment.true_label, MISSING)
    open_crowd = crowd._replace(assessment=Assessment(none, scale.num_classes))

    def at(flat: Array) -> tuple[Array, Array]:
        joint = log_joint(scale, open_crowd, flat)
        marginal = jax.nn.logsumexp(
            joint_with_gold(joint, jnp.ones(scale.num_classes), crowd.assessment), axis=1
        )
        # Gold of a class that the prior excludes says nothing of the nodes.
        return joint, jnp.where(jnp.isfinite(marginal), marginal, jax.nn.logsumexp(joint, axis=1))

    joint, marginal = jax.lax.map(lambda normal: at(posterior.at(normal)), normal)
    # The mean over nodes without the example's own part, by weights of importance. That part is
    # taken as linear, half the difference of opposite nodes: what is left of it is even, of which
    # a few nodes in the tails would have all the weight.
    opposite = jnp.roll(marginal, marginal.shape[0] // 2, axis=0)
    log_weights = jax.nn.log_softmax((opposite - marginal) / 2.0, axis=0)[:, :, None]
    log_joint_probs = jax.nn.logsumexp(joint + log_weights, axis=0)
    log_probs = log_joint_probs - jax.nn.logsumexp(log_joint_probs, axis=1, keepdims=True)
    log_joint_probs = log_probs + _log_prob_by_others(at, posterior)[:, None]
    log_prior = 0.0 if scale.learns_class_prior else jnp.log(crowd.class_prior)
    evidence = jnp.where(jnp.isneginf(log_prior), 0.0, log_joint_probs - log_prior)
    class_probs = variational.clamp(jnp.exp(log_probs), crowd.assessment)
    params, proportions = scale.params(posterior.location)
    labelers = scale.model.labelers(params, crowd.reference)
    return class_probs, evidence, subclass_probs(labelers, crowd.labels), proportions


def _log_prob_by_others(
    at: Callable[[Float[Array, " num_params"]], tuple[Array, Array]], posterior: Posterior
) -> Float[Array, " num_examples"]:
    r"""Log-probability of each example's answers by all other examples.

    That at the most probable parameters, less what the example itself did to it,
    :math:`\nabla \ell_i^\top S \, \nabla \ell_i`, where S is the covariance: the first step of
    Newton's method towards the parameters without the example (Cook and Weisberg, 1982, chapter 5).

    Args:
        at: log-probability of an example's answers with each class, at some parameters; and that
            of its answers and gold.
        posterior: of the parameters.
    """

    def both(flat: Array) -> tuple[Array, Array]:
        joint, marginal = at(flat)
        return jax.nn.logsumexp(joint, axis=1), marginal

    def less(log_probs: Array, direction: Array) -> tuple[Array, None]:
        slope, own_slope = jax.jvp(both, (posterior.location,), (direction,))[1]
        return log_probs - slope * own_slope, None

    scale = posterior.scale
    if scale.ndim == 2:
        directions = scale.T
    else:  # in the mean over signs only the squares are left
        directions = scale * _signs(scale.size, scale.dtype) / np.sqrt(_NUM_PROBES)
    log_probs: Array = jax.lax.scan(less, both(posterior.location)[0], directions)[0]
    return log_probs


def subclass_probs(
    labelers: AbstractLabelers, labels: Labels
) -> Float[Array, "num_examples num_classes num_subclasses"]:
    """Probability of each subclass of every example given its class."""
    num_subclasses = labelers.num_subclasses
    shape = (labels.num_examples, labels.num_classes, num_subclasses)
    if num_subclasses == 1:
        return jnp.ones(shape)
    log_probs = sum_by_example(labels, labelers.log_prob_of_known(labels))
    return jax.nn.softmax(log_probs.reshape(shape) + labelers.log_subclass_probs, axis=2)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AutomaticPrior(AbstractCohortPrior):
    """A fitted model in the place of a conjugate prior: what is known of its labelers.

    Counts have shape (num_labelers, 2): expected right and wrong labels. They are reported, and
    nothing is inferred from them.

    Attributes:
        posterior: of the unconstrained parameters.
        reference: see `ModelLabelers`.
        scale: what the parameters are.
    """

    posterior: Posterior
    reference: Labels
    scale: Scale = dataclasses.field(metadata={"static": True})

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return self.scale.num_classes

    @property
    def num_subclasses(self) -> int:
        """As the model has it."""
        return self.scale.model.num_subclasses(self.num_classes)

    @property
    def labeler_model(self) -> AbstractLabelerModel:
        """The model."""
        return self.scale.model

    def counts(
        self, labels: Labels, latent_probs: Float[Array, "num_examples num_latents"]
    ) -> Float[Array, "num_labelers two"]:
        """Expected right and wrong labels."""
        shape = (labels.num_examples, labels.num_classes, self.num_subclasses)
        class_probs = latent_probs.reshape(shape).sum(axis=2)
        right = prob_of_answer(labels, class_probs)
        none = jnp.zeros((labels.num_labelers, 2), right.dtype)
        wrong = labels.is_class.astype(right.dtype) - right
        return none.at[labels.labeler].add(jnp.stack([right, wrong], axis=1))

    def at(self, flat: Float[Array, " num_params"]) -> AbstractLabelers:
        """The labelers of unconstrained parameters."""
        return self.scale.model.labelers(self.scale.params(flat)[0], self.reference)

    def posterior_mean(self, counts: Float[Array, "num_labelers two"]) -> AbstractLabelers:
        """The labelers at the most probable parameters."""
        return self.at(self.posterior.location)

    def sample(
        self, key: Key[Array, ""], counts: Float[Array, "num_labelers two"]
    ) -> AbstractLabelers:
        """The labelers of a draw of the parameters."""
        return self.at(self.posterior.draw(key))

    def draw(
        self, rng: np.random.Generator, counts: Float[Array, "num_labelers two"], num_draws: int
    ) -> Iterator[Float[np.ndarray, " num_params"]]:
        """Standard normal numbers that parameters stand for."""
        location = np.asarray(self.posterior.location)
        for _ in range(num_draws):
            yield rng.standard_normal(location.size).astype(location.dtype)

    def drawn_evidence(
        self,
        drawn: Float[Array, " num_params"],
        counts: Float[Array, "num_labelers two"],
        labels: Labels,
        class_prior: ClassPrior,
        evidence: Float[Array, "num_examples num_classes"],
    ) -> Float[Array, "num_examples num_classes"]:
        """That of the labels at a draw; learnt proportions are part of it."""
        params, proportions = self.scale.params(self.posterior.at(drawn))
        found = self.scale.model.labelers(params, self.reference).batch_log_prob(labels)
        return found if proportions is None else found + jnp.log(proportions)

    def draw_sites(self, rng: np.random.Generator, num_draws: int) -> dict[str, np.ndarray]:
        """Values of the NumPyro sites, with a leading axis of draws."""
        shape = (num_draws, self.posterior.location.size)
        normal = on_device(rng.standard_normal(shape))
        return {name: np.asarray(site) for name, site in _drawn_sites(self, normal).items()}

    def labeler_sites(self) -> set[str]:
        """Names of the sites that have a value, or several, for every labeler."""
        from numpyro import handlers

        seeded = handlers.seed(self.scale.prior, jax.random.key(0))
        trace = handlers.trace(seeded).get_trace()
        return {
            name
            for name, site in trace.items()
            if site["type"] == "sample"
            and any(frame.size == self.scale.num_labelers for frame in site["cond_indep_stack"])
        }

    def accuracy_moments(
        self,
        by_rho: Float[np.ndarray, "num_labelers ..."],
        class_total: Float[np.ndarray, "num_nodes num_classes"],
        weights: Float[np.ndarray, " num_nodes"],
    ) -> tuple[Float[np.ndarray, " num_labelers"], Float[np.ndarray, " num_labelers"]]:
        """Over draws of the parameters, without the counts.

        The accuracy of a labeler is the probability that a label which is a class is right,
        classes in the proportions of the examples, at the labeler's mean covariates.
        """
        normal = nodes(self.posterior.location.size, 4 * _NUM_NODES)
        dtype = np.asarray(self.posterior.location).dtype
        shares = np.asarray(class_total).T @ weights + 1.0
        given = ((shares / shares.sum()).astype(dtype), normal.astype(dtype))
        mean, variance = _accuracy_moments(*jax.device_put((self, *given)))
        eps = float(np.finfo(dtype).eps)
        means = np.clip(np.asarray(mean, np.float64), eps, 1.0 - eps)
        most = means * (1.0 - means)
        return means, np.clip(np.asarray(variance, np.float64), eps * most, (1.0 - eps) * most)

    def log_evidence_bound(
        self, of_classes: Float[Array, ""], counts: Float[Array, "num_labelers two"]
    ) -> float:
        """Laplace's approximation, by the posterior alone."""
        return self.posterior.log_evidence()


@jax.jit
def _drawn_sites(prior: AutomaticPrior, normal: Float[Array, "num_draws num_params"]) -> Sites:
    return jax.lax.map(lambda one: prior.scale.sites(prior.posterior.at(one)), normal)


@jax.jit
def _accuracy_moments(
    prior: AutomaticPrior,
    shares: Float[Array, " num_classes"],
    normal: Float[Array, "nodes num_params"],
) -> tuple[Float[Array, " num_labelers"], Float[Array, " num_labelers"]]:
    def of_node(normal: Array) -> Array:
        rows = prior.at(prior.posterior.at(normal)).confusion_matrix[:, :, : shares.size]
        right = jnp.diagonal(rows, axis1=1, axis2=2) @ shares
        return right / jnp.maximum(rows.sum(axis=2) @ shares, jnp.finfo(rows.dtype).tiny)

    drawn = jax.lax.map(of_node, normal)
    return drawn.mean(axis=0), drawn.var(axis=0)


def empty(model: AbstractLabelerModel, labels: Labels, learns_class_prior: bool) -> AutomaticPrior:
    """A fitted model with zeros for all that is found, of the sizes that a fit would have.

    Args:
        model: the labeler model, for these labels.
        labels: the labels.
        learns_class_prior: whether the proportions of the classes are learnt.
    """
    scale = Scale(model, labels.num_labelers, labels.num_classes, learns_class_prior)
    size = jax.eval_shape(scale.flat_start).size
    shape = (size, size) if size <= MOST_DENSE else (size,)
    dtype = jnp.zeros(()).dtype
    posterior = Posterior(*(jax.device_put(np.zeros(of, dtype)) for of in ((size,), shape, ())))
    return AutomaticPrior(posterior, reference_labels(labels), scale)
