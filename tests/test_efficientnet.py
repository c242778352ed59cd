"""The network against PyTorch's, sizes against the published ones, convolutions against loops."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from gtx_bayes.finetune.convolutions import (
    depthwise_convolution,
    grouped_convolution,
    product,
    shifted_slices,
    swish,
)
from gtx_bayes.finetune.efficientnet import (
    CHANNEL_MEAN,
    CHANNEL_SD,
    EfficientNetConfig,
    from_tensors,
    initial_network,
    initial_tensors,
    standardise,
    tensor_shapes,
    to_tensors,
)
from gtx_bayes.finetune.weights import load_backbone, load_network
from tests.golden import efficientnet as golden
from tests.networks import B0, TINY, recipe_file

RARE = 1e-6


@pytest.fixture(scope="session")
def logits():
    return nnx.jit(lambda network, images: network(images))


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    return recipe_file(TINY, tmp_path_factory.mktemp("tiny") / "model.safetensors")


@pytest.fixture
def tiny(tiny_file):
    return load_network(TINY, [tiny_file])


@pytest.fixture(scope="session")
def expected():
    with np.load(golden.FILE) as file:
        return dict(file)


@pytest.mark.parametrize(
    ("size", "num_parameters"),
    [
        ("b0", 5_288_548),
        ("b1", 7_794_184),
        ("b2", 9_109_994),
        ("b3", 12_233_232),
        ("b4", 19_341_616),
    ],
)
def test_numbers_of_parameters_are_the_published_ones(size, num_parameters):
    shapes = tensor_shapes(EfficientNetConfig.of_size(size, 1000))
    counted = [
        math.prod(shape) for path, shape in shapes.items() if not path.endswith((".mean", ".var"))
    ]
    assert sum(counted) == num_parameters


def test_unknown_size():
    with pytest.raises(ValueError, match="b0, b1, b2, b3, b4"):
        EfficientNetConfig.of_size("b9", 2)


@pytest.mark.parametrize(
    ("num_channels", "width", "scaled"),
    [(32, 1.1, 32), (112, 1.1, 120), (12, 0.99, 16), (8, 0.25, 8)],
    ids=["down", "nearest", "not down by more than a tenth", "at least eight"],
)
def test_scaled_widths(num_channels, width, scaled):
    config = EfficientNetConfig(2, width=width, stem_channels=num_channels)
    assert config.num_stem_channels == scaled


def test_drop_rates_grow_from_zero():
    rates = [block.drop_rate for block in EfficientNetConfig(2, drop_path=0.2).blocks]
    np.testing.assert_allclose(rates, 0.2 * np.arange(16) / 16)


def convolved_by_loops(images, kernel, stride):
    """In float64; the padding that SAME does not need in full goes right and below."""
    size = len(kernel)
    num_images, height, width, num_channels = images.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    above = max((rows - 1) * stride + size - height, 0) // 2
    left = max((columns - 1) * stride + size - width, 0) // 2
    padded = np.zeros((num_images, height + 2 * size, width + 2 * size, num_channels))
    padded[:, above : above + height, left : left + width] = images
    result = np.empty((num_images, rows, columns, num_channels))
    for row in range(rows):
        for column in range(columns):
            window = padded[:, row * stride :, column * stride :][:, :size, :size]
            result[:, row, column] = (window * kernel).sum(axis=(1, 2))
    return result


@pytest.mark.kernel
@pytest.mark.optimised
@pytest.mark.parametrize("convolve", [shifted_slices, grouped_convolution])
@pytest.mark.parametrize(
    ("height", "width", "size", "stride"),
    [(8, 7, 3, 1), (8, 7, 3, 2), (3, 2, 5, 2), (4, 5, 5, 1)],
)
def test_depthwise_convolution(convolve, height, width, size, stride):
    random = np.random.default_rng(0)
    images = random.standard_normal((2, height, width, 3)).astype("float32")
    kernel = random.standard_normal((size, size, 3)).astype("float32")
    got = jax.jit(convolve, static_argnums=2)(images, kernel, stride)
    wanted = convolved_by_loops(images, kernel, stride)
    roundings = size**2 * float(jnp.finfo(jnp.float32).eps)
    np.testing.assert_allclose(got, wanted, atol=roundings * np.abs(images).max() * size**2)


@pytest.mark.kernel
@pytest.mark.optimised
@pytest.mark.parametrize(
    ("height", "width", "size", "stride"),
    [(7, 9, 3, 2), (6, 7, 5, 1), (2, 2, 5, 2), (1, 1, 3, 2)],
)
def test_depthwise_derivatives(height, width, size, stride):
    """By images and kernel, against those that JAX knows of its own convolution."""
    random = np.random.default_rng(1)
    images, kernel, slope = (
        random.standard_normal(shape).astype("float32")
        for shape in (
            (6, height, width, 3),
            (size, size, 3),
            (6, -(-height // stride), -(-width // stride), 3),
        )
    )

    @functools.partial(jax.jit, static_argnums=0)
    def slopes(convolve, images, kernel, slope):
        return jax.vjp(lambda x, k: convolve(x, k, stride), images, kernel)[1](slope)

    both = (slopes(each, images, kernel, slope) for each in (shifted_slices, grouped_convolution))
    for got, wanted in zip(*both, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6 * images.size)


@pytest.mark.kernel
@pytest.mark.optimised
@pytest.mark.parametrize(("narrow", "wide"), [(3, 5), (5, 3)])
def test_product_derivatives(narrow, wide):
    random = np.random.default_rng(1)
    images = jnp.asarray(random.standard_normal((2, 3, 2, narrow)), jnp.float32)
    matrix = jnp.asarray(random.standard_normal((narrow, wide)), jnp.float32)
    out, pull = jax.vjp(product, images, matrix)
    np.testing.assert_allclose(out, images @ matrix, rtol=1e-5, atol=1e-5)
    slope = jnp.asarray(random.standard_normal(out.shape), jnp.float32)
    by_images, by_matrix = pull(slope)
    np.testing.assert_allclose(by_images, slope @ matrix.T, rtol=1e-5, atol=1e-5)
    wanted = np.einsum("bhwi,bhwo->io", images, slope)
    np.testing.assert_allclose(by_matrix, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.kernel
@pytest.mark.optimised
def test_swish_derivative():
    values = jnp.linspace(-30.0, 30.0, 61)
    got = jax.vmap(jax.grad(swish))(values)
    np.testing.assert_allclose(got, jax.vmap(jax.grad(jax.nn.swish))(values), rtol=1e-5, atol=1e-7)


@pytest.mark.kernel
@pytest.mark.optimised
def test_form_of_depthwise_convolution():
    """On a CPU the sum of slices, elsewhere XLA's own."""
    traced = str(
        jax.make_jaxpr(lambda x, k: depthwise_convolution(x, k, 1))(
            jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2))
        )
    )
    assert ("conv_general_dilated" in traced) == (jax.default_backend() != "cpu")


@pytest.mark.kernel
@pytest.mark.optimised
def test_half_precision_is_rounded_once():
    """Sums of products are in float32; only the result is rounded, by at most half a unit."""
    random = np.random.default_rng(0)
    images = jnp.asarray(random.uniform(0.5, 1.0, (1, 6, 6, 4)), jnp.bfloat16)
    kernel = jnp.asarray(random.uniform(0.5, 1.0, (5, 5, 4)), jnp.bfloat16)
    got = jax.jit(shifted_slices, static_argnums=2)(images, kernel, 1)
    assert got.dtype == jnp.bfloat16
    wanted = convolved_by_loops(np.asarray(images, "float64"), np.asarray(kernel, "float64"), 1)
    half_unit = float(jnp.finfo(jnp.bfloat16).eps) / 2
    np.testing.assert_allclose(np.asarray(got, "float64"), wanted, rtol=1.01 * half_unit)


def test_standardised_white_and_mean():
    images = np.full((1, 1, 3), 255, np.uint8)
    wanted = (1 - np.array(CHANNEL_MEAN)) / CHANNEL_SD
    np.testing.assert_allclose(standardise(images)[0, 0], wanted, rtol=1e-6)


def assert_logits_agree(got, wanted):
    """To rounding in float32: 1e-4 of how the logits differ from image to image."""
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * wanted.std(axis=0).mean())


def test_tiny_is_transformers_network(tiny, logits, expected):
    """As it is, and trained by a step."""
    assert_logits_agree(logits(tiny, golden.images()), expected["tiny/eval"])
    before = to_tensors(tiny)
    tiny.train()
    assert_logits_agree(logits(tiny, golden.images()), expected["tiny/train"])
    assert_statistics_agree(before, to_tensors(tiny), expected, "tiny", [32**2, 32**2, 16**2])


def assert_statistics_agree(before, after, expected, name, num_pixels):
    """Running statistics after a step. PyTorch's variance has n - 1 for its n: ours has n."""
    ours = ["stem_norm", "blocks.2.expand_norm", "top_norm"]
    for norm, theirs, pixels in zip(ours, golden.NORMS, num_pixels, strict=True):
        num = golden.BATCH * pixels
        old = golden.MOMENTUM * before[f"{norm}.var"]
        var = old + (after[f"{norm}.var"] - old) * num / (num - 1)
        found = {"running_mean": after[f"{norm}.mean"], "running_var": var}
        for what, value in found.items():
            wanted = expected[f"{name}/{theirs}.{what}"]
            np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-5 * wanted.std())


@pytest.mark.slow
def test_b0_is_transformers_network(tmp_path, logits, expected):
    network = load_network(B0, [recipe_file(B0, tmp_path / "b0.safetensors")])
    before = to_tensors(network)
    assert_logits_agree(logits(network, golden.images()), expected["b0/eval"])
    network.train()
    assert_logits_agree(logits(network, golden.images()), expected["b0/train"])
    assert_statistics_agree(before, to_tensors(network), expected, "b0", [32**2, 16**2, 2**2])


def test_what_is_kept_is_what_transformers_gives(expected):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    for name, value in golden.oracle(golden.TINY).items():
        np.testing.assert_allclose(value, expected[f"tiny/{name}"], rtol=1e-6, atol=1e-6)


@pytest.mark.end_to_end
def test_real_weights_give_the_reference_outputs(data_folder, key):
    """On two photographs, by another implementation: each layer pooled, one before pooling."""
    folder = data_folder / "weights"
    config = EfficientNetConfig(2)
    files = [
        folder / "efficientnet_b0_imagenet_exact_part.safetensors",
        folder / "efficientnet_b0_head_convs_approx.safetensors",
    ]
    network = load_backbone(key, config, files).network

    @nnx.jit
    def pooled(network, images):
        stages = network.stages(images)
        excited = network.blocks[15].excited(stages[15]).mean(axis=(1, 2))
        means = [stage.mean(axis=(1, 2)) for stage in stages]
        return means, excited, network.features(images), stages[15]

    with np.load(folder / "reference_forward.npz") as file:
        reference = dict(file)
    images = standardise(reference["images_uint8_nhwc"])
    stages, excited, features, whole = pooled(network, images)
    names = ["stem", *(f"block{at}" for at in range(15)), "approx.block15"]
    found = {f"{name}.gap": stage for name, stage in zip(names, stages, strict=True)}
    found |= {"block15.se.gap": excited, "approx.head.gap": features}
    found["block14.full_nchw"] = whole.transpose(0, 3, 1, 2)
    for name, value in found.items():
        wanted = reference[name]
        np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-4 * wanted.std(), err_msg=name)


def test_half_precision_network(tiny_file, tiny, logits):
    """Weights and logits stay in float32; what passes between layers is rounded to eight bits."""
    half = load_network(dataclasses.replace(TINY, compute_dtype="bfloat16"), [tiny_file])
    assert {variable.dtype for variable in to_tensors(half).values()} == {np.dtype("float32")}
    stages = jax.eval_shape(half.stages, jnp.asarray(golden.images()))
    assert {stage.dtype for stage in stages} == {jnp.dtype("bfloat16")}
    got, wanted = logits(half, golden.images()), logits(tiny, golden.images())
    assert got.dtype == jnp.float32
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert 0 < error < 8 * float(jnp.finfo(jnp.bfloat16).eps)  # 0.8 of that unit when measured


def test_stochastic_depth_skips_whole_blocks(key):
    """An example's branch is left out, or weighs 1 / (1 - rate); how often is binomial."""
    config = dataclasses.replace(TINY, drop_path=0.75)
    block = initial_network(key, config).blocks[1]
    assert block.drop_path.rate == 0.25
    num_images = 512
    images = jnp.asarray(
        np.random.default_rng(0).standard_normal((num_images, 4, 4, 16)), "float32"
    )
    run = nnx.jit(lambda block: block(images, jax.random.key(1)) - images)
    branch = np.asarray(run(block))
    block.drop_path.deterministic = False
    got = np.asarray(run(block))
    skipped = (got == 0).all(axis=(1, 2, 3))
    atol = 20 * float(jnp.finfo(jnp.float32).eps) * float(jnp.abs(images).max())
    np.testing.assert_allclose(got[~skipped], branch[~skipped] / 0.75, rtol=1e-4, atol=atol)
    low, high = scipy.stats.binom.interval(1 - RARE, num_images, 0.25)
    assert low <= skipped.sum() <= high


@pytest.mark.parametrize("rate", ["dropout", "drop_path"])
def test_dropping_needs_a_key(rate, key):
    network = initial_network(key, dataclasses.replace(TINY, **{rate: 0.5}))
    network.train()
    with pytest.raises(ValueError, match="rngs"):
        nnx.eval_shape(lambda network: network(jnp.asarray(golden.images())), network)


def test_initial_weights(key):
    """Variances from their chi-squared laws; biases zero; statistics of nothing seen."""
    tensors = initial_tensors(key, TINY)
    shapes = {path: tensor.shape for path, tensor in tensors.items()}
    assert shapes == tensor_shapes(TINY)
    variances = {
        "stem.kernel": 2 / (9 * 8),
        "blocks.2.depthwise.kernel": 2 / 25,
        "blocks.2.expand.kernel": 2 / 64,
        "top.kernel": 2 / 320,
        "classifier.kernel": 1 / 320,
    }
    for path, variance in variances.items():
        low, high = scipy.stats.chi2.interval(1 - RARE, tensors[path].size)
        assert low <= (tensors[path].astype("float64") ** 2).sum() / variance <= high, path
    for path, tensor in tensors.items():
        if not path.endswith("kernel"):
            np.testing.assert_array_equal(tensor, float(path.endswith(("scale", "var"))))
    other = initial_tensors(jax.random.key(1), TINY)
    assert not np.array_equal(tensors["stem.kernel"], other["stem.kernel"])


def test_tensors_round_trip(key):
    tensors = initial_tensors(key, TINY)
    network = from_tensors(TINY, tensors)
    again = to_tensors(network)
    assert again.keys() == tensors.keys()
    for path, tensor in tensors.items():
        np.testing.assert_array_equal(again[path], tensor)
    assert network.stem_norm.use_running_average
    assert network.dropout.deterministic
