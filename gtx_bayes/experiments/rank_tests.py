"""Are methods different? The rank tests of the paper's section 4: Friedman's, then Dunn's."""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float


class Friedman(NamedTuple):
    """Friedman's test: do methods rank alike within blocks?

    Attributes:
        statistic: chi-square on one degree of freedom less than there are methods; NaN where every
            block is one tie.
        p_value: of no difference; NaN likewise.
        num_blocks: how many blocks.
    """

    statistic: float
    p_value: float
    num_blocks: int


class Dunn(NamedTuple):
    """Dunn's test of every pair of methods.

    Attributes:
        p_value: two-sided, of no difference; symmetric, NaN where all values are one tie.
        p_value_holm: adjusted for the number of pairs (Holm, 1979).
    """

    p_value: Float[np.ndarray, "num_methods num_methods"]
    p_value_holm: Float[np.ndarray, "num_methods num_methods"]


def friedman(values: Float[np.ndarray, "num_blocks num_methods"]) -> Friedman:
    """Friedman's chi-square, ties corrected for.

    Values count by their rank within the block alone. Blocks are taken to be independent.

    Args:
        values: one for each block and method, of three methods or more.

    References:
        Friedman (1937), The use of ranks to avoid the assumption of normality implicit in the
        analysis of variance.
    """
    if np.all(values == values[:, :1]):
        return Friedman(np.nan, np.nan, len(values))
    found = scipy.stats.friedmanchisquare(*values.T)
    return Friedman(float(found.statistic), float(found.pvalue), len(values))


def dunn(values: Float[np.ndarray, "num_blocks num_methods"]) -> Dunn:
    """Dunn's test, by `scikit_posthocs`.

    Values of all blocks are ranked together: unlike Friedman's it does not know of blocks, and
    what blocks differ in counts as noise.

    Args:
        values: one for each block and method.

    References:
        Dunn (1964), Multiple comparisons using rank sums.
    """
    from scikit_posthocs import posthoc_dunn  # takes two seconds to import

    num_methods = values.shape[1]
    if np.all(values == values[0, 0]):
        unknown = np.full((num_methods, num_methods), np.nan)
        return Dunn(unknown, unknown)
    plain, adjusted = (posthoc_dunn(values.T, p_adjust=adjust) for adjust in (None, "holm"))
    return Dunn(plain.to_numpy(), adjusted.to_numpy())
