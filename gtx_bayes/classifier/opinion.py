r"""What images alone say of their labels, judged by a classifier trained without them.

A network agrees with labels it was trained on, wrong ones among them. So the labels are hidden a
fifth at a time, groups whole, and heads on the network's features are trained on the others. The
features have seen all labels where the whole network was trained, which leaves a heads' opinion
somewhat too agreeable; pretrained features that stayed as they were have seen none.

With :math:`q_{i,y}` the opinion, :math:`p_{i,y}` the class posterior of the crowd and
:math:`\pi_{i,y}` the prior behind it, whoever believes both holds

.. math:: r_{i,y} \propto \frac{q_{i,y} \, p_{i,y}}{\pi_{i,y}} ,

since :math:`p / \pi` is the likelihood of the answers, and these and the image are independent
given the class. They are not quite: labelers who all err alike on images that look alike have
taught the opinion to err so too.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import scipy.special
from jaxtyping import Array, Bool, Float, Int, Key

from gtx_bayes.finetune.head import Head, HeadConfig, train_head
from gtx_bayes.finetune.predictions import class_probs, temperature_towards
from gtx_bayes.finetune.split import generator
from gtx_bayes.finetune.targets import Targets, only

NUM_FOLDS = 5


class Opinion(NamedTuple):
    """Class probabilities of images, each from a head that was trained without its group.

    Attributes:
        class_probs: tempered.
        temperature: by which; found on the opinion itself, towards the imputed probabilities.
    """

    class_probs: Float[np.ndarray, "num_images num_classes"]
    temperature: float


def form_opinion(
    key: Key[Array, ""],
    features: Float[np.ndarray, "num_images num_features"],
    targets: Targets,
    imputed_probs: Float[np.ndarray, "num_images num_classes"],
    group: Int[np.ndarray, " num_images"],
    config: HeadConfig,
) -> Opinion:
    """What heads on these features say of images whose labels they were trained without.

    Args:
        key: random key of the parts, and of the heads.
        features: of the images.
        targets: what to train towards; images without a weight are judged all the same.
        imputed_probs: class probabilities that the temperature makes the opinion honest about.
        group: number of each image's group.
        config: how heads are trained.

    Raises:
        ValueError: if all images are of one group.
    """
    key_folds, key_heads = jax.random.split(key)
    fold = _folds(key_folds, group)
    num_folds = int(fold.max()) + 1

    def fitted(key: Key[Array, ""], hidden: Bool[Array, " num_images"]) -> Head:
        return train_head(key, features, only(targets, ~hidden), config)

    hidden = jnp.asarray(fold == np.arange(num_folds)[:, None])
    heads = jax.vmap(fitted)(jax.random.split(key_heads, num_folds), hidden)
    every = np.asarray(jax.vmap(Head.logits, in_axes=(0, None))(heads, jnp.asarray(features)))
    logits = every[fold, np.arange(len(fold))]
    temperature = temperature_towards(logits, imputed_probs)
    return Opinion(class_probs(np.asarray(logits, np.float64), temperature), temperature)


def _folds(key: Key[Array, ""], group: npt.NDArray[np.integer]) -> npt.NDArray[np.intp]:
    """Number of each image's part; groups stay whole."""
    number = np.unique(group, return_inverse=True)[1]
    num_groups = int(number.max(initial=-1)) + 1
    if num_groups < 2:
        raise ValueError(f"{num_groups} group(s): no image can be judged without its group")
    return (generator(key).permutation(num_groups) % min(NUM_FOLDS, num_groups))[number]


def believed(
    opinion: Float[np.ndarray, "num_images num_classes"],
    posterior: Float[np.ndarray, "num_images num_classes"],
    prior: Float[np.ndarray, "num_images num_classes"],
) -> Float[np.ndarray, "num_images num_classes"]:
    """Class probabilities under both the opinion and the crowd: r of the module.

    Where the crowd is certain, or the label known, it stays certain.

    Args:
        opinion: q, positive.
        posterior: p.
        prior: what p held before any answer; zero only where p is.
    """
    with np.errstate(divide="ignore"):
        log_evidence = np.where(posterior > 0, np.log(posterior) - np.log(prior), -np.inf)
    return np.asarray(scipy.special.softmax(np.log(opinion) + log_evidence, axis=1))
