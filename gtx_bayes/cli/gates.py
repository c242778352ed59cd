"""Gates for pipelines: what has to be shown for a command to end with exit code 0."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from gtx_bayes.errors import InputError

NOT_REACHED = 3
"""Exit code where what was asked for is not shown."""


class Gate(NamedTuple):
    """A bound on what is known up to an interval.

    Attributes:
        name: what it is a bound of.
        limit: which limit has to reach it: "low", at least the bound, or "high", at most.
        bound: the bound.
    """

    name: str
    limit: Literal["low", "high"]
    bound: float

    def check(self, low: float, high: float) -> "Checked":
        """Whether it holds, for an interval; with NaN it does not."""
        holds = low >= self.bound if self.limit == "low" else high <= self.bound
        return Checked(self, low, high, bool(holds))


class Checked(NamedTuple):
    """A gate and the interval that it was held against."""

    gate: Gate
    low: float
    high: float
    holds: bool

    def record(self) -> dict[str, Any]:
        """As summaries have it: the limit, its value, the bound, and whether it holds."""
        value = self.low if self.gate.limit == "low" else self.high
        return {
            "limit": self.gate.limit,
            "value": None if math.isnan(value) else value,
            "bound": self.gate.bound,
            "holds": self.holds,
        }

    def words(self, what: str) -> str:
        """It in a sentence; `what` is bounded."""
        side = "at least" if self.gate.limit == "low" else "at most"
        claim = f"{what} {{}} {side} {self.gate.bound:g}"
        if self.holds:
            return f"{claim.format('is')}."
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{claim.format('is not shown to be')}: it is not known."
        interval = f"95 % interval {self.low:.3g} to {self.high:.3g}"
        if self.low <= self.gate.bound <= self.high:
            return f"{claim.format('is not shown to be')}, nor to be otherwise: {interval}."
        return f"{claim.format('is not')}: {interval}."


def parse_gates(
    option: str,
    limit: Literal["low", "high"],
    given: Sequence[str] | None,
    names: Sequence[str],
    *,
    called: str,
    example: str,
    least: float = 0.0,
    most: float = math.inf,
) -> list[Gate]:
    """What the user asks for, by an option that may be repeated.

    Args:
        option: the option, for messages.
        limit: which limit it bounds.
        given: texts such as `pass=0.9`.
        names: what can be bounded.
        called: what a text is, such as "class and share".
        example: one that is right.
        least: the least bound that there can be.
        most: the largest one.

    Raises:
        InputError: for a text that is none, and a name that there is not.
    """
    found = []
    for text in given or ():
        name, equals, number = text.rpartition("=")
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not equals or not least <= bound <= most:
            raise InputError(
                f"'{text}' is no {called}.", where=option, hint=f"Give both, such as {example}."
            )
        if name not in names:
            kind = called.partition(" ")[0]
            kind = f"{kind}es" if kind.endswith("s") else f"{kind}s"
            raise InputError(
                f"'{name}' is none of the {kind} {list(names)}.",
                where=option,
                hint=f"Name one of them, as in {example}.",
            )
        found.append(Gate(name, limit, bound))
    return found
