"""The page of a fine-tuning: what was trained on what, how good it is, which labels it disputes."""

import base64
import shlex
import time
from importlib.metadata import version
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd

from gtx_bayes.classifier.figures import draw_all
from gtx_bayes.classifier.fine_tune import Evaluation, FineTuning
from gtx_bayes.classifier.imputed import KNOWN
from gtx_bayes.classifier.parts import LEAST_GOLD, WANTED_GOLD
from gtx_bayes.diagnostics.report.page import Origin
from gtx_bayes.diagnostics.report.template import page_template
from gtx_bayes.diagnostics.report.wording import counted, shown
from gtx_bayes.errors import split_warnings
from gtx_bayes.finetune.decoding import as_jpeg
from gtx_bayes.metrics import confusion_counts

MODEL = "model.safetensors"
PREDICTIONS = "predictions.csv"
DISAGREEMENTS = "disagreements.csv"

_MOST_SHOWN = 24
_MOST_CLASSES = 12
_SIDE = 160  # pixels of a small picture

SCORE_WORDS = {
    "accuracy": "accuracy",
    "balanced_error": "balanced error",
    "log_loss": "log loss, nats",
    "brier": "Brier score",
    "ece": "calibration error (ECE)",
    "auroc": "area under the ROC curve",
}
PART_WORDS = {
    "training": "trained on",
    "assessment": "gold held out: sets the temperature, draws the curves, chooses what is kept",
    "evaluation": "judges; may refute the temperature",
    "unused": "not used",
}
TARGET_WORDS = {
    "hard": "the most probable class counts as the truth",
    "soft": "the class probabilities themselves",
    "weighted": "the most probable class, the more it is known the more it counts",
}


def render(tuning: FineTuning, disputes: pd.DataFrame, origin: Origin) -> str:
    """The page, in HTML that needs nothing but itself.

    Args:
        tuning: what it is about.
        disputes: as `FineTuning.disputes` has them.
        origin: where images and labels come from, for the page's title and foot.
    """
    scores = tuning.scores()
    differing = disputes[disputes["label"] != disputes["model_label"]]
    imputed, parts = tuning.imputed, tuning.parts
    trained = parts.task[parts.trains]
    part_names = parts.names()
    return page_template(__package__, "page.html.jinja").render(
        tuning=tuning,
        scores=scores,
        figures=draw_all(tuning, scores),
        confusion={part: _confusion(tuning, evaluation) for part, evaluation in scores.items()},
        disputed=_disputed(tuning, differing.head(_MOST_SHOWN)),
        num_differing=len(differing),
        num_overruled=int((disputes["doubt"] > 0.5).sum()),
        num_judged=len(disputes),
        num_wrong=float(disputes["doubt"].sum()),
        num_parts={name: int((part_names == name).sum()) for name in PART_WORDS},
        classes=_classes(tuning),
        mean_confidence=float(imputed.class_probs[trained].max(axis=1).mean()),
        num_answers=int(imputed.num_labels[trained].sum()),
        is_grouped=np.unique(tuning.images.group).size < tuning.images.num_images,
        is_known=imputed.method == KNOWN,
        is_refuted=parts.assesses.any() and tuning.temperature.fitted != tuning.temperature.value,
        **split_warnings(tuning.notes),
        next_command=_next_command(origin),
        predict_command=f"gtx-bayes predict {MODEL} IMAGES --output predictions.csv",
        least_gold=LEAST_GOLD,
        wanted_gold=WANTED_GOLD,
        part_words=PART_WORDS,
        score_words=SCORE_WORDS,
        target_words=TARGET_WORDS[tuning.targets],
        counted=counted,
        origin=origin,
        predictions_file=PREDICTIONS,
        disagreements_file=DISAGREEMENTS,
        version=version("gtx_bayes"),
        seconds=time.perf_counter() - origin.started,
    )


def _next_command(origin: Origin) -> str:
    """The command that buys the next answers, with the tables that were given."""
    labels = shlex.quote(origin.options.get("labels", "LABELS"))
    gold = f" --gold {shlex.quote(origin.options['gold'])}" if "gold" in origin.options else ""
    return f"gtx-bayes next {labels}{gold} --batch 20 --second-opinion {DISAGREEMENTS}"


def _classes(tuning: FineTuning) -> list[tuple[str, int, int]]:
    """Name of every class, and how many images of it train and how many judge."""
    parts = tuning.parts
    taught = tuning.imputed_label[parts.task[parts.trains]]
    judging = parts.true_label[parts.assesses | parts.evaluates]
    return [
        (shown(name), int((taught == k).sum()), int((judging == k).sum()))
        for k, name in enumerate(tuning.imputed.class_names)
    ]


def _confusion(tuning: FineTuning, evaluation: Evaluation) -> dict[str, Any] | None:
    """Images by true class (rows) and class predicted; None where classes are too many."""
    names = [shown(name) for name in tuning.model.class_names]
    if len(names) > _MOST_CLASSES:
        return None
    counts = confusion_counts(
        jnp.asarray(evaluation.class_probs, float), jnp.asarray(evaluation.true_label)
    )
    return {"names": names, "counts": np.rint(np.asarray(counts)).astype(int).tolist()}


def _disputed(tuning: FineTuning, table: pd.DataFrame) -> list[dict[Any, Any]]:
    """Rows of the table with their pictures; without a number of labels where one was given."""
    disputed = []
    for at, row in zip(table.index, table.to_dict("records"), strict=True):
        jpeg = base64.b64encode(as_jpeg(tuning.images.pixels[at], _SIDE)).decode("ascii")
        row |= {name: shown(row[name]) for name in ("task", "label", "model_label")}
        row["num_labels"] = None if row["is_known"] else row["num_labels"]
        disputed.append(row | {"picture": f"data:image/jpeg;base64,{jpeg}"})
    return disputed
