"""How much gold, and when to stop: the cheapest way to a target error, by simulation.

The paper leaves open how many assessments suffice (sec. 6). Given what is believed of a cohort
and what answers cost, every number of gold answers m, threshold tau and cap kappa is tried on
simulated cohorts: labelers answer m gold examples each, their accuracies get Beta posteriors under
the cohort's prior, and strategy 1 labels the examples with what is then known.
"""

import dataclasses
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple, Unpack

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int, Key
from matplotlib.figure import Figure

from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import offline
from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold
from gtx_bayes.collection.offline import at_count
from gtx_bayes.errors import InputError
from gtx_bayes.experiments.drawing import number_axis, styled
from gtx_bayes.experiments.runs import map_runs
from gtx_bayes.experiments.setting import RunOptions, losses
from gtx_bayes.experiments.study import Row, Study, figure, records
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import assess, beta_cohort, simulate_queue

NAME = "plan"
DEFAULT_RUNS = 100

_THRESHOLDS = (0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
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
    thresholds: tuple[float, ...] = _THRESHOLDS
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
                raise InputError(f"the {name} is out of range.", hint=f"Give a number {wanted}.")

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
            hint="Give two numbers from 0 to 1, the lower first.",
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

    error: Float[Array, "*runs num_gold num_thresholds num_caps"]
    labels: Float[Array, "*runs num_gold num_thresholds num_caps"]


def run(
    key: Key[Array, ""],
    config: Config,
    *,
    runs: int = DEFAULT_RUNS,
    **options: Unpack[RunOptions],
) -> Plan:
    """Try every setting, and confirm the cheapest that reaches the target."""
    simulate = partial(simulate_run, config=config)
    both = map_runs(simulate, jax.random.split(key, 2 * runs), **options)
    num_correct, grid = jax.tree.map(lambda part: part[:runs], both)
    points = _every_setting(num_correct, grid, config)
    rows: list[Row] = []
    for _, of_size in points.groupby("gold_per_labeler"):
        settings = records(of_size)
        reaching = [each for each in settings if each["error"] <= config.target_error]
        found = min(reaching or settings, key=itemgetter("cost" if reaching else "error"))
        rows.append(found | {"reaches_target": bool(reaching)})
    lowest = min(records(points), key=itemgetter("error"))
    best = min((r for r in rows if r["reaches_target"]), key=itemgetter("cost"), default=None)
    confirmed = None
    if best is not None:
        at_gold = config.gold_per_labeler.index(best["gold_per_labeler"])
        at_threshold = config.thresholds.index(best["threshold"])
        confirmed = figure(both[1].error[runs:, at_gold, at_threshold, best["max_labels"] - 1])
    return Plan(best, confirmed, lowest, Study(NAME, runs, rows, points))


def simulate_run(
    key: Key[Array, ""], config: Config
) -> tuple[Int[Array, "num_gold num_labelers"], Grid]:
    """One cohort: right gold answers for every m, and what every setting makes of its answers."""
    key_cohort, key_gold, key_queue = jax.random.split(key, 3)
    prior = config.prior
    labelers = beta_cohort(key_cohort, config.num_labelers, prior.a, prior.b)
    counts = assess(key_gold, labelers, config.gold_per_labeler)
    queue = jax.lax.optimization_barrier(
        simulate_queue(key_queue, labelers, config.num_simulated, max_labels=config.most_labels)
    )

    def with_gold(of_size: GoldCounts) -> Grid:
        known = BetaPosterior.from_counts(of_size, prior)
        path = offline.class_prob_path(ClassPosterior(OneCoin(known.mean, 2)), queue)
        error = losses(path, queue.true_label).error

        def at_threshold(threshold: Float[Array, ""]) -> Grid:
            wanted = offline.num_wanted(ConfidenceThreshold(threshold, config.most_labels), path)

            def at_cap(cap: Int[Array, ""]) -> Grid:
                bought = jnp.minimum(wanted, cap)
                return Grid(jnp.mean(at_count(error, bought)), jnp.mean(bought.astype(float)))

            return jax.lax.map(at_cap, jnp.arange(1, config.most_labels + 1))

        return jax.lax.map(at_threshold, jnp.asarray(config.thresholds))

    return counts.num_correct, jax.lax.map(with_gold, counts)


def _every_setting(
    num_correct: Int[np.ndarray, "num_runs num_gold num_labelers"], grid: Grid, config: Config
) -> pd.DataFrame:
    sizes, caps = np.array(config.gold_per_labeler), 1 + np.arange(config.most_labels)
    num_gold = np.broadcast_to(sizes[:, None], num_correct.shape)
    counts = GoldCounts(jnp.asarray(num_correct), jnp.asarray(num_gold))
    low, high = BetaPosterior.from_counts(counts, config.prior).credible_interval(INTERVAL_PROB)
    axes = np.meshgrid(sizes, config.thresholds, caps, indexing="ij")
    num_gold, threshold, cap = (axis.ravel() for axis in axes)
    num_runs = len(num_correct)
    mean = {name: part.mean(axis=0).ravel() for name, part in grid._asdict().items()}
    se = {
        name: (part.std(axis=0, ddof=min(1, num_runs - 1)) / np.sqrt(num_runs)).ravel()
        for name, part in grid._asdict().items()
    }
    of_labels = config.num_examples * config.cost_per_label
    of_gold = num_gold * config.num_labelers * config.cost_per_gold
    return pd.DataFrame(
        {
            "gold_per_labeler": num_gold,
            "interval_width": (high - low).mean(axis=(0, 2)).repeat(num_gold.size // sizes.size),
            "threshold": threshold,
            "max_labels": cap,
            "error": mean["error"],
            "error_se": se["error"],
            "labels_per_example": mean["labels"],
            "cost": of_gold + of_labels * mean["labels"],
            "cost_se": of_labels * se["labels"],
        }
    )


@styled
def plot(plan: Plan, config: Config) -> Figure:
    """What the target costs with every number of gold answers, and what any cost buys."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(10.0, 4.2))
    table = plan.study.to_frame()
    reached = table["reaches_target"]
    shown = table["cost"].where(reached)
    of_gold = table["gold_per_labeler"] * config.num_labelers * config.cost_per_gold
    left.bar(table.index, of_gold.where(reached), color="#b9770e", label="gold answers")
    left.bar(table.index, shown - of_gold, bottom=of_gold, color="#1f4e79", label="labels")
    for at, row in enumerate(plan.study.rows):
        note, height = f"±{row['interval_width'] / 2:.2f}", row["cost"]
        if not row["reaches_target"]:
            note, height = f"{note}\nnot\nreached", 0.0
        left.annotate(note, (at, height), ha="center", va="bottom", fontsize=7)
    left.set_xlim(-0.7, len(table) - 0.3)
    left.set_ylim(0.0, 1.25 * max(shown.max() if reached.any() else 0.0, 1e-9))
    left.set_xticks(table.index, table["gold_per_labeler"].astype(str))
    left.set_xlabel(f"gold answers per labeler (±: half the {INTERVAL_PROB:.0%} interval)")
    left.set(ylabel="cost", title=f"Cheapest way to {config.target_error:.3g} error")
    if reached.any():
        left.legend()

    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.92, len(table)))
    by_gold = plan.study.points.groupby("gold_per_labeler")
    for (num_gold, points), colour in zip(by_gold, colours, strict=True):
        front = points.sort_values("cost")
        front = front[front["error"] < front["error"].cummin().shift(fill_value=np.inf)]
        error = 100 * front["error"]
        right.plot(front["cost"], error, marker=".", color=colour, label=str(num_gold))
    right.axhline(100 * config.target_error, color="#b03a2e", linestyle="--", linewidth=1)
    if plan.best is not None:
        right.plot(plan.best["cost"], 100 * plan.best["error"], "*", color="#b03a2e", markersize=14)
    right.set_yscale("log")
    number_axis(right.yaxis, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30, 50)
    right.set(
        xlabel="cost", ylabel="error, %", title="What a cost buys, by gold answers per labeler"
    )
    right.legend(fontsize=7, ncols=2)
    return drawn
