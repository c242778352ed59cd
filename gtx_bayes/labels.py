"""Arrays of answers, in long form (`Labels`) and by place (`PaddedLabels`), and gold labels."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Int, Shaped

from gtx_bayes.errors import InputError

MISSING = -1
"""Stands for "no label" wherever a class index is expected."""

_INT32_MAX = np.iinfo(np.int32).max


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    r"""The answers of a crowd in long form: one entry per answer, sorted by example.

    A pytree. Build it with `from_arrays`, `from_dense` or `gtx_bayes.Crowd`, which check every
    value once; the constructor checks nothing, since JAX calls it with tracers. Leading axes of
    the arrays hold several runs of one shape, to map over.

    Attributes:
        example: index of the example each answer is about, in ascending order.
        labeler: index of the labeler who gave it.
        label: the answer :math:`y_i^j`: a class index, or from K on an answer that is no class,
            such as "unsure"; entries that are `MISSING` are padding and carry no evidence.
        num_examples: N. Examples without an answer are allowed.
        num_labelers: J.
        num_classes: K, at least 2.
        covariates: numbers that go with each answer, by name, such as when it was given. All
            covariates are finite, and zero where there is padding.
        labeler_covariates: numbers that go with each labeler, by name.
        example_covariates: numbers that go with each example, by name.
        num_answers: what an answer can be: the classes, then what is no class; at least K, which
            it is where it is not given.
    """

    example: Int[Array, "*runs num_labels"]
    labeler: Int[Array, "*runs num_labels"]
    label: Int[Array, "*runs num_labels"]
    num_examples: int = dataclasses.field(metadata={"static": True})
    num_labelers: int = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})
    covariates: dict[str, Float[Array, "*runs num_labels"]] = dataclasses.field(
        default_factory=dict
    )
    labeler_covariates: dict[str, Float[Array, "*runs num_labelers"]] = dataclasses.field(
        default_factory=dict
    )
    example_covariates: dict[str, Float[Array, "*runs num_examples"]] = dataclasses.field(
        default_factory=dict
    )
    num_answers: int = dataclasses.field(default=0, metadata={"static": True})

    def __post_init__(self) -> None:
        if self.num_answers < self.num_classes:
            object.__setattr__(self, "num_answers", self.num_classes)

    @classmethod
    def from_arrays(
        cls,
        example: npt.ArrayLike,
        labeler: npt.ArrayLike,
        label: npt.ArrayLike,
        *,
        num_classes: int,
        num_examples: int | None = None,
        num_labelers: int | None = None,
        num_answers: int | None = None,
        covariates: Mapping[str, npt.ArrayLike] | None = None,
        labeler_covariates: Mapping[str, npt.ArrayLike] | None = None,
        example_covariates: Mapping[str, npt.ArrayLike] | None = None,
    ) -> "Labels":
        """Check and sort integer arrays of equal length, one entry per answer.

        Args:
            example: index of the example, from 0.
            labeler: index of the labeler, from 0.
            label: class index in `[0, num_classes)`, an answer that is no class up to
                `num_answers`, or `MISSING` for padding.
            num_classes: number of classes, at least 2.
            num_examples: one more than the largest index when absent.
            num_labelers: likewise.
            num_answers: what an answer can be; `num_classes` when absent.
            covariates: numbers that go with each answer, by name, in the order of `example`.
            labeler_covariates: numbers that go with each labeler, by name.
            example_covariates: numbers that go with each example, by name.

        Raises:
            InputError: for arrays of unequal length or of another type than integer, indices out
                of range, more answers than an int32 can index, and covariates of another length
                or with values that are no finite numbers.
        """
        check_num_classes(num_classes)
        num_answers = num_classes if num_answers is None else num_answers
        if num_answers < num_classes:
            raise InputError(
                f"there are {num_answers} possible answers to {num_classes} classes.",
                hint="Count the classes too: every class is an answer.",
            )
        columns = _checked_columns(example=example, labeler=labeler, label=label)
        num_examples = _check_indices("example", columns["example"], num_examples)
        num_labelers = _check_indices("labeler", columns["labeler"], num_labelers)
        _check_classes("label", columns["label"], num_answers)
        order = np.argsort(columns["example"], kind="stable")
        of_answers = _checked_covariates("covariates", covariates, order.size)
        return cls(
            # jnp.asarray would compile something for every size.
            example=jax.device_put(columns["example"][order].astype(np.int32)),
            labeler=jax.device_put(columns["labeler"][order].astype(np.int32)),
            label=jax.device_put(columns["label"][order].astype(label_dtype(num_answers))),
            num_examples=num_examples,
            num_labelers=num_labelers,
            num_classes=num_classes,
            covariates=taken(of_answers, order),
            labeler_covariates=jax.device_put(
                _checked_covariates("labeler_covariates", labeler_covariates, num_labelers)
            ),
            example_covariates=jax.device_put(
                _checked_covariates("example_covariates", example_covariates, num_examples)
            ),
            num_answers=num_answers,
        )

    @classmethod
    def from_dense(
        cls,
        dense: npt.ArrayLike,
        *,
        num_classes: int,
        num_answers: int | None = None,
        covariates: Mapping[str, npt.ArrayLike] | None = None,
        labeler_covariates: Mapping[str, npt.ArrayLike] | None = None,
        example_covariates: Mapping[str, npt.ArrayLike] | None = None,
    ) -> "Labels":
        """Build from the dense view, `labels[labeler, example]` with `MISSING` where unanswered.

        Args:
            dense: the answers, of shape (num_labelers, num_examples).
            num_classes: number of classes, at least 2.
            num_answers: as for `from_arrays`.
            covariates: tables like `dense`, by name; read where there is an answer.
            labeler_covariates: as for `from_arrays`.
            example_covariates: as for `from_arrays`.
        """
        table = np.asarray(dense)
        if table.ndim != 2:
            raise InputError(
                f"the dense view has {table.ndim} dimensions, not 2.",
                hint="Give an array of shape (num_labelers, num_examples).",
            )
        example, labeler = np.nonzero(table.T != MISSING)
        of_answers = {name: np.asarray(values) for name, values in (covariates or {}).items()}
        for name, values in of_answers.items():
            if values.shape != table.shape:
                raise InputError(
                    f"covariate '{name}' has shape {values.shape}, the dense view {table.shape}.",
                    hint="Give a value for every cell, any where there is no answer.",
                )
        return cls.from_arrays(
            example,
            labeler,
            table[labeler, example],
            num_classes=num_classes,
            num_examples=table.shape[1],
            num_labelers=table.shape[0],
            num_answers=num_answers,
            covariates={name: values[labeler, example] for name, values in of_answers.items()},
            labeler_covariates=labeler_covariates,
            example_covariates=example_covariates,
        )

    @property
    def num_labels(self) -> int:
        """Number of entries, padding included."""
        return self.label.shape[0]

    @property
    def is_class(self) -> Bool[Array, "*runs num_labels"]:
        """Which entries are answers that name a class."""
        if self.num_answers == self.num_classes:
            return self.label != MISSING
        return (self.label >= 0) & (self.label < self.num_classes)

    def labels_per_example(self) -> Int[Array, " num_examples"]:
        """How many answers each example has."""
        return jnp.zeros(self.num_examples, jnp.int32).at[self.example].add(self.label != MISSING)

    def labels_per_labeler(self) -> Int[Array, " num_labelers"]:
        """How many answers each labeler gave."""
        return jnp.zeros(self.num_labelers, jnp.int32).at[self.labeler].add(self.label != MISSING)

    def count_by_example(self) -> npt.NDArray[np.int32]:
        """`labels_per_example` on the host: nothing is compiled for the size of the table."""
        return self._count(self.example, self.num_examples)

    def count_by_labeler(self) -> npt.NDArray[np.int32]:
        """`labels_per_labeler` on the host."""
        return self._count(self.labeler, self.num_labelers)

    def _count(self, index: Int[Array, " num_labels"], size: int) -> npt.NDArray[np.int32]:
        answered = np.asarray(self.label) != MISSING
        return np.bincount(np.asarray(index)[answered], minlength=size).astype(np.int32)

    def entries(self, kept: npt.NDArray[np.integer]) -> "Labels":
        """Some of the entries, by position; examples and labelers keep their indices."""
        columns = {"example": self.example, "labeler": self.labeler, "label": self.label}
        columns = taken(columns, kept)
        return dataclasses.replace(
            self,
            example=columns["example"],
            labeler=columns["labeler"],
            label=columns["label"],
            covariates=taken(self.covariates, kept),
        )

    def of_classes(self) -> "Labels":
        """The answers as a model takes them that knows the classes alone.

        Answers that are no class are `MISSING`, and there are no covariates. On the host; the
        table itself, where it holds nothing else.
        """
        label = self.label
        if self.num_answers > self.num_classes:
            given = np.asarray(label)
            missing = np.asarray(MISSING, given.dtype)
            label = jax.device_put(np.where(given < self.num_classes, given, missing))
        elif not (self.covariates or self.labeler_covariates or self.example_covariates):
            return self
        return Labels(
            self.example,
            self.labeler,
            label,
            self.num_examples,
            self.num_labelers,
            self.num_classes,
        )

    def of_examples(self, at: npt.NDArray[np.integer]) -> "Labels":
        """All answers to some examples, which are numbered in the order given.

        Takes time in proportion to these answers. An index past the last example stands for one
        without answers.
        """
        example = np.asarray(self.example)
        at = at.astype(example.dtype)  # else every example would be converted
        first = np.searchsorted(example, at, side="left")
        count = np.searchsorted(example, at, side="right") - first
        to_place = first - (np.cumsum(count) - count)
        kept = np.arange(count.sum()) + np.repeat(to_place, count)
        return dataclasses.replace(
            self.entries(kept),
            example=jax.device_put(np.repeat(np.arange(at.size, dtype=np.int32), count)),
            num_examples=at.size,
            example_covariates={
                name: jax.device_put(
                    np.append(values, values.dtype.type(0))[np.minimum(at, values.size)]
                )
                for name, values in self.example_covariates.items()
            },
        )

    def dense(self) -> Int[Array, "num_labelers num_examples"]:
        """The labeler-major table of answers, `MISSING` where a labeler did not answer.

        Raises:
            InputError: if a labeler answered one example more than once.
        """
        answered = np.asarray(self.label) != MISSING
        labeler, example = np.asarray(self.labeler)[answered], np.asarray(self.example)[answered]
        cell = labeler.astype(np.int64) * self.num_examples + example
        if distinct(cell).size < cell.size:
            raise InputError(
                "a labeler answered an example more than once, which a table cannot hold.",
                hint="Keep the long form, or keep one answer of each pair.",
            )
        table = np.full((self.num_labelers, self.num_examples), MISSING, self.label.dtype)
        table[labeler, example] = np.asarray(self.label)[answered]
        return jnp.asarray(table)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PaddedLabels:
    """The answers of a crowd in the order in which each example got them.

    The form for simulation, where every example has about as many: sums over its answers run
    over contiguous vectors, one place after the other.

    Attributes:
        labeler: who gave the answer at each place, from the first; any, where there is none.
        label: the answer, `MISSING` where there is none.
        num_labelers: J.
        num_classes: K.
        covariates: as of `Labels`, in the places of the answers.
        labeler_covariates: as of `Labels`.
        example_covariates: as of `Labels`.
        num_answers: as of `Labels`.
    """

    labeler: Int[Array, "*runs num_places num_examples"]
    label: Int[Array, "*runs num_places num_examples"]
    num_labelers: int = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})
    covariates: dict[str, Float[Array, "*runs num_places num_examples"]] = dataclasses.field(
        default_factory=dict
    )
    labeler_covariates: dict[str, Float[Array, "*runs num_labelers"]] = dataclasses.field(
        default_factory=dict
    )
    example_covariates: dict[str, Float[Array, "*runs num_examples"]] = dataclasses.field(
        default_factory=dict
    )
    num_answers: int = dataclasses.field(default=0, metadata={"static": True})

    def __post_init__(self) -> None:
        if self.num_answers < self.num_classes:
            object.__setattr__(self, "num_answers", self.num_classes)

    @property
    def num_places(self) -> int:
        """The most answers that an example can have."""
        return self.label.shape[-2]

    @property
    def num_examples(self) -> int:
        """N."""
        return self.label.shape[-1]

    def first(self, num_labels: Int[Array, " num_examples"] | int) -> "PaddedLabels":
        """Only so many of each example's answers."""
        there = jnp.arange(self.num_places)[:, None] < num_labels
        missing = jnp.asarray(MISSING, self.label.dtype)
        return dataclasses.replace(self, label=jnp.where(there, self.label, missing))

    def long(self) -> Labels:
        """The long form: by place, then example, so that the examples are in no order."""
        example = jnp.broadcast_to(jnp.arange(self.num_examples), self.label.shape)
        return Labels(
            example.reshape(-1),
            self.labeler.reshape(-1).astype(jnp.int32),
            self.label.reshape(-1),
            self.num_examples,
            self.num_labelers,
            self.num_classes,
            {name: values.reshape(-1) for name, values in self.covariates.items()},
            self.labeler_covariates,
            self.example_covariates,
            self.num_answers,
        )

    def dense(self) -> Int[Array, "num_labelers num_examples"]:
        """The labeler-major table of answers, `MISSING` where a labeler did not answer."""
        table = jnp.full((self.num_labelers, self.num_examples), MISSING, self.label.dtype)
        return table.at[self.labeler, jnp.arange(self.num_examples)].max(self.label)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Prefixes:
    """Every example once for each number of answers, from none to all of them.

    As labels these are `(num_places + 1) * num_examples` examples, those without answers first.
    All of them cost little more than the last: sums over the answers are kept on the way.

    Attributes:
        of: the answers.
    """

    of: PaddedLabels

    @property
    def num_labelers(self) -> int:
        """J."""
        return self.of.num_labelers

    @property
    def num_classes(self) -> int:
        """K."""
        return self.of.num_classes


class Earlier(NamedTuple):
    """What is known from other tasks than those of a table, in counts.

    Attributes:
        confusion: how often each labeler gave each answer to each class; None where nothing is
            known of labelers.
        class_total: how many tasks were of each class; None where that is not known.
    """

    confusion: Float[Array, "num_labelers num_classes num_classes"] | None
    class_total: Float[Array, " num_classes"] | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Assessment:
    r"""Gold: the known true labels of some examples (:math:`\mathcal{D}_{assess}`).

    Attributes:
        true_label: true class of each example, `MISSING` where it is not known.
        num_classes: K.
        earlier: what is known from other tasks; None if nothing is.
    """

    true_label: Int[Array, "*runs num_examples"]
    num_classes: int = dataclasses.field(metadata={"static": True})
    earlier: Earlier | None = None

    @classmethod
    def from_arrays(
        cls,
        example: npt.ArrayLike,
        true_label: npt.ArrayLike,
        *,
        num_examples: int,
        num_classes: int,
    ) -> "Assessment":
        """Check and scatter gold labels, one entry per gold example.

        Raises:
            InputError: for arrays of unequal length or of another type than integer, indices out
                of range, and an example with more than one entry.
        """
        check_num_classes(num_classes)
        columns = _checked_columns(example=example, true_label=true_label)
        _check_indices("example", columns["example"], num_examples)
        _check_classes("true_label", columns["true_label"], num_classes)
        if distinct(columns["example"]).size < columns["example"].size:
            raise InputError(
                "an example has more than one gold label.", hint="Give one entry per example."
            )
        scattered = np.full(num_examples, MISSING, label_dtype(num_classes))
        scattered[columns["example"]] = columns["true_label"]
        return cls(true_label=jax.device_put(scattered), num_classes=num_classes)

    @classmethod
    def none(cls, num_examples: int, num_classes: int) -> "Assessment":
        """No gold at all."""
        check_num_classes(num_classes)
        unknown = np.full(num_examples, MISSING, label_dtype(num_classes))
        return cls(jax.device_put(unknown), num_classes)

    @property
    def is_gold(self) -> Bool[Array, " num_examples"]:
        """Whether the true label of each example is known."""
        return self.true_label != MISSING

    @property
    def known_class_total(self) -> Float[Array, " num_classes"] | Float[np.ndarray, " num_classes"]:
        """How many other tasks were of each class; zeros where that is not known."""
        if self.earlier is None or self.earlier.class_total is None:
            return np.zeros(self.num_classes)
        return self.earlier.class_total

    def which_gold(self) -> npt.NDArray[np.bool_]:
        """`is_gold` on the host."""
        return np.asarray(self.true_label) != MISSING

    @property
    def num_gold(self) -> int:
        """Number of gold examples."""
        return int(np.count_nonzero(self.which_gold()))


def distinct[T: np.integer](values: npt.NDArray[T]) -> npt.NDArray[T]:
    """Each value once, in order, as `numpy.unique` has them, by a sort.

    NumPy from 2.3 on hashes instead, which takes a hundred times as long for a million values.
    """
    found = np.sort(values)
    is_first = np.ones(found.size, bool)
    is_first[1:] = found[1:] != found[:-1]
    return found[is_first]


def has_repeats(
    example: npt.NDArray[np.integer], labeler: npt.NDArray[np.integer], num_labelers: int
) -> bool:
    """Whether a labeler answered an example more than once."""
    pair = np.sort(example.astype(np.int64) * num_labelers + labeler)
    return bool((pair[1:] == pair[:-1]).any())


def label_dtype(num_classes: int) -> type[np.signedinteger[Any]]:
    """The narrowest signed integer that holds the class indices: answers are read often."""
    narrow = (np.int8, np.int16, np.int32)
    return next(dtype for dtype in narrow if num_classes - 1 <= np.iinfo(dtype).max)


def taken(
    columns: Mapping[str, Array | npt.NDArray[np.floating]], at: npt.NDArray[np.integer]
) -> dict[str, Array]:
    """Some of the values of every column, by position."""
    return {name: jax.device_put(np.asarray(values)[at]) for name, values in columns.items()}


def check_whole(name: str, values: Shaped[Array, "..."]) -> None:
    """Raise `ValueError` for labels that are no integers; at no cost, also within a trace."""
    if not jnp.issubdtype(values.dtype, jnp.integer):
        raise ValueError(
            f"{name} holds {values.dtype} values: give class indices, {MISSING} where there is none"
        )


def check_num_classes(num_classes: int) -> None:
    """Raise `InputError` unless there are two classes to tell apart."""
    if num_classes < 2:
        raise InputError(
            f"there is nothing to decide between {num_classes} class(es).",
            hint="Give at least two classes.",
        )


def _checked_columns(**given: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
    columns = {name: np.asarray(values) for name, values in given.items()}
    shapes = {name: values.shape for name, values in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise InputError(
            f"the arrays have shapes {shapes}.", hint="Give flat arrays of one length."
        )
    for name, values in columns.items():
        if values.size > _INT32_MAX:
            raise InputError(
                f"{name} holds {values.size} entries, more than an int32 can index.",
                hint="Split the examples over several tables: they are independent given the "
                "labelers' accuracies.",
            )
        if values.size and not np.issubdtype(values.dtype, np.integer):
            raise InputError(
                f"{name} holds {values.dtype} values.", hint="Give integer indices, from 0."
            )
    return columns


def _refuse(
    name: str, values: npt.NDArray[Any], is_wrong: npt.NDArray[np.bool_], what: str, hint: str
) -> None:
    """Raise `InputError` for the first value that is wrong."""
    wrong = np.flatnonzero(is_wrong)
    if wrong.size:
        raise InputError(f"{name}[{wrong[0]}] is {values[wrong[0]]}, {what}.", hint=hint)


def _check_indices(name: str, values: npt.NDArray[Any], size: int | None) -> int:
    if size is None:
        size = int(values.max(initial=0)) + 1 if values.size else 0
    if size < 0:
        raise InputError(f"num_{name}s is {size}.", hint="Give a number from 0.")
    hint = "Number them from 0 without gaps."
    if size > _INT32_MAX:
        raise InputError(f"{name} runs to {size}, more than an int32 can index.", hint=hint)
    _refuse(name, values, (values < 0) | (values >= size), f"outside [0, {size})", hint)
    return size


def _check_classes(name: str, values: npt.NDArray[Any], num_classes: int) -> None:
    is_outside = (values < 0) & (values != MISSING) | (values >= num_classes)
    hint = f"Number the classes from 0; {MISSING} alone stands for no label."
    _refuse(name, values, is_outside, f"outside [0, {num_classes})", hint)


def _checked_covariates(
    what: str, covariates: Mapping[str, npt.ArrayLike] | None, size: int
) -> dict[str, npt.NDArray[np.floating]]:
    """The covariates as floats of the default precision."""
    found = {}
    for name, given in (covariates or {}).items():
        values, named = np.asarray(given), f"{what}['{name}']"
        if values.shape != (size,):
            raise InputError(
                f"{named} has shape {values.shape}, not ({size},).",
                hint="Give one value each, in order.",
            )
        if not (np.issubdtype(values.dtype, np.number) or values.dtype == np.bool_):
            raise InputError(f"{named} holds {values.dtype} values.", hint="Give numbers.")
        values = values.astype(jnp.result_type(float))
        hint = "Fill it in, or leave the covariate out."
        _refuse(named, values, ~np.isfinite(values), "not a finite number", hint)
        found[name] = values
    return found


def scattered_parts(size: int, num_parts: int) -> npt.NDArray[np.int64]:
    """Parts of nearly equal size, scattered over the positions without any draw.

    Multiples of the golden ratio, fractions only: neighbours fall into different parts, and no
    period of the table is met.
    """
    place = np.argsort(np.argsort((np.arange(size) * 0.6180339887498949) % 1.0))
    return place * num_parts // max(size, 1)
