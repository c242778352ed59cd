"""What a panel with prices takes to reach a target error, by strategy and gold, by simulation.

A panel has few labelers, each with a price and perhaps an accuracy: judges that cost next to
nothing beside people who do not. Every strategy buys answers to the same examples until the error
is that wanted; those that choose labelers ask whom they like, for the others labelers come in
random order. What is known of the labelers is learnt from gold, which costs their price too.
"""

import dataclasses
from functools import partial
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Array, Float, Key
from matplotlib.figure import Figure

from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import offline
from gtx_bayes.collection.market import Market
from gtx_bayes.errors import InputError
from gtx_bayes.experiments.drawing import number_axis, styled
from gtx_bayes.experiments.plan import DEFAULT_RUNS
from gtx_bayes.experiments.runs import map_runs
from gtx_bayes.experiments.setting import RunOptions, losses
from gtx_bayes.experiments.study import Row, Study
from gtx_bayes.inference.beta import BetaPosterior, CohortPrior
from gtx_bayes.inference.gold_counts import GoldCounts
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.registry import POLICIES
from gtx_bayes.simulation import assess, beta_cohort, simulate_queue

NAME = "panel"
BASELINE = "uncertainty"
_MOST_LABELS = 12  # of an example: every one lengthens compilation
_NUM_COSTS = 400
_COINS = 100  # that the cheapest label costs, where the sum of all prices allows
_MOST_COINS = 2**30


@dataclasses.dataclass(frozen=True)
class Config:
    """What is believed, what it costs, and what is wanted.

    Attributes:
        target_error: the error rate to reach.
        num_examples: N, the examples to label.
        costs: price of an answer of each labeler.
        accuracy: of each labeler; drawn from the prior for every run when absent.
        mean: mean accuracy of the Beta prior under which gold is read.
        concentration: how many answers that prior is worth.
        gold_per_labeler: the numbers of gold answers tried.
        strategies: names of the policies tried, `BASELINE` among them.
        num_simulated: examples simulated per run; costs are scaled up to `num_examples`.
    """

    target_error: float
    num_examples: int
    costs: tuple[float, ...]
    accuracy: tuple[float, ...] | None = None
    mean: float = 0.75
    concentration: float = 24.0
    gold_per_labeler: tuple[int, ...] = (10, 20, 50, 100, 200)
    strategies: tuple[str, ...] = ("information", BASELINE)
    num_simulated: int = 2000

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: for a value out of range.
        """
        accuracy = (0.5,) if self.accuracy is None else self.accuracy
        checks = {
            "target error": (0.0 < self.target_error < 0.5, "between 0 and one half"),
            "number of examples": (self.num_examples >= 1, "from 1"),
            "accuracy": (all(0.0 <= each <= 1.0 for each in accuracy), "from 0 to 1"),
        }
        for name, (holds, wanted) in checks.items():
            if not holds:
                raise InputError(f"the {name} is out of range.", hint=f"Give a number {wanted}.")
        if self._all_coins() > _MOST_COINS:
            raise InputError(
                "the prices lie too far apart.",
                where="costs",
                hint="Leave out labelers who cost next to nothing, or round up what they cost.",
            )

    def _all_coins(self) -> float:
        return self.num_simulated * sum(self.costs) / min(self.costs)

    @property
    def coins(self) -> npt.NDArray[np.int32]:
        """The prices in whole coins, shape (num_labelers, 1)."""
        coins = max(1.0, min(_COINS, _MOST_COINS / self._all_coins()))
        return np.round(np.array(self.costs) / min(self.costs) * coins).astype(np.int32)[:, None]

    @property
    def prior(self) -> CohortPrior:
        """The prior of the labelers."""
        return CohortPrior(self.mean, self.concentration)

    @property
    def grid(self) -> npt.NDArray[np.float64]:
        """Money per example at which the error is looked at."""
        return np.geomspace(min(self.costs) / 2.0, sum(self.costs), _NUM_COSTS)


class PanelPlan(NamedTuple):
    """The cheapest ways.

    Attributes:
        best: the row of the cheapest of all; None if the target is not reached.
        study: a row for every strategy and number of gold answers, and the error by cost as points.
    """

    best: Row | None
    study: Study


def run(
    key: Key[Array, ""], config: Config, *, runs: int = DEFAULT_RUNS, **options: Unpack[RunOptions]
) -> PanelPlan:
    """Simulate every strategy with every number of gold answers."""
    simulate = partial(simulate_run, config=config)
    error = map_runs(simulate, jax.random.split(key, runs), **options)
    rows: list[Row] = []
    for at, gold in enumerate(config.gold_per_labeler):
        each = {
            name: _cost_of_target(error[:, at, k], config)
            for k, name in enumerate(config.strategies)
        }
        for name, found in each.items():
            rows.append(_row(name, gold, found, each[BASELINE], config))
    best = min(
        (row for row in rows if row["reaches_target"]), key=lambda row: row["cost"], default=None
    )
    mean = error.mean(axis=0)
    axes = np.meshgrid(config.gold_per_labeler, config.strategies, config.grid, indexing="ij")
    names = ("gold_per_labeler", "strategy", "cost_per_example")
    points = pd.DataFrame({name: axis.ravel() for name, axis in zip(names, axes, strict=True)})
    return PanelPlan(best, Study(NAME, runs, rows, points.assign(error=mean.ravel())))


def simulate_run(
    key: Key[Array, ""], config: Config
) -> Float[Array, "num_gold num_strategies num_costs"]:
    """One panel: the error of every strategy at every cost, for every number of gold answers."""
    key_cohort, key_gold, key_queue = jax.random.split(key, 3)
    num_labelers = len(config.costs)
    if config.accuracy is None:
        labelers = beta_cohort(key_cohort, num_labelers, config.prior.a, config.prior.b)
    else:
        labelers = OneCoin(jnp.array(config.accuracy), 2)
    counts = assess(key_gold, labelers, config.gold_per_labeler)
    queue = jax.lax.optimization_barrier(simulate_queue(key_queue, labelers, config.num_simulated))
    coins = jnp.asarray(config.coins)
    grid = jnp.asarray(config.grid)
    most = min(num_labelers, _MOST_LABELS)

    def with_gold(of_size: GoldCounts) -> Float[Array, "num_strategies num_costs"]:
        known = BetaPosterior.from_counts(of_size, config.prior)
        aggregator = ClassPosterior(OneCoin(known.mean, 2))
        market = Market.of(aggregator, queue, coins)

        def spend(strategy: str) -> Float[Array, " num_costs"]:
            policy = POLICIES.build(strategy)
            bought = queue
            if policy.chooses_labelers:
                bought = offline.in_chosen_order(policy, aggregator, queue, market, most)
            answers = jax.tree.map(lambda part: part[:most], bought.answers)
            bought = dataclasses.replace(bought, answers=answers)
            path = offline.class_prob_path(aggregator, bought)
            here = market._replace(answers=answers)
            order = offline.purchases(offline.schedule(policy, path, here))
            error = losses(path, bought.true_label).error
            price = jnp.asarray(config.costs)[answers.labeler]
            return _error_at(order, error, price, grid)

        return jnp.stack([spend(strategy) for strategy in config.strategies])

    return jax.lax.map(with_gold, counts)


def _error_at(
    order: offline.Purchases,
    error: Float[Array, "num_steps_and_one num_examples"],
    price: Float[Array, "num_steps num_examples"],
    grid: Float[Array, " num_costs"],
) -> Float[Array, " num_costs"]:
    """Mean error once so much money per example is spent; the whole order costs the last."""
    there = order.example >= 0
    example = jnp.maximum(order.example, 0)
    place = jnp.maximum(order.place, 0)
    change = jnp.where(there, error[place + 1, example] - error[place, example], 0.0)
    num_examples = error.shape[1]
    spent = jnp.cumsum(jnp.where(there, price[place, example], 0.0)) / num_examples
    after = jnp.mean(error[0]) + jnp.cumsum(change) / num_examples
    return jnp.interp(grid, jnp.append(0.0, spent), jnp.append(jnp.mean(error[0]), after))


class _Cost(NamedTuple):
    """Money per example for the target: of all runs, and without each."""

    mean: float
    without: npt.NDArray[np.float64]


def _cost_of_target(error: Float[np.ndarray, "num_runs num_costs"], config: Config) -> _Cost:
    """Where the mean error first is the target; infinite where it never is."""
    total, num_runs = error.sum(axis=0, dtype=np.float64), len(error)
    without = (total - error) / max(num_runs - 1, 1)
    found = [_first(curve, config) for curve in np.vstack([total / num_runs, without])]
    return _Cost(found[0], np.array(found[1:]))


def _first(curve: npt.NDArray[np.float64], config: Config) -> float:
    grid, reached = config.grid, curve <= config.target_error
    if not reached.any():
        return float("inf")
    at = int(np.argmax(reached))
    if at == 0:
        return float(grid[0])
    above, below = curve[at - 1] - config.target_error, config.target_error - curve[at]
    return float(grid[at - 1] + (grid[at] - grid[at - 1]) * above / (above + below))


def _row(name: str, gold: int, found: _Cost, baseline: _Cost, config: Config) -> Row:
    of_gold = gold * sum(config.costs)
    is_reached = np.isfinite(found.mean)
    row: Row = {
        "strategy": name,
        "gold_per_labeler": gold,
        "reaches_target": bool(is_reached),
        "cost_of_gold": of_gold,
        "cost_per_example": found.mean if is_reached else None,
        "cost": of_gold + config.num_examples * found.mean if is_reached else None,
    }
    share: dict[str, float | None] = {"mean": None, "se": None}
    if is_reached and np.isfinite(baseline.mean) and np.isfinite(baseline.without).all():
        share["mean"] = found.mean / baseline.mean
        if np.isfinite(found.without).all():
            share["se"] = _jackknife_se(found.without / baseline.without)
    return {**row, f"over_{BASELINE}": share}


def _jackknife_se(without: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt((len(without) - 1) * without.var()))


@styled
def plot(plan: PanelPlan, config: Config) -> Figure:
    """Error by cost of every strategy, at the number of gold answers of the best plan."""
    drawn, axes = plt.subplots(figsize=(6.4, 4.2))
    gold = config.gold_per_labeler[-1] if plan.best is None else plan.best["gold_per_labeler"]
    points = plan.study.points.query("gold_per_labeler == @gold")
    for name, of_strategy in points.groupby("strategy", sort=False):
        axes.plot(of_strategy["cost_per_example"], 100 * of_strategy["error"], label=name)
    axes.axhline(100 * config.target_error, color="#b03a2e", linestyle="--", linewidth=1)
    axes.set(
        xlabel="cost of labels per example",
        ylabel="error, %",
        title=f"With {gold} gold answers per labeler",
        yscale="log",
    )
    number_axis(axes.yaxis, 0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 30, 50)
    axes.legend()
    return drawn
