"""Have the chains converged? R-hat and effective sample size, with a verdict in words."""

import warnings
from typing import NamedTuple

import arviz as az
import xarray as xr

MAX_RHAT = 1.01
MIN_ESS_PER_CHAIN = 100
"""Thresholds of Vehtari et al. (2021), Rank-normalization, folding, and localization, sec. 2."""


class ConvergenceWarning(UserWarning):
    """The draws of a sampler are not to be trusted yet."""


class Convergence(NamedTuple):
    """How well the chains of a sampler agree.

    Attributes:
        max_rhat: largest rank-normalised R-hat over all parameters.
        min_ess_bulk: smallest effective sample size in the bulk.
        min_ess_tail: smallest effective sample size in the tails.
        num_divergent: number of divergent transitions.
        problems: what fails, and what to do about it; empty when nothing does.
    """

    max_rhat: float
    min_ess_bulk: float
    min_ess_tail: float
    num_divergent: int
    problems: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether nothing fails."""
        return not self.problems


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
    """R-hat, effective sample sizes and divergences over every parameter of the posterior.

    Args:
        tree: an ArviZ tree with a group `posterior`, and `sample_stats` if a sampler made it.
    """
    posterior = tree["posterior"].to_dataset()
    min_ess = MIN_ESS_PER_CHAIN * posterior.sizes["chain"]
    rhat = az.rhat(posterior)
    bulk, tail = az.ess(posterior, method="bulk"), az.ess(posterior, method="tail")
    divergent = 0
    if "sample_stats" in tree.children and "diverging" in tree["sample_stats"]:
        divergent = int(tree["sample_stats"]["diverging"].sum())

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
    return Convergence(max_rhat, worst["bulk"], worst["tail"], divergent, tuple(problems))


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
