"""EfficientNet in Flax NNX (Tan and Le, 2019): one class for all sizes, built from its shapes.

The graph is TensorFlow's: SAME padding by the size of the input, norms with epsilon 1e-3, swish.
Weights trained there fit after their layout is changed, which `gtx_bayes.finetune.weights` does.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax import nnx
from jaxtyping import Array, Float, Key, Real

from gtx_bayes.finetune.convolutions import depthwise_convolution, product, swish

CHANNEL_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's red, green and blue, values in [0, 1]."""

CHANNEL_SD = (0.229, 0.224, 0.225)
"""Standard deviation of the same."""

_MULTIPLE = 8  # widths are rounded to multiples of this
_BLANK = nnx.initializers.zeros_init()  # numbers come later: tracing to draw them takes a second


class Stage(NamedTuple):
    """Blocks of one width; the first of them may shrink the image.

    Attributes:
        kernel_size: side of the depthwise kernels.
        num_blocks: how many blocks, before scaling.
        num_channels: width, before scaling.
        expansion: how many times wider a block is inside.
        stride: of the first block.
    """

    kernel_size: int
    num_blocks: int
    num_channels: int
    expansion: int
    stride: int


STAGES = (
    Stage(3, 1, 16, 1, 1),
    Stage(3, 2, 24, 6, 2),
    Stage(5, 2, 40, 6, 2),
    Stage(3, 3, 80, 6, 2),
    Stage(5, 3, 112, 6, 1),
    Stage(5, 4, 192, 6, 2),
    Stage(3, 1, 320, 6, 1),
)
"""The stages of b0, all other sizes being scaled from it (Tan and Le, Table 1)."""


_SIZES = {  # width, depth, resolution, dropout
    "b0": (1.0, 1.0, 224, 0.2),
    "b1": (1.0, 1.1, 240, 0.2),
    "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4),
}


class BlockShape(NamedTuple):
    """One block after scaling; `drop_rate` is the share of examples that skip it in training."""

    kernel_size: int
    in_channels: int
    out_channels: int
    expansion: int
    stride: int
    drop_rate: float


@dataclasses.dataclass(frozen=True)
class EfficientNetConfig:
    """Everything that determines the network but its weights.

    Attributes:
        num_classes: K.
        width: factor on all numbers of channels.
        depth: factor on all numbers of blocks.
        resolution: side in pixels of the images it is meant for; any size works.
        dropout: share of the pooled features dropped before the classifier, while training.
        drop_path: stochastic depth (Huang et al., 2016): share of the examples that skip the last
            block while training; from block to block it grows evenly from zero.
        stages: the stages before scaling.
        stem_channels: width of the first convolution, before scaling.
        top_channels: width of the last one, before scaling.
        norm_momentum: share of the old running statistics that a step of training keeps. ImageNet
            took 0.99; the hundred or so steps of a fine-tuning would not outlive that.
        norm_epsilon: added to variances.
        compute_dtype: type of products and of what passes between layers. Weights, statistics,
            norms and logits are float32 in any case.
    """

    num_classes: int
    width: float = 1.0
    depth: float = 1.0
    resolution: int = 224
    dropout: float = 0.2
    drop_path: float = 0.2
    stages: tuple[Stage, ...] = STAGES
    stem_channels: int = 32
    top_channels: int = 1280
    norm_momentum: float = 0.9
    norm_epsilon: float = 1e-3
    compute_dtype: Literal["float32", "bfloat16"] = "float32"

    @classmethod
    def of_size(cls, size: str, num_classes: int) -> "EfficientNetConfig":
        """One of the published sizes, "b0" to "b4" (Tan and Le, 2019).

        Raises:
            ValueError: for another name.
        """
        if size not in _SIZES:
            raise ValueError(f"no size '{size}': there are {', '.join(_SIZES)}")
        return cls(num_classes, *_SIZES[size])

    @property
    def num_stem_channels(self) -> int:
        """Width of the first convolution."""
        return self._scaled(self.stem_channels)

    @property
    def num_features(self) -> int:
        """Width of the last convolution: how many numbers the classifier sees of an image."""
        return self._scaled(self.top_channels)

    @property
    def blocks(self) -> tuple[BlockShape, ...]:
        """All blocks in their order."""
        repeats = [math.ceil(self.depth * stage.num_blocks) for stage in self.stages]
        blocks: list[BlockShape] = []
        in_channels = self.num_stem_channels
        for stage, num_blocks in zip(self.stages, repeats, strict=True):
            out_channels = self._scaled(stage.num_channels)
            for at in range(num_blocks):
                stride = stage.stride if at == 0 else 1
                drop_rate = self.drop_path * len(blocks) / sum(repeats)
                channels = (in_channels, out_channels)
                shape = BlockShape(stage.kernel_size, *channels, stage.expansion, stride, drop_rate)
                blocks.append(shape)
                in_channels = out_channels
        return tuple(blocks)

    def _scaled(self, num_channels: int) -> int:
        """A scaled width: the nearest multiple of eight, but never down by more than a tenth."""
        wanted = num_channels * self.width
        nearest = max(_MULTIPLE, int(wanted + _MULTIPLE / 2) // _MULTIPLE * _MULTIPLE)
        return nearest + _MULTIPLE if nearest < 0.9 * wanted else nearest


def standardise(
    images: Real[Array | np.ndarray, "*batch height width 3"],
) -> Float[Array, "*batch height width 3"]:
    """RGB images as weights trained on ImageNet expect them: centred, in standard deviations.

    Args:
        images: values from 0 to 255, whole numbers or not.
    """
    mean, sd = np.asarray(CHANNEL_MEAN, np.float32), np.asarray(CHANNEL_SD, np.float32)
    return (jnp.asarray(images).astype(jnp.float32) / 255 - mean) / sd


class Depthwise(nnx.Module):
    """A depthwise convolution with its kernel."""

    def __init__(self, num_channels: int, shape: BlockShape, dtype: np.dtype[Any]) -> None:
        size = shape.kernel_size
        self.kernel = nnx.Param(jnp.zeros((size, size, num_channels), jnp.float32))
        self.stride = shape.stride
        self.dtype = dtype

    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch rows columns channels"]:
        """The convolved images."""
        kernel = self.kernel[...].astype(self.dtype)
        return depthwise_convolution(images.astype(self.dtype), kernel, self.stride)


class Block(nnx.Module):
    """An inverted residual (Sandler et al., 2018) with squeeze and excitation (Hu et al., 2018).

    Widen, convolve each channel, weigh the channels by what is in the image, narrow; add what came
    in where the shapes agree.
    """

    def __init__(self, shape: BlockShape, config: EfficientNetConfig, rngs: nnx.Rngs) -> None:
        inner = shape.in_channels * shape.expansion
        squeezed = max(1, shape.in_channels // 4)  # a quarter of what comes in, not of the inside
        dtype = jnp.dtype(config.compute_dtype)
        widens = shape.expansion != 1
        self.expand = _pointwise(shape.in_channels, inner, config, rngs) if widens else None
        self.expand_norm = _norm(inner, config, rngs) if widens else None
        self.depthwise = Depthwise(inner, shape, dtype)
        self.depthwise_norm = _norm(inner, config, rngs)
        self.squeeze = nnx.Linear(inner, squeezed, kernel_init=_BLANK, dtype=dtype, rngs=rngs)
        self.excite = nnx.Linear(squeezed, inner, kernel_init=_BLANK, dtype=dtype, rngs=rngs)
        self.project = _pointwise(inner, shape.out_channels, config, rngs)
        self.project_norm = _norm(shape.out_channels, config, rngs)
        self.drop_path = nnx.Dropout(shape.drop_rate, broadcast_dims=(1, 2, 3))
        self.is_residual = shape.stride == 1 and shape.in_channels == shape.out_channels
        self.dtype = dtype

    def excited(
        self, images: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch rows columns inner"]:
        """The block up to its excitation."""
        inside = images
        if self.expand is not None and self.expand_norm is not None:
            inside = self._active(self.expand_norm(self.expand(inside)))
        inside = self._active(self.depthwise_norm(self.depthwise(inside)))
        pooled = _pooled(inside).astype(self.dtype)
        weight = jax.nn.sigmoid(self.excite(swish(self.squeeze(pooled))))
        return inside * weight[:, None, None, :]

    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch rows columns out"]:
        """What goes out; the key says which examples skip the block while training."""
        out = self.project_norm(self.project(self.excited(images)))
        if self.is_residual:
            out = self.drop_path(out, rngs=key) + images
        return out.astype(self.dtype)

    def _active(self, images: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
        return swish(images).astype(self.dtype)


class EfficientNet(nnx.Module):
    """Images to logits.

    `network.train()` and `network.eval()` switch between batch and running statistics, and dropout
    on and off, as everywhere in Flax NNX. Made by `initial_network` or read by
    `gtx_bayes.finetune.weights` it is in eval mode. Calling the class itself is slow, since every
    weight is then compiled by itself.

    Attributes:
        config: what it was built from.

    References:
        Tan and Le (2019), EfficientNet: rethinking model scaling for convolutional neural networks.
    """

    def __init__(self, config: EfficientNetConfig, rngs: nnx.Rngs) -> None:
        dtype = jnp.dtype(config.compute_dtype)
        blocks = config.blocks
        self.config = config
        self.stem = nnx.Conv(
            3,
            config.num_stem_channels,
            (3, 3),
            strides=2,
            padding="SAME",
            use_bias=False,
            kernel_init=_BLANK,
            dtype=dtype,
            rngs=rngs,
        )
        self.stem_norm = _norm(config.num_stem_channels, config, rngs)
        self.blocks = nnx.List([Block(shape, config, rngs) for shape in blocks])
        self.top = _pointwise(blocks[-1].out_channels, config.num_features, config, rngs)
        self.top_norm = _norm(config.num_features, config, rngs)
        self.dropout = nnx.Dropout(config.dropout)
        self.classifier = nnx.Linear(
            config.num_features,
            config.num_classes,
            kernel_init=_BLANK,
            dtype=jnp.float32,
            rngs=rngs,
        )

    def stages(
        self,
        images: Float[Array, "batch height width 3"],
        key: Key[Array, ""] | None = None,
    ) -> list[Float[Array, "batch rows columns channels"]]:
        """What leaves the stem, then each block."""
        dtype = jnp.dtype(self.config.compute_dtype)
        keys = [None] * len(self.blocks) if key is None else jax.random.split(key, len(self.blocks))
        outputs = [swish(self.stem_norm(self.stem(images))).astype(dtype)]
        for block, key_block in zip(self.blocks, keys, strict=True):
            outputs.append(block(outputs[-1], key_block))
        return outputs

    def features(
        self,
        images: Float[Array, "batch height width 3"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch features"]:
        """What the classifier sees of each image: the top convolution, averaged over the image."""
        return _pooled(swish(self.top_norm(self.top(self.stages(images, key)[-1]))))

    def __call__(
        self,
        images: Float[Array, "batch height width 3"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "batch num_classes"]:
        """Logits of the classes.

        Args:
            images: standardised images.
            key: random key of stochastic depth and dropout; needed in train mode, unless both
                rates are zero.
        """
        key_blocks, key_dropout = (None, None) if key is None else jax.random.split(key)
        features = self.features(images, key_blocks)
        return self.classifier(self.dropout(features, rngs=key_dropout))


def tensor_shapes(config: EfficientNetConfig) -> dict[str, tuple[int, ...]]:
    """Every weight and running statistic of the network, by its dotted path."""
    flat = nnx.to_flat_state(_abstract(config)[1])
    return {_joined(path): variable.shape for path, variable in flat}


def from_tensors(
    config: EfficientNetConfig, tensors: Mapping[str, npt.NDArray[np.float32]]
) -> EfficientNet:
    """The network with these weights and running statistics, in eval mode.

    Args:
        config: what to build.
        tensors: an array for every path of `tensor_shapes`.
    """

    def filled(path: Iterable[object], variable: nnx.Variable[Any]) -> nnx.Variable[Any]:
        return variable.replace(jnp.asarray(tensors[_joined(path)], jnp.float32))

    graph, state = _abstract(config)
    network: EfficientNet = nnx.merge(graph, nnx.map_state(filled, state))
    network.set_attributes(deterministic=True, use_running_average=True)  # eval(), but typed
    return network


def to_tensors(network: EfficientNet) -> dict[str, npt.NDArray[np.float32]]:
    """The weights and running statistics of a network, by dotted path."""
    flat = nnx.to_flat_state(nnx.state(network))
    return {_joined(path): np.asarray(variable[...]) for path, variable in flat}


def initial_tensors(
    key: Key[Array, ""], config: EfficientNetConfig
) -> dict[str, npt.NDArray[np.float32]]:
    """Weights at random and running statistics of nothing seen, as `from_tensors` takes them.

    Kernels are normal with variance 2 over the fan-out, the classifier's with variance 1 over the
    fan-in, so that logits start small for few classes too. All come from one draw: drawn one by
    one each is a compilation of its own, half a minute together.
    """
    shapes = tensor_shapes(config)
    size = sum(math.prod(shape) for path, shape in shapes.items() if path.endswith("kernel"))
    normal = np.asarray(jax.random.normal(key, (size,), jnp.float32))
    tensors = {}
    for path, shape in shapes.items():
        if path.endswith("kernel"):
            drawn, normal = np.split(normal, [math.prod(shape)])
            sd = math.sqrt(_variance(path, shape))
            tensors[path] = (sd * drawn.reshape(shape)).astype(np.float32)
        else:
            tensors[path] = np.full(shape, path.endswith(("scale", "var")), np.float32)
    return tensors


def initial_network(key: Key[Array, ""], config: EfficientNetConfig) -> EfficientNet:
    """A network that has learnt nothing, in eval mode."""
    return from_tensors(config, initial_tensors(key, config))


def _variance(path: str, shape: Sequence[int]) -> float:
    """Variance of a kernel's initial weights."""
    if path.startswith("classifier"):
        return 1.0 / shape[0]
    is_depthwise = len(shape) == 3  # each channel goes out alone
    return 2.0 / math.prod(shape[:2] if is_depthwise else (*shape[:-2], shape[-1]))


@functools.lru_cache(maxsize=8)
def _abstract(config: EfficientNetConfig) -> tuple[nnx.GraphDef[EfficientNet], nnx.State[Any, Any]]:
    """The network without its numbers: nothing is computed."""
    return nnx.split(nnx.eval_shape(lambda: EfficientNet(config, nnx.Rngs(0))))


def _joined(path: Iterable[object]) -> str:
    return ".".join(map(str, path))


def _pooled(images: Float[Array, "batch height width channels"]) -> Float[Array, "batch channels"]:
    """Mean over the image, in float32."""
    return images.astype(jnp.float32).mean(axis=(1, 2))


def _pointwise(
    in_channels: int, out_channels: int, config: EfficientNetConfig, rngs: nnx.Rngs
) -> nnx.Linear:
    """A 1x1 convolution: channels come last, so it is a product with a matrix, and faster so."""
    return nnx.Linear(
        in_channels,
        out_channels,
        use_bias=False,
        kernel_init=_BLANK,
        dtype=jnp.dtype(config.compute_dtype),
        dot_general=lambda images, matrix, *_, **__: product(images, matrix),
        rngs=rngs,
    )


def _norm(num_channels: int, config: EfficientNetConfig, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(
        num_channels,
        momentum=config.norm_momentum,
        epsilon=config.norm_epsilon,
        dtype=jnp.float32,
        use_fast_variance=False,  # the mean of squares less the squared mean cancels in float32
        rngs=rngs,
    )
