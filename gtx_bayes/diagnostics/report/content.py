"""Everything the page says of a result, as plain values: what the page shows and tests read."""

from typing import Any, NamedTuple

import jax
import pandas as pd
from jaxtyping import Array, Key

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.diagnostics.predictive import predictive_checks
from gtx_bayes.diagnostics.report.buying import Buying, plan_buying
from gtx_bayes.diagnostics.report.incoming import Incoming, count_incoming
from gtx_bayes.diagnostics.report.judges import Judges, Prices, describe_judges
from gtx_bayes.diagnostics.report.labelers import Labelers, describe_labelers
from gtx_bayes.diagnostics.report.outcome import Outcome, describe_outcome
from gtx_bayes.diagnostics.report.trust import Trust, judge_trust
from gtx_bayes.diagnostics.report.wording import amount, counted

_ACCEPTED = 0.95


class Action(NamedTuple):
    """Something to do.

    Attributes:
        words: what.
        section: the section that says more: "outcome", "trust", "labelers", "panel" or "buying".
    """

    words: str
    section: str


class Content(NamedTuple):
    """What a report says, section by section.

    Attributes:
        result: what it speaks of.
        examples: the whole table of examples.
        incoming: what came in.
        outcome: what came out.
        trust: whether it can be trusted.
        labelers: who the labelers are.
        buying: what is uncertain, and what to buy next.
        judges: a panel, member by member; None where there are too many labelers for one.
    """

    result: Aggregation
    examples: pd.DataFrame
    incoming: Incoming
    outcome: Outcome
    trust: Trust
    labelers: Labelers
    buying: Buying
    judges: Judges | None

    @property
    def actions(self) -> tuple[Action, ...]:
        """What to do now, in order."""
        statements = _what_to_do(self.outcome, self.trust, self.labelers, self.buying, self.judges)
        return tuple(Action(words, section) for holds, section, words in statements if holds)


def examine(key: Key[Array, ""], result: Aggregation, *, prices: Prices | None = None) -> Content:
    """Find out everything that a report says.

    The key gives the table of examples, as it does for `gtx-bayes aggregate`.

    Args:
        key: random key.
        result: of any method. One with a joint posterior is fitted up to six times more: once for
            the predictive checks, and without each fifth of the gold; and, of a panel, without
            those whom it can spare.
        prices: of the labels; see `Prices`.
    """
    key_rest = jax.random.fold_in(key, 1)
    key_checks, key_trust, key_labelers, key_buying = jax.random.split(key_rest, 4)
    result = result.in_pandas
    examples = result.examples(key)
    checks = None if result.fit.joint is None else predictive_checks(key_checks, result)
    trust = judge_trust(key_trust, result, checks)
    outcome = describe_outcome(
        result, examples, trust.held_out, trust.by_gold, is_refuted=trust.is_refuted
    )
    labelers = describe_labelers(
        key_labelers, result, result.labelers(), checks, is_refuted=trust.is_fit_doubted
    )
    buying = plan_buying(key_buying, result, is_refuted=trust.is_refuted)
    return Content(
        result,
        examples,
        count_incoming(result.answered),
        outcome,
        trust,
        labelers,
        buying,
        describe_judges(result, outcome, trust, labelers, buying, prices),
    )


def _what_to_do(
    outcome: Outcome, trust: Trust, labelers: Labelers, buying: Buying, judges: Judges | None
) -> list[tuple[object, str, str]]:
    """Every action with the condition under which it is one, and its section."""
    contradicted, uninformed, constant, opposite = (
        len(group)
        for group in (
            labelers.contradicted,
            labelers.uninformed,
            labelers.constant,
            labelers.opposite,
        )
    )
    is_red, is_coded = trust.light == "red", not trust.coding.is_doubted
    is_fit_wrong = not is_coded or trust.worse_than_guessing or trust.converged is False
    is_fit_wrong = is_fit_wrong or trust.is_refuted or contradicted > 0
    by_gold = ""
    if outcome.by_gold is not None and outcome.num_open:
        by_gold = (
            f" By gold about {outcome.by_gold.words} of {outcome.num_open:,} labels are wrong."
        )
    wanted = min(trust.wanted_gold.values()) - trust.num_gold
    spared = None if judges is None else judges.spared
    num_spared = 0 if spared is None else int(spared.is_spared.sum())
    above = _above_95(outcome, is_honest=trust.honesty == "honest")
    return [
        # Whatever makes the fit or its confidence wrong comes first.
        (
            not is_coded,
            "trust",
            f"The classes seem swapped: check the coding. {trust.coding.words}.",
        ),
        (
            trust.worse_than_guessing,
            "trust",
            "Do not use these labels: they are right less often than guesses would be. Compare how "
            "gold and answers name the classes, and try another model.",
        ),
        (
            trust.converged is False,
            "trust",
            "The fit did not converge: give more gold, or choose a model that asks for less "
            "(one-coin).",
        ),
        (
            trust.is_refuted,
            "outcome",
            "Set no threshold by confidence, and count no wrong labels by it: gold refutes "
            f"it.{by_gold}",
        ),
        (
            contradicted and is_coded,
            "labelers",
            f"Do not go by the accuracy that the fit gives {counted(contradicted, 'labeler')}: "
            "gold contradicts it.",
        ),
        (
            is_red and not is_fit_wrong,
            "trust",
            "Compare how gold and answers name the classes before anything else.",
        ),
        (
            trust.contradictions.is_excess and is_coded,
            "trust",
            f"Look again at {counted(trust.contradictions.number, 'gold label')} that the crowd "
            f"contradicts, where {amount(trust.contradictions.num_expected)} would be by chance: "
            "the gold is wrong there, or the crowd is fooled.",
        ),
        (
            wanted > 0 and trust.honesty == "unproven",
            "trust",
            f"Have an expert label about {counted(wanted, 'more example')}, drawn at random: "
            "without more gold nobody can say whether confidence is honest.",
        ),
        (above and not is_red, "outcome", above),
        (
            uninformed,
            "labelers",
            f"Stop asking {counted(uninformed, 'labeler')} whose answers tell next to nothing.",
        ),
        (
            constant,
            "labelers",
            f"Find out why {counted(constant, 'labeler gives', 'labelers give')} one class only. "
            "Who was shown examples of every class tells nothing; who answers only where that "
            "class is seen tells by silence, which the model does not read.",
        ),
        (
            opposite and is_coded,
            "labelers",
            f"Ask {counted(opposite, 'labeler')} how they understand the classes: "
            f"{'that one is' if opposite == 1 else 'they are'} wrong more often than by guessing.",
        ),
        (
            labelers.pairs and labelers.is_by_gold,
            "labelers",
            f"Find out whether {counted(len(labelers.pairs), 'pair')} of labelers who give the "
            "same wrong answers work together or copy.",
        ),
        (
            num_spared and labelers.panel is not None and labelers.panel.errs_together,
            "panel",
            f"Ask other labelers in place of copies: the panel can spare {num_spared} of "
            f"{len(labelers.table) if judges is None else len(judges.members.table)}.",
        ),
        (len(buying.batch), "buying", _buy(buying, is_red=is_red)),
    ]


def _above_95(outcome: Outcome, *, is_honest: bool) -> str:
    """What accepting labels above 95 % confidence would mean; empty where there are none."""
    row: Any  # of which pandas does not know the types
    for row in outcome.accepted.itertuples():
        if row.least_confident != _ACCEPTED or not row.num_labels:
            continue
        number = amount(row.expected_wrong)
        wrong = f"if it is honest, about {number} of those are wrong"
        if is_honest:
            wrong = f"of those about {number} should be wrong"
        if row.num_hidden:
            wrong += (
                f" (of {counted(row.num_hidden, 'hidden gold label')} above it "
                f"{row.hidden_wrong:,} {'is' if row.hidden_wrong == 1 else 'are'})"
            )
        return (
            f"{counted(row.num_labels, 'label')} of {outcome.num_open:,} "
            f"{'is' if row.num_labels == 1 else 'are'} above 95 % confidence: {wrong}. Keep the "
            "others apart, or have them labelled again."
        )
    return ""


def _buy(buying: Buying, *, is_red: bool) -> str:
    if is_red:
        return "Buy more answers only when this is settled: the most uncertain examples first."
    if buying.is_refuted:
        return (
            "If you buy more answers, begin with the most uncertain examples: what they would "
            "bring is not counted."
        )
    if buying.is_worth_little:
        return (
            "Do not buy more answers of this crowd for the most uncertain examples; ask an expert."
        )
    return "Buy the next answers for the most uncertain examples."
