"""What is believed of cohorts of labelers before any label."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class HyperPrior(NamedTuple):
    """What is believed of a cohort before any count: the prior of the prior, deliberately weak.

    Attributes:
        mean_a: first shape parameter of the Beta distribution of the mean accuracy.
        mean_b: its second shape parameter.
        log_concentration: mean of the normal distribution of the log-concentration.
        log_concentration_sd: its standard deviation.
    """

    mean_a: float
    mean_b: float
    log_concentration: float
    log_concentration_sd: float

    @classmethod
    def for_classes(cls, num_classes: int, skill: float = 0.5) -> "HyperPrior":
        """Labelers better than chance on average: mean half-way from chance to perfection.

        The mean is as uncertain as after eight answers, each of another labeler; the concentration
        is about 15 answers, between 2 and 110 at two standard deviations.

        Args:
            num_classes: K.
            skill: where the mean lies between chance, 0, and perfection, 1.
        """
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}, not at least 2")
        mean = skill + (1.0 - skill) / num_classes
        return cls(8.0 * mean, 8.0 * (1.0 - mean), float(np.log(15.0)), 1.0)


def better_than_chance(num_classes: int) -> Float[np.ndarray, "num_classes num_classes"]:
    """Mean confusion matrix under the `HyperPrior`: half-way to perfection, wrong labels alike."""
    hyper = HyperPrior.for_classes(num_classes)
    right = hyper.mean_a / (hyper.mean_a + hyper.mean_b)
    return np.where(np.eye(num_classes, dtype=bool), right, (1.0 - right) / (num_classes - 1))
