"""Have the chains converged? Measures of every parameter, with a verdict in words and the mend.

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
        ConvergenceWarning: naming the worst parameter of each failed check and the mend.
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
    rhat = az.rhat(posterior)
    bulk, tail = az.ess(posterior, method="bulk"), az.ess(posterior, method="tail")
    mcse = az.mcse(posterior, method="mean") / posterior.std(["chain", "draw"], ddof=1)
    stats = _sample_stats(tree)
    divergent, cut = _count(stats, "diverging", 1), _count(stats, "n_steps", _LONGEST)
    bfmi = float(az.bfmi(tree)["energy"].min()) if "energy" in stats else float("nan")
    spread = _class_prob_range(tree)

    problems = []
    name, max_rhat = _extreme(rhat, largest=True)
    if not max_rhat <= MAX_RHAT:
        problems.append(
            f"R-hat of {name} is {max_rhat:.3f}, above {MAX_RHAT}: the chains disagree. "
            "Warm up longer, or look for two explanations of the same answers."
        )
    worst = {}
    for kind, ess in (("bulk", bulk), ("tail", tail)):
        name, worst[kind] = _extreme(ess, largest=False)
        if not worst[kind] >= min_ess:
            problems.append(
                f"effective sample size ({kind}) of {name} is {worst[kind]:.0f}, below "
                f"{min_ess}: draw more."
            )
    if divergent:
        problems.append(
            f"{divergent} transitions diverged: raise target_accept_prob, as the draws may miss "
            "part of the posterior."
        )
    if cut:
        problems.append(
            f"{cut} trajectories were cut off at their longest: parameters differ much in scale or "
            "depend on each other; warm up longer."
        )
    if bfmi < MIN_BFMI:
        problems.append(
            f"the energy moves too little between draws (BFMI {bfmi:.2f}, below {MIN_BFMI}): the "
            "tails are not reached. Draw more, or give the cohort's spread a tighter prior."
        )
    if spread > MAX_CLASS_PROB_RANGE:
        problems.append(
            f"chains differ by {spread:.2f} in the class probability of an example: they believe "
            "different labelers. Give gold, or a prior on which labelers are better than chance."
        )
    return Convergence(
        max_rhat,
        worst["bulk"],
        worst["tail"],
        _extreme(mcse, largest=True)[1],
        divergent,
        cut,
        bfmi,
        spread,
        tuple(problems),
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


def _sample_stats(tree: xr.DataTree) -> xr.Dataset:
    return tree["sample_stats"].to_dataset() if "sample_stats" in tree.children else xr.Dataset()


def _count(stats: xr.Dataset, name: str, least: int) -> int:
    return int((stats[name] >= least).sum()) if name in stats else 0


def _class_prob_range(tree: xr.DataTree) -> float:
    if CLASS_POSTERIOR not in tree.children:
        return float("nan")
    by_chain = tree[CLASS_POSTERIOR].to_dataset()["class_probs"].to_numpy()
    return float(np.max(by_chain.max(axis=0) - by_chain.min(axis=0), initial=0.0))


def _extreme(values: xr.Dataset, *, largest: bool) -> tuple[str, float]:
    """The parameter with the largest or smallest value, by name, and the value; NaN beats all."""
    found: tuple[str, float] | None = None
    for name, array in values.data_vars.items():
        filled = array.fillna(float("inf") if largest else float("-inf"))
        at = {d: int(i) for d, i in (filled.argmax(...) if largest else filled.argmin(...)).items()}
        value = float(filled[at])
        where = ", ".join(str(filled[at][d].item()) for d in filled.dims)
        label = f"{name}[{where}]" if where else str(name)
        if found is None or (value > found[1] if largest else value < found[1]):
            found = label, value
    assert found is not None, "a posterior has at least one parameter"
    return found
