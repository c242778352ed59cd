r"""Is the inference right? Simulation-based calibration of any model and any method.

If the posterior is right, the rank of the true parameters, drawn from their prior, among L draws of
it is uniform over 0, ..., L, and so is that of any function of parameters and data. Rank the
log-likelihood of the data too: a posterior that ignores the data passes by its parameters alone
(Modrák et al., 2023). Ties are broken at random.

Every entry of every parameter is tested by the largest departure of the ranks' cumulative counts,
judged by the binomial law at each of the L values, with its exact p-value over all of them (the
test behind the simultaneous bands of Säilynoja et al., 2022). Entries of one simulation depend on
each other: each is tested over the simulations alone, and p-values are corrected by Holm's method.

Draws in a chain want thinning in `infer`: with an autocorrelation time :math:`\tau` the variance of
uniform ranks grows by a share of about :math:`2 (\tau - 1) / L`, as if the posterior were too
narrow. The verdict says so where that share passes half the variance's standard error.

References:
    Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based
    calibration. arXiv:1804.06788.
    Modrák et al. (2023), Simulation-based calibration checking for Bayesian computation: the
    choice of test quantities shapes sensitivity. Bayesian Analysis.
    Säilynoja, Bürkner and Vehtari (2022), Graphical test for discrete uniformity and its
    applications in goodness-of-fit evaluation and multiple sample comparison. Statistics and
    Computing 32.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats
from jaxtyping import Array, Key, PyTree, Shaped

Parameters = Mapping[str, Shaped[Array, "..."]]
"""Values by name: of the truth, or with a leading axis of draws."""

Simulate = Callable[[Key[Array, ""]], tuple[Parameters, Any]]
"""From a key the parameters, drawn from their prior, and data drawn given them."""

Infer = Callable[[Key[Array, ""], Any], Parameters]
"""From a key and data draws of the same parameters, (num_draws, ...) each."""

LEVEL = 0.01
"""An entry fails whose corrected p-value is below."""

MAX_Z = 3.0
"""A mean or a variance of ranks further off, in standard errors, gives a failure its name."""


def one_by_one(run: Callable[[Key[Array, ""]], PyTree], keys: Key[Array, " num_runs"]) -> PyTree:
    """`run(key)` for every key, in a loop of Python, the results stacked."""
    found = [jax.device_get(run(key)) for key in keys]
    return jax.tree.map(lambda *parts: np.stack(parts), *found)


class Quantity(NamedTuple):
    """One number, in every simulation.

    Attributes:
        name: of the parameter, with the place of the entry, as in "accuracy[3]".
        ranks: how many draws are below the truth.
        num_draws: L.
        truth: its true value.
        mean: posterior mean, of the draws.
        sd: posterior standard deviation, of the draws.
        autocorrelation: of successive draws, mean over simulations.
        p: of the ranks if they were uniform, this quantity alone.
        corrected_p: the same, corrected for the number of quantities.
    """

    name: str
    ranks: npt.NDArray[np.int64]
    num_draws: int
    truth: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    sd: npt.NDArray[np.float64]
    autocorrelation: float
    p: float
    corrected_p: float

    @property
    def fits(self) -> bool:
        """Whether the ranks can be uniform."""
        return self.corrected_p >= LEVEL

    @property
    def shift(self) -> float:
        """Mean of the ranks off the middle, in standard errors: positive if draws are too low."""
        return float(self._centred.mean() * np.sqrt(self.ranks.size / self._variance))

    @property
    def spread(self) -> float:
        """Variance of the ranks off that of uniform ones, in standard errors.

        Positive if the draws are too narrow.
        """
        squares = self._centred**2
        values = np.arange(self.num_draws + 1) - self.num_draws / 2.0
        error = np.std(values**2) / np.sqrt(self.ranks.size)
        return float((squares.mean() - self._variance) / error)

    @property
    def sd_ratio(self) -> float:
        """Posterior standard deviation over the error of the posterior mean, root mean squares.

        One if the posterior is as wide as it should be, below one if it is too narrow.
        """
        return float(np.sqrt(np.mean(self.sd**2) / np.mean((self.truth - self.mean) ** 2)))

    def coverage(self, prob: float) -> float:
        """Share of simulations with the truth inside the equal-tailed credible interval.

        The interval holds the middle ranks; it is exact where L + 1 ranks can be parted so, as
        with L = 99 and 0.9 or 0.5.
        """
        return float(np.mean(np.abs(self._centred) < prob * (self.num_draws + 1) / 2.0))

    @property
    def shape(self) -> tuple[str, ...]:
        """How the draws are off, in words: by the mean and the variance of the ranks."""
        found = []
        if abs(self.shift) > MAX_Z:
            found.append("too low" if self.shift > 0 else "too high")
        if abs(self.spread) > MAX_Z:
            found.append("too narrow" if self.spread > 0 else "too wide")
        return tuple(found) or ("off in another way",)

    @property
    def is_thin_enough(self) -> bool:
        """Whether autocorrelation moves the ranks' variance by less than half its error."""
        r = np.clip(self.autocorrelation, 0.0, 0.99)
        excess = 2.0 * (2.0 * r / (1.0 - r)) / self.num_draws
        return bool(excess < 0.5 * np.sqrt(0.8 / self.ranks.size))

    @property
    def verdict(self) -> str:
        """All of it in words, and what to do."""
        figures = f"(corrected p {as_text(self.corrected_p)})"
        if self.fits:
            return f"{self.name}: nothing speaks against its posterior {figures}"
        hints = " ".join(_HINTS[fault] for fault in self.shape)
        return f"{self.name}: the posterior is {' and '.join(self.shape)} {figures}. {hints}"

    @property
    def _variance(self) -> float:
        """Of uniform ranks."""
        return ((self.num_draws + 1) ** 2 - 1) / 12.0

    @property
    def _centred(self) -> npt.NDArray[np.float64]:
        return np.asarray(self.ranks - self.num_draws / 2.0, np.float64)


_HINTS = {
    "too low": "Look for a prior or a likelihood that pulls it down, and for draws of a warm-up "
    "that came from below.",
    "too high": "Look for a prior or a likelihood that pushes it up, and for draws of a warm-up "
    "that came from above.",
    "too narrow": "Look for an uncertainty that the inference takes for certain, a simulation "
    "wider than the model's prior, a mode that chains miss, and draws that want thinning.",
    "too wide": "Look for data that the inference leaves unused or counts for less, and a prior "
    "wider than the simulation's.",
    "off in another way": "Look at the plot of its ranks.",
}


class InferenceChecks(NamedTuple):
    """What the simulations say of an inference.

    Attributes:
        quantities: every entry of every parameter, and of the quantities given besides, in the
            order of their names.
    """

    quantities: tuple[Quantity, ...]

    @property
    def fits(self) -> bool:
        """Whether the ranks of all can be uniform."""
        return all(quantity.fits for quantity in self.quantities)

    @property
    def worst(self) -> Quantity:
        """The one with the smallest p-value."""
        return min(self.quantities, key=lambda quantity: quantity.p)

    def named(self, name: str) -> Quantity:
        """The quantity of this name, "accuracy[3]" say.

        Raises:
            KeyError: if there is none.
        """
        return {quantity.name: quantity for quantity in self.quantities}[name]

    @property
    def problems(self) -> tuple[str, ...]:
        """What fails, worst first, and what wants thinning; empty when nothing does."""
        failed = sorted((q for q in self.quantities if not q.fits), key=lambda quantity: quantity.p)
        thick = [q for q in self.quantities if not q.is_thin_enough]
        found = [quantity.verdict for quantity in failed]
        if thick:
            worst = max(thick, key=lambda quantity: quantity.autocorrelation)
            found.append(
                f"{worst.name}: successive draws correlate ({worst.autocorrelation:.2f}), which "
                "alone makes ranks look too narrow. Thin the draws."
            )
        return tuple(found)

    @property
    def verdict(self) -> str:
        """All of it in a few sentences."""
        if not self.problems:
            return "Nothing in these ranks speaks against the inference."
        head = "" if self.fits else "The inference is not right. "
        return head + "\n".join(self.problems)

    def table(self) -> pd.DataFrame:
        """A row for every quantity."""
        return pd.DataFrame(
            {
                "quantity": q.name,
                "num_simulations": q.ranks.size,
                "p": q.p,
                "corrected_p": q.corrected_p,
                "shift": q.shift,
                "spread": q.spread,
                "sd_ratio": q.sd_ratio,
                "coverage_50": q.coverage(0.5),
                "coverage_90": q.coverage(0.9),
                "autocorrelation": q.autocorrelation,
            }
            for q in self.quantities
        )


def simulation_based_calibration(
    key: Key[Array, ""],
    simulate: Simulate,
    infer: Infer,
    *,
    num_simulations: int,
    quantities: Callable[[Parameters, Any], Parameters] = lambda parameters, data: {},
    map_keys: Callable[..., Any] = one_by_one,
) -> InferenceChecks:
    """Rank true parameters among draws from their posterior, in many simulations.

    Args:
        key: random key.
        simulate: from a key parameters from the prior, and data given them. The prior must be
            that of the inference.
        infer: from a key and the data L draws of the same parameters, further names ignored.
            Take L + 1 as a number with many divisors, 100 say. Draws of a chain want thinning.
        num_simulations: how many; an interval's coverage of 0.9 is then known up to
            0.3 / sqrt(num_simulations).
        quantities: what else to rank: functions of parameters and data, of the truth and of every
            draw alike. The log-likelihood is worth it.
        map_keys: how simulations are run. Where both functions are pure JAX,
            `experiments.runs.map_runs` compiles them once and keeps all cores busy; `simulate`
            and `infer` are then best made once, since each function is compiled anew.

    Raises:
        ValueError: for parameters without draws, draws of another shape than the truth, and
            values that are NaN.
    """
    run = functools.partial(_simulate_once, simulate, infer, quantities)
    found = map_keys(run, jax.random.split(key, num_simulations))
    entries = []
    for name, ranked in sorted(found.items()):
        if (ranked.ranks < 0).any():
            bad = int((ranked.ranks < 0).reshape(num_simulations, -1).any(axis=1).sum())
            raise ValueError(f"{name} is NaN in {bad} of {num_simulations} simulations")
        for at in np.ndindex(ranked.ranks.shape[1:]):  # entry by entry, over all simulations
            entry = ranked._make(np.asarray(part)[(slice(None), *at)] for part in ranked)
            num_draws = int(entry.num_draws[0])
            p = uniformity_p(entry.ranks, num_draws)
            entries.append(
                Quantity(
                    f"{name}[{', '.join(map(str, at))}]" if at else name,
                    entry.ranks.astype(np.int64),
                    num_draws,
                    entry.truth.astype(np.float64),
                    entry.mean.astype(np.float64),
                    entry.sd.astype(np.float64),
                    float(entry.autocorrelation.mean()),
                    p,
                    p,
                )
            )
    corrected = holm([quantity.p for quantity in entries])
    return InferenceChecks(
        tuple(
            quantity._replace(corrected_p=p) for quantity, p in zip(entries, corrected, strict=True)
        )
    )


class _Ranked(NamedTuple):
    """One parameter in one simulation, or in all, stacked; -1 for the rank of NaN."""

    ranks: Shaped[Any, "..."]
    num_draws: Shaped[Any, "..."]
    truth: Shaped[Any, "..."]
    mean: Shaped[Any, "..."]
    sd: Shaped[Any, "..."]
    autocorrelation: Shaped[Any, "..."]


def _simulate_once(
    simulate: Simulate,
    infer: Infer,
    quantities: Callable[[Parameters, Any], Parameters],
    key: Key[Array, ""],
) -> dict[str, _Ranked]:
    key_simulate, key_infer, key_ties = jax.random.split(key, 3)
    truth, data = simulate(key_simulate)
    draws = infer(key_infer, data)
    missing = sorted(set(truth) - set(draws))
    if missing:
        raise ValueError(f"the inference draws no {', '.join(missing)}")
    together = {}
    for name, value in truth.items():
        one, many = jnp.asarray(value), jnp.asarray(draws[name])
        if many.shape[1:] != one.shape or many.shape[0] < 2:
            raise ValueError(
                f"draws of {name} have shape {many.shape}: not two or more, each of the truth's "
                f"shape {one.shape}"
            )
        together[name] = jnp.concatenate([one[None], many])
    # Compiled as one for the truth and the draws: rounding must not tell equal values apart.
    together |= jax.vmap(lambda one: quantities(one, data))(together)
    keys = jax.random.split(key_ties, len(together))
    return {
        name: _rank(one, values[0], values[1:])
        for (name, values), one in zip(together.items(), keys, strict=True)
    }


@jax.jit
def _rank(
    key: Key[Array, ""], truth: Shaped[Array, "*shape"], draws: Shaped[Array, "num_draws ..."]
) -> _Ranked:
    num_draws = draws.shape[0]
    mean, sd = draws.mean(axis=0), draws.std(axis=0, ddof=1)
    away = draws - mean
    product = jnp.mean(away[1:] * away[:-1], axis=0)
    autocorrelation = jnp.where(sd > 0, product / jnp.where(sd > 0, sd**2, 1.0), 0.0)
    is_nan = jnp.isnan(truth) | jnp.isnan(draws).any(axis=0)
    rank = jnp.where(is_nan, -1, rank_among(key, truth, draws))
    return _Ranked(rank, jnp.full(truth.shape, num_draws), truth, mean, sd, autocorrelation)


def rank_among(
    key: Key[Array, ""], truth: Shaped[Array, "*shape"], draws: Shaped[Array, "num_draws ..."]
) -> Shaped[Array, "*shape"]:
    """How many draws are below the truth, and of those that equal it a random number."""
    below = jnp.sum(draws < truth, axis=0)
    equal = jnp.sum(draws == truth, axis=0)
    return below + jax.random.randint(key, truth.shape, 0, equal + 1)


def as_text(p: float) -> str:
    """A p-value, as far as its arithmetic resolves it."""
    return "< 1e-9" if p < 1e-9 else f"= {p:.2g}"


def holm(p: list[float]) -> list[float]:
    """P-values corrected for their number, whatever their dependence.

    References:
        Holm (1979), A simple sequentially rejective multiple test procedure. Scandinavian Journal
        of Statistics 6.
    """
    order = np.argsort(p)
    scaled = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected.tolist()


def uniformity_p(ranks: npt.NDArray[np.integer], num_draws: int) -> float:
    r"""P-value of ranks that are uniform over 0, ..., L, exact for any number of them.

    The statistic is the smallest two-sided binomial tail probability of the number of ranks
    :math:`\le k`, over k.
    """
    counts = np.cumsum(np.bincount(ranks, minlength=num_draws + 1))[:-1]
    tails = _tails(ranks.size, num_draws)
    least = tails[np.arange(num_draws), counts].min()
    return float(np.clip(1.0 - _prob_inside(*_limits(tails, least), ranks.size), 0.0, 1.0))


@functools.lru_cache(maxsize=64)
def ecdf_band(
    num_simulations: int, num_draws: int, prob: float = 0.95
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    r"""Limits of the number of ranks :math:`\le k` for k = 0, ..., L - 1, simultaneous.

    Uniform ranks stay within all of them with at least this probability; the narrowest such limits
    that have one binomial tail probability in common.
    """
    tails = _tails(num_simulations, num_draws)
    low, high = -40.0, 0.0  # logarithms of the tail: the first surely wide enough
    for _ in range(40):
        middle = (low + high) / 2.0
        wide = _prob_inside(*_limits(tails, np.exp(middle)), num_simulations) >= prob
        low, high = (middle, high) if wide else (low, middle)
    return _limits(tails, np.exp(low))


@functools.lru_cache(maxsize=16)
def _tails(num_simulations: int, num_draws: int) -> npt.NDArray[np.float64]:
    """Two-sided tail probability of each count of ranks up to k, shape (L, N + 1)."""
    share = np.arange(1, num_draws + 1)[:, None] / (num_draws + 1)
    counts = np.arange(num_simulations + 1)
    law = scipy.stats.binom(num_simulations, share)
    return np.minimum(2.0 * np.minimum(law.cdf(counts), law.sf(counts - 1)), 1.0)


def _limits(
    tails: npt.NDArray[np.float64], least: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Smallest and largest counts with a larger tail probability than `least`, for every k."""
    inside = tails > least * (1.0 + 1e-9)  # tails that are equal but for rounding are not larger
    low, high = np.argmax(inside, axis=1), tails.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1)
    is_empty = ~inside.any(axis=1)
    return np.where(is_empty, 1, low), np.where(is_empty, 0, high)


def _prob_inside(
    low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], num_simulations: int
) -> float:
    """Probability that the counts of uniform ranks keep within limits, up to every k.

    The numbers of ranks at each value are those of independent Poisson variables, given their
    sum: a running sum that is cut off outside the limits, step by step.
    """
    if (low > high).any():
        return 0.0
    law = scipy.stats.poisson.pmf(np.arange(num_simulations + 1), num_simulations / (low.size + 1))
    start, probs = 0, np.ones(1)
    for least, most in zip([*low, num_simulations], [*high, num_simulations], strict=True):
        reached = np.convolve(probs, law[: most - start + 1])
        first = max(least, start)
        start, probs = first, reached[first - start : most - start + 1]
    return float(probs.sum() / scipy.stats.poisson.pmf(num_simulations, num_simulations))
