"""Who answers what: information per cost, the queues that it makes, and panels with prices."""

import itertools
import json

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gtx_bayes import Crowd, InputError, aggregate
from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import offline, sequential
from gtx_bayes.collection.base import NEVER, Seen
from gtx_bayes.collection.information import (
    InformationPerCost,
    can_change,
    information_of_answers,
)
from gtx_bayes.collection.market import Market
from gtx_bayes.collection.next_labels import next_labels
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.experiments import panel_plan, policies
from gtx_bayes.labels import MISSING
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import simulate_queue
from tests.test_cli import call

ACCURACY = jnp.array([0.6, 0.75, 0.75, 0.9])
COSTS = jnp.array([[1], [2], [3], [40]])
NUM_EXAMPLES = 5


def tables(num_labelers=4, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    confusion = rng.dirichlet(np.ones(num_classes), (num_labelers, num_classes))
    return confusion, rng.dirichlet(np.ones(num_classes), 6)


whom = jax.jit(lambda policy, seen: policy.whom(seen))
priority = jax.jit(lambda policy, seen: policy.priority(seen))
information = jax.jit(information_of_answers)


class TestInformation:
    def test_by_hand(self):
        """Of a fair coin, a labeler of .9 tells log 2 - H(.9)."""
        entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
        got = information(jnp.full(2, 0.5), OneCoin(jnp.array([0.9]), 2).confusion_matrix)
        np.testing.assert_allclose(got, np.log(2.0) - entropy, rtol=1e-5)

    @pytest.mark.parametrize("rest", [0.3, 1e-3, 1e-6])
    def test_against_float64(self, rest):
        """The entropies' difference drowns in rounding where little is left to know."""
        confusion, _ = tables()
        probs = np.array([1.0 - 1.5 * rest, rest, 0.5 * rest])
        marginal = np.einsum("y,jyl->jl", probs, confusion)
        wanted = np.einsum("y,jyl->j", probs, confusion * np.log(confusion / marginal[:, None, :]))
        got = information(jnp.asarray(probs), jnp.asarray(confusion))
        np.testing.assert_allclose(got, wanted, rtol=2e-3)

    def test_certain_labelers_and_certain_examples(self):
        certain = OneCoin(jnp.array([1.0, 0.5]), 2).confusion_matrix
        np.testing.assert_allclose(
            information(jnp.array([0.5, 0.5]), certain), [np.log(2.0), 0.0], atol=1e-6
        )
        got = information(jnp.array([1.0, 0.0]), certain)
        np.testing.assert_allclose(got, [0.0, 0.0], atol=1e-30)

    def test_what_can_change_is_found_by_trying_all_answers(self):
        confusion, probs = tables()
        left = np.array(list(itertools.product([False, True], repeat=4)))
        for each in probs:
            each = each**3 / (each**3).sum()
            got = can_change(
                jnp.tile(jnp.asarray(each), (len(left), 1)),
                jnp.asarray(confusion),
                jnp.asarray(left),
            )
            for is_left, found in zip(left, got, strict=True):
                who = np.flatnonzero(is_left)
                after = [
                    np.prod([confusion[j, :, a] for j, a in zip(who, answers, strict=True)], axis=0)
                    * each
                    for answers in itertools.product(range(3), repeat=len(who))
                ]
                best = {int(np.argmax(joint)) for joint in after}
                assert not best - {int(each.argmax())} or found
                # Rivals are looked at one by one: a third class may win where the rival ties.
                assert found == any(
                    (joint[y] >= joint[each.argmax()])
                    for joint in after
                    for y in range(3)
                    if y != each.argmax()
                )


class TestWhom:
    def seen(self, probs, costs=COSTS, counts=(0, 0)):
        labels = simulate_queue(jax.random.key(3), OneCoin(ACCURACY, 2), 2).answers
        counts = jnp.array(counts)
        return Seen(jnp.asarray(probs), counts, labels.first(counts), OneCoin(ACCURACY, 2), costs)

    def test_the_most_for_the_money(self):
        policy, even = InformationPerCost(), jnp.full((2, 2), 0.5)
        assert list(whom(policy, self.seen(even, costs=None))) == [3, 3]
        per_cost = information(even[0], OneCoin(ACCURACY, 2).confusion_matrix)
        best = int(np.argmax(np.asarray(per_cost) / np.asarray(COSTS)[:, 0]))
        assert best == 1
        assert list(whom(policy, self.seen(even))) == [best, best]

    def test_nobody_twice_and_nobody_beyond_price(self):
        policy = InformationPerCost()
        seen = self.seen(jnp.full((2, 2), 0.5), counts=(4, 3))
        last = int(seen.labels.labeler[3, 1])
        assert list(whom(policy, seen)) == [MISSING, last]
        assert list(np.asarray(priority(policy, seen)) == NEVER) == [True, False]
        costs = jnp.where(jnp.arange(4)[:, None] == last, jnp.inf, jnp.ones((4, 2)))
        seen = self.seen(jnp.full((2, 2), 0.5), costs, (0, 3))
        assert list(whom(policy, seen))[1] == MISSING

    def test_those_with_a_price_alone_count_as_the_mean(self):
        costs = jnp.array([[9.0], [9.0], [9.0], [9.0], [1.0]])
        seen = self.seen(jnp.full((2, 2), 0.5), costs)
        assert list(whom(InformationPerCost(), seen)) == [4, 4]

    def test_other_policies_choose_nobody(self):
        with pytest.raises(NotImplementedError, match="does not choose labelers"):
            UncertaintySampling().whom(self.seen(jnp.full((2, 2), 0.5)))


class TestChosenOrder:
    method = ClassPosterior(OneCoin(ACCURACY, 2))

    def test_is_the_order_in_which_they_are_asked(self, key):
        """Step by step: whoever is next in the queue is whom the policy names."""
        policy = InformationPerCost()
        queue = simulate_queue(key, self.method.model, NUM_EXAMPLES)
        market = Market.of(self.method, queue, COSTS)
        chosen = offline.in_chosen_order(policy, self.method, queue, market)
        np.testing.assert_array_equal(chosen.labels, queue.labels)
        for place in range(4):
            counts = jnp.full(NUM_EXAMPLES, place)
            so_far = chosen.answers.first(counts)
            seen = Seen(
                self.method.class_probs(so_far), counts, so_far, self.method.labelers, COSTS
            )
            np.testing.assert_array_equal(whom(policy, seen), chosen.answers.labeler[place])

    def test_the_engines_agree_on_it(self, key):
        policy = InformationPerCost()
        queue = simulate_queue(key, self.method.model, NUM_EXAMPLES)
        market = Market.of(self.method, queue, COSTS)
        chosen = offline.in_chosen_order(policy, self.method, queue, market)
        market = Market.of(self.method, chosen, COSTS)
        path = offline.class_prob_path(self.method, chosen)
        by_steps, _ = sequential.collect(policy, self.method, chosen, 60, market)
        at_once = offline.collect(policy, path, 60, market)
        np.testing.assert_array_equal(by_steps.num_labels, at_once.num_labels)

    def test_takes_all_labelers_and_a_policy_that_chooses(self, key):
        queue = simulate_queue(key, self.method.model, NUM_EXAMPLES, max_labels=2)
        with pytest.raises(ValueError, match="not every labeler"):
            offline.in_chosen_order(InformationPerCost(), self.method, queue)
        with pytest.raises(ValueError, match="does not choose labelers"):
            offline.in_chosen_order(UncertaintySampling(), self.method, queue)


ANSWERS = pd.DataFrame(
    {
        "task": ["a", "a", "a", "b", "b", "c", "d", "d"],
        "worker": ["u", "v", "w", "u", "v", "u", "u", "v"],
        "label": ["yes", "yes", "yes", "yes", "no", "no", "no", "yes"],
        "family": ["f", "f", "", "f", "f", "f", "f", "f"],
    }
)
PRICES = pd.DataFrame({"worker": ["w", "v", "u", "x"], "price": [4, 2, 1, 3]})


class TestNext:
    def next(self, crowd, **options):
        result = None if crowd is None else aggregate(crowd, "majority-vote")
        return next_labels(
            jax.random.key(0), result, batch=9, costs=PRICES, strategy="information", **options
        ).examples.set_index("task")

    def test_whom_to_ask_and_what_it_costs(self):
        """The cheapest where all are alike; x has a price and no answer yet."""
        found = self.next(Crowd.from_frames(ANSWERS))
        assert dict(found["worker"]) == {"a": "x", "b": "x", "c": "v", "d": "x"}
        assert dict(found["cost"]) == {"a": 3.0, "b": 3.0, "c": 2.0, "d": 3.0}

    def test_a_bloc_costs_what_its_cheapest_member_does(self):
        """u and v are one: nobody of f is asked of a, b and d; of c it has answered."""
        found = self.next(Crowd.from_frames(ANSWERS, groups="family"))
        assert dict(found["worker"])["c"] == "x"
        found = self.next(
            Crowd.from_frames(ANSWERS, groups="family"), tasks=pd.DataFrame({"task": ["new", "c"]})
        )
        assert dict(found["worker"]) == {"new": "u", "c": "x"}

    def test_before_the_first_answer(self):
        found = self.next(None, tasks=pd.DataFrame({"task": ["new"]}))
        assert dict(found["worker"]) == {"new": "u"}

    @pytest.mark.end_to_end
    def test_from_the_command_line(self, tmp_path):
        """Prices of workers make it the strategy; groups and costs then go together."""
        ANSWERS.to_csv(tmp_path / "labels.csv", index=False)
        PRICES.to_csv(tmp_path / "costs.csv", index=False)
        run = call(
            *("next", tmp_path / "labels.csv", "--cost", tmp_path / "costs.csv", "--json"),
            *("--method", "majority-vote", "--groups", "family"),
        )
        assert run.exit_code == 0, run.output
        record = json.loads(run.stdout)
        assert record["strategy"] == "information"
        assert {row["worker"] for row in record["examples"]} <= {"w", "x"}


class TestPanelPlan:
    config = panel_plan.Config(
        0.1, 1000, (0.01, 0.01, 1.0), (0.8, 0.7, 0.97), gold_per_labeler=(20,), num_simulated=400
    )

    def test_in_small(self, key):
        found = panel_plan.run(key, self.config, runs=3)
        rows = {row["strategy"]: row for row in found.study.rows}
        assert found.best == rows["information"]
        assert rows["information"]["cost"] == pytest.approx(
            20 * 1.02 + 1000 * rows["information"]["cost_per_example"]
        )
        # The dear labeler alone is right in .97, so that nobody needs more than the whole panel.
        assert rows["information"]["over_uncertainty"]["mean"] < 0.8
        assert rows["uncertainty"]["over_uncertainty"] == {"mean": 1.0, "se": 0.0}
        points = found.study.points
        assert len(points) == 2 * len(self.config.grid)
        ends = points.groupby("strategy")["error"].last()
        np.testing.assert_allclose(ends, ends.iloc[0], atol=1e-6)  # all labels are bought
        plt.close(panel_plan.plot(found, self.config))

    def test_prices_too_far_apart(self):
        with pytest.raises(InputError, match="too far apart"):
            panel_plan.Config(0.1, 10, (1e-9, 1.0))

    @pytest.mark.slow
    @pytest.mark.end_to_end
    def test_from_the_command_line(self, tmp_path):
        table = pd.DataFrame({"worker": ["j", "p"], "cost": [0.01, 1], "accuracy": [0.8, 0.97]})
        table.to_csv(tmp_path / "panel.csv", index=False)
        run = call(
            *("plan", "--target-error", 1e-5, "--num-examples", 100, "--runs", 2),
            *("--cost", tmp_path / "panel.csv", "--output", tmp_path / "out"),
        )
        assert run.exit_code == 0, run.output
        assert "No strategy reaches it. The lowest error is" in " ".join(run.stdout.split())
        record = json.loads((tmp_path / "out" / "plan.json").read_text())
        assert record["labelers"] == ["j", "p"]
        assert record["accuracy"] == [0.8, 0.97]

    @pytest.mark.parametrize(
        ("table", "options", "message"),
        [
            ({"worker": ["j"], "cost": [1], "accuracy": [2]}, [], "row 2: '2' is no accuracy"),
            ({"task": ["j"], "cost": [1]}, [], "it does not price workers"),
            ({"worker": ["j"], "cost": [1]}, ["--num-labelers", 3], "says who there is"),
            (
                {"worker": ["j"], "cost": [1], "accuracy": [0.8]},
                ["--accuracy", "0.6,0.9"],
                "the table says the accuracies",
            ),
        ],
    )
    def test_bad_input(self, tmp_path, table, options, message):
        pd.DataFrame(table).to_csv(tmp_path / "panel.csv", index=False)
        run = call(
            *("plan", "--target-error", 0.1, "--num-examples", 100),
            *("--cost", tmp_path / "panel.csv", *options),
        )
        assert run.exit_code == 2
        assert message in run.stderr

    def test_random_order_is_no_place_for_it(self):
        with pytest.raises(InputError, match="chooses labelers"):
            policies.Config().policy("information")
