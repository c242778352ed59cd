import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.stats

from gtx_bayes import Crowd, InputError, aggregate
from gtx_bayes.collection import sequential
from gtx_bayes.collection.next_labels import next_labels
from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling
from gtx_bayes.models.one_coin import OneCoin
from gtx_bayes.simulation import simulate_queue

KEY = jax.random.key(7)
ANSWERS = pd.DataFrame(
    {
        "task": ["a", "a", "a", "b", "b", "c", "g", "g"],
        "worker": ["u", "v", "w", "u", "v", "u", "u", "v"],
        "label": ["yes", "yes", "yes", "yes", "no", "no", "yes", "yes"],
    }
)
GOLD = pd.DataFrame({"task": ["g"], "label": ["yes"]})
TASKS = pd.DataFrame({"task": ["d", "c", "b", "a", "g", "e"]})


def result(method="majority-vote", answers=ANSWERS):
    return aggregate(Crowd.from_frames(answers, GOLD), method)


def tasks(found):
    return list(found.examples["task"])


def test_uncertainty_worked_by_hand():
    """b is tied; then come c (one answer) and a (three), both certain for a majority."""
    found = next_labels(KEY, result(), batch=5, strategy="uncertainty", max_labels=9)
    assert tasks(found) == ["b", "c", "a"]
    assert list(found.examples["num_labels"]) == [2, 1, 3]
    assert list(found.examples["label"])[1:] == ["no", "yes"]
    assert (found.num_open, found.num_done) == (3, 1)


def test_unlabelled_tasks_are_most_uncertain_and_gold_is_never_named():
    found = next_labels(KEY, result(), batch=9, max_labels=9, tasks=TASKS)
    assert sorted(tasks(found)[:2]) == ["d", "e"]
    assert tasks(found)[2:] == ["b", "c", "a"]
    assert found.examples["label"][0] is None
    assert found.num_done == 1


def test_gold_of_one_class_labels_no_task_that_nobody_has_seen():
    """Eleven gold labels, all yes: the next task is not yes before anybody has looked at it."""
    names = [f"g{i}" for i in range(11)]
    answers = pd.DataFrame({"task": names * 2, "worker": ["u"] * 11 + ["v"] * 11, "label": "yes"})
    gold = pd.DataFrame({"task": names, "label": "yes"})
    crowd = Crowd.from_frames(answers, gold, classes=["no", "yes"])
    options = {"batch": 9, "strategy": "confidence-threshold", "threshold": 0.9, "tasks": TASKS}
    found = next_labels(KEY, aggregate(crowd, model="one-coin"), **options)
    assert sorted(tasks(found)) == sorted(TASKS["task"])
    given = aggregate(crowd, model="one-coin", class_prior={"no": 0.05, "yes": 0.95})
    assert tasks(next_labels(KEY, given, **options)) == []


def test_tasks_limit_what_is_offered():
    found = next_labels(KEY, result(), batch=9, tasks=TASKS.head(2), max_labels=9)
    assert tasks(found) == ["d", "c"]


def test_streams_go_in_the_order_of_the_table():
    found = next_labels(KEY, result(), batch=9, strategy="fixed", max_labels=3, tasks=TASKS)
    assert tasks(found) == ["d", "c", "b", "e"]
    found = next_labels(KEY, result(), batch=9, strategy="confidence-threshold", tasks=TASKS)
    assert tasks(found) == ["d", "b", "e"]
    assert (found.threshold, found.max_labels) == (0.95, 5)


def test_the_cap_is_kept():
    found = next_labels(KEY, result(), batch=9, max_labels=2, tasks=TASKS)
    assert sorted(tasks(found)) == ["c", "d", "e"]
    none = next_labels(KEY, result(), batch=9, max_labels=1)
    assert tasks(none) == []
    assert (none.num_open, none.num_done) == (0, 4)


def test_no_cap_where_none_is_given():
    found = next_labels(KEY, result(), batch=9)
    assert found.max_labels is None
    assert tasks(found) == ["b", "c", "a"]


def test_gold_that_nobody_answered_is_not_named_either():
    found = next_labels(KEY, result(), batch=9, tasks=TASKS, gold_tasks=["e", "zz"])
    assert tasks(found) == ["d", "b", "c", "a"]
    before = next_labels(KEY, None, batch=9, tasks=TASKS, gold_tasks=["g"], strategy="fixed")
    assert tasks(before) == ["d", "c", "b", "a", "e"]
    assert before.num_done == 1


def test_assess_first_then_collect():
    """Answers to gold alone, and tasks that nobody has answered: a note, no error."""
    on_gold = result(answers=ANSWERS.tail(2).assign(label=["yes", "no"]))
    found = next_labels(KEY, on_gold, batch=9, tasks=pd.DataFrame({"task": ["x", "y"]}))
    assert sorted(tasks(found)) == ["x", "y"]
    assert "none of the 2 tasks has an answer yet" in found.notes[0]


def test_number_of_classes_before_the_first_answer():
    found = next_labels(KEY, None, batch=1, tasks=TASKS, num_classes=4)
    assert found.examples["confidence"][0] == pytest.approx(0.25)


def test_random_is_fair_wherever_gold_and_labels_are():
    """First choices over many keys, among tasks with many labels and few, gold in front."""
    frame = pd.concat([ANSWERS.tail(2), ANSWERS.head(6)])
    fit = aggregate(Crowd.from_frames(frame, GOLD), "majority-vote")
    first = [
        tasks(next_labels(jax.random.key(seed), fit, batch=1, strategy="random"))[0]
        for seed in range(300)
    ]
    counts = pd.Series(first).value_counts()
    assert set(counts.index) == {"a", "b", "c"}
    assert scipy.stats.chisquare(counts).pvalue > 1e-6


def test_risk_target_accepts_the_most_confident():
    fit = result("gtx-bayes")
    uncertain = 1 - np.asarray(fit.class_probs).max(axis=1)[:3]
    assert list(np.argsort(uncertain)) == [0, 2, 1]
    for target, expected in [
        (float(uncertain[0]) * 1.01, {"b", "c"}),
        (float(uncertain[[0, 2]].mean()) * 1.01, {"b"}),
        (float(uncertain.mean()) * 1.01, set()),
    ]:
        found = next_labels(KEY, fit, batch=9, risk=target, max_labels=9)
        assert set(tasks(found)) == expected


def test_ties_are_broken_by_lot_and_stay_when_tasks_are_added():
    many = pd.DataFrame({"task": [f"t{i}" for i in range(40)]})
    order = tasks(next_labels(KEY, None, batch=40, tasks=many))
    assert sorted(order) == sorted(many["task"])
    assert order != list(many["task"])
    more = pd.DataFrame({"task": [f"t{i}" for i in range(60)]})
    longer = tasks(next_labels(KEY, None, batch=60, tasks=more))
    assert [t for t in longer if t in set(many["task"])] == order
    other = tasks(next_labels(jax.random.key(8), None, batch=40, tasks=many))
    assert other != order


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "strategy",
    [
        name if name == "uncertainty" else pytest.param(name, marks=pytest.mark.slow)
        for name in ("uncertainty", "confidence-threshold", "random", "fixed")
    ],
)
def test_collects_to_the_end_from_tables_alone(strategy):
    """Labels bought one by one as named: each call sees nothing but the tables, none is bought
    beyond the cap, and the end comes when all have reached it or are confident."""
    queue = simulate_queue(KEY, OneCoin(jnp.array([0.6, 0.75, 0.9]), 2), 5)
    every = pd.DataFrame({"task": [f"t{i}" for i in range(5)]})
    bought = dict.fromkeys(range(5), 0)
    rows = []
    for _ in range(20):
        fit = None
        if rows:
            frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
            fit = aggregate(Crowd.from_frames(frame, classes=[0, 1]), "gtx-bayes")
        found = next_labels(
            KEY, fit, batch=1, strategy=strategy, max_labels=2, tasks=every, threshold=None
        )
        if found.examples.empty:
            break
        i = int(found.examples["task"][0][1:])
        place = (bought[i], i)
        rows.append((f"t{i}", f"w{queue.answers.labeler[place]}", int(queue.answers.label[place])))
        bought[i] += 1
    assert found.num_open == 0
    assert found.num_done == 5
    assert max(bought.values()) <= 2
    if strategy != "confidence-threshold":
        assert set(bought.values()) == {2}


@pytest.mark.end_to_end
def test_buys_in_the_order_of_the_step_engine():
    """Majority votes, tasks in an order of lots known to both: the same purchases one by one."""
    queue = simulate_queue(KEY, OneCoin(jnp.full(3, 0.75), 2), 4)
    method = result().fit.aggregator
    every = [f"t{i}" for i in range(4)]
    first = tasks(next_labels(KEY, None, batch=4, tasks=pd.DataFrame({"task": every})))
    order = np.array([every.index(task) for task in first])
    shuffled = jax.tree.map(lambda x: x[..., order], queue)
    _, steps = sequential.collect(UncertaintySampling(3), method, shuffled, 12)
    expected = [every[order[i]] for i in np.asarray(steps)]
    rows, bought, got = [], dict.fromkeys(every, 0), []
    for _ in range(12):
        fit = None
        if rows:
            frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
            fit = aggregate(Crowd.from_frames(frame, classes=[0, 1]), "majority-vote")
        found = next_labels(KEY, fit, batch=1, tasks=pd.DataFrame({"task": every}), max_labels=3)
        task = found.examples["task"][0]
        i = every.index(task)
        labeler, label = (
            queue.answers.labeler[bought[task], i],
            queue.answers.label[bought[task], i],
        )
        rows.append((task, f"w{labeler}", int(label)))
        bought[task] += 1
        got.append(task)
    assert got == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "there is no strategy 'best'"),
        ({"batch": 0}, "the batch is 0"),
        ({"max_labels": 0}, "max_labels is 0"),
        ({"threshold": 1.5}, "the threshold is 1.5"),
        ({"risk": -0.1}, "the risk is -0.1"),
        ({"threshold": 0.9, "risk": 0.1}, "a threshold and a risk target"),
        ({"strategy": "fixed", "threshold": 0.9}, "the strategy fixed has no threshold"),
        ({"tasks": pd.DataFrame({"name": ["a"]})}, "no column holds the example"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        next_labels(KEY, result(), **{"batch": 1, **options})


def test_nothing_to_choose_from():
    with pytest.raises(InputError, match="neither answers nor tasks"):
        next_labels(KEY, None, batch=1)
