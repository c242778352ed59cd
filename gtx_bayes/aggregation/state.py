"""A result of "gtx-bayes" as one file, to be read and continued in another process."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array

from gtx_bayes.abstentions import Abstentions
from gtx_bayes.aggregation import joint_method
from gtx_bayes.aggregation.class_priors import NamedPrior, prior_in_order
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.aggregation.update import joint_of
from gtx_bayes.columns import Names, as_names
from gtx_bayes.covariates import check_starts
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError, notes_as_json, notes_from_json
from gtx_bayes.inference import alike, automatic
from gtx_bayes.inference.alike import Alike
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import GRID, Dependence, learn
from gtx_bayes.inference.joint import JointPosterior, PassedOn, posterior_mean
from gtx_bayes.inference.looks import Looks
from gtx_bayes.inference.pool import Pool
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.io.archives import Archive, read_archive, write_archive
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior, AbstractLabelerModel
from gtx_bayes.models.conjugate import AbstractConjugateModel
from gtx_bayes.models.looks import NUM_GROUPS
from gtx_bayes.registry import MODELS

KIND = "state of a gtx-bayes fit"
VERSION = 6

_NAMES = {
    "examples": "example_names",
    "labelers": "labeler_names",
    "classes": "class_names",
    "others": "other_names",
}
_OPTIONS = {
    "has_given_class_prior": bool,
    "prior_independent": float,
    "is_auto": bool,
    "why": str,
    "takes_alike": bool,
}
"""What a pool was made with, and of which type it is."""

_COVARIATES = ("covariates", "labeler_covariates", "example_covariates")
_SUM_TOLERANCE = 1e-3  # by how much probabilities may miss one: float32 has six digits
_PROBS = (
    "class_probs",
    "class_prior",
    "dependence.probs",
    "independent.class_probs",
    "independent.subclass_probs",
    "independent.class_prior",
    "independent.proportions",
    "passed_on.proportions",
)


def write_state(result: Aggregation, path: str | Path) -> None:
    """Write a result, with all that is needed to continue it; the file appears whole or not.

    Names of examples, labelers and classes that are neither text nor numbers are kept as text.

    Args:
        result: a result of "gtx-bayes".
        path: where to; the format is NumPy's npz whatever the name.

    Raises:
        InputError: for a result of another method, or if there is no writing there.
    """
    found, crowd = joint_of(result), result.crowd
    if result.blocs is not None:
        raise InputError(
            "a result in which labelers count as one is not kept.",
            hint="Aggregate with finds_blocs=False and without groups.",
        )
    if result.over_time is not None:
        raise InputError(
            "a result that asked who gets worse over time is not kept.",
            hint="Aggregate without the covariate of time, or with model='drift'.",
        )
    kept = [_kept_leaves(each) for each in found.components]
    is_gold = np.flatnonzero(np.asarray(crowd.assessment.is_gold))
    arrays = {
        **{f"labels.{of}": getattr(crowd.labels, of) for of in ("example", "labeler", "label")},
        "gold.example": is_gold,
        "gold.label": np.asarray(crowd.assessment.true_label)[is_gold],
        **{
            f"{at}.{name}": leaf
            for at, leaves in enumerate(kept)
            for name, leaf in leaves.items()
            if hasattr(leaf, "shape")
        },
    }
    covariates = {of: getattr(crowd.labels, of) for of in _COVARIATES}
    for of, by_name in covariates.items():
        arrays |= {f"{of}.{at}": values for at, values in enumerate(by_name.values())}
    if crowd.abstentions is not None:
        for name, indices in crowd.abstentions._asdict().items():
            arrays[f"abstentions.{name}"] = indices
    record = {
        **{role: _plain_names(getattr(crowd, name)) for role, name in _NAMES.items()},
        **{of: list(by_name) for of, by_name in covariates.items()},
        "starts": dict(crowd.starts),
        "ordered": crowd.ordered,
        "notes": notes_as_json(crowd.notes),
        "fit_notes": notes_as_json(result.fit.notes),
        "components": [
            {
                "weight": weight,
                "labeler_model": {
                    "name": each.labeler_model.name,
                    "options": dataclasses.asdict(each.labeler_model),  # type: ignore[call-overload]
                },
                "values": {
                    name: leaf for name, leaf in leaves.items() if not hasattr(leaf, "shape")
                },
            }
            for each, weight, leaves in zip(found.components, found.weights, kept, strict=True)
        ],
        "pool": {name: getattr(found, name) for name in _OPTIONS},
        "alike": 0.0 if found.alike is None else found.alike.weight,
    }
    write_archive(
        path, KIND, VERSION, record, {name: np.asarray(array) for name, array in arrays.items()}
    )


def read_state(path: str | Path, *, model: str | AbstractLabelerModel | None = None) -> Aggregation:
    """Read a result that `write_state` wrote.

    Args:
        path: the file.
        model: the labeler model, where it is neither this package's nor an installed one's: no
            file of Python is read because a state names it.

    Raises:
        InputError: if the file is absent, damaged, of another kind or version, or if what it
            holds does not fit together.
    """
    if not isinstance(path, str | Path):
        raise InputError(f"the state is {path!r:.80}.", where="path", hint="Give a path.")
    archive = read_archive(path, KIND, VERSION)
    try:
        crowd = _crowd(archive)
        joint = _pool(archive, crowd, model)
        notes = _notes(archive, "fit_notes")
    except InputError as error:
        raise _damaged(path, error.what) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(path, f"something is missing or of another type, {error}.") from error
    fit = joint_method.report(joint, crowd.labels, crowd.assessment)
    return Aggregation(
        joint_method.NAME,
        crowd,
        fit._replace(notes=notes),
        joint.class_probs,
        joint.class_prior,
    )


_ORDER = {True: "yes", False: "no", None: "told by the answers"}


def check_options(
    result: Aggregation,
    *,
    where: str,
    model: str | AbstractLabelerModel = joint_method.AUTO,
    dependence: float | None = None,
    prior_independent: float | None = None,
    class_prior: Sequence[float] | NamedPrior | None = None,
    classes: Sequence[str] | None = None,
    ordered: bool | None = None,
) -> None:
    """Raise `InputError` if a kept result was not made with these options.

    Args:
        result: what was kept.
        where: its file, for the message.
        model: the labeler model asked for; any, if "auto".
        dependence: rho asked for; any, if None.
        prior_independent: prior probability of independence asked for; any, if None.
        class_prior: prior of the classes asked for; any, if None.
        classes: the classes asked for; any, if None.
        ordered: whether they are to be in an order; any, if None.
    """
    found = joint_of(result)
    class_names = [str(name) for name in result.crowd.class_names]
    prior = None if found.given_class_prior is None else np.asarray(found.given_class_prior)
    wanted = None
    if class_prior is not None:
        wanted = np.asarray(prior_in_order(class_prior, result.crowd.class_names))
    rho = None if found.dependence.is_learnt else found.dependence.mean
    fitted = None if found.is_auto else found.labeler_model
    requested = None if model == joint_method.AUTO else MODELS.build(model)
    is_same_prior = class_prior is None or (
        prior is not None
        and wanted is not None
        and prior.shape == wanted.shape
        and np.allclose(prior, wanted, atol=1e-6)
    )
    for is_same, name, given, kept in (
        (
            requested is None or _is_same_model(requested, fitted),
            *("model", _in_words(requested), _in_words(fitted)),
        ),
        (
            dependence is None or dependence == rho,
            *("dependence", dependence, "learnt" if rho is None else f"{rho:g}"),
        ),
        (
            prior_independent in (None, found.prior_independent) or not found.is_auto,
            *("prior probability of independence", prior_independent, found.prior_independent),
        ),
        (is_same_prior, "class prior", class_prior, "learnt" if prior is None else prior.tolist()),
        (
            classes is None or [each.strip() for each in classes] == class_names,
            *("classes", classes, class_names),
        ),
        (
            ordered in (None, result.crowd.ordered),
            *("order of the classes:", _ORDER[ordered], _ORDER[result.crowd.ordered]),
        ),
    ):
        if not is_same:
            raise InputError(
                f"asked for is {name} {given}, not {kept} as in the state.",
                where=where,
                hint="Leave the option out, or fit all answers anew into another state.",
            )


def _is_same_model(requested: AbstractLabelerModel, fitted: AbstractLabelerModel | None) -> bool:
    """Whether a model is the one that was fitted; what follows from the table may be open in it."""
    return (
        fitted is not None
        and requested.name == fitted.name
        and all(
            getattr(requested, option.name) in (option.default, getattr(fitted, option.name, None))
            for option in dataclasses.fields(requested)  # type: ignore[arg-type]
        )
    )


def _in_words(model: AbstractLabelerModel | None) -> str:
    """A model's name and options."""
    if model is None:
        return joint_method.AUTO
    options = dataclasses.asdict(model)  # type: ignore[call-overload]
    return " ".join([model.name, *(f"{name}={value}" for name, value in options.items())])


def _damaged(path: str | Path, what: str) -> InputError:
    return InputError(
        f"the {KIND} does not fit together: {what}",
        where=str(path),
        hint="Take a copy of it, or fit all answers anew.",
    )


def _leaves(joint: Any) -> dict[str, Any]:
    """Arrays and values of a joint posterior by the path to them."""
    flat, _ = jax.tree_util.tree_flatten_with_path(joint)
    return {jax.tree_util.keystr(path).removeprefix("."): leaf for path, leaf in flat}


def _plain_names(names: Names) -> list[object]:
    return [name if isinstance(name, (str, int, float)) else str(name) for name in names]


def _crowd(archive: Archive) -> Crowd:
    record, arrays = archive
    record.setdefault("others", [])  # of a file from before there were any
    names: dict[str, Any] = {name: _names(archive, role) for role, name in _NAMES.items()}
    num_examples, num_labelers, num_classes, num_others = (len(found) for found in names.values())
    example = arrays["labels.example"]
    if example.ndim == 1 and np.any(example[1:] < example[:-1]):
        raise InputError("the answers are not in order.")
    labels = Labels.from_arrays(
        example,
        arrays["labels.labeler"],
        arrays["labels.label"],
        num_classes=num_classes,
        num_examples=num_examples,
        num_labelers=num_labelers,
        num_answers=num_classes + num_others,
        **{
            of: {str(name): arrays[f"{of}.{at}"] for at, name in enumerate(record.get(of, []))}
            for of in _COVARIATES
        },
    )
    abstentions = None
    if "abstentions.example" in arrays:
        pairs = (arrays[f"abstentions.{name}"] for name in Abstentions._fields)
        abstentions = Abstentions.from_arrays(labels, *pairs)
    assessment = Assessment.from_arrays(
        arrays["gold.example"],
        arrays["gold.label"],
        num_examples=num_examples,
        num_classes=num_classes,
    )
    is_ordered = record.get("ordered")
    return Crowd(
        labels,
        assessment,
        **names,
        notes=_notes(archive, "notes"),
        abstentions=abstentions,
        starts=check_starts(record.get("starts", {})),
        ordered=is_ordered if isinstance(is_ordered, bool) else None,
    )


def _names(archive: Archive, role: str) -> Names:
    names = archive.record[role]
    if not isinstance(names, list) or not all(isinstance(n, (str, int, float)) for n in names):
        raise InputError(f"the names of the {role} are no list of names.")
    if len({str(name) for name in names}) < len(names):
        raise InputError(f"two of the {role} have one name.")
    return as_names(names)


def _notes(archive: Archive, name: str) -> tuple[str, ...]:
    try:
        return tuple(notes_from_json(archive.record[name]))
    except TypeError as error:
        raise InputError(f"'{name}' is no list of notes.") from error


def _model_of(
    record: dict[str, Any], given: str | AbstractLabelerModel | None
) -> AbstractLabelerModel:
    """The labeler model that was kept."""
    name, options = record["name"], record["options"]
    if given is not None and MODELS.build(given).name == name:
        cls = type(MODELS.build(given))
    elif name in MODELS.names():
        cls = MODELS.find(name)
    else:
        raise InputError(
            f"its labeler model '{name}' is not known here: name it again, as FILE.py:Class."
        )
    taken = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    try:
        found: AbstractLabelerModel = cls(**taken)
    except TypeError as error:
        raise InputError(f"its labeler model '{name}' has other options: {error}.") from error
    return found


def _pool(archive: Archive, crowd: Crowd, given: str | AbstractLabelerModel | None) -> Pool:
    """The pool of models."""
    labels = crowd.labels
    options, records = archive.record["pool"], archive.record["components"]
    for name, kind in _OPTIONS.items():
        if type(options[name]) is not kind:
            raise InputError(f"'{name}' is {options[name]!r}.")
    weights = [float(record["weight"]) for record in records]
    if not weights or min(weights) < 0.0 or not abs(sum(weights) - 1.0) < _SUM_TOLERANCE:
        raise InputError(f"the weights of its models are {weights}.")
    components = [
        _joint(
            Archive(
                record,
                {
                    name.removeprefix(f"{at}."): array
                    for name, array in archive.arrays.items()
                    if name.startswith(f"{at}.")
                },
            ),
            labels,
            given,
        )
        for at, record in enumerate(records)
    ]
    if len({each.dependence.values.shape for each in components}) > 1:
        raise InputError("the dependence is learnt under some of its models, and given under some.")
    is_given = options["has_given_class_prior"]
    of_alike = _alike(archive.record["alike"], crowd, components[0], is_given=is_given)
    options = {name: options[name] for name in _OPTIONS}
    return Pool.of(components, weights, of_alike, (labels, crowd.assessment), **options)


def _alike(weight: Any, crowd: Crowd, lead: JointPosterior, *, is_given: bool) -> Alike | None:
    """Labelers as if alike, who are counted anew."""
    if type(weight) is not float or not 0.0 <= weight < 1.0:
        raise InputError(f"the weight of labelers who are alike is {weight!r}.")
    if not weight:
        return None
    class_prior = lead.class_prior if is_given else None
    labelers = alike.fit(crowd.labels, crowd.assessment, class_prior)
    if labelers is None:
        raise InputError("labelers who are alike have a weight, and there is no gold.")
    rho = lead.dependence
    if rho.is_learnt:
        rho, _ = learn(labelers.gold_scores().sum(axis=0))
    return Alike(labelers, rho, weight)


def _joint(
    archive: Archive, labels: Labels, given: str | AbstractLabelerModel | None
) -> JointPosterior:
    """One of its models, every array of the size that the labels and the model ask for."""
    values = archive.record["values"]
    model = _model_of(archive.record["labeler_model"], given)
    if values["model"] != model.name:
        raise InputError(f"it is of the models '{values['model']}' and '{model.name}'.")
    model = model.for_labels(labels)
    prior_size = archive.arrays["class_prior"].shape
    if prior_size not in ((labels.num_classes,), (labels.num_examples, labels.num_classes)):
        raise InputError(f"'class_prior' has shape {prior_size}.")
    grid_size = archive.arrays["dependence.values"].shape
    prior: AbstractCohortPrior
    if isinstance(model, AbstractConjugateModel):
        labels, prior = labels.of_classes(), model.cohort_prior(labels.num_classes)
    else:
        prior = automatic.empty(model, labels, values["learns_class_prior"] is True)
    _check_sizes(archive, prior, labels)
    has_looks = "looks.evidence" in archive.arrays
    pattern = _pattern(model.name, prior, labels, prior_size, grid_size, has_looks)
    kept = _kept_leaves(pattern)
    found: dict[str, Any] = {}
    for name, expected in _leaves(pattern).items():
        if name not in kept:
            found[name] = expected
            continue
        if isinstance(expected, jax.Array):
            found[name] = _array(archive, name, expected.shape)
        elif type(values[name]) is not type(expected):
            raise InputError(f"'{name}' is {values[name]!r}.")
        else:
            found[name] = values[name]
    _check_dependence(found["dependence.values"])
    for name, value in found.items():
        is_array = isinstance(value, np.ndarray)
        if is_array and not name.startswith("dependence."):  # which is float64 throughout
            found[name] = jnp.asarray(value, float)
    _, tree = jax.tree_util.tree_flatten(pattern)
    joint: JointPosterior = jax.tree_util.tree_unflatten(tree, list(found.values()))
    if joint.prior.labeler_model is None:
        return joint
    labelers = posterior_mean(joint.prior, joint.counts)
    return joint._replace(
        independent=joint.independent._replace(prior=joint.prior),
        passed_on=joint.passed_on._replace(labelers=labelers),
    )


def _kept_leaves(joint: JointPosterior) -> dict[str, Any]:
    """Those of `_leaves` that do not follow from the labels and the others."""
    leaves = _leaves(joint)
    if joint.prior.labeler_model is None:
        return leaves
    follow = ("prior.reference", "independent.prior", "passed_on.labelers")
    return {name: leaf for name, leaf in leaves.items() if not name.startswith(follow)}


def _check_sizes(archive: Archive, prior: AbstractCohortPrior, labels: Labels) -> None:
    """Raise `InputError` unless the largest arrays have their sizes, before any like them is made.

    What is made is then no larger than the file.
    """
    num_examples, num_classes = labels.num_examples, labels.num_classes
    num_subclasses = (archive.arrays["independent.subclass_probs"].shape or (0,))[-1]
    latent = jax.ShapeDtypeStruct((num_examples, num_classes * num_subclasses), jnp.zeros(()).dtype)
    counts = jax.eval_shape(lambda x: prior.counts(labels, x), latent).shape
    for name, shape in (
        ("class_probs", (num_examples, num_classes)),
        ("independent.subclass_probs", (num_examples, num_classes, num_subclasses)),
        ("counts", counts),
        ("independent.counts", counts),
    ):
        _array(archive, name, shape)


def _pattern(
    model: str,
    prior: AbstractCohortPrior,
    labels: Labels,
    prior_size: tuple[int, ...],
    grid_size: tuple[int, ...],
    has_looks: bool,
) -> JointPosterior:
    """A joint posterior of the right sizes, with any values."""

    def size(*shape: int) -> Array:
        return jax.device_put(np.zeros(shape, jnp.zeros(()).dtype))

    num_examples, num_labelers = labels.num_examples, labels.num_labelers
    num_classes = labels.num_classes
    latent_probs = size(num_examples, num_classes * prior.num_subclasses)
    counts = size(*jax.eval_shape(prior.counts, labels, latent_probs).shape)
    independent = VariationalFit(
        class_probs=size(num_examples, num_classes),
        subclass_probs=size(num_examples, num_classes, prior.num_subclasses),
        evidence=size(num_examples, num_classes),
        class_prior=size(*prior_size),
        proportions=size(*prior_size),
        counts=counts,
        prior=prior,
        num_steps=0,
        converged=True,
    )
    return JointPosterior(
        class_probs=size(num_examples, num_classes),
        prior=prior,
        counts=counts,
        accuracy=BetaPosterior(size(num_labelers), size(num_labelers)),
        class_prior=size(*prior_size),
        learns_class_prior=False,
        dependence=Dependence(*(cast(Any, size(*grid_size)) for _ in Dependence._fields)),
        model=model,
        converged=True,
        trusts_gold_alone=False,
        independent=independent,
        looks=Looks(size(NUM_GROUPS), size(num_examples, num_classes)) if has_looks else None,
        passed_on=PassedOn(posterior_mean(prior, counts), size(*prior_size)),
    )


def _array(archive: Archive, name: str, shape: tuple[int, ...]) -> npt.NDArray[np.floating]:
    array = archive.arrays[name]
    if array.shape != shape:
        raise InputError(f"'{name}' has shape {array.shape}, not {shape}.")
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"'{name}' holds {array.dtype} values.")
    if not np.isfinite(array).all():
        raise InputError(f"'{name}' holds values that are no numbers.")
    is_prob = name in _PROBS or name.startswith("passed_on.")
    if is_prob and ((array < 0) | (array > 1 + _SUM_TOLERANCE)).any():
        raise InputError(f"'{name}' holds values that are no probabilities.")
    if name in _PROBS and (np.abs(array.sum(axis=-1) - 1.0) > _SUM_TOLERANCE).any():
        raise InputError(f"'{name}' holds probabilities that do not sum to one.")
    if "counts" in name and array.size and array.min() < -_SUM_TOLERANCE * max(array.max(), 1.0):
        raise InputError(f"'{name}' holds counts below zero.")
    return array


def _check_dependence(values: npt.NDArray[np.floating]) -> None:
    is_grid = values.shape == GRID.shape and np.allclose(values, GRID)
    if not is_grid and not (values.size == 1 and 0.0 <= values[0] <= 1.0):
        raise InputError("'dependence.values' is neither one number up to 1 nor the grid.")
