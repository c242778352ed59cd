"""Tables of like size share their compiled programs."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.cli.aggregate import summarise
from gtx_bayes.collection.next_labels import next_labels
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.report.content import examine
from gtx_bayes.evaluation import evaluate, match_truth
from gtx_bayes.inference import variational
from gtx_bayes.labels import Assessment
from gtx_bayes.models.confusion import ConfusionPrior
from gtx_bayes.models.one_coin import OneCoinPrior
from gtx_bayes.padding import first, pad_to

pytestmark = pytest.mark.end_to_end


def crowd(num_examples, num_labelers):
    """Everybody answers everything, four in five rightly by chance; half are gold."""
    example, labeler = (grid.ravel() for grid in np.indices((num_examples, num_labelers)))
    right = np.random.default_rng(0).random(example.size) < 0.8
    truth = np.where(np.arange(num_examples) % 2, "yes", "no")
    label = np.where(right, truth[example], np.where(truth[example] == "yes", "no", "yes"))
    answers = pd.DataFrame({"task": example, "worker": labeler, "label": label})
    known = pd.DataFrame({"task": np.arange(num_examples), "label": truth})
    return Crowd.from_frames(answers, known[::2]), known


def all_that_commands_ask(key, num_examples, num_labelers):
    """What `aggregate`, `next` and `evaluate` do with a table."""
    table, known = crowd(num_examples, num_labelers)
    result = aggregate(table)
    examples = result.examples(key)
    result.labelers()
    result.confusion()
    summarise(result, "gtx-bayes aggregate", seconds=0.0)
    next_labels(key, result, batch=3, risk=0.05)
    evaluate(match_truth(examples, known))


def programs(caplog, run, *sizes):
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        run(*sizes)
    return [line for line in caplog.messages if line.startswith("Compiling")]


def test_another_table_of_like_size_compiles_nothing(key, caplog):
    all_that_commands_ask(key, 20, 5)
    assert programs(caplog, all_that_commands_ask, key, 31, 7) == []
    assert programs(caplog, jax.jit(lambda x: x + 1), np.zeros(3))  # they are seen, if any


@pytest.mark.parametrize("method", ["gtx", "weighted-majority-vote"])
def test_methods_of_gold_alone_are_compiled_for_common_sizes(method, caplog):
    """The fit is the host's; a table with more examples takes the same program."""

    def probs(num_examples, num_labelers):
        return aggregate(crowd(num_examples, num_labelers)[0], method).class_probs

    assert probs(20, 5).shape == (20, 2)
    assert programs(caplog, probs, 31, 5) == []


@pytest.mark.slow
def test_a_report_of_like_size_compiles_nothing(key, caplog):
    def report(num_examples, num_labelers):
        examine(key, aggregate(crowd(num_examples, num_labelers)[0]))

    report(62, 4)  # 31 gold labels: enough for what is said of hidden ones
    assert programs(caplog, report, 64, 3) == []


def test_a_fit_from_gold_is_the_program_of_a_fit_from_the_votes(caplog):
    """Gold that speaks against the votes: two starts of one program."""

    def fit(is_turned):
        table = crowd(23, 5)[0]  # no size that tables are padded to: nobody else's
        truth = table.assessment.true_label
        turned = jnp.where(table.assessment.is_gold, 1 - truth, truth)
        gold = Assessment(turned if is_turned else truth, 2)
        assert (variational.rows_from_gold(table.labels, gold) is not None) == is_turned
        variational.fit(table.labels, gold, ConfusionPrior.default(2))

    assert any("_fit_from" in line for line in programs(caplog, fit, False))
    further = programs(caplog, fit, True)
    assert not any("_fit_from" in line for line in further)
    assert len(further) <= 3  # where bounds decide: theirs, and the density of the prior


def test_a_bound_is_two_programs(caplog):
    """It was one for every sum and logarithm."""
    table = crowd(29, 5)[0]
    fit = variational.fit(table.labels, table.assessment, OneCoinPrior.default(2))
    assert len(programs(caplog, fit.log_evidence_bound)) == 2


def test_room_is_filled_and_cut_off():
    rows = np.arange(6.0).reshape(3, 2)
    longer = pad_to(rows, 5, fill=7)
    np.testing.assert_array_equal(longer[3:], np.full((2, 2), 7.0))
    whole = first(3, {"rows": longer, "none": np.float64(2.0)})
    np.testing.assert_array_equal(whole["rows"], rows)
    assert whole["none"] == 2.0
