"""The report's figures: what they show of its content."""

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from gtx_bayes.diagnostics import plots
from gtx_bayes.diagnostics.predictive import Check, PredictiveChecks
from gtx_bayes.diagnostics.report.content import Content
from gtx_bayes.diagnostics.report.drawing import LONGEST_NAME, Drawing, Sketch, drawn, stand_in
from gtx_bayes.diagnostics.report.incoming import Incoming
from gtx_bayes.diagnostics.report.labelers import Labelers
from gtx_bayes.diagnostics.report.trust import Trust
from gtx_bayes.diagnostics.report.wording import counted, percent, shown

_MOST_LABELERS = 40
_MOST_CLASSES = 20


def draw_all(content: Content) -> dict[str, Drawing]:
    """The figures there is something to show in, by name."""
    sketches = {
        **_of_incoming(content.incoming),
        **_of_outcome(content),
        **_of_trust(content.trust),
    }
    if content.labelers.table["accuracy"].notna().any():
        sketches["labelers"] = _of_labelers(content.labelers)
    return drawn(sketches)


def _of_incoming(incoming: Incoming) -> dict[str, Sketch]:
    def of(counts: npt.NDArray[np.integer], what: str) -> Sketch:
        return Sketch(
            lambda figure: plots.plot_counts(
                counts, of=f"answers per {what}", by=f"{what}s", ax=figure.subplots()
            ),
            f"Histogram of the answers per {what}, from {counts.min(initial=0)} to "
            f"{counts.max(initial=0)}.",
        )

    counts = {"example": incoming.answers_per_example, "labeler": incoming.answers_per_labeler}
    return {
        f"answers-per-{what}": of(each, what)
        for what, each in counts.items()
        if each.min(initial=each.max(initial=0)) < each.max(initial=0)
    }


def _of_outcome(content: Content) -> dict[str, Sketch]:
    outcome, num_classes = content.outcome, content.incoming.num_classes
    sketches = {}
    if outcome.num_open:
        sketches["confidence"] = Sketch(
            lambda figure: plots.plot_confidence(
                outcome.confidence, num_classes=num_classes, ax=figure.subplots()
            ),
            f"Histogram of the confidence of {outcome.num_open} labels, "
            f"{percent(outcome.mean_confidence)} in the mean.",
        )
    worth = outcome.worth
    if worth is not None and worth.dependence.is_learnt:
        sketches["dependence"] = Sketch(
            lambda figure: plots.plot_dependence(worth.dependence, ax=figure.subplots()),
            f"Posterior density of rho: mean {worth.dependence.mean:.2f}, 95 % between "
            f"{worth.low:.2f} and {worth.high:.2f}.",
        )
    return sketches


def _of_trust(trust: Trust) -> dict[str, Sketch]:
    sketches = {}
    found, checks = trust.calibration, trust.checks
    if found is not None:
        sketches["reliability"] = Sketch(
            lambda figure: plots.plot_reliability(found.curve, ax=figure.subplots()),
            f"Accuracy against confidence of {found.num_examples} hidden gold labels: "
            f"{percent(float(found.metrics['accuracy'].value))} right where "
            f"{percent(found.mean_confidence)} were promised.",
            height=3.6,
        )
    if checks is not None:
        sketches["checks"] = _of_checks(checks)
    return sketches


def _of_checks(checks: PredictiveChecks) -> Sketch:
    worst = np.argsort([-abs(check.z) for check in checks.class_shares], kind="stable")
    shares = [checks.class_shares[at] for at in np.sort(worst[:_MOST_CLASSES])]
    names = [shown(check.statistic, LONGEST_NAME) for check in shares]
    drawn = checks._replace(
        class_shares=tuple(
            check._replace(statistic=stand_in(at, name))
            for at, (check, name) in enumerate(zip(shares, names, strict=True))
        )
    )
    heights = (1.9, 1.9, 1.2 + 0.2 * max(len(shares), 3))

    def draw(figure: Figure) -> None:
        axes = figure.subplots(3, 1, height_ratios=heights)
        plots.plot_predictive_checks(drawn, axes=axes.tolist())

    return Sketch(
        draw,
        "The crowd's answers against answers drawn from the model: agreement per example, "
        f"{_against(checks.agreement_per_example)}; agreement per pair of labelers, "
        f"{_against(checks.agreement_per_pair)}; and the share of answers per class.",
        sum(heights),
        names,
    )


def _against(check: Check) -> str:
    return "not defined" if np.isnan(check.z) else f"{check.z:.1f} standard deviations from them"


def _of_labelers(labelers: Labelers) -> Sketch:
    names = [shown(name, LONGEST_NAME) for name in labelers.table["worker"]]
    table = labelers.table.assign(worker=[stand_in(at, name) for at, name in enumerate(names)])
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
