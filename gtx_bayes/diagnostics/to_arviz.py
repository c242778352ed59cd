"""Posterior draws as ArviZ trees whose coordinates are the real names."""

from collections.abc import Sequence
from typing import Any

import arviz as az
import numpy as np
import numpy.typing as npt
import xarray as xr
from jaxtyping import Array, Key

from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.nuts import Draws

_ARVIZ_NAMES = {"accept_prob": "acceptance_rate", "num_steps": "n_steps"}


def draw_accuracy(
    key: Key[Array, ""], posterior: BetaPosterior, *, num_chains: int = 4, num_draws: int = 1000
) -> Draws:
    """Independent draws from a closed-form posterior, laid out as chains so that tools fit."""
    draws = posterior.sample(key, (num_chains, num_draws))
    return Draws(posterior={"accuracy": np.asarray(draws)}, sample_stats={})


def to_datatree(draws: Draws, labeler_names: Sequence[object] | npt.NDArray[Any]) -> xr.DataTree:
    """Draws of the labelers' parameters as an ArviZ tree.

    Args:
        draws: sites of shape (num_chains, num_draws) are scalars of the cohort; those of shape
            (num_chains, num_draws, num_labelers) get the dimension "labeler".
        labeler_names: names of the labelers, the coordinate of that dimension; kept as text.

    Returns:
        A tree with the group `posterior` and, for draws of a sampler, `sample_stats`.
    """
    groups = {"posterior": draws.posterior}
    if draws.sample_stats:
        groups["sample_stats"] = {
            _ARVIZ_NAMES.get(name, name): values for name, values in draws.sample_stats.items()
        }
    per_labeler = [name for name, values in draws.posterior.items() if values.ndim == 3]
    return az.from_dict(
        groups,
        coords={"labeler": [str(name) for name in labeler_names]},
        dims={name: ["labeler"] for name in per_labeler},
    )


def draw_labelers(
    key: Key[Array, ""], result: Aggregation, *, num_draws: int = 1000
) -> xr.DataTree:
    """Four chains of draws of the labelers' accuracies from a result's posterior.

    Raises:
        ValueError: if the method has no posterior.
    """
    if result.fit.posterior is None:
        raise ValueError(f"{result.method} has no posterior to draw from")
    draws = draw_accuracy(key, result.fit.posterior, num_draws=num_draws)
    return to_datatree(draws, result.crowd.labeler_names)
