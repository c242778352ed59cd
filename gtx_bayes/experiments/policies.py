"""Policies by name, compared on the same answers and with the least possible error, with costs."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes import decisions
from gtx_bayes.aggregation import gtx
from gtx_bayes.collection import offline
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.market import Market
from gtx_bayes.collection.optimal import least_error
from gtx_bayes.errors import InputError
from gtx_bayes.experiments.drawing import (
    COHORT_TITLES,
    Panel,
    by_cohort,
    name_spread,
    series,
    styled,
)
from gtx_bayes.experiments.setting import (
    AGGREGATORS,
    CohortStudy,
    Losses,
    draw,
    losses,
    mean_of_counted,
    score,
)
from gtx_bayes.experiments.study import Row, Study, figure, ratio
from gtx_bayes.registry import POLICIES

NAME = "policies"
DEFAULT_RUNS = 500

_BASELINE = "uncertainty"


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's cohorts; labels cost 1, or those of every second example more.

    Attributes:
        num_labelers: J, at most 12.
        num_examples: N, even.
        labels_per_example: the budgets are as many times N times the mean cost.
        highest_costs: price of a label of every second example; 1 for equal costs.
        strategies: names of policies, or `FILE.py:Class`. They look at an example's own labels
            and spend the whole budget.
    """

    num_labelers: int = 7
    num_examples: int = 500
    labels_per_example: tuple[int, ...] = (1, 2, 3, 4, 5)
    highest_costs: tuple[int, ...] = (1, 4)
    strategies: tuple[str, ...] = (_BASELINE, "knowledge-gradient", "random")

    def comparing(self, strategies: Sequence[str]) -> "Config":
        """With these strategies too."""
        return dataclasses.replace(
            self, strategies=tuple(dict.fromkeys((*self.strategies, *strategies)))
        )

    def budget(self, labels_per_example: int, highest_cost: int) -> int:
        """The money for so many labels of each example."""
        return labels_per_example * self.num_examples * (1 + highest_cost) // 2

    def policy(self, strategy: str) -> AbstractPolicy:
        """The policy of that name, with no more labels of an example than there are labelers.

        Raises:
            InputError: for one that serves a stream or looks at other examples.
        """
        cls = POLICIES.find(strategy)
        capped = "max_labels" in {field.name for field in dataclasses.fields(cls)}
        options = {"max_labels": str(self.num_labelers)} if capped else {}
        policy: AbstractPolicy = POLICIES.build(strategy, options)
        if policy.is_streaming or not policy.own_labels_only:
            raise InputError(
                f"the strategy {strategy} serves a stream or looks at other examples.",
                hint="Compare strategies that spend a budget on a table.",
            )
        if policy.chooses_labelers:
            raise InputError(
                f"the strategy {strategy} chooses labelers, who come in random order here.",
                hint="Compare it by `plan --cost`.",
            )
        return policy


class Outcome(NamedTuple):
    """One policy on one cohort, beside the bound.

    Attributes:
        error: proportion of wrong labels.
        expected_error: mean uncertainty, which for the exact posterior has the same expectation
            as the error and far less noise; for votes it means nothing.
        labels_per_example: labels spent over N.
        bound: the least error for so much money.
    """

    error: Float[Array, "*budgets"]
    expected_error: Float[Array, "*budgets"]
    labels_per_example: Float[Array, "*budgets"]
    bound: Float[Array, "*budgets"]


def spend(
    policy: AbstractPolicy,
    path: Float[Array, "num_steps_and_one num_examples two"],
    loss: Losses,
    budget: ScalarLike,
    bound: Float[Array, ""],
    market: Market | None = None,
) -> Outcome:
    """What a policy makes of a budget."""
    bought = offline.collect(policy, path, budget, market)
    found = score(bought, loss, budget)
    expected = mean_of_counted(bought, decisions.uncertainty(path))
    return Outcome(found.error, expected, found.labels_per_example, bound)


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> list[list[Outcome]]:
    """One cohort: for each kind of costs what every policy makes of the answers, by budget."""
    keys = jax.random.split(key, 3)
    labelers, queue = draw(keys[:2], (low, high), config.num_labelers, config.num_examples)
    aggregator = AGGREGATORS[gtx.NAME](labelers.accuracy)
    path = offline.class_prob_path(aggregator, queue)
    loss = losses(path, queue.true_label)
    policies = [
        config.policy(strategy).drawn(keys[2], config.num_examples)
        for strategy in config.strategies
    ]

    def at_costs(highest_cost: int) -> list[Outcome]:
        prices = jnp.array([1, highest_cost])
        costs = None if highest_cost == 1 else jnp.tile(prices, config.num_examples // 2)[None]
        market = Market.of(aggregator, queue, costs)
        budgets = jnp.array([config.budget(k, highest_cost) for k in config.labels_per_example])

        def least(money: Float[Array, ""]) -> Float[Array, ""]:
            of = None if costs is None else prices.astype(float)
            return least_error(labelers.accuracy, money, of).error

        bounds = jax.lax.map(least, budgets / config.num_examples)

        def at_budgets(policy: AbstractPolicy) -> Outcome:
            def at_budget(budget: Int[Array, ""], bound: Float[Array, ""]) -> Outcome:
                return spend(policy, path, loss, budget, bound, market)

            return jax.vmap(at_budget)(budgets, bounds)

        return [at_budgets(policy) for policy in policies]

    return [at_costs(highest_cost) for highest_cost in config.highest_costs]


def _rows(cohort: str, by_cost: list[list[Outcome]], config: Config) -> list[Row]:
    rows: list[Row] = []
    for highest_cost, outcomes in zip(config.highest_costs, by_cost, strict=True):
        for strategy, found in zip(config.strategies, outcomes, strict=True):
            for at, k in enumerate(config.labels_per_example):
                here = Outcome(*(part[:, at] for part in found))
                rows.append(
                    {
                        "cohort": cohort,
                        "method": gtx.NAME,
                        "strategy": POLICIES.find(strategy).name,
                        "highest_cost": highest_cost,
                        "labels_per_example": k,
                        "budget": config.budget(k, highest_cost),
                        "error": figure(here.error),
                        "expected_error": figure(here.expected_error),
                        "bound": figure(here.bound),
                        "ratio": ratio(here.expected_error, here.bound),
                        f"over_{config.strategies[0]}": ratio(
                            here.expected_error, outcomes[0].expected_error[:, at]
                        ),
                    }
                )
    return rows


run = CohortStudy(NAME, DEFAULT_RUNS, Config, simulate_run, _rows)
"""Every policy on both kinds of cohort.

`ratio` is the expected error over the bound, `over_uncertainty` over that of uncertainty sampling
on the same answers.
"""


@styled
def plot(study: Study) -> Figure:
    """Expected error over the bound against the budget: a panel for each cohort and its costs."""
    costs = sorted({row["highest_cost"] for row in study.rows})
    label = "error over the least possible"
    panels = [Panel("ratio", label, where={"highest_cost": cost}) for cost in costs]
    size = (9.0, 3.2 * len(costs))
    drawn, axes = by_cohort(panels, "budget, labels per example at the mean cost", size)
    for ax, cohort, panel in axes:
        for strategy in dict.fromkeys(row["strategy"] for row in study.rows):
            rows = study.where(cohort=cohort, strategy=strategy, **panel.where)
            x = [row["labels_per_example"] for row in rows]
            mean, se = series(rows, panel.name)
            ax.errorbar(x, mean, yerr=2 * se, marker=".", label=strategy)
        ax.axhline(1.0, color="#9aa5b1", linestyle="--")
        ax.set_ylim(0.95, 1.5)  # random sampling is far above
        ax.set_xticks(x)
        cost = panel.where["highest_cost"]
        price = "labels cost 1" if cost == 1 else f"labels cost 1 or {cost}"
        ax.set_title(f"{COHORT_TITLES[cohort]}; {price}", fontsize=9)
    axes[0][0].legend()
    name_spread(drawn, "bars", 2, study.runs)
    return drawn
