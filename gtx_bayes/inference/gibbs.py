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
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float, Int, Key

from gtx_bayes.inference import variational
from gtx_bayes.inference.nuts import Draws
from gtx_bayes.inference.priors import AbstractCohortPrior
from gtx_bayes.labelers.base import AbstractLabelerModel
from gtx_bayes.labelers.class_conditional import ClassConditional
from gtx_bayes.labelers.confusion_matrix import ConfusionMatrix
from gtx_bayes.labelers.hard_examples import HardExamples
from gtx_bayes.labelers.one_coin import OneCoin
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.log_space import softmax_over_classes
from gtx_bayes.posterior import ClassPrior, batch_log_prob
from gtx_bayes.votes import class_votes


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


class _State(NamedTuple):
    """What a draw starts from: a label for every example, and the class posteriors so far."""

    hard_label: Int[Array, " num_examples"]
    total_probs: Float[Array, "num_examples num_classes"]


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
) -> GibbsFit:
    """Draw from the posterior of the labelers, labels unknown; and the labels' own posterior.

    Every chain starts from labels drawn in proportion to the votes. Chains that start near
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

    Raises:
        ValueError: for a model of several kinds of examples, which these blocks do not draw.
    """
    if prior.num_kinds > 1:
        raise ValueError(
            f"Gibbs sampling takes examples of a class for alike, {type(prior).__name__} does not: "
            "use variational.fit"
        )
    posterior, log_density, class_probs = sample_chains(
        jax.random.split(key, num_chains),
        labels,
        assessment,
        prior,
        class_prior,
        num_warmup,
        num_draws,
    )
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
    prior: AbstractCohortPrior,
    class_prior: ClassPrior | None,
    num_warmup: int,
    num_draws: int,
) -> tuple[
    dict[str, Array],
    Float[Array, "num_chains num_draws"],
    Float[Array, "num_chains num_examples num_classes"],
]:
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

    Returns:
        Draws of the parameters by name, (num_chains, num_draws, ...) each; the log density of
        every draw; and the class posteriors by chain.
    """
    votes = variational.start(labels, assessment, prior).class_probs

    def draw(
        state: _State, at: tuple[Key[Array, ""], Bool[Array, ""]]
    ) -> tuple[_State, tuple[dict[str, Array], Float[Array, ""]]]:
        key, is_kept = at
        key_labelers, key_proportions, key_classes = jax.random.split(key, 3)
        one_hot = jax.nn.one_hot(state.hard_label, labels.num_classes, dtype=votes.dtype)
        counts = prior.counts(labels, one_hot)
        log_density = prior.log_marginal(counts) + _log_prob_of_labels(one_hot, class_prior)
        model = prior.sample(key_labelers, counts)
        assert not isinstance(model, HardExamples)
        sites = _parameters(model)
        proportions = class_prior
        if proportions is None:
            proportions = jax.random.dirichlet(key_proportions, 1.0 + one_hot.sum(axis=0))
            sites["class_prior"] = proportions
        class_probs = softmax_over_classes(jnp.log(proportions) + _evidence(model, labels))
        class_probs = variational.clamp(class_probs, assessment)
        hard_label = _draw_classes(key_classes, class_probs)
        total_probs = state.total_probs + jnp.where(is_kept, class_probs, 0.0)
        return _State(hard_label, total_probs), (sites, log_density)

    def chain(key: Key[Array, ""]) -> tuple[dict[str, Array], Array, Array]:
        key_start, key_draws = jax.random.split(key)
        start = _draw_classes(key_start, votes)
        # One loop for both, since a draw takes seconds to compile.
        is_kept = jnp.arange(num_warmup + num_draws) >= num_warmup
        state, drawn = jax.lax.scan(
            draw,
            _State(start, jnp.zeros_like(votes)),
            (jax.random.split(key_draws, num_warmup + num_draws), is_kept),
        )
        sites, log_density = jax.tree.map(lambda values: values[num_warmup:], drawn)
        return sites, log_density, state.total_probs / num_draws

    return jax.vmap(chain)(keys)


def _evidence(
    model: OneCoin | ClassConditional | ConfusionMatrix, labels: Labels
) -> Float[Array, "num_examples num_classes"]:
    """Log-probability of each example's answers under each class, up to what classes share.

    Probabilities that round to zero count as the smallest number, so that certain labelers who
    contradict each other cancel one for one.
    """
    if isinstance(model, OneCoin):
        right, wrong = model.accuracy, (1.0 - model.accuracy) / (model.num_classes - 1)
        weight = jnp.log(_floored(right)) - jnp.log(_floored(wrong))
        return class_votes(labels, weight, model.num_classes).T
    floored = ConfusionMatrix(_floored(model.confusion), model.num_classes)
    return batch_log_prob(floored, labels)


def _floored(probs: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.maximum(probs, jnp.finfo(probs.dtype).tiny)


def _draw_classes(
    key: Key[Array, ""], probs: Float[Array, "num_examples num_classes"]
) -> Int[Array, " num_examples"]:
    """A class for each example: one random number each, where Gumbel noise takes one per class."""
    below = jnp.cumsum(probs[:, :-1], axis=1)
    return jnp.sum(jax.random.uniform(key, (probs.shape[0], 1), probs.dtype) >= below, axis=1)


def _parameters(model: AbstractLabelerModel) -> dict[str, Array]:
    """The arrays of a labeler model, by name."""
    fields = dataclasses.fields(model)  # type: ignore[arg-type]
    return {f.name: getattr(model, f.name) for f in fields if not f.metadata.get("static")}


def _log_prob_of_labels(
    one_hot: Float[Array, "num_examples num_classes"], class_prior: ClassPrior | None
) -> Float[Array, ""]:
    """Of the labels before any answer; proportions that are learnt are integrated out."""
    if class_prior is not None:
        return jnp.sum(jax.scipy.special.xlogy(one_hot, class_prior))
    num_examples, num_classes = one_hot.shape
    of_counts = jnp.sum(gammaln(1.0 + one_hot.sum(axis=0)))
    return of_counts + gammaln(float(num_classes)) - gammaln(float(num_classes + num_examples))
