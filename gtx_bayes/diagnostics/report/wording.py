"""How names and numbers are put into words. Names are whatever a stranger typed."""

import unicodedata

_JOINERS = "\u200c\u200d"  # invisible, but part of how some scripts and emoji are written
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that leave no mark
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")
_MARKS = "LNPS"

_LONGEST = 60
_TAIL = 20


def visible(text: str) -> str:
    """The text with its control characters, and all else that leaves no mark, spelt out.

    Among them are those that turn the direction of what follows.
    """
    return "".join(character if _is_seen(character) else _spelt(character) for character in text)


def shown(name: object, longest: int = _LONGEST) -> str:
    """A name as one piece of visible text; of a long one the head and the tail."""
    text = str(name)
    if not any(unicodedata.category(c)[0] in _MARKS and c not in _BLANK for c in text):
        text = "".join(_spelt(character) for character in text)
    text = visible(text)
    if len(text) <= longest:
        return text
    tail = min(_TAIL, longest // 3)
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"


def quoted(name: object) -> str:
    """A name in the middle of a sentence, isolated from the sentence's direction."""
    return f"\u2018\u2068{shown(name)}\u2069\u2019"


def plain(text: str) -> str:
    """A sentence for a terminal or a table, where what `quoted` isolates needs no marks."""
    return text.replace("\u2068", "").replace("\u2069", "")


def counted(number: int, one: str, many: str | None = None) -> str:
    """So many things: "1 labeler", "5,000 examples"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """A share in percent, never rounded to none or to all."""
    if 0.0 < share < 0.005:
        return "under 1 %"
    if 0.995 <= share < 1.0:
        return "over 99 %"
    return f"{100.0 * share:.0f} %"


def amount(number: float) -> str:
    """An expected number of things."""
    if 0.0 < number < 0.05:
        return "under 0.1"
    return f"{number:,.1f}" if number < 100.0 else f"{number:,.0f}"


def ordinal(number: int) -> str:
    """Which one: "1st", "2nd", "11th"."""
    last = 0 if number % 100 in (11, 12, 13) else number % 10
    return f"{number:,}" + {1: "st", 2: "nd", 3: "rd"}.get(last, "th")


def interval(ends: tuple[float, float]) -> str:
    """An interval of shares, with the digits it takes to tell its ends apart, from two to four."""
    for digits in (2, 3, 4):
        low, high = (f"{end:.{digits}f}" for end in ends)
        if low != high:
            return f"{low} to {high}"
    return low


def _is_seen(character: str) -> bool:
    if character in _JOINERS:
        return True
    return unicodedata.category(character) not in _UNSEEN and character not in _BLANK


def _spelt(character: str) -> str:
    return f"⟨U+{ord(character):04X}⟩"
