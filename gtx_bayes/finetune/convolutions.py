"""Convolutions and activations of the network, in the forms that are fast on the device there is.

XLA:CPU has no fast depthwise convolution, and works out anew what a derivative needs twice. The
forms here leave arithmetic as it is and choose in which order memory is gone through.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_TOGETHER = 4  # images whose rows are looked at side by side


def depthwise_convolution(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels"],
    stride: int,
) -> Float[Array, "batch rows columns channels"]:
    """Each channel convolved with a kernel of its own, SAME padding.

    The form is chosen here by the kind of device, when it is traced.
    """
    if jax.default_backend() == "cpu":
        return shifted_slices(images, kernel, stride)
    return grouped_convolution(images, kernel, stride)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def shifted_slices(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels"],
    stride: int,
) -> Float[Array, "batch rows columns channels"]:
    """A depthwise convolution as a sum over the kernel's cells of the shifted image times the cell.

    XLA's grouped convolution takes three to four times as long on a CPU. Its derivatives are
    written in the same way; taken automatically they would widen every slice by itself before
    adding it, each a pass over memory.
    """
    size = kernel.shape[0]
    padded = jnp.pad(images, _same_padding(images, size, stride))
    rows, columns = (-(-side // stride) for side in images.shape[1:3])
    total = _zeros(images, rows, columns)
    for row in range(size):
        for column in range(size):
            part = _slice(padded, row, column, rows, columns, stride)
            total = total + part.astype(total.dtype) * kernel[row, column].astype(total.dtype)
    return total.astype(images.dtype)


def _forward(images: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return shifted_slices(images, kernel, stride), (images, kernel)


def _backward(
    stride: int, kept: tuple[Array, Array], slope: Float[Array, "batch rows columns channels"]
) -> tuple[Array, Array]:
    """Slopes by the images and by the kernel, given those by what came out."""
    images, kernel = kept
    return (
        _spread(images, kernel, stride, slope),
        _gathered(images, kernel, stride, slope),
    )


shifted_slices.defvjp(_forward, _backward)


def _spread(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels"],
    stride: int,
    slope: Float[Array, "batch rows columns channels"],
) -> Float[Array, "batch height width channels"]:
    """Every output's slope spread over the pixels it came from: what each pixel gathers.

    Pixels at the same place within a stride gather from the same cells of the kernel; these
    images of their own are woven together at the end.
    """
    size = kernel.shape[0]
    _, height, width, _ = images.shape
    (_, _), above, left, (_, _) = _same_padding(images, size, stride)
    rows, columns = -(-height // stride), -(-width // stride)
    margin = size // stride + 1
    padded = jnp.pad(slope, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    woven = []
    for first_row in range(stride):
        for first_column in range(stride):
            total = _zeros(images, rows, columns)
            # Pixel stride * p + first saw cell r in output p + (first + before - r) / stride.
            for row in range((first_row + above[0]) % stride, size, stride):
                for column in range((first_column + left[0]) % stride, size, stride):
                    down = margin + (first_row + above[0] - row) // stride
                    right = margin + (first_column + left[0] - column) // stride
                    part = _slice(padded, down, right, rows, columns, 1)
                    cell = kernel[row, column].astype(total.dtype)
                    total = total + part.astype(total.dtype) * cell
            woven.append(total.astype(images.dtype))
    if stride == 1:
        return woven[0]
    woven = jax.lax.optimization_barrier(woven)  # else worked out cell by cell while weaving
    grid = jnp.stack(woven).reshape(stride, stride, *woven[0].shape)
    whole = grid.transpose(2, 3, 0, 4, 1, 5)
    whole = whole.reshape(images.shape[0], rows * stride, columns * stride, images.shape[3])
    return jax.lax.optimization_barrier(whole[:, :height, :width])


def _same_padding(images: Array, size: int, stride: int) -> list[tuple[int, int]]:
    """Rows and columns of zeros around images, as TensorFlow adds them."""
    by_axis = jax.lax.padtype_to_pads(images.shape[1:3], (size, size), (stride, stride), "SAME")
    return [(0, 0), *by_axis, (0, 0)]


def _zeros(images: Array, rows: int, columns: int) -> Array:
    """Where products are added: in float32 at least, those of half precision too."""
    exact = jnp.promote_types(images.dtype, jnp.float32)
    return jnp.zeros((images.shape[0], rows, columns, images.shape[3]), exact)


def _slice(
    padded: Array, row: int, column: int, rows: int, columns: int, stride: int
) -> Float[Array, "batch rows columns channels"]:
    """Every stride-th pixel from a place on."""
    start = (0, row, column, 0)
    stop = (
        padded.shape[0],
        row + (rows - 1) * stride + 1,
        column + (columns - 1) * stride + 1,
        padded.shape[3],
    )
    return jax.lax.slice(padded, start, stop, (1, stride, stride, 1))


def _gathered(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels"],
    stride: int,
    slope: Float[Array, "batch rows columns channels"],
) -> Float[Array, "size size channels"]:
    """Sum over all outputs of slope times pixel, for each cell of the kernel.

    A loop over rows of few images: all cells' sums, kept apart by column, stay in the cache. As
    plain sums XLA would copy every shifted image first, five to twenty times as slow.
    """
    size = kernel.shape[0]
    exact = jnp.promote_types(images.dtype, jnp.float32)
    padded = jnp.pad(images, _same_padding(images, size, stride))
    num_images, rows, columns, num_channels = slope.shape
    together = math.gcd(num_images, _TOGETHER)
    cells = [(row, column) for row in range(size) for column in range(size)]

    def add(at: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        first, row = together * (at // rows), at % rows
        place, extent = (first, row * stride, 0, 0), (together, size, *padded.shape[2:])
        pixels = jax.lax.dynamic_slice(padded, place, extent).astype(exact)
        slopes = jax.lax.dynamic_slice(slope, (first, row, 0, 0), (together, 1, *slope.shape[2:]))
        slopes = slopes[:, 0].astype(exact)
        last = (columns - 1) * stride + 1
        return tuple(
            total + pixels[:, row, column : column + last : stride] * slopes
            for total, (row, column) in zip(sums, cells, strict=True)
        )

    nothing = tuple(jnp.zeros((together, columns, num_channels), exact) for _ in cells)
    sums = jax.lax.fori_loop(0, rows * (num_images // together), add, nothing)
    by_cell = jnp.stack([total.sum(axis=(0, 1)) for total in sums])
    return by_cell.reshape(kernel.shape).astype(kernel.dtype)


def grouped_convolution(
    images: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels"],
    stride: int,
) -> Float[Array, "batch rows columns channels"]:
    """A depthwise convolution as XLA knows it."""
    return jax.lax.conv_general_dilated(
        images,
        kernel[:, :, None, :],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=images.shape[-1],
    )


@jax.custom_vjp
def product(
    images: Float[Array, "*axes in_channels"], matrix: Float[Array, "in_channels out_channels"]
) -> Float[Array, "*axes out_channels"]:
    """Each pixel times a matrix: a 1x1 convolution.

    Its derivative is written so that a CPU turns the narrower of its two factors, and that once.
    Left to itself XLA turns slopes, working out anew, value by value, how they came about.
    """
    return jnp.matmul(images, matrix)


@jax.custom_vjp
def swish(values: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    """Values times their sigmoid, which is worked out anew for the derivative, and not kept."""
    return jax.nn.swish(values)


def _swish_forward(values: Array) -> tuple[Array, Array]:
    return jax.nn.swish(values), values


def _swish_backward(values: Array, slope: Array) -> tuple[Array]:
    share = jax.nn.sigmoid(values)
    return (slope * share * (1.0 + values * (1.0 - share)),)


swish.defvjp(_swish_forward, _swish_backward)


def _product_forward(images: Array, matrix: Array) -> tuple[Array, tuple[Array, Array]]:
    return product(images, matrix), (images, matrix)


def _product_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    images, matrix = kept
    slope = jax.lax.optimization_barrier(slope)
    pixels, slopes = (values.reshape(-1, values.shape[-1]) for values in (images, slope))
    by_images = jnp.matmul(slope, matrix.T)
    if images.shape[-1] < slope.shape[-1]:
        return by_images, jnp.matmul(pixels.T, slopes)
    return by_images, jnp.matmul(slopes.T, pixels).T


product.defvjp(_product_forward, _product_backward)
