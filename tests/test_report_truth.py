"""What the report says of simulated and real crowds, against the truth that it was not told."""

import re
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.report.content import Content, examine
from gtx_bayes.diagnostics.report.page import Origin, render

pytestmark = pytest.mark.end_to_end

SEED, NUM_GOLD, NUM_TASKS = 41, 50, 300
QUICK = ("adversarial", "independent")
"""Of like size, so that little is compiled."""
CROWDS = ("bluebirds", "trec", "web")
SLOW = (
    *("bloc", "demo", "many-labelers", "uneven", "two-coins", "looks", "two-blocs", "swapped"),
    *("rare-class", "one-class-sources", "unsure", "ordinal", "drift", *CROWDS),
)
SWAPPED = ("adversarial", "swapped")
"""Worlds whose labelers take the classes for each other."""


class Page(NamedTuple):
    """A page and the truth."""

    name: str  # of the crowd
    content: Content  # what the page says
    text: str  # the same as a reader sees it
    answers: pd.DataFrame  # every answer with the true class beside it, "true"
    truth: pd.Series  # the true classes by example, gold too
    gold: frozenset  # the examples whose true class the fit saw


@pytest.fixture(
    scope="session", params=[*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def page(request, worlds, data_folder):
    """The page of one crowd: 300 of its examples, of real crowds a tenth of them gold.

    Where it is to be quick by one model, so that little is compiled: what is said must be true
    whatever the fit.
    """
    name = request.param
    if name in CROWDS:
        folder = data_folder / "crowd" / name
        labels, truth = (
            pd.read_csv(folder / file, dtype=str) for file in ("labels.csv", "gold.csv")
        )
        if len(truth) > NUM_TASKS:
            truth = truth.sample(NUM_TASKS, random_state=SEED)
        gold = truth.sample(frac=0.1, random_state=SEED)
    else:
        labels, gold, truth = (table.astype(str) for table in worlds.make(name, SEED, NUM_GOLD))
        labels = labels[labels["label"] != "unsure"]
        truth = pd.concat([gold, truth]).drop_duplicates("task").iloc[:NUM_TASKS]
    labels = labels[labels["task"].isin(truth["task"])]
    options = {"model": "one-coin", "class_prior": [0.5, 0.5]} if name in QUICK else {}
    result = aggregate(Crowd.from_frames(labels, gold), **options)
    content = examine(jax.random.key(0), result)
    html = render(content, Origin(name, {}, 0.0))
    text = re.sub(
        r"<style>.*?</style>|<svg.*?</svg>|</?(?:strong|bdi|span)[^>]*>", "", html, flags=re.S
    )
    of_task = truth.set_index("task")["label"]
    answers = labels.assign(true=labels["task"].map(of_task))
    return Page(
        name, content, re.sub(r"<[^>]+>", "|", text), answers, of_task, frozenset(gold["task"])
    )


def share_right(page, labelers):
    """The true accuracy of each of these labelers."""
    answers = page.answers
    each = (answers["label"] == answers["true"]).groupby(answers["worker"]).mean()
    return each.loc[labelers["worker"]]


def better_than_guessing(page, labeler):
    """By how much the labeler's mean accuracy over the classes exceeds guesses, and its error."""
    own = page.answers[page.answers["worker"] == labeler]
    of_class = (own["label"] == own["true"]).groupby(own["true"])
    mean, number = of_class.mean(), of_class.size()
    excess = mean.sum() - 1.0
    return excess / (mean.size - 1), np.sqrt(np.sum(0.25 / number)) / (mean.size - 1)


def test_how_many_labels_are_wrong(page):
    """The number by gold holds the truth between its limits; the page shows it on top."""
    examples = page.content.examples
    is_open = ~examples["task"].isin(page.gold)
    wrong = int((examples["label"] != examples["task"].map(page.truth))[is_open].sum())
    by_gold = page.content.outcome.by_gold
    assert by_gold.num_open == is_open.sum()
    assert by_gold.low <= wrong <= by_gold.high
    assert f"about {by_gold.words} of {by_gold.num_open:,}" in page.text


def test_no_number_by_confidence_that_gold_refutes(page):
    outcome = page.content.outcome
    assert outcome.is_refuted == ("Confidence is not honest" in page.text)
    assert outcome.is_refuted == ("but gold refutes that" in page.text)
    actions = " ".join(action.words for action in page.content.actions)
    if outcome.is_refuted:
        assert outcome.accepted.empty
        assert "wrong labels, by confidence" not in page.text
        assert "95 % confidence" not in actions
        assert "Set no threshold" in actions
    else:
        assert "Set no threshold" not in actions


def test_who_is_called_best(page):
    """Their answers are right no less often than everybody's, but for chance; none is a guesser."""
    best, chance = page.content.labelers.best, page.content.labelers.chance
    if page.name in SWAPPED:
        assert best.empty
        return
    assert len(best) or page.name not in QUICK
    found = share_right(page, best)
    is_right = page.answers["label"] == page.answers["true"]
    of_best = is_right[page.answers["worker"].isin(found.index)]
    assert binom.cdf(of_best.sum(), of_best.size, is_right.mean()) > 0.01
    for row in best.itertuples():
        right = round(found[row.worker] * row.num_labels)
        assert binom.cdf(right, row.num_labels, chance) > 0.01
        assert binom.cdf(row.num_correct, row.num_gold, row.ci_low) >= 0.05 or row.num_gold == 0


def test_who_is_called_worse(page):
    labelers = page.content.labelers
    assert (share_right(page, labelers.opposite) < labelers.chance).all()
    for worker in labelers.uninformed["worker"].head(12):
        excess, error = better_than_guessing(page, worker)
        assert excess < 0.25 + 2.0 * error
    for worker in labelers.constant["worker"]:
        assert len(set(page.answers.loc[page.answers["worker"] == worker, "label"])) == 1
    on_gold = page.answers[page.answers["task"].isin(page.gold)]
    for row in pd.concat([labelers.contradicted, labelers.best, labelers.opposite]).itertuples():
        own = on_gold[on_gold["worker"] == row.worker]
        is_right = own["label"] == own["true"]
        assert (row.num_correct, row.num_gold) == (is_right.sum(), len(own))


def test_what_to_do_first(page):
    content = page.content
    actions = [action.words for action in content.actions]
    is_swapped = page.name in SWAPPED
    assert actions[0].startswith("The classes seem swapped: check the coding.") == is_swapped
    assert ("classes seem swapped" in " ".join(actions)) == is_swapped
    if is_swapped:
        assert content.trust.light == "red"
    if content.trust.light == "red":
        assert not actions[0].startswith("Buy")


def test_gold_to_look_at_again(page):
    """Only where there is more than chance expects, and none that is the crowd's label."""
    found = page.content.trust.contradictions
    if found.is_excess:
        assert (found.rows["gold"] != found.rows["crowd"]).all()
        assert found.number > found.num_expected
    assert found.is_excess or "Look again" not in page.text


def test_one_wording(page):
    """One verdict on confidence, numbers in one format, and no word without its explanation."""
    trust, text = page.content.trust, page.text
    assert text.count(trust.honesty_words) >= 2
    verdicts = {
        "honest": "Confidence is honest",
        "unproven": "Whether confidence is honest is not known",
    }
    for honesty, words in verdicts.items():
        assert (words in text) == (honesty == trust.honesty)
    assert not re.search(
        r"\b(\d\.\d+) to \1\b|\d*[123]th\b(?<!1[123]th)|come to rest|\bthin\b", text
    )
    assert not re.search(r"\b\d{4,} (?:answers|examples|labels|labelers|gold|hidden|of)\b", text)
    glossary = text[text.rindex("|Words|") :]
    for word in ("informed", "nats", "cohort prior", "log loss", "Brier score", "hidden gold"):
        assert word in glossary
