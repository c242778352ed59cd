"""Results as other tools take them: predictions to show, soft labels to train on."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gtx_bayes.columns import (
    ANSWER_ROLES,
    EXAMPLE_ROLE,
    AnyTable,
    Source,
    Table,
    read_class_probs,
    read_columns,
)

if TYPE_CHECKING:
    import xarray as xr
    from jaxtyping import Array, Key

    from gtx_bayes.aggregation.result import Aggregation


def label_studio(
    examples: AnyTable,
    *,
    from_name: str = "choice",
    to_name: str = "text",
    model: str = "gtx-bayes",
) -> list[dict[str, Any]]:
    """Predictions for Label Studio's import: one a task, its most probable class and confidence.

    Args:
        examples: what `Aggregation.examples` returns, or a table like it; tasks are task numbers.
        from_name: name of the `Choices` tag of the labeling interface.
        to_name: name of the tag that is labelled.
        model: `model_version` of the predictions.

    Raises:
        InputError: for anything wrong in the table, and tasks that are no numbers.
    """
    tasks, classes, probs, source = _read(examples)
    wrong = [at for at, task in enumerate(tasks) if not str(task).isdecimal()]
    if wrong:
        raise source.error(
            f"task '{tasks[wrong[0]]}' is no number of a task.",
            "Export tasks by the numbers that Label Studio gives them.",
            wrong[0],
        )
    return [
        {
            "task": int(task),
            "result": [
                {
                    "from_name": from_name,
                    "to_name": to_name,
                    "type": "choices",
                    "value": {"choices": [classes[best]]},
                }
            ],
            "score": float(row[best]),
            "model_version": model,
        }
        for task, row, best in zip(tasks, probs, probs.argmax(axis=1), strict=True)
    ]


def soft_labels(examples: AnyTable) -> pd.DataFrame:
    """One row a task: `task`, `label`, its `confidence`, and `soft_label`, a list over the classes.

    As a Parquet file a dataset of the Hugging Face hub; the order of the classes is that of
    `class_names`.

    Raises:
        InputError: for anything wrong in the table.
    """
    tasks, classes, probs, _ = _read(examples)
    best = probs.argmax(axis=1)
    return pd.DataFrame(
        {
            "task": tasks,
            "label": np.array(classes, object)[best],
            "confidence": probs[np.arange(len(best)), best],
            "soft_label": list(probs),
        }
    )


def class_names(examples: AnyTable) -> list[str]:
    """The classes in the order of `soft_labels`."""
    return _read(examples)[1]


def fiftyone(examples: AnyTable) -> dict[str, dict[str, Any]]:
    """`label` and `confidence` of each task, the fields of FiftyOne's `Classification`.

    Raises:
        InputError: for anything wrong in the table.
    """
    table = soft_labels(examples)
    return {
        str(task): {"label": label, "confidence": confidence}
        for task, label, confidence in zip(
            table["task"], table["label"], table["confidence"].tolist(), strict=True
        )
    }


def cleanlab(labels: AnyTable, examples: AnyTable) -> tuple[pd.DataFrame, np.ndarray]:
    """The labels with a column for each annotator, and the class probabilities in the same rows.

    Args:
        labels: one row per answer: `task`, `worker`, `label`, as `Crowd.to_frames` returns them.
        examples: what `Aggregation.examples` returns.

    Returns:
        Classes by number, blank where there is no answer, with tasks as index; and probabilities
        of shape (num_examples, num_classes), as `cleanlab.multiannotator` takes them.

    Raises:
        InputError: for anything wrong in the tables.
    """
    tasks, classes, probs, _ = _read(examples)
    frame, source_of_labels = Table.of(labels, "labels")
    found = read_columns(frame, ANSWER_ROLES, {}, source_of_labels)
    number = {name: at for at, name in enumerate(classes)}
    table = pd.DataFrame(
        {
            "task": found["example"].cells,
            "worker": found["labeler"].cells,
            "label": pd.Series(found["label"].keys).map(number),
        }
    )
    wide = table.pivot_table(index="task", columns="worker", values="label", aggfunc="last")
    return wide.reindex(tasks).astype("Int64"), probs


def arviz(
    result: "Aggregation", key: "Key[Array, ''] | int | None" = None, **options: Any
) -> "xr.DataTree":
    """Draws, likelihood and data of a result, as ArviZ's functions take them.

    Groups `posterior` and `sample_stats`, `class_posterior` (class probabilities by chain),
    `log_likelihood` (of all answers to each example, for `az.loo` and `diagnostics.loo`),
    `observed_data` (the answers, with who answered what) and `constant_data` (the gold, by number
    of the class; -1 where it is not known). It goes to a file by
    `to_netcdf(path, engine="h5netcdf")`.

    Args:
        result: of "gtx-bayes"; the draws are of its heaviest model, labelers independent.
        key: random key, or a seed; seed 0 when absent.
        **options: see `sampling.sample_posterior`.

    Raises:
        InputError: for a seed that is none.
        ValueError: for a result without joint posterior, or a model that no sampler knows.
    """
    import xarray as xr

    from gtx_bayes.aggregation.result import as_key
    from gtx_bayes.diagnostics.sampling import sample_posterior, with_log_likelihood

    tree = with_log_likelihood(sample_posterior(as_key(key), result, **options), result)
    crowd, labels = result.crowd, result.crowd.labels
    example, labeler = (np.asarray(part) for part in (labels.example, labels.labeler))
    tree["observed_data"] = xr.Dataset(
        {"answers": ("answer", np.asarray(labels.label).astype(int))},
        coords={
            "example_of": ("answer", crowd.example_names[example].astype(str)),
            "labeler_of": ("answer", crowd.labeler_names[labeler].astype(str)),
        },
    )
    tree["constant_data"] = xr.Dataset(
        {"gold": ("example", np.asarray(crowd.assessment.true_label).astype(int))},
        coords={"example": crowd.example_names.astype(str)},
    )
    return tree


def card(examples: AnyTable, about: Mapping[str, object]) -> str:
    """A dataset card: what the soft labels are, their classes, and where they come from.

    Args:
        examples: what `Aggregation.examples` returns.
        about: further facts, such as the method and the number of answers, by name.
    """
    table, classes = soft_labels(examples), class_names(examples)
    named = "\n".join(f"- {name}: {value}" for name, value in about.items())
    return (
        "---\ntask_categories:\n- other\ntags:\n- crowdsourcing\n- soft-labels\n---\n\n"
        "# Soft labels of a crowd\n\n"
        f"{len(table)} tasks, {len(classes)} classes, mean confidence "
        f"{table['confidence'].mean():.3f}. `soft_label` holds the probability of each class given "
        f"all answers, in this order: {', '.join(classes)}. `label` is the most probable one and "
        "`confidence` its probability.\n\n"
        f"{named}\n"
    )


def as_text(found: object) -> str:
    """JSON of what goes into a file of JSON."""
    return json.dumps(found, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


IN_JSON: dict[str, Callable[..., object]] = {"label-studio": label_studio, "fiftyone": fiftyone}
"""Exports that are one JSON file, by name."""


def _read(examples: AnyTable) -> tuple[list[Any], list[str], np.ndarray, Source]:
    """Tasks, classes, probabilities, and the place of a table of examples."""
    table = Table.of(examples, "examples")
    tasks = read_columns(table.frame, EXAMPLE_ROLE, {}, table.source)["example"]
    classes, probs = read_class_probs(table.frame, table.source)
    return list(tasks.cells), classes, probs, table.source
