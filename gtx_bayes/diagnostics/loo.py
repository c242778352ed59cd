r"""Leave-one-out cross-validation by importance sampling (PSIS-LOO): which model predicts better?

What is left out is an example with all its answers and, where it is gold, its class:

.. math:: \mathrm{elpd} = \sum_i \log p(\mathcal{L}(i) \mid \mathcal{L}(-i))

Labelers are then known from all other examples, so that a labeler with few answers is hard to leave
an example out of: Pareto k says where the estimate is not to be trusted. Models are compared on the
same examples; how often confidence is right is another question (`calibration`).

References:
    Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out
    cross-validation and WAIC. Statistics and Computing 27.
"""

from collections.abc import Mapping
from typing import NamedTuple

import arviz as az
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from gtx_bayes.diagnostics.sampling import LOG_LIKELIHOOD

MAX_NAMED = 5
"""How many examples with a large Pareto k are named at most."""


class LeaveOneOut(NamedTuple):
    """How well a model predicts examples that it did not see.

    Attributes:
        elpd: expected log predictive density of all examples, in nats; more is better.
        se: its standard error.
        num_parameters: effective number of parameters.
        pareto_k: of every example; above `good_k` its part of `elpd` is not to be trusted.
        good_k: the limit, which the number of draws decides.
        example_names: names of the examples.
    """

    elpd: float
    se: float
    num_parameters: float
    pareto_k: npt.NDArray[np.float64]
    good_k: float
    example_names: npt.NDArray[np.object_]

    @property
    def is_bad(self) -> npt.NDArray[np.bool_]:
        """Which examples' parts are not to be trusted."""
        return ~(self.pareto_k <= self.good_k)

    @property
    def worst(self) -> npt.NDArray[np.intp]:
        """Those of them with the largest Pareto k, at most `MAX_NAMED`, the largest first."""
        largest = np.argsort(-np.nan_to_num(self.pareto_k, nan=np.inf), kind="stable")
        return largest[: min(MAX_NAMED, int(self.is_bad.sum()))]

    @property
    def verdict(self) -> str:
        """The estimate and how far to trust it, in words."""
        mean = f"{self.elpd / self.pareto_k.size:.3f} nats an example"
        figures = f"elpd {self.elpd:.1f} (se {self.se:.1f}), {mean}"
        if not self.is_bad.any():
            return f"{figures}; every Pareto k is at most {self.good_k:.2f}: trust it."
        names = ", ".join(f"'{self.example_names[at]}'" for at in self.worst)
        return (
            f"{figures}; Pareto k of {int(self.is_bad.sum())} of {self.pareto_k.size} examples is "
            f"above {self.good_k:.2f} (largest: {names}): they decide what is known of some "
            "labeler, so fit without them, or draw more."
        )


def leave_one_out(tree: xr.DataTree) -> LeaveOneOut:
    """PSIS-LOO of a model.

    Args:
        tree: draws with the group `LOG_LIKELIHOOD`, from `sampling.with_log_likelihood`.

    Raises:
        ValueError: if that group is absent.
    """
    _check(tree)
    found = az.loo(tree, var_name="answers", pointwise=True)
    k = found.pareto_k
    return LeaveOneOut(
        float(found.elpd),
        float(found.se),
        float(found.p),
        np.asarray(k, np.float64),
        float(found.good_k),
        np.asarray(k["example"].to_numpy(), object),
    )


def compare_models(trees: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    """Models side by side, the best first: ArviZ's table of elpd, its differences and weights.

    Args:
        trees: draws by the name of their model, as for `leave_one_out`, of the same crowd.

    Raises:
        ValueError: for fewer than two models, or different examples.
    """
    if len(trees) < 2:
        raise ValueError(f"{len(trees)} model(s) cannot be compared: give at least 2")
    names = []
    for tree in trees.values():
        _check(tree)
        names.append(tree[LOG_LIKELIHOOD].to_dataset()["example"].to_numpy().tolist())
    if any(other != names[0] for other in names):
        raise ValueError("the models speak of different examples: fit them to the same crowd")
    return az.compare(dict(trees), var_name="answers", round_to="none")


def _check(tree: xr.DataTree) -> None:
    if LOG_LIKELIHOOD not in tree.children:
        raise ValueError(
            f"the tree has no group {LOG_LIKELIHOOD}: add it by sampling.with_log_likelihood"
        )
