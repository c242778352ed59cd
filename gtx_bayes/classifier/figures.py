"""Figures of a fine-tuning: how the training went, and whether confidence is honest."""

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from gtx_bayes.classifier.fine_tune import Evaluation, FineTuning
from gtx_bayes.diagnostics import plots
from gtx_bayes.diagnostics.report.drawing import Drawing, Sketch, drawn
from gtx_bayes.diagnostics.report.wording import counted, percent
from gtx_bayes.finetune.train import History
from gtx_bayes.metrics import reliability_curve

_BY_EPOCH = {"log_loss": "log loss, nats", "balanced_error": "balanced error"}


def draw_all(tuning: FineTuning, scores: dict[str, Evaluation]) -> dict[str, Drawing]:
    """The figures there is something to show in, by name."""
    sketches = {}
    history = tuning.history
    if history.loss:
        sketches["loss"] = Sketch(
            lambda figure: _plot_loss(history, figure),
            f"Training loss of {counted(len(history.loss), 'step')}, from "
            f"{history.loss[0]:.2f} to {history.loss[-1]:.2f}.",
        )
    if history.watched:
        first, last = (history.watched[at]["log_loss"] for at in (0, -1))
        sketches["watched"] = Sketch(
            lambda figure: _plot_watched(history, figure),
            f"Scores on the gold held out after each epoch: log loss from {first:.2f} to "
            f"{last:.2f}.",
        )
    return drawn(sketches | {f"reliability-{part}": _of(each) for part, each in scores.items()})


def _plot_loss(history: History, figure: Figure) -> None:
    """Loss of every step, and its mean over the last twentieth of the training."""
    ax = figure.subplots()
    loss = np.asarray(history.loss)
    step = np.arange(1, loss.size + 1)
    ax.plot(step, loss, color=plots.FAINT, linewidth=0.8, label="each step")
    width = max(loss.size // 20, 1)
    if width > 1:
        mean = np.convolve(loss, np.full(width, 1.0 / width), "valid")
        ax.plot(step[width - 1 :], mean, color=plots.INK, label=f"mean of {width}")
        ax.legend(frameon=False, fontsize=8)
    ax.set_ylim(bottom=0.0)
    ax.set_xlabel("step")
    ax.set_ylabel("loss, nats")
    ax.set_title("Training loss", loc="left")
    ax.spines[["top", "right"]].set_visible(False)


def _plot_watched(history: History, figure: Figure) -> None:
    epoch = np.arange(1, len(history.watched) + 1)
    for ax, (name, words) in zip(figure.subplots(1, 2), _BY_EPOCH.items(), strict=True):
        values = [scores[name] for scores in history.watched]
        ax.plot(epoch, values, color=plots.INK, marker="o", markersize=3)
        ax.set_ylim(0.0, 1.1 * max(*values, 0.1))
        ax.locator_params(axis="x", integer=True, nbins=6)
        ax.set_xlabel("epoch")
        ax.set_title(words[:1].upper() + words[1:], loc="left")
        ax.spines[["top", "right"]].set_visible(False)


def _of(evaluation: Evaluation) -> Sketch:
    """Reliability before and after the temperature."""
    truth = jnp.asarray(evaluation.true_label)
    num_bins = max(min(truth.size // 20, 10), 1)
    curves = {
        name: reliability_curve(
            jnp.asarray(probs, float), truth, num_bins=num_bins, binning="equal-mass"
        )
        for name, probs in (
            ("as trained", evaluation.class_probs),
            ("with its temperature", evaluation.class_probs_tempered),
        )
    }
    confidence = float(evaluation.class_probs_tempered.max(axis=1).mean())
    return Sketch(
        lambda figure: plots.plot_reliability(curves, ax=figure.subplots()),
        f"Accuracy against confidence of {counted(truth.size, 'image')}, as trained and with the "
        f"temperature: {percent(float(evaluation.tempered['accuracy'].value))} right where "
        f"{percent(confidence)} are promised.",
        height=3.6,
    )
