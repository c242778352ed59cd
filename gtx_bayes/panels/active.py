r"""Gold drawn where it tells most, with probabilities that are known.

The variance of the estimate is least where the probability of being drawn is proportional to what
the proxies leave open, :math:`\pi_i \propto \sqrt{\sum_k m_{ik} (1 - m_{ik})}` (Neyman's
allocation). A model that is sure and wrong would never be found out that way; so a part of the
draws goes to all examples alike. The draw is systematic, with unequal probabilities: of exactly the
size asked for, and each example with its own probability.

References:
    Neyman (1934), On the two different aspects of the representative method. JRSS 97.
    Madow (1949), On the theory of systematic sampling, II. Annals of Mathematical Statistics 20.
    Zrnic and Candes (2024), Active statistical inference, for the mixture with even draws.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING

EVEN_PART = 0.5
"""Part of the draws that does not look at what is open."""


class DrawnGold(NamedTuple):
    """Examples to get gold labels for.

    Attributes:
        examples: one row each: `task`, its `probability` of being drawn, and the `weight` that
            `estimate` takes, one over it.
        num_open: of how many examples without gold they are drawn.
    """

    examples: pd.DataFrame
    num_open: int


def draw_gold(seed: int, result: Aggregation, number: int) -> DrawnGold:
    """Draw examples to get gold labels for, more often where the result leaves more open.

    Examples that are gold already are not drawn: with a blank weight they count as known, however
    they were picked.

    Args:
        seed: of the draw.
        result: what is known of the crowd so far.
        number: how many to draw.

    Raises:
        InputError: for more than there are, or none.
    """
    truth = np.asarray(result.crowd.assessment.true_label)
    at = np.flatnonzero(truth == MISSING)
    if not 1 <= number <= at.size:
        raise InputError(
            f"{number} of {at.size} examples without gold are to be drawn.",
            where="batch",
            hint=f"Give a number from 1 to {at.size}.",
        )
    probs = np.asarray(result.class_probs, np.float64)[at]
    chance = inclusion_probabilities(np.sqrt((probs * (1.0 - probs)).sum(axis=1)), number)
    taken = np.flatnonzero(systematic(np.random.default_rng(seed), chance))
    examples = pd.DataFrame(
        {
            "task": result.crowd.example_names[at[taken]],
            "probability": chance[taken],
            "weight": 1.0 / chance[taken],
        }
    )
    return DrawnGold(examples, int(at.size))


def inclusion_probabilities(
    size: Float[np.ndarray, " num_examples"], number: int
) -> Float[np.ndarray, " num_examples"]:
    """Probabilities that sum to a number, none above 1, half even and half in proportion to a size.

    Args:
        size: what each example's probability grows with, 0 or more.
        number: how many are to be drawn, at most as many as there are.
    """
    share = np.full(size.size, 1.0 / size.size)
    if size.sum() > 0.0:
        share = EVEN_PART * share + (1.0 - EVEN_PART) * size / size.sum()
    certain = np.zeros(size.size, bool)
    while True:
        found = np.ones(size.size)
        left = number - int(certain.sum())
        if not certain.all():
            found[~certain] = left * share[~certain] / share[~certain].sum()
        above = ~certain & (found >= 1.0)
        if not above.any():
            return found
        certain |= above


def systematic(
    rng: np.random.Generator, chance: Float[np.ndarray, " num_examples"]
) -> Bool[np.ndarray, " num_examples"]:
    """Which examples are drawn, as many as the probabilities sum to, in a random order."""
    order = rng.permutation(chance.size)
    total = round(float(chance.sum()))
    ends = np.cumsum(chance[order])
    ends *= total / ends[-1]  # rounding would lose the last
    places = rng.random() + np.arange(total)
    taken = np.zeros(chance.size, bool)
    taken[order[np.minimum(np.searchsorted(ends, places, side="right"), chance.size - 1)]] = True
    return taken
