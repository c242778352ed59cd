"""What imputed labels are worth to a training, known before it: as so many images without error.

More images with more errors, or fewer with fewer? Both are brought to one number.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from gtx_bayes.finetune.targets import Targets

EXPONENT = 4.0
"""Exponent of `effective_number`, the likeliest for heads that learn every label by heart.

Fitted with `SLOPE` to pairs of trainings on drawn features and on features of photographs. Noise
put into labels directly asks for 3 on the former and 5 on the latter, for 2 where heads are trained
for five epochs instead of thirty (`experiments.noise_surface`): there the first step says most.
"""

SLOPE = 1.5
"""Slope of `prob_better`, fitted to the same pairs (`experiments.efficiency`)."""


def num_trained_on(targets: Targets) -> Float[Array, ""]:
    """N, the number of images that have a weight."""
    return jnp.sum((targets.weight > 0).astype(targets.weight.dtype))


def share_of_signal(
    targets: Targets, posterior: Float[Array, "num_images num_classes"]
) -> Float[Array, ""]:
    r"""By how much wrong labels thin out what a training sees of the classes: 1 for no error.

    With targets :math:`t_i`, weights :math:`w_i`, posteriors :math:`p_i` and
    :math:`c(v) = v - 1/K`,

    .. math::

        q^2 = \frac{\big(\sum_i w_i a_i\big)^2}{N \sum_i w_i^2 b_i}, \qquad
        a_i = \tfrac{K}{K-1} \, c(t_i) \cdot c(p_i), \quad
        b_i = \tfrac{K}{K-1} \, |c(t_i)|^2,

    over the N images with a weight. The first step from zero moves the kernel of a linear head by
    :math:`\sum_i w_i x_i c(t_i)^\top`. Let features be the mean of their class and noise. Where
    classes are even and errors spread evenly over them, the mean of that sum is the matrix of class
    means times :math:`\sum_i w_i a_i`, and where the noise is larger than the distances between
    classes its variance goes with :math:`\sum_i w_i^2 b_i`. So signal over noise is that of
    :math:`N q^2` labels without error.

    For hard labels with errors of rate :math:`\varepsilon`, whatever images they are on,

    .. math:: q = 1 - \frac{K}{K-1} \varepsilon ,

    the factor by which the expected loss falls as that of the true class does. Soft targets that
    are the posterior itself have :math:`q^2 = \sum_i b_i / N`, the mean square where hard ones have
    the square of the mean: never less, as far as the first step goes.

    Args:
        targets: what is trained towards.
        posterior: probability of each class of the same images given all their labels, from a model
            of the labelers (`gtx`, `gtx-bayes`), whatever method made the targets. A vote share is
            no probability and would judge itself.

    Returns:
        q, zero where the targets are expected to teach nothing, or the contrary.

    References:
        Angluin and Laird (1988), Learning from noisy examples: the number of examples needed grows
        as :math:`(1 - 2 \varepsilon)^{-2}`. Natarajan et al. (2013), Learning with noisy labels,
        for the expected loss.
    """
    num_classes = posterior.shape[1]
    scale = num_classes / (num_classes - 1)
    weight = jnp.where(targets.weight > 0, targets.weight, 0.0)
    target = jnp.where(targets.weight[:, None] > 0, targets.probs, 1.0 / num_classes)
    centred = target - 1.0 / num_classes
    signal = weight @ jnp.sum(centred * (posterior - 1.0 / num_classes), axis=1)
    noise = weight**2 @ jnp.sum(centred**2, axis=1)
    root = jnp.sqrt(num_trained_on(targets) * noise)
    return jnp.where(root > 0, jnp.sqrt(scale) * jnp.maximum(signal, 0.0) / root, 0.0)


def effective_number(
    targets: Targets,
    posterior: Float[Array, "num_images num_classes"],
    *,
    exponent: ScalarLike = EXPONENT,
) -> Float[Array, ""]:
    r"""Number of images without error that would teach as much: :math:`N q^\gamma`.

    Args:
        targets: what is trained towards, such as `targets.hard_targets` of a method's
            probabilities.
        posterior: what a model of the labelers knows, as in `share_of_signal`.
        exponent: :math:`\gamma`. The first step asks for 2; the longer a training, the more it
            suffers from errors.
    """
    return num_trained_on(targets) * share_of_signal(targets, posterior) ** exponent


def prob_better(
    first: ScalarLike, second: ScalarLike, *, slope: ScalarLike = SLOPE
) -> Float[Array, ""]:
    r"""Probability that of two trainings that with the first effective number errs less.

    .. math:: P = \frac{n_1^s}{n_1^s + n_2^s} ,

    one half for equal numbers.

    Args:
        first: effective number of a labelling.
        second: that of another.
        slope: s. It depends on how much one training errs more than another by chance, and so on
            images, network and number of images withheld.
    """
    log_first, log_second = (jnp.log(jnp.asarray(number, float)) for number in (first, second))
    equal = log_first == log_second  # also where both are zero
    return jax.nn.sigmoid(slope * jnp.where(equal, 0.0, log_first - log_second))
