"""One contract for every registered policy, and for one in a user's file."""

import dataclasses
import importlib.metadata
import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes import Crowd, InputError, aggregate
from gtx_bayes.aggregation.gtx import ClassPosterior
from gtx_bayes.collection import offline, sequential
from gtx_bayes.collection.base import NEVER, AbstractPolicy, Seen
from gtx_bayes.collection.knowledge_gradient import KnowledgeGradient, _outcomes, best_rate
from gtx_bayes.collection.market import Market
from gtx_bayes.collection.next_labels import next_labels
from gtx_bayes.labels import MISSING
from gtx_bayes.models.difficulty import HardExamples
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.registry import POLICIES
from gtx_bayes.simulation import simulate_queue
from tests.test_cli import call

IN_A_FILE = f"{Path(__file__).parent / 'plugins' / 'uncertainty_per_cost.py'}:UncertaintyPerCost"
STRATEGIES = (*POLICIES.names(), IN_A_FILE)
OPTIONS = {"risk": {"target": "0.05"}}
LOOK_AT_COSTS = ("knowledge-gradient", "information", IN_A_FILE)
CAP = 2
NUM_EXAMPLES = 5
ACCURACY = jnp.array([0.6, 0.75, 0.75, 0.9])


def build(strategy, **options):
    return POLICIES.build(strategy, {**OPTIONS.get(strategy, {}), **options})


def short(strategy):
    return strategy.rpartition(":")[2]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=short)
class TestContract:
    """What every policy keeps to."""

    def test_says_what_it_is(self, strategy):
        policy = POLICIES.find(strategy)
        assert policy.name == strategy or strategy == IN_A_FILE
        assert policy.description

    def test_the_engines_agree_within_the_cap_and_the_budget(self, strategy, key):
        """Label by label under one large budget gives what every smaller one buys: as many labels
        as it pays for, in that order. Where costs matter, and for one of the others, every labeler
        has a price for every example; else labels cost alike."""
        key_queue, key_policy, key_costs = jax.random.split(key, 3)
        policy = build(strategy, max_labels=str(CAP)).drawn(key_policy, NUM_EXAMPLES)
        method = ClassPosterior(OneCoin(ACCURACY, 2))
        queue = simulate_queue(key_queue, method.model, NUM_EXAMPLES)
        price = None
        if strategy in (*LOOK_AT_COSTS, "uncertainty"):
            price = jax.random.randint(key_costs, (4, NUM_EXAMPLES), 1, 6)
        market = Market.of(method, queue, price)
        most = 5 * CAP * NUM_EXAMPLES
        last, order = sequential.collect(policy, method, queue, most, market)
        order = np.asarray(order)[np.asarray(order) != MISSING]
        counts = np.cumsum(order[:, None] == np.arange(NUM_EXAMPLES), axis=0)
        np.testing.assert_array_equal(counts[-1], last.num_labels)
        assert counts.max() <= CAP
        paid = np.arange(1, len(order) + 1)
        if price is not None:
            places = counts[np.arange(len(order)), order] - 1
            paid = np.cumsum(np.asarray(price)[queue.answers.labeler[places, order], order])
        if not policy.own_labels_only:
            return
        path = offline.class_prob_path(method, queue)
        budgets = jnp.arange(most + 1)
        found = jax.vmap(lambda budget: offline.collect(policy, path, budget, market))(budgets)
        expected = np.concatenate([np.zeros((1, NUM_EXAMPLES), int), counts])
        np.testing.assert_array_equal(
            found.num_labels, expected[np.searchsorted(paid, budgets, side="right")]
        )
        np.testing.assert_array_equal(found.counted[-1], last.counted)

    def test_no_priority_beyond_the_cap(self, strategy, key):
        policy = build(strategy, max_labels=str(CAP)).drawn(key, 3)
        counts = jnp.array([CAP - 1, CAP, CAP + 1])
        seen = Seen(jnp.full((3, 2), 0.5), counts)
        priority = jax.jit(lambda policy, seen: policy.priority(seen))(policy, seen)
        assert list(np.asarray(priority) == NEVER) == [False, True, True]

    @pytest.mark.end_to_end
    def test_next_from_python(self, strategy, crowd):
        found = next_labels(
            jax.random.key(0), crowd, batch=9, strategy=build(strategy), max_labels=3
        )
        assert found.strategy == POLICIES.find(strategy).name
        assert {"b", "d"} <= set(found.examples["task"]) <= {"b", "c", "d"}  # a is full, g is gold
        assert found.num_open == len(found.examples) == 5 - found.num_done
        assert found.max_labels == 3
        if strategy not in OPTIONS:
            named = next_labels(jax.random.key(0), crowd, batch=9, strategy=strategy, max_labels=3)
            pd.testing.assert_frame_equal(named.examples, found.examples)


ANSWERS = pd.DataFrame(
    {
        "task": ["a", "a", "a", "b", "b", "c", "d", "d"],
        "worker": ["u", "v", "w", "u", "v", "u", "u", "v"],
        "label": ["yes", "yes", "yes", "yes", "no", "no", "no", "yes"],
    }
)


@pytest.fixture(scope="module")
def crowd():
    gold = pd.DataFrame({"task": ["g"], "label": ["yes"]})
    on_gold = pd.DataFrame({"task": ["g"], "worker": ["u"], "label": ["yes"]})
    return aggregate(Crowd.from_frames(pd.concat([ANSWERS, on_gold]), gold), "majority-vote")


@pytest.mark.end_to_end
@pytest.mark.parametrize("strategy", [*LOOK_AT_COSTS, "risk"], ids=short)
def test_next_from_the_command_line_with_costs(strategy, crowd, tmp_path):
    """b and d differ by their price alone."""
    ANSWERS.to_csv(tmp_path / "labels.csv", index=False)
    for dear in ("b", "d"):
        costs = pd.DataFrame({"task": list("abcd"), "cost": 1.0})
        costs.loc[costs["task"] == dear, "cost"] = 8.0
        costs.to_csv(tmp_path / "costs.csv", index=False)
        run = call(
            *("next", tmp_path / "labels.csv", "--cost", tmp_path / "costs.csv", "--json"),
            *("--strategy", strategy, "--method", "majority-vote", "--max-labels", 3),
            *(f"--strategy-option={k}={v}" for k, v in OPTIONS.get(strategy, {}).items()),
        )
        assert run.exit_code == 0, run.output
        record = json.loads(run.stdout)
        rows = {row["task"]: row["cost"] for row in record["examples"]}
        assert rows == {task: 8.0 if task == dear else 1.0 for task in rows}
        if strategy in LOOK_AT_COSTS:
            order = [task for task in rows if task in "bd"]
            assert order == (["d", "b"] if dear == "b" else ["b", "d"])


def test_a_policy_of_an_installed_package(monkeypatch, crowd):
    """An entry point is found by its name, and named in the help."""
    point = importlib.metadata.EntryPoint(
        "theirs", "tests.plugins.uncertainty_per_cost:UncertaintyPerCost", POLICIES.group
    )
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == point.group else []
    )
    found = next_labels(jax.random.key(0), crowd, batch=1, strategy="theirs")
    assert found.strategy == "uncertainty-per-cost"
    run = call("next", "--help")
    assert all(name in run.stdout for name in (*POLICIES.names(), "theirs"))


class Unregistered(AbstractPolicy):
    """No dataclass and no pytree."""

    def priority(self, seen):
        return seen.num_labels


def test_a_policy_that_is_no_pytree(crowd):
    with pytest.raises(InputError, match="is no pytree"):
        next_labels(jax.random.key(0), crowd, batch=1, strategy=Unregistered())


class TestSeen:
    labels = simulate_queue(jax.random.key(3), OneCoin(ACCURACY, 2), 3).answers

    def seen(self, counts, **more):
        counts = jnp.asarray(counts)
        return Seen(jnp.full((3, 2), 0.5), counts, self.labels.first(counts), **more)

    def test_who_has_answered(self):
        table = self.labels.first(jnp.array([0, 2, 4])).dense()
        np.testing.assert_array_equal(self.seen([0, 2, 4]).has_answered, table != MISSING)

    def test_expected_cost_is_of_those_who_are_left(self):
        costs = jnp.array([[1], [2], [3], [10]])
        got = self.seen([0, 3, 4], costs=costs).expected_cost()
        last = int(self.labels.labeler[3, 1])
        np.testing.assert_allclose(got, [4.0, costs[last, 0], 4.0])

    def test_expected_cost_where_it_does_not_matter_who(self):
        assert list(self.seen([0, 1, 2]).expected_cost()) == [1, 1, 1]
        by_example = self.seen([0, 1, 2], costs=jnp.array([[3, 2, 1]]))
        assert list(by_example.expected_cost()) == [3, 2, 1]


class TestCosts:
    def next(self, crowd, costs, **options):
        return next_labels(jax.random.key(0), crowd, batch=9, costs=costs, **options)

    def test_by_worker(self, crowd):
        """The price to expect is the mean over those left: b lacks w, c lacks v and w."""
        costs = pd.DataFrame({"worker": ["w", "v", "u", "x"], "price": [4, 2, 1, 9]})
        found = self.next(crowd, costs, strategy="knowledge-gradient").examples
        assert dict(zip(found["task"], found["cost"], strict=True)) == pytest.approx(
            {"a": 7 / 3, "b": 4.0, "c": 3.0, "d": 4.0}
        )

    def test_by_pair(self, crowd):
        pairs = [(w, t, 2 + "uvw".index(w)) for w in "uvw" for t in "abcd"]
        costs = pd.DataFrame(pairs, columns=["worker", "task", "cost"])
        found = self.next(crowd, costs, strategy=IN_A_FILE).examples
        cost = dict(zip(found["task"], found["cost"], strict=True))
        assert cost == pytest.approx({"a": 3.0, "b": 4.0, "c": 3.5, "d": 4.0})

    def test_before_the_first_answer(self):
        tasks = pd.DataFrame({"task": list("xyz")})
        costs = pd.DataFrame({"task": list("xyz"), "cost": [3, 1, 2]})
        for strategy in LOOK_AT_COSTS:
            found = self.next(None, costs, tasks=tasks, strategy=strategy)
            assert list(found.examples["task"]) == ["y", "z", "x"]

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"cost": [1.0]}, "prices neither workers nor tasks"),
            ({"task": ["a", "b"], "cost": [1, 0]}, "row 1: '0' is no price"),
            ({"task": ["a", "b"], "cost": [1, 1]}, "task '[cd]' has no price"),
            ({"task": ["a", "a"], "cost": [1, 1]}, "row 1: what it prices has a price already"),
            (
                {"task": ["a"], "worker": ["u"], "cost": [1]},
                "worker 'u', task '[bcd]' has no price",
            ),
        ],
    )
    def test_bad_input(self, crowd, table, message):
        with pytest.raises(InputError, match=message):
            self.next(crowd, pd.DataFrame(table), strategy="knowledge-gradient")

    @pytest.mark.parametrize(
        "costs", [np.ones((2, 1), int), np.zeros((4, 1), int), np.ones((4, 1))]
    )
    def test_bad_prices_in_a_market(self, costs):
        queue = simulate_queue(jax.random.key(3), OneCoin(ACCURACY, 2), 3)
        with pytest.raises(InputError, match="the costs"):
            Market.of(ClassPosterior(OneCoin(ACCURACY, 2)), queue, costs)


def gain_of_answers(class_probs, confusion):
    """Expected gain of a label from each of these labelers, over all that they can answer."""
    best = class_probs.argmax()
    total = 0.0
    for answers in itertools.product(range(confusion.shape[2]), repeat=len(confusion)):
        joint = class_probs * np.prod(
            [each[:, answer] for each, answer in zip(confusion, answers, strict=True)], axis=0
        )
        total += joint.max() - joint[best]
    return total


class TestKnowledgeGradient:
    def test_one_label_of_any_labeler_left(self):
        """Three classes and answers, confusion matrices of any kind; who has answered is out."""
        confusion = np.random.default_rng(0).dirichlet(np.ones(3), (4, 3))
        class_probs = np.array([0.5, 0.3, 0.2])
        left = [0, 2, 3]
        got = best_rate(
            jnp.asarray(confusion),
            jnp.asarray(class_probs),
            jnp.isin(jnp.arange(4), jnp.array(left)),
            jnp.array(9),
            lookahead=1,
        )
        gains = [gain_of_answers(class_probs, confusion[[j]]) for j in left]
        assert float(got) == pytest.approx(np.mean(gains), rel=1e-4)
        assert float(got) > 0.01

    def test_looks_further_where_one_label_changes_nothing(self):
        """Accuracy .6 at .7: one label and two cannot overturn it, three can, and five are the
        best for their price."""
        confusion = np.array([[[0.6, 0.4], [0.4, 0.6]]])
        class_probs = np.array([0.3, 0.7])
        compiled = jax.jit(best_rate, static_argnums=4)

        def rate(lookahead, most=9):
            given = (confusion, class_probs, np.array([True]), np.array(most))
            return float(compiled(*map(jnp.asarray, given), lookahead))

        rates = [gain_of_answers(class_probs, np.repeat(confusion, m, 0)) / m for m in range(1, 8)]
        np.testing.assert_allclose(rates[:3], [0, 0, 0.02 / 3], atol=1e-12)
        for lookahead in (1, 3, 7):
            assert rate(lookahead) == pytest.approx(max(rates[:lookahead]), rel=1e-4)
        assert rate(7, most=3) == rate(3)  # no more than the example can still get
        assert rate(7, most=2) == 0.0

    def test_many_answers_are_looked_ahead_less_far(self):
        for num_answers, most in ((2, 10), (3, 7), (20, 1)):
            counts, num_orders = _outcomes(10, num_answers)
            assert len(num_orders) == most - 1
            assert len(counts) <= 128
            total = np.arange(2, most + 1)
            np.testing.assert_allclose(num_orders.sum(axis=1), float(num_answers) ** total)

    def test_any_labeler_model_serves(self):
        """Easy and hard examples alike, for one label: the coin of their mean accuracy."""
        probs = jnp.array([[0.5, 0.5], [0.4, 0.6], [0.3, 0.7]])
        seen = Seen(probs, jnp.zeros(3, jnp.int32))
        hard = HardExamples(jnp.array([0.9, 0.8]), jnp.array([0.5, 0.6]), jnp.array(0.25), 2)
        coin = OneCoin(0.75 * hard.accuracy + 0.25 * hard.hard_accuracy, 2)
        policy = KnowledgeGradient(lookahead=1)
        ranked = [policy.priority(dataclasses.replace(seen, labelers=m)) for m in (hard, coin)]
        np.testing.assert_array_equal(*ranked)
        assert list(np.argsort(-np.asarray(ranked[0], np.int64))) == [0, 1, 2]

    def test_the_cheaper_of_equals_comes_first(self):
        seen = Seen(jnp.full((3, 2), 0.5), jnp.zeros(3, jnp.int32), costs=jnp.array([[2, 1, 3]]))
        order = sequential.next_examples(KnowledgeGradient(), seen, 3)
        assert list(order) == [1, 0, 2]
