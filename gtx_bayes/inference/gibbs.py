r"""Gibbs sampling of labels, labelers and class proportions: slow, and right for any crowd.

Draws from the joint posterior under the model of `variational`, the labelers' prior held fixed, by
turns:

.. math::
    \theta_j \mid Y &\sim \text{the prior updated by the counts of } Y, \\
    \pi \mid Y &\sim \mathrm{Dirichlet}(1 + n_1, \dots, 1 + n_K), \\
    P(Y_i = y \mid \theta, \pi) &\propto \pi_y \prod_{j \in \mathcal{J}(i)}
        P(y_i^j \mid Y_i = y, \theta_j).

Labels are independent of each other given the rest, and so are labelers: two blocks, and no
approximation but the number of draws. This is the reference for faster ways.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from gtx_bayes.devices import AXIS, BY_PART, EVERYWHERE, Parts, in_a_row, in_parts
from gtx_bayes.inference import by_parts, variational
from gtx_bayes.inference.nuts import Draws
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.log_space import softmax_over_classes
from gtx_bayes.models.base import AbstractCohortPrior
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.sums import AbstractSums, PlainSums


class GibbsFit(NamedTuple):
    """What the chains found.

    Attributes:
        draws: of the labelers' parameters ("accuracy" or "confusion"), and of "class_prior" where
            it is learnt; of every draw also its "log_density", the log-probability of all answers
            and of the labels behind the draw, parameters integrated out.
        class_probs_by_chain: class posterior of each example, one at the known label of gold: the
            mean of its conditional given every draw of the parameters, which varies less than
            counts of drawn labels would (Rao-Blackwell).
    """

    draws: Draws
    class_probs_by_chain: Float[Array, "num_chains num_examples num_classes"]

    @property
    def class_probs(self) -> Float[Array, "num_examples num_classes"]:
        """Class posterior of each example: the mean of all chains."""
        return self.class_probs_by_chain.mean(axis=0)


_BY_ROW = PartitionSpec(None, AXIS)


class _State(NamedTuple):
    """What a draw starts from: a label for every example, and the class posteriors so far."""

    hard_label: Int[Array, "..."]
    total_probs: Float[Array, "..."]


class _Drawn(NamedTuple):
    """One draw: of the labels, what they came from, the parameters by name, the log density."""

    hard_label: Int[Array, "..."]
    class_probs: Float[Array, "..."]
    sites: dict[str, Array]
    log_density: Float[Array, ""]


_OfExamples = tuple[Array, Array, Array | None]
"""Gold, what is no room to spare, and prior of each example or None; by part."""

_Results = tuple[dict[str, Array], Float[Array, "..."], Float[Array, "..."]]


def run_gibbs(
    key: Key[Array, ""],
    labels: Labels,
    assessment: Assessment,
    prior: AbstractCohortPrior,
    class_prior: ClassPrior | None = None,
    *,
    num_warmup: int = 200,
    num_draws: int = 500,
    num_chains: int = 4,
    mesh: Mesh | None = None,
) -> GibbsFit:
    """Draw from the posterior of the labelers, labels unknown; and the labels' own posterior.

    Every chain starts from labels drawn in proportion to the votes, or where gold speaks against
    these as gold has it (`variational.rows_from_gold`). Chains that start near
    different explanations of the same answers (classes swapped, adversaries believed) can stay
    there: compare `class_probs_by_chain`, or R-hat of the draws. In float32 probabilities closer
    to 0 or 1 than it resolves count as certain; certain labelers who contradict each other cancel
    one for one.

    Args:
        key: random key.
        labels: the answers.
        assessment: the gold.
        prior: prior of the labelers, its parameters fixed.
        class_prior: prior of each class, or of each class of each example; when absent the
            proportions of the classes are learnt, with a flat prior.
        num_warmup: warm-up draws per chain, not kept.
        num_draws: draws kept per chain.
        num_chains: number of chains, vectorised.
        mesh: devices to spread the examples over, from `devices.examples_mesh`; one where it is
            absent. The draws are the same: counts of drawn labels are whole numbers, and the
            random numbers of an example do not depend on where it is.

    Raises:
        ValueError: for a model of several kinds of examples, which these blocks do not draw.
    """
    if not isinstance(prior, AbstractConjugatePrior):
        raise ValueError('Gibbs sampling takes conjugate models: use "nuts"')
    if prior.num_kinds > 1:
        raise ValueError(
            f"Gibbs sampling takes examples of a class for alike, {type(prior).__name__} does not: "
            "use variational.fit"
        )
    keys = jax.random.split(key, num_chains)
    rows = variational.rows_from_gold(labels, assessment)
    if mesh is None:
        posterior, log_density, class_probs = sample_chains(
            keys, labels, assessment, prior, class_prior, num_warmup, num_draws, rows
        )
    else:
        crowd = by_parts.deal_crowd(labels, assessment, class_prior, mesh)
        is_there = crowd.dealt.spread(np.ones(labels.num_examples, bool), fill=False)
        posterior, log_density, by_part = _sample_chains_dealt(
            mesh,
            keys,
            crowd.dealt.parts,
            (crowd.true_label, is_there, crowd.own_prior),
            prior,
            crowd.class_prior,
            num_warmup,
            num_draws,
            rows,
        )
        class_probs = crowd.dealt.collect(by_part, axis=1)
    draws = Draws(
        posterior={name: np.asarray(values) for name, values in posterior.items()},
        sample_stats={"log_density": np.asarray(log_density)},
    )
    return GibbsFit(draws, class_probs)


@partial(jax.jit, static_argnames=("num_warmup", "num_draws"))
def sample_chains(
    keys: Key[Array, " num_chains"],
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None,
    num_warmup: int,
    num_draws: int,
    rows: variational.Rows | None = None,
) -> _Results:
    """`run_gibbs` as a pure function of arrays, to map over crowds of one size.

    A prior of several kinds of examples is not checked for here.

    Args:
        keys: random keys, one per chain.
        labels: the answers.
        assessment: the gold.
        prior: prior of the labelers, its parameters fixed.
        class_prior: as for `run_gibbs`.
        num_warmup: warm-up draws per chain, not kept.
        num_draws: draws kept per chain.
        rows: where chains start from, see `variational.start`.

    Returns:
        Draws of the parameters by name, (num_chains, num_draws, ...) each; the log density of
        every draw; and the class posteriors by chain.
    """
    votes = variational.start(labels, assessment, prior, rows).class_probs

    def noise(key: Key[Array, ""]) -> Float[Array, "num_examples one"]:
        return jax.random.uniform(key, (labels.num_examples, 1), votes.dtype)

    def start(noise: Float[Array, "num_examples one"]) -> _State:
        return _State(_classes_at(noise, votes), jnp.zeros_like(votes))

    draw = partial(_draw, labels, assessment, prior, class_prior, PlainSums())
    return jax.vmap(lambda key: _chain(key, noise, start, draw, num_warmup, num_draws))(keys)


@partial(jax.jit, static_argnames=("mesh", "num_warmup", "num_draws"))
def _sample_chains_dealt(
    mesh: Mesh,
    keys: Key[Array, " num_chains"],
    parts: Parts,
    of_examples: _OfExamples,
    prior: AbstractConjugatePrior,
    class_prior: Float[Array, " num_classes"] | None,
    num_warmup: int,
    num_draws: int,
    rows: variational.Rows | None,
) -> _Results:
    """`sample_chains` by parts.

    Args:
        mesh: the devices.
        keys: random keys, one per chain.
        parts: the answers.
        of_examples: gold, what is no room to spare, and prior of each example or None.
        prior: prior of the labelers.
        class_prior: prior of each class where examples have none of their own.
        num_warmup: warm-up draws per chain.
        num_draws: draws kept per chain.
        rows: where chains start from.
    """
    size = (parts.labels.num_examples, parts.num_parts)
    on_devices = partial(jax.shard_map, mesh=mesh, check_vma=False)
    specs: Any = (BY_PART, BY_PART, EVERYWHERE, EVERYWHERE)

    def noise(key: Key[Array, ""]) -> Float[Array, "num_rows num_parts"]:
        # Row by row across the parts is the order of the examples.
        found = jax.random.uniform(key, size)
        return jax.lax.with_sharding_constraint(found, NamedSharding(mesh, _BY_ROW))

    def of_device(
        noise: Float[Array, "num_rows num_parts"],
    ) -> Float[Array, "num_examples one"]:
        return noise.T.reshape(-1, 1)

    def kept(
        drawn: Int[Array, " num_examples"], is_there: Bool[Array, "num_parts num_rows"]
    ) -> Int[Array, "num_parts num_rows"]:
        """Labels by part; none for room to spare, so that nobody counts it."""
        return jnp.where(is_there, in_parts(drawn, len(is_there)), MISSING)

    @partial(on_devices, in_specs=(BY_PART, BY_PART, EVERYWHERE, _BY_ROW), out_specs=BY_PART)
    def start(
        parts: Parts, of_examples: _OfExamples, prior: AbstractConjugatePrior, noise: Array
    ) -> _State:
        true_label, is_there, _ = of_examples
        labels, _ = parts.as_table()
        assessment = Assessment(in_a_row(true_label), labels.num_classes)
        votes = variational.start(labels, assessment, prior, rows).class_probs
        label = kept(_classes_at(of_device(noise), votes), is_there)
        return _State(label, in_parts(jnp.zeros_like(votes), parts.num_parts))

    @partial(
        on_devices,
        in_specs=(BY_PART, BY_PART, EVERYWHERE, BY_PART, EVERYWHERE, _BY_ROW),
        out_specs=_Drawn(*specs),
    )
    def draw(
        parts: Parts,
        of_examples: _OfExamples,
        shared: tuple[AbstractConjugatePrior, Array | None],
        hard_label: Array,
        keys: tuple[Key[Array, ""], Key[Array, ""]],
        noise: Array,
    ) -> _Drawn:
        true_label, is_there, own_prior = of_examples
        labels, sums = parts.as_table()
        assessment = Assessment(in_a_row(true_label), labels.num_classes)
        prior, class_prior = shared
        found = _draw(
            labels,
            assessment,
            prior,
            class_prior if own_prior is None else in_a_row(own_prior),
            sums,
            in_a_row(hard_label),
            keys,
            of_device(noise),
        )
        return found._replace(
            hard_label=kept(found.hard_label, is_there),
            class_probs=in_parts(found.class_probs, parts.num_parts),
        )

    def chain(key: Key[Array, ""]) -> _Results:
        return _chain(
            key,
            noise,
            partial(start, parts, of_examples, prior),
            partial(draw, parts, of_examples, (prior, class_prior)),
            num_warmup,
            num_draws,
        )

    return jax.vmap(chain)(keys)


def _chain(
    key: Key[Array, ""],
    noise: Callable[[Key[Array, ""]], Float[Array, "..."]],
    start: Callable[[Float[Array, "..."]], _State],
    draw: Callable[..., _Drawn],
    num_warmup: int,
    num_draws: int,
) -> _Results:
    """One chain: the parameters and log densities of the draws kept, the mean class posteriors.

    Args:
        key: random key.
        noise: a random number for every example.
        start: where a chain starts, given these.
        draw: the next draw, given labels, keys and noise.
        num_warmup: warm-up draws, not kept.
        num_draws: draws kept.
    """
    key_start, key_draws = jax.random.split(key)

    def advance(
        state: _State, at: tuple[Key[Array, ""], Bool[Array, ""]]
    ) -> tuple[_State, tuple[dict[str, Array], Float[Array, ""]]]:
        key, is_kept = at
        key_labelers, key_proportions, key_classes = jax.random.split(key, 3)
        drawn = draw(state.hard_label, (key_labelers, key_proportions), noise(key_classes))
        total_probs = state.total_probs + jnp.where(is_kept, drawn.class_probs, 0.0)
        return _State(drawn.hard_label, total_probs), (drawn.sites, drawn.log_density)

    # One loop for both, since a draw takes seconds to compile.
    is_kept = jnp.arange(num_warmup + num_draws) >= num_warmup
    state, drawn = jax.lax.scan(
        advance,
        start(noise(key_start)),
        (jax.random.split(key_draws, num_warmup + num_draws), is_kept),
    )
    sites, log_density = jax.tree.map(lambda values: values[num_warmup:], drawn)
    return sites, log_density, state.total_probs / num_draws


def _draw(
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None,
    sums: AbstractSums,
    hard_label: Int[Array, " num_examples"],
    keys: tuple[Key[Array, ""], Key[Array, ""]],
    noise: Float[Array, "num_examples one"],
) -> _Drawn:
    """Parameters given the labels, and labels given these."""
    key_labelers, key_proportions = keys
    one_hot = jax.nn.one_hot(hard_label, labels.num_classes, dtype=noise.dtype)
    counts = sums.of_labelers(lambda labels: prior.counts(labels, one_hot), labels)
    num_of_class = sums.of_examples(one_hot)
    log_density = prior.log_marginal(counts)
    model = prior.sample(key_labelers, counts)
    sites = _parameters(model)
    if class_prior is None:
        log_density = log_density + _log_prob_of_counts(num_of_class)
        proportions = jax.random.dirichlet(key_proportions, 1.0 + num_of_class)
        sites["class_prior"] = proportions
    else:
        log_density = log_density + _log_prob_of_labels(one_hot, class_prior, sums)
        proportions = class_prior
    class_probs = softmax_over_classes(jnp.log(proportions) + model.floored_evidence(labels))
    class_probs = variational.clamp(class_probs, assessment)
    return _Drawn(_classes_at(noise, class_probs), class_probs, sites, log_density)


def _classes_at(
    noise: Float[Array, "num_examples one"], probs: Float[Array, "num_examples num_classes"]
) -> Int[Array, " num_examples"]:
    """A class for each example: one random number each, where Gumbel noise takes one per class."""
    return jnp.sum(noise >= jnp.cumsum(probs[:, :-1], axis=1), axis=1)


def _parameters(model: AbstractLabelers) -> dict[str, Array]:
    """The arrays of a labeler model, by name."""
    fields = dataclasses.fields(model)  # type: ignore[arg-type]
    return {f.name: getattr(model, f.name) for f in fields if not f.metadata.get("static")}


def _log_prob_of_labels(
    one_hot: Float[Array, "num_examples num_classes"], class_prior: ClassPrior, sums: AbstractSums
) -> Float[Array, ""]:
    """Of the labels before any answer; -inf where gold is of a class that its prior excludes."""
    log_probs = jax.scipy.special.xlogy(one_hot, class_prior).sum(axis=1)
    is_possible = jnp.isfinite(log_probs)  # no infinity is a whole number
    num_impossible = sums.of_examples(jnp.where(is_possible, 0.0, 1.0))
    found = sums.of_examples(jnp.where(is_possible, log_probs, 0.0))
    return jnp.where(num_impossible > 0, -jnp.inf, found)


def _log_prob_of_counts(num_of_class: Float[Array, " num_classes"]) -> Float[Array, ""]:
    """The same where the proportions are learnt: integrated out."""
    num_classes = num_of_class.shape[0]
    of_counts = jnp.sum(gammaln(1.0 + num_of_class))
    return of_counts + gammaln(float(num_classes)) - gammaln(num_classes + num_of_class.sum())
