"""Many devices: a mesh of them, and tables dealt out to it example by example.

Examples are independent of each other given the labelers, so each device takes a share of them
with all their answers, and devices exchange nothing but what the answers add up to for each
labeler. Dealt are parts, of which there are more than devices: `LEAST_PARTS` or more, the same
for 1, 2, 4 and 8 devices, so that these find the same to the last bit where a device's
arithmetic allows it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Int, PyTree, ScalarLike, Shaped

from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING, Labels
from gtx_bayes.standard_size import standard_size
from gtx_bayes.sums import STRETCH, ExactSums, place_in_run

AXIS: Final = "examples"
"""Name of the axis over which examples, or runs, are spread."""

BY_PART: Final = PartitionSpec(AXIS)
"""Arrays whose first axis goes over the parts."""

EVERYWHERE: Final = PartitionSpec()
"""Arrays that every device has the whole of."""

LEAST_PARTS = 8

_LEAST_SIZE = 16  # of the arrays of a part
_INT16_LABELERS = 2**16  # NumPy sorts 16-bit numbers in linear time


def examples_mesh(devices: Literal["all"] | int | Sequence[jax.Device] = "all") -> Mesh:
    """A mesh with one axis, to give to whatever takes a `mesh`.

    Args:
        devices: "all" that there are, how many, or which.

    Raises:
        InputError: for a number of devices that there are not.
    """
    if isinstance(devices, int):
        devices = first_devices(jax.devices(), devices)
    chosen = jax.devices() if isinstance(devices, str) else list(devices)
    return Mesh(np.asarray(chosen), (AXIS,))


def first_devices(there: Sequence[jax.Device], number: int) -> Sequence[jax.Device]:
    """So many of the devices.

    Raises:
        InputError: for a number of devices that there are not.
    """
    if 1 <= number <= len(there):
        return there[:number]
    mend = f"Ask for {len(there)} at most, or for all."
    if jax.default_backend() == "cpu":
        mend += " On a CPU the environment variable JAX_NUM_CPU_DEVICES sets their number."
    raise InputError(f"{number} devices were asked for, and there are {len(there)}.", mend=mend)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """A table of answers in parts: example i is in part i mod `num_parts`.

    Round robin, because neighbours in a table are often alike in how many answers they have. A
    part numbers its examples anew; parts have the same numbers of entries and of examples, those
    to spare without answers. Inside of `jax.shard_map` these are the parts of one device.

    Attributes:
        labels: the answers of every part.
        stretch: the stretch that each answer belongs to, numbered within the part; see `sums`.
        owner: the labeler of each stretch.
    """

    labels: Labels
    stretch: Int[Array, "num_parts num_labels"]
    owner: Int[Array, "num_parts num_stretches"]

    @property
    def num_parts(self) -> int:
        """How many parts there are."""
        return self.owner.shape[0]

    def as_table(self) -> tuple[Labels, ExactSums]:
        """The parts one after the other as one table, and how to add up over all devices."""
        part = jnp.arange(self.num_parts, dtype=jnp.int32)[:, None]
        labels = dataclasses.replace(
            self.labels,
            example=(self.labels.example + part * self.labels.num_examples).reshape(-1),
            labeler=self.labels.labeler.reshape(-1),
            label=self.labels.label.reshape(-1),
            num_examples=self.num_parts * self.labels.num_examples,
            covariates=jax.tree.map(jnp.ravel, self.labels.covariates),
            labeler_covariates=jax.tree.map(lambda x: x[0], self.labels.labeler_covariates),
            example_covariates=jax.tree.map(jnp.ravel, self.labels.example_covariates),
        )
        stretch = (self.stretch + part * self.owner.shape[1]).reshape(-1)
        return labels, ExactSums(stretch, self.owner.reshape(-1), self.num_parts, AXIS)


class Dealt(NamedTuple):
    """A table dealt out to the devices of a mesh.

    Attributes:
        parts: its parts, so many to a device.
        mesh: the devices.
        num_examples: N.
    """

    parts: Parts
    mesh: Mesh
    num_examples: int

    def spread(
        self, values: Shaped[ArrayLike, "num_examples ..."], fill: ScalarLike
    ) -> Shaped[Array, "num_parts num_rows ..."]:
        """Values of examples by part, with `fill` where there is room to spare."""
        values = np.asarray(values)
        num_parts, num_rows = self.parts.num_parts, self.parts.labels.num_examples
        padded = np.full((num_rows * num_parts, *values.shape[1:]), fill, values.dtype)
        padded[: self.num_examples] = values
        by_part = padded.reshape(num_rows, num_parts, *values.shape[1:]).swapaxes(0, 1)
        return jax.device_put(by_part, NamedSharding(self.mesh, BY_PART))

    def collect(self, values: Shaped[Array, "..."], axis: int = 0) -> Shaped[Array, "..."]:
        """Values by part in the order of the examples, on the first device.

        Args:
            values: the values.
            axis: which axis goes over the parts; the next goes over a part's examples.
        """
        by_row = np.asarray(values).swapaxes(axis, axis + 1)
        shape = (*by_row.shape[:axis], -1, *by_row.shape[axis + 2 :])
        kept = (slice(None),) * axis + (slice(self.num_examples),)
        return jax.device_put(by_row.reshape(shape)[kept])


def deal(labels: Labels, mesh: Mesh) -> Dealt:
    """Deal out a table; the arrays of a part have standard sizes, so that few are compiled for."""
    num_parts = -(-LEAST_PARTS // mesh.size) * mesh.size
    example, labeler, label = (
        np.asarray(column) for column in (labels.example, labels.labeler, labels.label)
    )
    entries = [
        np.flatnonzero((example % num_parts == part) & (label != MISSING))
        for part in range(num_parts)
    ]
    parts = [
        _part(example[kept] // num_parts, labeler[kept], label[kept], labels.num_labelers)
        for kept in entries
    ]
    num_rows = standard_size(-(-labels.num_examples // num_parts), _LEAST_SIZE)

    def together(arrays: Sequence[npt.NDArray[np.generic]], fill: int = 0) -> Array:
        size = standard_size(max(array.size for array in arrays), _LEAST_SIZE)
        padded = np.full((num_parts, size), fill, arrays[0].dtype)
        for row, array in zip(padded, arrays, strict=True):
            row[: array.size] = array
        return jax.device_put(padded, NamedSharding(mesh, BY_PART))

    def by_part(covariates: dict[str, Array], places: Sequence[Any]) -> dict[str, Array]:
        on_host = {name: np.asarray(values) for name, values in covariates.items()}
        return {name: together([of[at] for at in places]) for name, of in on_host.items()}

    def in_every_part(values: Array) -> Array:
        return jax.device_put(np.tile(values, (num_parts, 1)), NamedSharding(mesh, BY_PART))

    found = {name: [part[name] for part in parts] for name in parts[0]}
    answers = Labels(
        together(found["example"], num_rows - 1),  # in ascending order to the end
        together(found["labeler"]),
        together(found["label"], MISSING),
        num_rows,
        labels.num_labelers,
        labels.num_classes,
        by_part(labels.covariates, entries),
        jax.tree.map(in_every_part, labels.labeler_covariates),
        by_part(labels.example_covariates, [slice(at, None, num_parts) for at in range(num_parts)]),
        labels.num_answers,
    )
    parts_of_all = Parts(answers, together(found["stretch"]), together(found["owner"]))
    return Dealt(parts_of_all, mesh, labels.num_examples)


def on_parts[E, T](
    function: Callable[..., tuple[E, T]], dealt: Dealt, shared: PyTree, of_examples: PyTree
) -> tuple[E, T]:
    """A function of a table, computed by every device for its own examples.

    Args:
        function: takes a table, how to add up, `shared` and `of_examples` for the table's
            examples; returns what it finds for each example, and what it finds for all together,
            the same on each device. Compiled once for each function: not one made on the spot.
        dealt: the table.
        shared: what every device is told.
        of_examples: arrays by part, from `Dealt.spread`.

    Returns:
        The same two; arrays of examples by part, for `Dealt.collect`.
    """
    return _on_parts(function, dealt.mesh, dealt.parts, shared, of_examples)


@partial(jax.jit, static_argnames=("function", "mesh"))
def _on_parts(
    function: Callable[..., tuple[PyTree, PyTree]],
    mesh: Mesh,
    parts: Parts,
    shared: PyTree,
    of_examples: PyTree,
) -> tuple[PyTree, PyTree]:
    def on_device(parts: Parts, shared: PyTree, of_examples: PyTree) -> tuple[PyTree, PyTree]:
        found, of_all = function(*parts.as_table(), shared, jax.tree.map(in_a_row, of_examples))
        return jax.tree.map(partial(in_parts, num_parts=parts.num_parts), found), of_all

    return jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(BY_PART, EVERYWHERE, BY_PART),
        out_specs=(BY_PART, EVERYWHERE),
        check_vma=False,  # loops start from constants, which count as the same everywhere
    )(parts, shared, of_examples)


def in_a_row(
    by_part: Shaped[Array, "num_parts num_rows ..."],
) -> Shaped[Array, "num_examples ..."]:
    """Values of a device's parts one after the other."""
    return by_part.reshape(-1, *by_part.shape[2:])


def in_parts(
    values: Shaped[Array, "num_examples ..."], num_parts: int
) -> Shaped[Array, "num_parts num_rows ..."]:
    """The reverse."""
    return values.reshape(num_parts, -1, *values.shape[1:])


def _part(
    example: npt.NDArray[Any],
    labeler: npt.NDArray[Any],
    label: npt.NDArray[Any],
    num_labelers: int,
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of one part without room to spare."""
    is_short = num_labelers <= _INT16_LABELERS
    order = np.argsort(labeler.astype(np.uint16) if is_short else labeler, kind="stable")
    owner = labeler[order]
    opens = place_in_run(owner) % STRETCH == 0
    stretch = np.empty(owner.size, np.int32)
    stretch[order] = np.cumsum(opens) - 1
    return {
        "example": example.astype(np.int32),
        "labeler": labeler,
        "label": label,
        "stretch": stretch,
        "owner": owner[opens],
    }
