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

import concurrent.futures
import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key

from gtx_bayes.devices import as_here
from gtx_bayes.inference import variational
from gtx_bayes.inference.nuts import Draws
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.log_space import softmax_over_classes
from gtx_bayes.models.base import AbstractCohortPrior
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.posterior import ClassPrior


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
        mesh: devices to run the chains on, from `devices.examples_mesh`; one where it is absent.
            The draws are the same.

    Raises:
        ValueError: for a model with latent subclasses, which these blocks do not draw.
    """
    if not isinstance(prior, AbstractConjugatePrior):
        raise ValueError('Gibbs sampling takes conjugate models: use "nuts"')
    if prior.num_subclasses > 1:
        raise ValueError(
            f"Gibbs sampling takes examples of a class for alike, {type(prior).__name__} does not: "
            "use variational.fit"
        )
    keys = jax.random.split(key, num_chains)
    rows = variational.rows_from_gold(labels, assessment)
    rows = variational.rows_or_nan(rows, labels.num_classes)
    devices = [None] if mesh is None else list(mesh.devices.flat)[:num_chains]

    def on_device(device: jax.Device | None, keys: Key[Array, " num_chains"]) -> _Results:
        given = jax.device_put((keys, labels, assessment, prior, class_prior), device)
        return sample_chains(*given, num_warmup, num_draws, rows)

    with concurrent.futures.ThreadPoolExecutor(len(devices)) as pool:
        shares = [keys[at] for at in np.array_split(np.arange(num_chains), len(devices))]
        found = jax.device_get(list(pool.map(as_here(on_device), devices, shares)))
    posterior, log_density, class_probs = jax.tree.map(lambda *parts: np.concatenate(parts), *found)
    return GibbsFit(Draws(posterior, {"log_density": log_density}), jax.device_put(class_probs))


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

    A prior with latent subclasses is not checked for here.

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
    # One loop for both, since a draw takes seconds to compile.
    is_kept = jnp.arange(num_warmup + num_draws) >= num_warmup

    def noise(key: Key[Array, ""]) -> Float[Array, "num_examples one"]:
        return jax.random.uniform(key, (labels.num_examples, 1), votes.dtype)

    def advance(
        state: tuple[Int[Array, " num_examples"], Float[Array, "num_examples num_classes"]],
        at: tuple[Key[Array, ""], Bool[Array, ""]],
    ) -> tuple[tuple[Array, Array], tuple[dict[str, Array], Float[Array, ""]]]:
        hard_label, total_probs = state
        key, is_kept = at
        key_labelers, key_proportions, key_classes = jax.random.split(key, 3)
        class_probs, sites, log_density = _draw(
            key_labelers, key_proportions, labels, assessment, prior, class_prior, hard_label
        )
        total_probs = total_probs + jnp.where(is_kept, class_probs, 0.0)
        return (_classes_at(noise(key_classes), class_probs), total_probs), (sites, log_density)

    def chain(key: Key[Array, ""]) -> _Results:
        key_start, key_draws = jax.random.split(key)
        start = (_classes_at(noise(key_start), votes), jnp.zeros_like(votes))
        each = (jax.random.split(key_draws, num_warmup + num_draws), is_kept)
        (_, total_probs), drawn = jax.lax.scan(advance, start, each)
        sites, log_density = jax.tree.map(lambda values: values[num_warmup:], drawn)
        return sites, log_density, total_probs / num_draws

    return jax.vmap(chain)(keys)


def _draw(
    key_labelers: Key[Array, ""],
    key_proportions: Key[Array, ""],
    labels: Labels,
    assessment: Assessment,
    prior: AbstractConjugatePrior,
    class_prior: ClassPrior | None,
    hard_label: Int[Array, " num_examples"],
) -> tuple[Float[Array, "num_examples num_classes"], dict[str, Array], Float[Array, ""]]:
    """Class posteriors given parameters drawn given the labels; these by name, the log density."""
    one_hot = jax.nn.one_hot(hard_label, labels.num_classes)
    counts = prior.counts(labels, one_hot)
    log_density = prior.log_marginal(counts)
    model = prior.sample(key_labelers, counts)
    fields = dataclasses.fields(model)  # type: ignore[arg-type]
    sites = {f.name: getattr(model, f.name) for f in fields if not f.metadata.get("static")}
    if class_prior is None:
        num_of_class = one_hot.sum(axis=0)
        log_density = log_density + _log_prob_of_counts(num_of_class)
        proportions = jax.random.dirichlet(key_proportions, 1.0 + num_of_class)
        sites["class_prior"] = proportions
    else:
        # -inf where gold is of a class that its prior excludes.
        log_density = log_density + jax.scipy.special.xlogy(one_hot, class_prior).sum()
        proportions = class_prior
    class_probs = softmax_over_classes(jnp.log(proportions) + model.floored_evidence(labels))
    return variational.clamp(class_probs, assessment), sites, log_density


def _classes_at(
    noise: Float[Array, "num_examples one"], probs: Float[Array, "num_examples num_classes"]
) -> Int[Array, " num_examples"]:
    """A class for each example: one random number each, where Gumbel noise takes one per class."""
    return jnp.sum(noise >= jnp.cumsum(probs[:, :-1], axis=1), axis=1)


def _log_prob_of_counts(num_of_class: Float[Array, " num_classes"]) -> Float[Array, ""]:
    """Of the labels before any answer, proportions of the classes integrated out."""
    num_classes = num_of_class.shape[0]
    of_counts = jnp.sum(gammaln(1.0 + num_of_class))
    return of_counts + gammaln(float(num_classes)) - gammaln(num_classes + num_of_class.sum())
