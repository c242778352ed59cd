"""A result once more by sampling: draws as a tree with the real names, checked as they are made."""

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Array, Key

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.diagnostics.checks import check_convergence
from gtx_bayes.diagnostics.to_arviz import CLASS_POSTERIOR, to_datatree
from gtx_bayes.inference import pointwise
from gtx_bayes.inference.automatic import AutomaticPrior
from gtx_bayes.inference.crowd_models import crowd_model
from gtx_bayes.inference.crowd_nuts import NutsFit, fit_nuts
from gtx_bayes.inference.gibbs import GibbsFit, run_gibbs
from gtx_bayes.inference.joint import JointPosterior
from gtx_bayes.models.conjugate import AbstractConjugatePrior

LOG_LIKELIHOOD = "log_likelihood"
"""Group of a tree that holds every example's log-likelihood, draw by draw: "answers"."""


def sample_posterior(
    key: Key[Array, ""],
    result: Aggregation,
    method: str | None = None,
    **options: Any,
) -> xr.DataTree:
    """Draws from the posterior behind a result, labelers independent given the classes.

    The labeler model is the result's. "gibbs" holds its cohort prior fixed where the fit left it,
    and knows conjugate models whose classes have no subclasses; "nuts" knows all, and samples what
    the cohort shares as well. A class prior that was learnt is drawn too.

    Args:
        key: random key.
        result: of a method with a joint posterior.
        method: "gibbs" or "nuts"; when absent the first that knows the model.
        **options: more arguments of `gibbs.run_gibbs` or `crowd_nuts.fit_nuts`: `num_warmup`,
            `num_draws`, `num_chains`, and for "nuts" `target_accept_prob`.

    Returns:
        An ArviZ tree with the groups `posterior`, `sample_stats` and `CLASS_POSTERIOR`, whose
        coordinates are the names of labelers, classes and examples. It goes to a file and back
        by `to_netcdf(path, engine="h5netcdf")` and `arviz.from_netcdf`.

    Raises:
        ValueError: for an unknown method, a result without joint posterior, a model that the
            method does not know, or, for "nuts", a class prior of every example's own.

    Warns:
        ConvergenceWarning: for everything that speaks against the draws, with a hint.
    """
    found = _joint(result)
    if method is None:
        is_known = (
            isinstance(found.prior, AbstractConjugatePrior) and found.prior.num_subclasses == 1
        )
        method = "gibbs" if is_known else "nuts"
    labels, gold = result.crowd.labels, result.crowd.assessment
    if gold.earlier is not None:
        raise ValueError("draws know of no history and no counts of classes: fit without them")
    class_prior = found.given_class_prior
    drawn: GibbsFit | NutsFit
    if method == "gibbs":
        drawn = run_gibbs(key, labels, gold, found.prior, class_prior, **options)
    elif method == "nuts":
        if class_prior is not None and class_prior.ndim == 2:
            raise ValueError('"nuts" takes one class prior for all examples: use "gibbs"')
        drawn = fit_nuts(key, found.labeler_model, labels, gold, class_prior, **options)
    else:
        raise ValueError(f"there is no sampler '{method}': choose one of gibbs, nuts")
    crowd = result.crowd
    tree = to_datatree(
        drawn.draws,
        crowd.labeler_names,
        class_names=crowd.class_names,
        of_labelers=(
            found.prior.labeler_sites() if isinstance(found.prior, AutomaticPrior) else ()
        ),
    )
    tree.attrs.update(model=found.model, method=method)
    tree[CLASS_POSTERIOR] = xr.Dataset(
        {"class_probs": (("chain", "example", "class"), np.asarray(drawn.class_probs_by_chain))},
        coords={
            "chain": np.arange(len(drawn.class_probs_by_chain)),
            "example": [str(name) for name in crowd.example_names],
            "class": [str(name) for name in crowd.class_names],
        },
    )
    check_convergence(tree)
    return tree


def with_log_likelihood(tree: xr.DataTree, result: Aggregation) -> xr.DataTree:
    """The same tree with the group `LOG_LIKELIHOOD`: every example given every draw.

    A float per draw and example: 2000 draws of 5000 examples are 40 MB.

    Args:
        tree: what `sample_posterior` made.
        result: of what.
    """
    found, crowd = _joint(result), result.crowd
    sites = {str(name): np.asarray(site) for name, site in tree["posterior"].to_dataset().items()}
    if tree.attrs["method"] == "nuts":
        bound = crowd_model(found.labeler_model, found.given_class_prior)
        values = pointwise.of_crowd_model(bound, crowd.labels, crowd.assessment, sites)
    else:
        values = pointwise.of_labelers(
            found.labelers, crowd.labels, crowd.assessment, sites, found.given_class_prior
        )
    posterior = tree["posterior"]
    longer = tree.copy()
    longer[LOG_LIKELIHOOD] = xr.Dataset(
        {"answers": (("chain", "draw", "example"), np.asarray(values))},
        coords={
            "chain": posterior["chain"].values,
            "draw": posterior["draw"].values,
            "example": [str(name) for name in crowd.example_names],
        },
    )
    return longer


def _joint(result: Aggregation) -> JointPosterior:
    """That of the heaviest model."""
    if result.fit.joint is None:
        raise ValueError(f"{result.method} has no joint posterior to draw from: use gtx-bayes")
    return result.fit.joint.lead
