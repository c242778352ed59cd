"""Policies by name, compared on the same answers and with the least possible error, with costs."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes import decisions
from gtx_bayes.aggregation import gtx
from gtx_bayes.collection import whole_run
from gtx_bayes.collection.base import AbstractPolicy
from gtx_bayes.collection.market import Market
from gtx_bayes.collection.optimal import least_error
from gtx_bayes.collection.whole_run import at_count
from gtx_bayes.errors import InputError
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.setting import COHORT_TITLES, COHORTS, map_cohorts
from gtx_bayes.experiments.study import Row, Study, figure, ratio
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.registry import POLICIES
from gtx_bayes.simulation import simulate_queue, uniform_cohort

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
                mend="Compare strategies that spend a budget on a table.",
            )
        return policy


class Outcome(NamedTuple):
    """One policy on one cohort, at every budget.

    Attributes:
        error: proportion of wrong labels.
        expected_error: mean uncertainty, which has the same expectation and far less noise.
    """

    error: Float[Array, " num_budgets"]
    expected_error: Float[Array, " num_budgets"]


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    mesh: Mesh | None = None,
) -> Study:
    """Simulate every policy on both kinds of cohort.

    `ratio` is the expected error over the bound, `over_uncertainty` over that of uncertainty
    sampling on the same answers.
    """
    config = config or Config()
    by_cohort = map_cohorts(
        partial(simulate_run, config=config), key, runs, progress=progress, mesh=mesh
    )
    rows: list[Row] = []
    for cohort, by_cost in by_cohort.items():
        for highest_cost, (bound, outcomes) in zip(config.highest_costs, by_cost, strict=True):
            for strategy, found in zip(config.strategies, outcomes, strict=True):
                for at, k in enumerate(config.labels_per_example):
                    expected = found.expected_error[:, at]
                    beside = outcomes[0].expected_error[:, at]
                    rows.append(
                        {
                            "cohort": cohort,
                            "method": gtx.NAME,
                            "strategy": POLICIES.find(strategy).name,
                            "highest_cost": highest_cost,
                            "labels_per_example": k,
                            "budget": config.budget(k, highest_cost),
                            "error": figure(found.error[:, at]),
                            "expected_error": figure(expected),
                            "bound": figure(bound[:, at]),
                            "ratio": ratio(expected, bound[:, at]),
                            f"over_{config.strategies[0]}": ratio(expected, beside),
                        }
                    )
    return Study(NAME, runs, rows)


def simulate_run(
    key: Key[Array, ""], low: ScalarLike, high: ScalarLike, config: Config
) -> list[tuple[Float[Array, " num_budgets"], list[Outcome]]]:
    """One cohort: for each kind of costs the bounds, and what every policy makes of the answers."""
    key_cohort, key_queue, key_policy = jax.random.split(key, 3)
    labelers = uniform_cohort(key_cohort, config.num_labelers, low, high)
    queue = jax.lax.optimization_barrier(simulate_queue(key_queue, labelers, config.num_examples))
    aggregator = gtx.ClassPosterior(OneCoin(labelers.accuracy, 2))
    path = whole_run.class_prob_path(aggregator, queue)
    uncertainty = decisions.uncertainty(path)
    wrong = 1.0 - decisions.credit(path, jnp.broadcast_to(queue.true_label, path.shape[:2]))
    policies = [
        config.policy(strategy).drawn(key_policy, config.num_examples)
        for strategy in config.strategies
    ]

    def at_costs(highest_cost: int) -> tuple[Float[Array, " num_budgets"], list[Outcome]]:
        kinds = jnp.array([1, highest_cost])
        costs = None if highest_cost == 1 else jnp.tile(kinds, config.num_examples // 2)[None]
        market = Market.of(aggregator, queue, costs)
        budgets = jnp.array([config.budget(k, highest_cost) for k in config.labels_per_example])

        def collect(policy: AbstractPolicy) -> Outcome:
            def at_budget(budget: Int[Array, ""]) -> Outcome:
                bought = whole_run.collect(policy, path, budget, market).num_labels
                return Outcome(*(jnp.mean(at_count(part, bought)) for part in (wrong, uncertainty)))

            return jax.vmap(at_budget)(budgets)

        def bound(money: Float[Array, ""]) -> Float[Array, ""]:
            of = None if costs is None else kinds.astype(float)
            return least_error(labelers.accuracy, money, of).error

        bounds = jax.lax.map(bound, budgets / config.num_examples)
        return bounds, [collect(policy) for policy in policies]

    return [at_costs(highest_cost) for highest_cost in config.highest_costs]


def plot(study: Study) -> Figure:
    """Expected error over the bound against the budget: a panel for each cohort and its costs."""
    costs = sorted({row["highest_cost"] for row in study.rows})
    figure_, axes = plt.subplots(
        len(costs),
        len(COHORTS),
        figsize=(9.0, 3.2 * len(costs)),
        squeeze=False,
        layout="constrained",
    )
    strategies = list(dict.fromkeys(row["strategy"] for row in study.rows))
    for at, cost in enumerate(costs):
        for ax, cohort in zip(axes[at], COHORTS, strict=True):
            for strategy in strategies:
                rows = [
                    row
                    for row in study.rows
                    if (row["cohort"], row["highest_cost"], row["strategy"])
                    == (cohort, cost, strategy)
                ]
                x = [row["labels_per_example"] for row in rows]
                mean = np.array([row["ratio"]["mean"] for row in rows], float)
                spread = [2 * (row["ratio"]["se"] or 0.0) for row in rows]
                ax.errorbar(x, mean, yerr=spread, marker=".", label=strategy)
            ax.axhline(1.0, color="#9aa5b1", linestyle="--")
            ax.set_ylim(0.95, 1.5)  # random sampling is far above
            ax.set_xticks(x)
            price = "labels cost 1" if cost == 1 else f"labels cost 1 or {cost}"
            ax.set_title(f"{COHORT_TITLES[cohort]}; {price}", loc="left", fontsize=9)
            ax.set_xlabel("budget, labels per example at the mean cost")
            ax.spines[["top", "right"]].set_visible(False)
        axes[at, 0].set_ylabel("error over the least possible")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure_
