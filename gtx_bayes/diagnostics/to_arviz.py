"""Posterior draws as ArviZ trees whose coordinates are the real names."""

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import numpy.typing as npt
import xarray as xr
from jaxtyping import Array, Key

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.nuts import Draws

_ARVIZ_NAMES = {"accept_prob": "acceptance_rate", "num_steps": "n_steps", "log_density": "lp"}

CLASS_POSTERIOR = "class_posterior"
"""Group of a tree that holds every example's class probabilities, chain by chain."""

DETERMINISTIC = "deterministic"
"""Attribute of the group `posterior`: names of the variables that are functions of others."""

_DIMS = {
    "accuracy": ("labeler", "class"),
    "class_prior": ("class",),
    "confusion": ("labeler", "class", "answer"),
    "hard_accuracy": ("labeler",),
    "log_odds": ("labeler", "class"),
    "log_ratios": ("labeler", "class"),
    "membership": ("labeler",),
}
"""What the axes of known sites stand for, after chains and draws, as many as a site has."""


def draw_accuracy(
    key: Key[Array, ""], posterior: BetaPosterior, *, num_chains: int = 4, num_draws: int = 1000
) -> Draws:
    """Independent draws from a closed-form posterior, laid out as chains so that tools fit."""
    draws = posterior.sample(key, (num_chains, num_draws))
    return Draws(posterior={"accuracy": np.asarray(draws)}, sample_stats={})


def to_datatree(
    draws: Draws,
    labeler_names: Sequence[object] | npt.NDArray[Any],
    *,
    class_names: Sequence[object] | npt.NDArray[Any] | None = None,
    of_labelers: Collection[str] = (),
) -> xr.DataTree:
    """Draws of the labelers' parameters as an ArviZ tree.

    Sites of the models here get the dimensions "labeler", "class" (the true one) and "answer": a
    "confusion" of shape (num_chains, num_draws, num_labelers, num_classes, num_classes) all
    three. Of other sites, and of axes that have another length than there are names, the
    dimensions keep ArviZ's default names.

    Args:
        draws: sites of shape (num_chains, num_draws, ...).
        labeler_names: names of the labelers, the coordinate of "labeler"; kept as text.
        class_names: names of the classes, likewise that of "class" and "answer"; when absent
            these dimensions keep their default names.
        of_labelers: names of further sites whose first axis is the labelers.

    Returns:
        A tree with the group `posterior` and, for draws of a sampler, `sample_stats`. The
        attribute `DETERMINISTIC` of `posterior` names the functions of other sites.
    """
    groups = {"posterior": draws.posterior}
    if draws.sample_stats:
        groups["sample_stats"] = {
            _ARVIZ_NAMES.get(name, name): values for name, values in draws.sample_stats.items()
        }
    coords = {"labeler": [str(name) for name in labeler_names]}
    if class_names is not None:
        coords["class"] = coords["answer"] = [str(name) for name in class_names]
    known = dict.fromkeys(of_labelers, ("labeler",)) | _DIMS
    dims = {
        name: _named_dims(known.get(name, ()), values.shape[2:], coords)
        for name, values in draws.posterior.items()
    }
    tree = az.from_dict(groups, coords=coords, dims=dims)
    tree["posterior"].attrs[DETERMINISTIC] = list(draws.deterministic)
    return tree


def _named_dims(
    names: Sequence[str], shape: Sequence[int], coords: Mapping[str, Sequence[str]]
) -> list[str]:
    """Names of the leading axes, up to the first that has none or another length."""
    dims = []
    for name, size in zip(names, shape, strict=False):
        if len(coords.get(name, ())) != size:
            break
        dims.append(name)
    return dims


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


def write_netcdf(tree: xr.DataTree, path: Path) -> None:
    """Write a tree to a file, by way of memory: on a full disk HDF5 crashes the whole program."""
    file = io.BytesIO()
    tree.to_netcdf(file, engine="h5netcdf")
    path.write_bytes(file.getvalue())
