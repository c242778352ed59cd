"""The report's figures: what they show of its content."""

import numpy as np
import numpy.typing as npt

from gtx_bayes.diagnostics import plots
from gtx_bayes.diagnostics.panel import Panel
from gtx_bayes.diagnostics.predictive import Check, PredictiveChecks
from gtx_bayes.diagnostics.report.content import Content
from gtx_bayes.diagnostics.report.drawing import Drawing, Sketch, drawn, stand_ins
from gtx_bayes.diagnostics.report.labelers import Labelers
from gtx_bayes.diagnostics.report.wording import counted, percent

_MOST_LABELERS = 40
_MOST_CLASSES = 20


def draw_all(content: Content) -> dict[str, Drawing]:
    """The figures there is something to show in, by name."""
    incoming, outcome, trust = content.incoming, content.outcome, content.trust
    counts = {"example": incoming.answers_per_example, "labeler": incoming.answers_per_labeler}
    sketches = {
        f"answers-per-{what}": _of_counts(each, what)
        for what, each in counts.items()
        if np.unique(each).size > 1
    }
    if outcome.num_open:
        sketches["confidence"] = Sketch(
            lambda figure: plots.plot_confidence(
                outcome.confidence, num_classes=incoming.num_classes, ax=figure.subplots()
            ),
            f"Histogram of the confidence of {outcome.num_open} labels, "
            f"{percent(outcome.mean_confidence)} in the mean.",
        )
    if outcome.worth is not None and outcome.worth.dependence.is_learnt:
        rho = outcome.worth.dependence
        low, high = rho.credible_interval()
        sketches["dependence"] = Sketch(
            lambda figure: plots.plot_dependence(rho, ax=figure.subplots()),
            f"Posterior density of rho: mean {rho.mean:.2f}, 95 % between {low:.2f} and "
            f"{high:.2f}.",
        )
    if (models := outcome.pool) is not None:
        sketches["pool"] = Sketch(
            lambda figure: plots.plot_pool(models, ax=figure.subplots()),
            f"Weights of {len(models)} models: "
            + ", ".join(f"{row.model} {row.weight:.2f}" for row in models.itertuples())
            + ".",
            height=0.9 + 0.32 * len(models),
        )
    if trust.calibration is not None:
        found = trust.calibration
        sketches["reliability"] = Sketch(
            lambda figure: plots.plot_reliability(found.curve, ax=figure.subplots()),
            f"Accuracy against confidence of {found.num_examples} hidden gold labels: "
            f"{percent(float(found.metrics['accuracy'].value))} right where "
            f"{percent(found.mean_confidence)} were promised.",
            height=3.6,
        )
    if trust.checks is not None:
        sketches["checks"] = _of_checks(trust.checks)
    if content.labelers.table["accuracy"].notna().any():
        sketches["labelers"] = _of_labelers(content.labelers)
    if (panel := content.labelers.panel) is not None and len(panel.table) <= _MOST_LABELERS:
        sketches["panel"] = _of_panel(panel)
    return drawn(sketches)


def _of_panel(panel: Panel) -> Sketch:
    order = panel.in_blocs()
    names, drawn_names = stand_ins(order.table["worker"])
    stood = order._replace(table=order.table.assign(worker=drawn_names))
    size = len(names)
    return Sketch(
        lambda figure: plots.plot_panel(stood, ax=figure.subplots()),
        f"Correlation of the errors of {size} labelers, pair by pair; they are worth "
        f"{panel.effective:.1f} independent ones.",
        1.2 + 0.2 * size,
        names,
    )


def _of_counts(counts: npt.NDArray[np.integer], what: str) -> Sketch:
    return Sketch(
        lambda figure: plots.plot_counts(
            counts, of=f"answers per {what}", by=f"{what}s", ax=figure.subplots()
        ),
        f"Histogram of the answers per {what}, from {counts.min()} to {counts.max()}.",
    )


def _of_checks(checks: PredictiveChecks) -> Sketch:
    worst = np.argsort([-abs(check.z) for check in checks.class_shares], kind="stable")
    shares = [checks.class_shares[at] for at in np.sort(worst[:_MOST_CLASSES])]
    names, drawn_names = stand_ins(check.statistic for check in shares)
    shares = [
        check._replace(statistic=name) for check, name in zip(shares, drawn_names, strict=True)
    ]
    drawn = checks._replace(class_shares=tuple(shares))
    heights = (1.9, 1.9, 1.2 + 0.2 * max(len(shares), 3))
    return Sketch(
        lambda figure: plots.plot_predictive_checks(
            drawn, axes=figure.subplots(3, 1, height_ratios=heights).tolist()
        ),
        "The crowd's answers against answers drawn from the model: agreement per example, "
        f"{_against(checks.agreement_per_example)}; agreement per pair of labelers, "
        f"{_against(checks.agreement_per_pair)}; and the share of answers per class.",
        sum(heights),
        names,
    )


def _against(check: Check) -> str:
    return "not defined" if np.isnan(check.z) else f"{check.z:.1f} standard deviations from them"


def _of_labelers(labelers: Labelers) -> Sketch:
    names, drawn_names = stand_ins(labelers.table["worker"])
    table = labelers.table.assign(worker=drawn_names)
    number = min(int(table["accuracy"].notna().sum()), _MOST_LABELERS)
    return Sketch(
        lambda figure: plots.plot_labeler_forest(
            table, chance=labelers.chance, max_labelers=_MOST_LABELERS, ax=figure.subplots()
        ),
        f"Accuracy with its interval of {counted(number, 'labeler')}, best on top; chance is at "
        f"{labelers.chance:.2f}.",
        1.1 + 0.19 * max(number, 3),
        names,
    )
