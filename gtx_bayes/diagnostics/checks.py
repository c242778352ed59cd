"""Have the chains converged? Measures of every parameter, with a verdict in words and a hint.

Functions of other parameters are left out: they converge with what they are functions of, and there
can be many.

References:
    Vehtari et al. (2021), Rank-normalization, folding, and localization: an improved R-hat.
    Bayesian Analysis 16, for R-hat and effective sample sizes.
    Betancourt (2016), Diagnosing suboptimal cotangent disintegrations in Hamiltonian Monte Carlo,
    for the energy.
"""

import warnings
from typing import NamedTuple

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from gtx_bayes.diagnostics.to_arviz import CLASS_POSTERIOR, DETERMINISTIC

MAX_RHAT = 1.01
MIN_ESS_PER_CHAIN = 100
"""Thresholds of Vehtari et al. (2021), sec. 2."""

MIN_BFMI = 0.3
"""Energy that moves less between draws than this part of its variance speaks against a chain."""

MAX_CLASS_PROB_RANGE = 0.1
"""Chains that differ by more in an example's class probability explain the answers differently."""

MAX_SUMMARISED = 1000
"""Variables with more entries than this are left out of summaries unless asked for."""

_LONGEST = 2**10 - 1  # leapfrog steps of a trajectory that was cut off


class ConvergenceWarning(UserWarning):
    """The draws of a sampler are not to be trusted yet."""


class Convergence(NamedTuple):
    """How well the chains of a sampler agree.

    Attributes:
        max_rhat: largest rank-normalised R-hat over all parameters.
        min_ess_bulk: smallest effective sample size in the bulk.
        min_ess_tail: smallest effective sample size in the tails.
        max_mcse: largest Monte Carlo standard error of a mean, in posterior standard deviations.
        num_divergent: number of divergent transitions.
        num_cut: number of trajectories that reached the longest length.
        min_bfmi: smallest Bayesian fraction of missing information (energy) of a chain; NaN for
            samplers without energy.
        class_prob_range: largest difference between chains in the probability of an example's
            class; NaN where the tree has no class posterior.
        problems: what fails, and what to do about it; empty when nothing does.
    """

    max_rhat: float
    min_ess_bulk: float
    min_ess_tail: float
    max_mcse: float
    num_divergent: int
    num_cut: int
    min_bfmi: float
    class_prob_range: float
    problems: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether nothing fails."""
        return not self.problems

    @property
    def verdict(self) -> str:
        """All of it in a sentence or two."""
        if self.problems:
            return "The draws are not to be trusted yet: " + " ".join(self.problems)
        return (
            f"The chains agree: R-hat at most {self.max_rhat:.3f}, effective sample sizes at least "
            f"{min(self.min_ess_bulk, self.min_ess_tail):.0f}, means known to "
            f"{self.max_mcse:.2f} posterior standard deviations."
        )


def check_convergence(tree: xr.DataTree) -> Convergence:
    """`measure_convergence`, with a warning for everything that fails.

    Warns:
        ConvergenceWarning: naming the worst parameter of each failed check, with a hint.
    """
    found = measure_convergence(tree)
    for problem in found.problems:
        warnings.warn(problem, ConvergenceWarning, stacklevel=2)
    return found


def measure_convergence(tree: xr.DataTree) -> Convergence:
    """R-hat, effective sample sizes, errors, divergences and energy over all parameters.

    Takes about 4 ms per parameter.

    Args:
        tree: an ArviZ tree with a group `posterior`, and `sample_stats` if a sampler made it.
    """
    posterior = _parameters(tree)
    min_ess = MIN_ESS_PER_CHAIN * posterior.sizes["chain"]
    table = az.summary(posterior, kind="all", round_to="none")
    rhat = table["r_hat"].fillna(np.inf)
    ess = table[["ess_bulk", "ess_tail"]].fillna(-np.inf)
    stats = tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()
    divergent, cut = _count(stats, "diverging", 1), _count(stats, "n_steps", _LONGEST)
    bfmi = float(az.bfmi(tree)["energy"].min()) if "energy" in stats else float("nan")
    spread = _class_prob_range(tree)
    problems = {
        f"R-hat of {rhat.idxmax()} is {rhat.max():.3f}, above {MAX_RHAT}: the chains disagree. "
        "Warm up longer, or look for two explanations of the same answers.": rhat.max() > MAX_RHAT,
        **{
            f"effective sample size ({name.removeprefix('ess_')}) of {of.idxmin()} is "
            f"{of.min():.0f}, below {min_ess}: draw more.": of.min() < min_ess
            for name, of in ess.items()
        },
        f"{divergent} transitions diverged: raise target_accept_prob, as the draws may miss part "
        "of the posterior.": divergent,
        f"{cut} trajectories were cut off at their longest: parameters differ much in scale or "
        "depend on each other; warm up longer.": cut,
        f"the energy moves too little between draws (BFMI {bfmi:.2f}, below {MIN_BFMI}): the tails "
        "are not reached. Draw more, or give the cohort's spread a tighter prior.": bfmi < MIN_BFMI,
        f"chains differ by {spread:.2f} in the class probability of an example: they believe "
        "different labelers. Give gold, or a prior on which labelers are better than "
        "chance.": spread > MAX_CLASS_PROB_RANGE,
    }
    return Convergence(
        float(rhat.max()),
        float(ess["ess_bulk"].min()),
        float(ess["ess_tail"].min()),
        float((table["mcse_mean"] / table["sd"]).fillna(np.inf).max()),
        divergent,
        cut,
        bfmi,
        spread,
        tuple(words for words, fails in problems.items() if fails),
    )


def summarise(
    tree: xr.DataTree, var_names: list[str] | None = None, *, prob: float = 0.95
) -> pd.DataFrame:
    """ArviZ's summary: means, equal-tailed credible intervals, errors and convergence.

    Args:
        tree: an ArviZ tree with a group `posterior`.
        var_names: what to summarise; when absent every variable of at most `MAX_SUMMARISED`
            entries: a row takes about 3 ms.
        prob: level of the intervals.

    Raises:
        ValueError: if nothing is left.
    """
    posterior = tree["posterior"].to_dataset()
    num_draws = posterior.sizes["chain"] * posterior.sizes["draw"]
    if var_names is None:
        var_names = [
            str(name)
            for name, site in posterior.data_vars.items()
            if site.size <= MAX_SUMMARISED * num_draws
        ]
    if not var_names:
        raise ValueError(
            f"every variable has more than {MAX_SUMMARISED} entries: name those to summarise"
        )
    return az.summary(tree, var_names=var_names, ci_prob=prob, ci_kind="eti", round_to="none")


def _parameters(tree: xr.DataTree) -> xr.Dataset:
    """What was drawn."""
    posterior = tree["posterior"].to_dataset()
    given = posterior.attrs.get(DETERMINISTIC, ())
    given = [given] if isinstance(given, str) else list(given)  # a file keeps one name as a string
    return posterior.drop_vars([name for name in given if name in posterior])


def _count(stats: xr.Dataset, name: str, least: int) -> int:
    return int((stats[name] >= least).sum()) if name in stats else 0


def _class_prob_range(tree: xr.DataTree) -> float:
    if CLASS_POSTERIOR not in tree.children:
        return float("nan")
    by_chain = tree[CLASS_POSTERIOR].to_dataset()["class_probs"].to_numpy()
    return float(np.max(by_chain.max(axis=0) - by_chain.min(axis=0), initial=0.0))
