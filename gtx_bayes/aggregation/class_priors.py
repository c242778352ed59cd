"""Priors of the classes as people give them: by name, as shares, as counts."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.classes import some_names
from gtx_bayes.columns import Column, Names, Source, as_names, positions
from gtx_bayes.errors import InputError
from gtx_bayes.posterior import ClassPrior

NamedPrior = Mapping[Any, Any] | pd.Series
"""Probability of each class by its name."""


def class_counts(
    class_prior: npt.ArrayLike | NamedPrior, class_names: Names
) -> npt.NDArray[np.float64] | None:
    """A class prior that is given as counts of tasks; None for one that is not.

    Raises:
        InputError: for counts beside what is less than one task.
    """
    try:
        found = np.asarray(prior_in_order(class_prior, class_names), np.float64)
    except (TypeError, ValueError):
        return None
    is_counts = found.shape == (len(class_names),) and np.isfinite(found).all()
    if not is_counts or (found < 0.0).any() or (found <= 1.0).all():
        return None
    if ((found > 0.0) & (found < 1.0)).any():
        raise InputError(
            "shares and counts are mixed: some numbers are below 1, others above.",
            where="class_prior",
            hint="Give shares that sum to 1, or how many other tasks were of each class.",
        )
    return found


def check_class_prior(
    class_prior: npt.ArrayLike | NamedPrior, class_names: Names, num_examples: int
) -> ClassPrior:
    """A prior of the classes, for all examples or for each.

    Raises:
        InputError: for anything that is no distribution over these classes.
    """
    try:
        prior = np.asarray(prior_in_order(class_prior, class_names), np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the class prior is no array of numbers: {error}.",
            where="class_prior",
            hint="Give a probability for each class.",
        ) from error
    num_classes = len(class_names)
    if prior.shape not in ((num_classes,), (num_examples, num_classes)):
        raise InputError(
            f"the class prior has shape {prior.shape}.",
            hint=f"Give {num_classes} probabilities, in the order "
            f"{[str(name) for name in class_names]}, for all examples or for each.",
        )
    if not np.isfinite(prior).all() or (prior < 0).any():
        raise InputError(
            "the class prior holds values that are no probabilities.", hint="Give values in [0, 1]."
        )
    if not np.allclose(prior.sum(axis=-1), 1.0, atol=1e-6):
        raise InputError(
            f"the class prior sums to {prior.sum(axis=-1).flat[0]:g}.",
            hint="Give probabilities that sum to 1.",
        )
    return jax.device_put(prior.astype(jnp.result_type(float)))


def prior_in_order(class_prior: npt.ArrayLike | NamedPrior, class_names: Names) -> npt.ArrayLike:
    """A class prior given by name in the order of the classes; any other as it is.

    Raises:
        InputError: for a name that is no class, a class without a probability, and a data frame,
            whose rows would have to be matched with the examples.
    """
    if isinstance(class_prior, pd.DataFrame):
        raise InputError(
            "the class prior is a data frame, whose rows and columns have names.",
            hint="Give it as one of the `opinions`, or an array in the order of the examples.",
        )
    if not isinstance(class_prior, Mapping | pd.Series):
        return class_prior
    wanted = [str(name) for name in class_names]
    given = Column.of_cells(class_prior.keys(), "class_prior", Source("class_prior")).keys
    unknown = [key for key in given if key not in wanted]
    if unknown:
        raise InputError(
            f"the class prior names {some_names(unknown)}, and the classes are {wanted}.",
            hint="Name the classes as the answers do, or give the probabilities alone, in the "
            "order of the classes.",
        )
    missing = [name for name in wanted if name not in given]
    if missing:
        raise InputError(
            f"the class prior gives no probability to {some_names(missing)}.",
            hint=f"Give one to each of the classes {wanted}; it may be 0.",
        )
    if len(given) > len(wanted):
        raise InputError(
            f"the class prior names a class twice: {some_names(given)}.",
            hint="Give each class one probability.",
        )
    values = np.asarray(
        list(class_prior.values()) if isinstance(class_prior, Mapping) else class_prior
    )
    return values[positions(given, as_names(wanted))]
