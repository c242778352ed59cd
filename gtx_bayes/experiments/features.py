"""Features of images for studies that train thousands of heads: drawn, or of a frozen network."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from gtx_bayes.finetune.split import Split


class Features(NamedTuple):
    """What a head sees of images, and their classes.

    Attributes:
        pool: features of the images to be labelled.
        pool_label: their true classes.
        gold_label: true classes of the images that assess the labelers.
        evaluation: features of the images withheld.
        evaluation_label: their true classes.
    """

    pool: Float[Array, "num_pool num_features"]
    pool_label: Int[Array, " num_pool"]
    gold_label: Int[Array, " num_gold"]
    evaluation: Float[Array, "num_evaluation num_features"]
    evaluation_label: Int[Array, " num_evaluation"]


class AbstractFeatures(abc.ABC):
    """Where features come from: a frozen dataclass; a subclass is final.

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @property
    def most(self) -> int | None:
        """The largest pool there is; None for no limit."""
        return None

    @abc.abstractmethod
    def draw(self, key: Key[Array, ""], num_pool: int) -> Features:
        """A pool of so many images, and the others that a study needs."""

    @abc.abstractmethod
    def described(self) -> str:
        """One sentence for the notes of a study."""

    def within(self, sizes: Sequence[int]) -> list[int]:
        """Those of the sizes that a pool can have.

        Raises:
            ValueError: if none is small enough.
        """
        found = [size for size in sizes if self.most is None or size <= self.most]
        if not found:
            raise ValueError(f"no pool of {sizes} is within {self.most} images")
        return found


@dataclasses.dataclass(frozen=True)
class DrawnFeatures(AbstractFeatures):
    r"""Two Gaussian classes whose spectrum is that of a frozen EfficientNet-b0 on photographs.

    Feature k, before all are turned at random, is normal with variance :math:`1 / k` in each class,
    and the means of the classes differ by :math:`\sqrt{a} \, k^{-1/4}` of its standard deviations.
    That is about what features of 1,344 photographs of magnetic tiles look like (weights of
    ImageNet, defects or none): variances fall as :math:`k^{-0.8}` to :math:`k^{-1.3}`, squared
    distances from 0.2 at the first features to 0.03 at the hundredth. Heads learn from both alike;
    features of equal variance need four times as many images to be any use.

    Attributes:
        num_features: how many.
        separation: a.
        share: share of the second class.
        num_gold: images that assess the labelers.
        num_evaluation: images withheld.
    """

    num_features: int = 128
    separation: float = 0.18
    share: float = 0.3
    num_gold: int = 100
    num_evaluation: int = 4000

    num_classes = 2

    def draw(self, key: Key[Array, ""], num_pool: int) -> Features:
        """New images each time, and another turn."""
        key_turn, key_pool, key_gold, key_evaluation = jax.random.split(key, 4)
        square = jax.random.normal(key_turn, (self.num_features, self.num_features))
        turn, _ = jnp.linalg.qr(square)
        pool_label, pool = self._images(key_pool, turn, num_pool)
        gold_label = self._labels(key_gold, self.num_gold)
        label, evaluation = self._images(key_evaluation, turn, self.num_evaluation)
        return Features(pool, pool_label, gold_label, evaluation, label)

    def _images(
        self, key: Key[Array, ""], turn: Float[Array, "num_features num_features"], count: int
    ) -> tuple[Int[Array, " count"], Float[Array, "count num_features"]]:
        key_label, key_noise = jax.random.split(key)
        label = self._labels(key_label, count)
        rank = jnp.arange(1, self.num_features + 1, dtype=float)
        distance = jnp.sqrt(self.separation) * rank**-0.25
        noise = jax.random.normal(key_noise, (count, self.num_features))
        return label, ((noise + label[:, None] * distance) * rank**-0.5) @ turn.T

    def _labels(self, key: Key[Array, ""], count: int) -> Int[Array, " count"]:
        """Classes in their shares, in random order."""
        return jax.random.permutation(key, (jnp.arange(count) < self.share * count).astype(int))

    def described(self) -> str:
        """What is drawn."""
        return (
            f"{self.num_features} features of images are drawn from two normal classes, as frozen "
            "features of photographs are; nobody took these images."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenFeatures(AbstractFeatures):
    """Features of real or drawn images, computed once by a network that stays as it is.

    Attributes:
        features: of all images.
        true_label: their classes.
        split: which images train, assess and evaluate.
        num_classes: K.
        name: of the images.
    """

    features: Float[np.ndarray, "num_images num_features"]
    true_label: Int[np.ndarray, " num_images"]
    split: Split
    num_classes: int
    name: str

    @property
    def most(self) -> int | None:
        """The images of the training part."""
        return len(self.split.training)

    def draw(self, key: Key[Array, ""], num_pool: int) -> Features:
        """Some of the images to be labelled; the other parts are always the same."""
        drawn = np.asarray(jax.random.permutation(key, len(self.split.training)))[:num_pool]
        pool, evaluation = self.split.training[drawn], self.split.evaluation
        found = Features(
            self.features[pool],
            self.true_label[pool],
            self.true_label[self.split.assessment],
            self.features[evaluation],
            self.true_label[evaluation],
        )
        return jax.device_put(jax.tree.map(np.ascontiguousarray, found))

    def described(self) -> str:
        """Where they are from."""
        sizes = map(len, (self.split.training, self.split.assessment, self.split.evaluation))
        described = "{} images to label, {} that assess, {} withheld. Frozen features of {}"
        return described.format(*sizes, self.name)
