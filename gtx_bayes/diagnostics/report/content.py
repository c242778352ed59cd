"""Everything the page says of a result, as plain values: what the page shows and tests read."""

from typing import NamedTuple

import jax
import pandas as pd
from jaxtyping import Array, Key

from gtx_bayes.aggregation.aggregate import Aggregation
from gtx_bayes.diagnostics.predictive import predictive_checks
from gtx_bayes.diagnostics.report.buying import Buying, plan_buying
from gtx_bayes.diagnostics.report.incoming import Incoming, count_incoming
from gtx_bayes.diagnostics.report.labelers import Labelers, describe_labelers
from gtx_bayes.diagnostics.report.outcome import Outcome, describe_outcome
from gtx_bayes.diagnostics.report.trust import Trust, judge_trust
from gtx_bayes.diagnostics.report.wording import amount, counted

_ACCEPTED = 0.95


class Action(NamedTuple):
    """Something to do.

    Attributes:
        words: what.
        section: the section that says more: "outcome", "trust", "labelers" or "buying".
    """

    words: str
    section: str


class Content(NamedTuple):
    """What a report says, section by section.

    Attributes:
        incoming: what came in.
        outcome: what came out.
        trust: whether it can be trusted.
        labelers: who the labelers are.
        buying: what is uncertain, and what to buy next.
        actions: what to do now, in order.
        examples: the whole table of examples.
    """

    incoming: Incoming
    outcome: Outcome
    trust: Trust
    labelers: Labelers
    buying: Buying
    actions: tuple[Action, ...]
    examples: pd.DataFrame


def examine(key: Key[Array, ""], result: Aggregation) -> Content:
    """Find out everything that a report says.

    The first half of the key gives the table of examples, as it does for `gtx-bayes aggregate`.

    Args:
        key: random key.
        result: of any method. One with a joint posterior is fitted up to six times more: once for
            the predictive checks, and without each fifth of the gold.
    """
    key_examples, key_rest = jax.random.split(key)
    key_checks, key_trust, key_labelers, key_buying = jax.random.split(key_rest, 4)
    examples = result.examples(key_examples)
    has_model = result.fit.joint is not None
    checks = predictive_checks(key_checks, result) if has_model else None
    trust = judge_trust(key_trust, result, checks)
    outcome = describe_outcome(
        result, examples, trust.held_out, trust.by_gold, is_refuted=trust.is_refuted
    )
    labelers = describe_labelers(
        key_labelers, result, result.labelers(), checks, is_refuted=trust.is_fit_doubted
    )
    buying = plan_buying(key_buying, result, is_refuted=trust.is_refuted)
    return Content(
        incoming=count_incoming(result.crowd),
        outcome=outcome,
        trust=trust,
        labelers=labelers,
        buying=buying,
        actions=tuple(_actions(outcome, trust, labelers, buying)),
        examples=examples,
    )


def _actions(outcome: Outcome, trust: Trust, labelers: Labelers, buying: Buying) -> list[Action]:
    return [
        *_against_fit(outcome, trust, labelers),
        *_of_gold(trust),
        *_of_labels(outcome, trust),
        *_of_labelers(trust, labelers),
        *_of_buying(trust, buying),
    ]


def _against_fit(outcome: Outcome, trust: Trust, labelers: Labelers) -> list[Action]:
    """What comes first: whatever makes the fit or its confidence wrong."""
    actions = []
    if trust.coding.is_doubted:
        words = f"The classes seem swapped: check the coding. {trust.coding.words}."
        actions.append(Action(words, "trust"))
    if trust.worse_than_guessing:
        words = (
            "Do not use these labels: they are right less often than guesses would be. Compare "
            "how gold and answers name the classes, and try another model."
        )
        actions.append(Action(words, "trust"))
    if trust.converged is False:
        words = (
            "The fit did not converge: give more gold, or choose a model that asks for less "
            "(one-coin)."
        )
        actions.append(Action(words, "trust"))
    if trust.is_refuted:
        by_gold = outcome.by_gold
        instead = (
            f" By gold about {by_gold.words} of {by_gold.num_open:,} labels are wrong."
            if by_gold is not None and by_gold.num_open
            else ""
        )
        words = (
            "Set no threshold by confidence, and count no wrong labels by it: gold refutes "
            f"it.{instead}"
        )
        actions.append(Action(words, "outcome"))
    if labelers.contradicted.number and not trust.coding.is_doubted:
        number = counted(labelers.contradicted.number, "labeler")
        words = f"Do not go by the accuracy that the fit gives {number}: gold contradicts it."
        actions.append(Action(words, "labelers"))
    if not actions and trust.light == "red":
        words = "Compare how gold and answers name the classes before anything else."
        actions.append(Action(words, "trust"))
    return actions


def _of_gold(trust: Trust) -> list[Action]:
    actions = []
    if trust.contradicted and not trust.coding.is_doubted:
        words = (
            f"Look again at {counted(trust.num_contradicted, 'gold label')} that the crowd "
            f"contradicts, where {amount(trust.num_expected)} would be by chance: the gold is "
            "wrong there, or the crowd is fooled."
        )
        actions.append(Action(words, "trust"))
    wanted = trust.wanted_gold[0].num_gold - trust.num_gold
    if wanted > 0 and trust.honesty == "unproven":
        words = (
            f"Have an expert label about {counted(wanted, 'more example')}, drawn at random: "
            "without more gold nobody can say whether confidence is honest."
        )
        actions.append(Action(words, "trust"))
    return actions


def _of_labels(outcome: Outcome, trust: Trust) -> list[Action]:
    accepted = [row for row in outcome.accepted if row.least_confident == _ACCEPTED]
    if not accepted or not accepted[0].num_labels or trust.light == "red":
        return []
    row = accepted[0]
    is_are = "is" if row.num_labels == 1 else "are"
    if trust.honesty == "honest":
        wrong = f"of those about {amount(row.expected_wrong)} should be wrong"
    else:
        wrong = f"if it is honest, about {amount(row.expected_wrong)} of those are wrong"
    hidden = (
        f" (of {counted(row.num_hidden, 'hidden gold label')} above it {row.hidden_wrong:,} "
        f"{'is' if row.hidden_wrong == 1 else 'are'})"
        if row.num_hidden
        else ""
    )
    words = (
        f"{counted(row.num_labels, 'label')} of {outcome.num_open:,} {is_are} above 95 % "
        f"confidence: {wrong}{hidden}. Keep the others apart, or have them labelled again."
    )
    return [Action(words, "outcome")]


def _of_labelers(trust: Trust, labelers: Labelers) -> list[Action]:
    actions = []
    if labelers.uninformed.number:
        number = counted(labelers.uninformed.number, "labeler")
        words = f"Stop asking {number} whose answers tell next to nothing."
        actions.append(Action(words, "labelers"))
    if labelers.constant.number:
        number = counted(labelers.constant.number, "labeler gives", "labelers give")
        words = (
            f"Find out why {number} one class only. Who was shown examples of every class tells "
            "nothing; who answers only where that class is seen tells by silence, which the model "
            "does not read."
        )
        actions.append(Action(words, "labelers"))
    if labelers.opposite.number and not trust.coding.is_doubted:
        one = labelers.opposite.number == 1
        words = (
            f"Ask {counted(labelers.opposite.number, 'labeler')} how they understand the "
            f"classes: {'that one is' if one else 'they are'} wrong more often than by guessing."
        )
        actions.append(Action(words, "labelers"))
    if labelers.pairs and labelers.is_by_gold:
        words = (
            f"Find out whether {counted(len(labelers.pairs), 'pair')} of labelers who give the "
            "same wrong answers work together or copy."
        )
        actions.append(Action(words, "labelers"))
    return actions


def _of_buying(trust: Trust, buying: Buying) -> list[Action]:
    if not buying.batch:
        return []
    if trust.light == "red":
        words = "Buy more answers only when this is settled: the most uncertain examples first."
    elif trust.is_refuted:
        words = (
            "If you buy more answers, begin with the most uncertain examples: what they would "
            "bring is not counted."
        )
    elif buying.is_worth_little:
        words = (
            "Do not buy more answers of this crowd for the most uncertain examples; ask an expert."
        )
    else:
        words = "Buy the next answers for the most uncertain examples."
    return [Action(words, "buying")]
