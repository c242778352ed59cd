"""A panel, member by member, in sentences: how good each is, what it costs, and who is needed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float

from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.columns import positions
from gtx_bayes.diagnostics.panel import Panel
from gtx_bayes.diagnostics.report.buying import Buying, value_of_coin
from gtx_bayes.diagnostics.report.labelers import Labelers
from gtx_bayes.diagnostics.report.members import Members, describe_members
from gtx_bayes.diagnostics.report.outcome import Outcome
from gtx_bayes.diagnostics.report.sparing import (
    AgainstBest,
    Spared,
    compare_with_best,
    find_spared,
    points,
)
from gtx_bayes.diagnostics.report.trust import Trust
from gtx_bayes.diagnostics.report.wording import counted, percent, quoted
from gtx_bayes.errors import InputError
from gtx_bayes.labels import MISSING
from gtx_bayes.padding import LEAST_LABELERS, pad_to

Prices = Float[np.ndarray, "num_labelers_or_1 num_examples_or_1"]
"""Price of a label of each labeler to each example, as `collection.costs.read_costs` has it."""


_MOST_SHOWN = 3  # classes in a table


class Judges(NamedTuple):
    """A panel of judges, member by member.

    Attributes:
        members: how each answers.
        effective_without: effective number of the others, by labeler; NaN where it is not known.
        doubt: why nothing is counted by the fit, in words; empty where it is.
        spared: whom the panel can spare; None where that cannot be said.
        against_best: the panel against its best labeler on gold; None with too little gold.
        cost: what all labels of each labeler cost; None without prices.
        panel_right: how many labels of the panel are right, by gold if there is any, else by
            confidence.
        one_more: what one more label would bring, in words; empty where that cannot be said.
    """

    members: Members
    effective_without: npt.NDArray[np.float64]
    doubt: str
    spared: Spared | None
    against_best: AgainstBest | None
    cost: npt.NDArray[np.float64] | None
    panel_right: float
    one_more: str

    def table(self) -> pd.DataFrame:
        """`Members.table` with all else that is known of every labeler, and a sentence on it.

        Columns `effective_without`; `missed_by`, the accuracy that the panel loses without this
        one labeler; `is_spared`; with prices `cost` and `cost_per_correct`; the share of every
        class that is found, `recall_CLASS` with `_low` and `_high`, an underscore more where a
        class is called so; `words`.
        """
        table = self.members.table.copy()
        table["effective_without"] = self.effective_without
        if self.spared is not None:
            table["missed_by"] = self.spared.loss
            table["is_spared"] = self.spared.is_spared
        if self.cost is not None:
            table["cost"] = self.cost
            table["cost_per_correct"] = self.cost_per_correct()
        found = self.members.recall()
        taken = {f"recall_{name}" for name in found["true_label"]}
        for name, rows in found.groupby("true_label", sort=False):
            table[f"recall_{name}"] = rows["probability"].to_numpy()
            for end in ("low", "high"):
                column = f"recall_{name}_{end}"
                while column in taken:
                    column += "_"
                taken.add(column)
                table[column] = rows[f"ci_{end}"].to_numpy()
        table["words"] = [self._sentence(row, found) for row in table.to_dict("records")]
        return table

    @property
    def shown_classes(self) -> list[str]:
        """The classes whose shares stand in a table; none where there are many."""
        classes = list(dict.fromkeys(map(str, self.members.confusion["true_label"])))
        return classes if len(classes) <= _MOST_SHOWN else []

    def cost_per_correct(self) -> npt.NDArray[np.float64]:
        """What a right label of each labeler costs, those that say nothing paid as well."""
        assert self.cost is not None
        of = self.members.table
        right = (of["accuracy"] * of["num_labels"]).to_numpy(np.float64)
        return np.divide(self.cost, right, out=np.full(right.size, np.inf), where=right > 0.0)

    @property
    def words(self) -> list[str]:
        """What there is to say of all of them, in sentences."""
        spared = "" if self.spared is None else self.spared.words
        if self.doubt:
            spared = f"Whom the panel can spare is not said: {self.doubt}."
        best = "" if self.against_best is None else self.against_best.words
        return [words for words in (best, spared, self.one_more, self.cost_words) if words]

    @property
    def cost_words(self) -> str:
        """What right labels cost, in a sentence; empty without prices."""
        if self.cost is None:
            return ""
        total, each = float(self.cost.sum()), self.cost_per_correct()
        at = int(np.argmin(each))
        row = self.members.table.iloc[at]
        return (
            f"All labels cost {total:.4g}, {total / max(self.panel_right, 1e-9):.3g} for each "
            "right label of the panel. The cheapest right ones are those of "
            f"{quoted(row['worker'])}, {each[at]:.3g} each, right in {percent(row['accuracy'])}."
        )

    def _taken_for(self, worker: object, true_label: object) -> object:
        """The wrong label that a labeler gives most to examples of a class."""
        of = self.members.confusion
        rows = of[(of["worker"] == worker) & (of["true_label"] == true_label)]
        wrong = rows[rows["label"] != true_label]
        return wrong["label"].iloc[int(wrong["probability"].argmax())]

    def _sentence(self, row: Mapping[Any, Any], found: pd.DataFrame) -> str:
        """One labeler in one plain sentence."""
        if not row["num_labels"]:
            return f"Gave no label in {counted(row['num_abstained'], 'answer')}."
        by_gold = " (by gold alone)" if row["source"] == "gold" else ""
        parts = [
            f"Right in {percent(row['accuracy'])} ({percent(row['ci_low'])} to "
            f"{percent(row['ci_high'])}){by_gold}"
        ]
        rows = found[found["worker"].astype(str) == str(row["worker"])]
        of_class = dict(zip(rows["true_label"], rows["probability"], strict=True))
        if len(of_class) == 2:
            parts.append(
                "finds " + " and ".join(f"{quoted(k)} in {percent(p)}" for k, p in of_class.items())
            )
        elif of_class:
            worst = min(of_class, key=lambda name: of_class[name])
            taken = self._taken_for(row["worker"], worst)
            parts.append(
                f"finds {quoted(worst)} least, in {percent(of_class[worst])}, and takes it most "
                f"for {quoted(taken)}"
            )
        if row["leans_to"]:
            parts.append(f"gives {quoted(row['leans_to'])} {points(row['bias'])} too often")
        if row["bloc"]:
            parts.append(f"counts in the bloc {quoted(row['bloc'])}")
        if row["num_abstained"]:
            number = row["num_abstained"] + row["num_labels"]
            parts.append(f"gave no label to {row['num_abstained']:,} of {number:,}")
        if "cost_per_correct" in row:
            parts.append(f"costs {row['cost_per_correct']:.3g} for each right label")
        if row.get("is_spared"):
            parts.append("can be spared")
        elif "missed_by" in row:
            parts.append(f"without it the panel loses {points(row['missed_by'])}")
        return "; ".join(parts) + "."


def describe_judges(
    result: Aggregation,
    outcome: Outcome,
    trust: Trust,
    labelers: Labelers,
    buying: Buying,
    prices: Prices | None = None,
) -> Judges | None:
    """A panel, member by member; None where it is none, see `describe_members`.

    Args:
        result: any method's.
        outcome: its labels.
        trust: whether to believe it: where gold refutes confidence, nothing is counted by it.
        labelers: who the labelers are.
        buying: the most uncertain examples.
        prices: of the labels, labelers as in `result.answered`.
    """
    members = describe_members(result, is_by_gold=labelers.is_by_gold)
    if members is None:
        return None
    cost = None if prices is None else _cost(result, prices)
    doubt, joint = "", result.fit.joint
    if trust.is_refuted or trust.is_fit_doubted:
        doubt = "gold speaks against the fit, by which it would be counted"
    elif joint is not None and joint.is_undecided:
        doubt = "labels follow two verdicts, and gold has to say which of them is the class"
    by_gold = outcome.by_gold
    wrong = outcome.expected_wrong if by_gold is None else by_gold.expected
    return Judges(
        members,
        _effective_without(members, labelers.panel),
        doubt,
        None if doubt else find_spared(result, cost),
        compare_with_best(result, trust.held_out),
        cost,
        result.crowd.labels.num_examples - wrong,
        "" if doubt else _one_more(result, members, outcome, buying, cost),
    )


def _effective_without(members: Members, panel: Panel | None) -> npt.NDArray[np.float64]:
    if panel is None:
        return np.full(len(members.table), np.nan)
    without = panel.table.set_index("worker")["effective_without"]
    return without.reindex(members.table["worker"]).to_numpy(np.float64)


def _cost(result: Aggregation, prices: Prices) -> npt.NDArray[np.float64]:
    """What every labeler was paid: for each label, and for each answer that is none."""
    labels, abstentions = result.answered.labels, result.answered.abstentions
    size = (labels.num_labelers, labels.num_examples)
    if any(given not in (1, all_) for given, all_ in zip(prices.shape, size, strict=True)):
        raise InputError(
            f"the prices have shape {prices.shape}.",
            where="prices",
            hint=f"Give {size[0]} labelers or one in rows, {size[1]} examples or one in columns.",
        )
    given = np.asarray(labels.label) != MISSING
    example, labeler = (np.asarray(of)[given] for of in (labels.example, labels.labeler))
    if abstentions is not None:
        example = np.concatenate([example, abstentions.example])
        labeler = np.concatenate([labeler, abstentions.labeler])
    each = np.broadcast_to(prices, size)[labeler, example].astype(np.float64)
    return np.bincount(labeler, each, size[0]).round(6)


def _one_more(
    result: Aggregation,
    members: Members,
    outcome: Outcome,
    buying: Buying,
    cost: npt.NDArray[np.float64] | None,
) -> str:
    """What one more label brings, of a labeler like the best, and of one who is always right."""
    if not len(buying.batch):
        return ""
    best = int(members.table["ci_low"].argmax())
    row = members.table.iloc[best]
    accuracy = pad_to(np.array([row["accuracy"]]), LEAST_LABELERS, fill=1.0)
    at = positions(result.crowd.example_names, buying.batch["task"].to_numpy())
    uncertain = np.asarray(result.class_probs)[at]
    gain = np.mean([value_of_coin(jax.device_put(each), accuracy, 1.0)[0] for each in uncertain])
    price = ""
    if cost is not None and gain > 0.0:
        each = cost[best] / max(row["num_labels"] + row["num_abstained"], 1)
        price = f" (at that price {each / gain:.3g} for each wrong label mended)"
    return (
        f"One more label for {'the' if len(at) == 1 else f'one of the {len(at)}'} most uncertain "
        f"{'example' if len(at) == 1 else 'examples'} mends "
        f"{gain:.2f} of a wrong label if it is by somebody as good as {quoted(row['worker'])} who "
        f"errs independently{price}, and {buying.wrong_in_batch / len(at):.2f} if by somebody who "
        "is always right; for an example drawn at random that is "
        f"{outcome.expected_wrong / outcome.num_open:.2f}."
    )
