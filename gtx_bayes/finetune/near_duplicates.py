"""Images that are nearly copies of others: frames of one video, photographs of one thing."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float

NEIGHBOURS = 10
"""Which nearest image stands for the ordinary distance to the others."""

NEAR = 0.5
"""A nearest image at less than this share of the ordinary distance is nearly a copy."""

_ROWS = 1024  # images compared with all others at once


def near_duplicates(
    features: Float[np.ndarray, "num_images num_features"],
    others: Float[np.ndarray, "num_others num_features"],
) -> Bool[np.ndarray, " num_images"]:
    r"""Whether each image has nearly a copy among others, by the features of a network.

    It has if the nearest is less than half as far as the tenth nearest. Of images drawn
    independently with features of local dimension :math:`m` a share :math:`1 - (1 - 2^{-m})^9` has:
    .04 for :math:`m = 8`, .001 for :math:`m = 13`.

    Args:
        features: of the images.
        others: of the images to compare them with; none is nearly copied by fewer than ten.
    """
    if len(others) < NEIGHBOURS:
        return np.zeros(len(features), bool)
    mean, sd = others.mean(axis=0, dtype=np.float64), others.std(axis=0, dtype=np.float64)
    scale = np.where(sd > 0, 1.0 / np.where(sd > 0, sd, 1.0), 0.0)

    def directions(of: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        scaled = (np.asarray(of, np.float64) - mean) * scale
        return np.asarray(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12))

    targets = directions(others)
    found = []
    for start in range(0, len(features), _ROWS):
        squared = 2.0 - 2.0 * directions(features[start : start + _ROWS]) @ targets.T
        nearest = np.partition(np.maximum(squared, 0.0), (0, NEIGHBOURS - 1), axis=1)
        found.append(nearest[:, 0] < NEAR**2 * nearest[:, NEIGHBOURS - 1])
    return np.concatenate(found) if found else np.zeros(0, bool)
