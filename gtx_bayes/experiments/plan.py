"""How much gold, and when to stop: the cheapest way to a target error, by simulation.

The paper leaves open how many assessments suffice (sec. 6). Given what is believed of a cohort
and what answers cost, every number of gold answers m, threshold tau and cap kappa is tried on
simulated cohorts: labelers answer m gold examples each, their accuracies get Beta posteriors under
the cohort's prior, and strategy 1 labels the examples with what is then known.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key
from matplotlib.figure import Figure

from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import whole_run
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.whole_run import at_count
from gtx_bayes.errors import InputError
from gtx_bayes.experiments.runs import Progress, map_runs, silent
from gtx_bayes.experiments.setting import losses
from gtx_bayes.experiments.study import Row, Study, figure
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import assess, simulate_queue

NAME = "plan"
DEFAULT_RUNS = 100

_MOST_LABELS = 12  # every cap lengthens compilation, and few plans need more

INTERVAL_PROB = 0.95
"""Level of the credible intervals reported."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What is believed, what it costs, and what is wanted.

    Attributes:
        target_error: the error rate to reach.
        num_examples: N, the examples to label.
        num_labelers: J; up to 12 labels per example are tried.
        mean: mean accuracy of the cohort's Beta prior.
        concentration: how many answers that prior is worth.
        cost_per_gold: price of one gold answer, of one labeler to one gold example.
        cost_per_label: price of one label.
        gold_per_labeler: the values of m tried.
        thresholds: the values of tau tried.
        num_simulated: examples simulated per run; costs are scaled up to `num_examples`.
    """

    target_error: float
    num_examples: int
    num_labelers: int = 10
    mean: float = 0.75
    concentration: float = 24.0
    cost_per_gold: float = 1.0
    cost_per_label: float = 1.0
    gold_per_labeler: tuple[int, ...] = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)
    thresholds: tuple[float, ...] = (
        0.7,
        0.8,
        0.85,
        0.9,
        0.93,
        0.95,
        0.97,
        0.98,
        0.99,
        0.995,
        0.999,
    )
    num_simulated: int = 2000

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: for a value out of range.
        """
        checks = {
            "target error": (0.0 < self.target_error < 0.5, "between 0 and one half"),
            "number of examples": (self.num_examples >= 1, "from 1"),
            "number of labelers": (self.num_labelers >= 1, "from 1"),
            "mean accuracy": (0.0 < self.mean < 1.0, "between 0 and 1"),
            "concentration": (0.0 < self.concentration < np.inf, "above 0"),
            "cost per gold": (0.0 <= self.cost_per_gold < np.inf, "from 0"),
            "cost per label": (0.0 < self.cost_per_label < np.inf, "above 0"),
        }
        for name, (holds, wanted) in checks.items():
            if not holds:
                raise InputError(f"the {name} is out of range.", mend=f"Give a number {wanted}.")

    @property
    def most_labels(self) -> int:
        """Caps from 1 to this are tried."""
        return min(self.num_labelers, _MOST_LABELS)

    @property
    def prior(self) -> CohortPrior:
        """The cohort's prior."""
        return CohortPrior(self.mean, self.concentration)


def prior_of_range(low: float, high: float) -> CohortPrior:
    """The Beta prior with the mean and the variance of the uniform distribution on [low, high].

    Raises:
        InputError: if that is no range of probabilities.
    """
    if not 0.0 <= low < high <= 1.0:
        raise InputError(
            f"{low:g} to {high:g} is no range of accuracies.",
            mend="Give two numbers from 0 to 1, the lower first.",
        )
    mean, variance = (low + high) / 2, (high - low) ** 2 / 12
    return CohortPrior(mean, mean * (1 - mean) / variance - 1)


class Plan(NamedTuple):
    """The cheapest settings.

    Attributes:
        best: the row of the cheapest setting that reaches the target; None if none does.
        confirmed: its error on fresh simulations, as the choice among many flatters it.
        lowest: the row with the lowest error of all.
        study: a row for every m with its cheapest setting, and all settings as points.
    """

    best: Row | None
    confirmed: dict[str, Any] | None
    lowest: Row
    study: Study


class Grid(NamedTuple):
    """Means over the examples of one run, for every m, tau and kappa.

    Attributes:
        error: proportion of wrong hard labels.
        labels: labels per example.
    """

    error: Float[Array, "num_gold num_thresholds num_caps"]
    labels: Float[Array, "num_gold num_thresholds num_caps"]


def run(
    key: Key[Array, ""],
    config: Config,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Plan:
    """Try every setting, and confirm the cheapest that reaches the target."""
    counts, both = map_runs(
        partial(simulate_run, config=config),
        jax.random.split(key, 2 * runs),
        progress=progress,
        mesh=mesh,
    )
    grid = jax.tree.map(lambda part: part[:runs], both)
    fresh = jax.tree.map(lambda part: part[runs:], both)
    counts = counts[:runs]
    points = pd.concat(
        [_settings(at, counts[:, at], grid, config) for at in range(len(config.gold_per_labeler))],
        ignore_index=True,
    )
    reaches = points["error"] <= config.target_error
    cheapest = (
        points[reaches].sort_values("cost", kind="stable").groupby("gold_per_labeler").head(1)
    )
    rows = [
        _row(of_size, cheapest[cheapest["gold_per_labeler"] == num_gold])
        for num_gold, of_size in points.groupby("gold_per_labeler")
    ]
    possible = [row for row in rows if row["reaches_target"]]
    best = min(possible, key=lambda row: row["cost"]) if possible else None
    lowest = _setting(points.iloc[int(points["error"].argmin())])
    confirmed = None
    if best is not None:
        at_gold = config.gold_per_labeler.index(best["gold_per_labeler"])
        at_threshold = config.thresholds.index(best["threshold"])
        confirmed = figure(fresh.error[:, at_gold, at_threshold, best["max_labels"] - 1])
    return Plan(best, confirmed, lowest, Study(NAME, runs, rows, points))


def simulate_run(
    key: Key[Array, ""], config: Config
) -> tuple[Int[Array, "num_gold num_labelers"], Grid]:
    """One cohort: right gold answers for every m, and what every setting makes of its answers."""
    key_cohort, key_gold, key_queue = jax.random.split(key, 3)
    prior = config.prior
    accuracy = jax.random.beta(key_cohort, prior.a, prior.b, (config.num_labelers,))
    labelers = OneCoin(accuracy, 2)
    counts = assess(key_gold, labelers, config.gold_per_labeler)
    queue = jax.lax.optimization_barrier(
        simulate_queue(key_queue, labelers, config.num_simulated, max_labels=config.most_labels)
    )
    caps = jnp.arange(1, config.most_labels + 1)

    def with_gold(
        of_size: GoldCounts,
    ) -> Grid:
        known = BetaPosterior.from_counts(of_size, prior)
        path = whole_run.class_prob_path(ClassPosterior(OneCoin(known.mean, 2)), queue)
        error = losses(path, queue.true_label).error

        def at_threshold(threshold: Float[Array, ""]) -> Grid:
            wanted = whole_run.num_wanted(ConfidenceThreshold(threshold, config.most_labels), path)

            def at_cap(cap: Int[Array, ""]) -> Grid:
                bought = jnp.minimum(wanted, cap)
                return Grid(jnp.mean(at_count(error, bought)), jnp.mean(bought.astype(float)))

            return jax.lax.map(at_cap, caps)

        return jax.lax.map(at_threshold, jnp.asarray(config.thresholds))

    return counts.num_correct, jax.lax.map(with_gold, counts)


def _settings(
    at: int, num_correct: npt.NDArray[np.integer], grid: Grid, config: Config
) -> pd.DataFrame:
    """Every setting with one number of gold answers."""
    num_gold = config.gold_per_labeler[at]
    counts = GoldCounts(jnp.asarray(num_correct), jnp.full(num_correct.shape, num_gold))
    low, high = BetaPosterior.from_counts(counts, config.prior).credible_interval(INTERVAL_PROB)
    error, labels = np.asarray(grid.error[:, at]), np.asarray(grid.labels[:, at])
    threshold, cap = np.meshgrid(
        config.thresholds, 1 + np.arange(config.most_labels), indexing="ij"
    )
    root = np.sqrt(len(error))
    of_labels = config.num_examples * config.cost_per_label
    of_gold = num_gold * config.num_labelers * config.cost_per_gold
    return pd.DataFrame(
        {
            "gold_per_labeler": num_gold,
            "interval_width": float(np.mean(high - low)),
            "threshold": threshold.ravel(),
            "max_labels": cap.ravel(),
            "error": error.mean(axis=0).ravel(),
            "error_se": (error.std(axis=0, ddof=min(1, len(error) - 1)) / root).ravel(),
            "labels_per_example": labels.mean(axis=0).ravel(),
            "cost": of_gold + of_labels * labels.mean(axis=0).ravel(),
            "cost_se": of_labels * (labels.std(axis=0, ddof=min(1, len(error) - 1)) / root).ravel(),
        }
    )


def _row(of_size: pd.DataFrame, cheapest: pd.DataFrame) -> Row:
    """The cheapest setting with one number of gold answers, or the one with the lowest error."""
    found = cheapest.iloc[0] if len(cheapest) else of_size.iloc[int(of_size["error"].argmin())]
    return {**_setting(found), "reaches_target": bool(len(cheapest))}


def _setting(point: "pd.Series[Any]") -> Row:
    whole = ("gold_per_labeler", "max_labels")
    return {
        str(name): int(value) if name in whole else float(value) for name, value in point.items()
    }


def plot(plan: Plan, config: Config) -> Figure:
    """What the target costs with every number of gold answers, and what any cost buys."""
    figure_, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.2), layout="constrained")
    rows = plan.study.rows
    x = np.arange(len(rows))
    reached = np.array([row["reaches_target"] for row in rows])
    cost = np.array([row["cost"] for row in rows])
    gold = config.num_labelers * config.cost_per_gold
    of_gold = np.array([row["gold_per_labeler"] * gold for row in rows])
    shown = np.where(reached, cost, np.nan)
    left.bar(x, np.where(reached, of_gold, np.nan), color="#b9770e", label="gold answers")
    left.bar(x, shown - of_gold, bottom=of_gold, color="#1f4e79", label="labels")
    for at, row in enumerate(rows):
        text = f"±{row['interval_width'] / 2:.2f}"
        height = shown[at] if reached[at] else 0.0
        note = text if reached[at] else f"{text}\nnot\nreached"
        left.annotate(note, (at, height), ha="center", va="bottom", fontsize=7)
    left.set_xlim(-0.7, len(rows) - 0.3)
    left.set_ylim(0.0, 1.25 * np.nanmax(np.append(shown, 1e-9)))
    left.set_xticks(x, [str(row["gold_per_labeler"]) for row in rows])
    left.set_xlabel(f"gold answers per labeler (±: half the {INTERVAL_PROB:.0%} interval)")
    left.set_ylabel("cost")
    left.set_title(f"Cheapest way to {config.target_error:.3g} error", loc="left", fontsize=10)
    if reached.any():
        left.legend(frameon=False, fontsize=8)

    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.92, len(rows)))
    for (num_gold, points), colour in zip(
        plan.study.points.groupby("gold_per_labeler"), colours, strict=True
    ):
        front = points.sort_values("cost")
        front = front[front["error"] < front["error"].cummin().shift(fill_value=np.inf)]
        right.plot(
            front["cost"], 100 * front["error"], marker=".", color=colour, label=str(num_gold)
        )
    right.axhline(100 * config.target_error, color="#b03a2e", linestyle="--", linewidth=1)
    if plan.best is not None:
        right.plot(plan.best["cost"], 100 * plan.best["error"], "*", color="#b03a2e", markersize=14)
    right.set_yscale("log")
    right.minorticks_off()
    low, high = right.get_ylim()
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30, 50) if low <= t <= high]
    right.set_yticks(ticks, [f"{t:g}" for t in ticks])
    right.set_xlabel("cost")
    right.set_ylabel("error, %")
    right.set_title("What a cost buys, by gold answers per labeler", loc="left", fontsize=10)
    right.legend(frameon=False, fontsize=7, ncols=2)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure_
