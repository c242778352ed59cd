"""A fine-tuning on disk: the model, its predictions, what it disputes, how it went, the page."""

import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from gtx_bayes.classifier.fine_tune import FineTuning
from gtx_bayes.classifier.imputed import KNOWN
from gtx_bayes.classifier.page import DISAGREEMENTS, MODEL, PREDICTIONS, render
from gtx_bayes.diagnostics.report.page import PAGE, Origin
from gtx_bayes.errors import split_warnings
from gtx_bayes.evaluation import as_record
from gtx_bayes.finetune.weights import save
from gtx_bayes.io.writers import write_csv

STEPS: Final = "training.csv"
EPOCHS: Final = "epochs.csv"


def write_result(tuning: FineTuning, path: Path, origin: Origin) -> dict[str, Any]:
    """Write all but the summary, which is returned without its command.

    Args:
        tuning: what to write.
        path: an existing directory.
        origin: where images and labels come from, for the page.
    """
    model, history = tuning.model, tuning.history
    save(model.network, path / MODEL, model.class_names, temperature=model.temperature)
    write_csv(tuning.predictions(), path / PREDICTIONS)
    disputes = tuning.disputes()
    write_csv(disputes, path / DISAGREEMENTS)
    steps = pd.DataFrame({"step": np.arange(len(history.loss)) + 1, "loss": history.loss})
    steps.to_csv(path / STEPS, index=False)
    epochs = pd.DataFrame(list(history.watched))
    epochs.insert(0, "epoch", np.arange(len(epochs)) + 1)
    epochs.to_csv(path / EPOCHS, index=False)
    (path / PAGE).write_text(render(tuning, disputes, origin), encoding="utf-8")
    return _summary(tuning, disputes, origin)


def _summary(tuning: FineTuning, disputes: pd.DataFrame, origin: Origin) -> dict[str, Any]:
    parts, imputed = tuning.parts, tuning.imputed
    trained = parts.task[parts.trains]
    is_known = imputed.method == KNOWN
    return {
        "method": imputed.method,
        "targets": tuning.targets,
        "trained": "head" if tuning.is_head_only else "all",
        "choice": None if tuning.choice is None else tuning.choice._asdict(),
        "classes": [str(name) for name in imputed.class_names],
        "size": tuning.model.network.config.resolution,
        "num_images": tuning.images.num_images,
        "num_trained": int(parts.trains.sum()),
        "num_assessment": int(parts.assesses.sum()),
        "num_evaluation": int(parts.evaluates.sum()),
        "num_steps": len(tuning.history.loss),
        "final_loss": tuning.history.loss[-1] if tuning.history.loss else None,
        "mean_imputed_confidence": float(imputed.class_probs[trained].max(axis=1).mean()),
        "temperature": tuning.model.temperature if parts.assesses.any() else None,
        "temperature_fitted": tuning.temperature.fitted,
        "scores": {
            part: {
                "num_examples": int(judged.true_label.size),
                **as_record(judged.tempered),
                "untempered": as_record(judged.plain),
            }
            for part, judged in tuning.scores().items()
        },
        "num_disputed": int((disputes["label"] != disputes["model_label"]).sum()),
        "num_overruled": None if is_known else int((disputes["doubt"] > 0.5).sum()),
        "expected_wrong": None if is_known else float(disputes["doubt"].sum()),
        "opinion_temperature": tuning.opinion.temperature,
        "seconds": round(time.perf_counter() - origin.started, 3),
        **split_warnings(tuning.notes),
    }
