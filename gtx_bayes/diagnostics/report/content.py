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
    outcome = describe_outcome(result, examples)
    trust = judge_trust(key_trust, result, checks)
    labelers = describe_labelers(key_labelers, result, result.labelers(), checks)
    buying = plan_buying(key_buying, result)
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
    actions = []
    if trust.num_contradicted:
        actions.append(
            Action(
                f"Look again at {counted(trust.num_contradicted, 'gold label')} that the crowd "
                "contradicts: the gold is wrong there, or the crowd is fooled.",
                "trust",
            )
        )
    wanted = trust.wanted_gold[0].num_gold - trust.num_gold
    if wanted > 0:
        actions.append(
            Action(
                f"Have an expert label about {counted(wanted, 'more example')}, drawn at random: "
                "without more gold nobody can say whether confidence is honest.",
                "trust",
            )
        )
    accepted = [row for row in outcome.accepted if row.least_confident == _ACCEPTED]
    if accepted and accepted[0].num_labels and trust.light != "red":
        row = accepted[0]
        is_are = "is" if row.num_labels == 1 else "are"
        actions.append(
            Action(
                f"{counted(row.num_labels, 'label')} of {outcome.num_open:,} {is_are} above 95 % "
                f"confidence: of those about {amount(row.expected_wrong)} should be wrong. Keep "
                "the others apart, or have them labelled again.",
                "outcome",
            )
        )
    if labelers.uninformed.number:
        actions.append(
            Action(
                f"Stop asking {counted(labelers.uninformed.number, 'labeler')} whose answers tell "
                "next to nothing.",
                "labelers",
            )
        )
    if labelers.opposite.number:
        actions.append(
            Action(
                f"Ask {counted(labelers.opposite.number, 'labeler')} how they understand the "
                "classes: they are wrong more often than by guessing.",
                "labelers",
            )
        )
    if buying.batch:
        words = (
            "Do not buy more answers of this crowd for the most uncertain examples; ask an expert."
            if buying.is_worth_little
            else "Buy the next answers for the most uncertain examples."
        )
        actions.append(Action(words, "buying"))
    return actions
