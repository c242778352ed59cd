"""The classes that tables name, and names that look alike or like something else."""

import collections
import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.columns import Column, Names, as_names, positions
from gtx_bayes.errors import InputError, WarningNote

_SHOWN = 3  # names in a note
_LONG_NAME = 60  # characters in a note
_FEW_CLASSES = 10  # a small crowd may well have more than half as many classes as answers
_BETWEEN_CHOICES = (",", ";", "|")


def find_classes(
    answers: Column,
    truths: dict[str, Column] | None,
    classes: Sequence[object] | None,
    notes: list[str],
) -> tuple[list[str], Names]:
    """Keys and names of the classes, in order: those named by the user, or those in the tables.

    Raises:
        InputError: for an answer that is none of the classes named, gold that shares no class with
            the answers, and a crowd without choice.
    """
    used = _first_values(answers)
    gold = _first_values(truths["label"]) if truths else {}
    if classes is not None:
        keys = [str(name).strip() for name in classes]
        known = set(keys)
        for column, found in ((answers, used), (truths["label"] if truths else answers, gold)):
            for key in found:
                if key not in known:
                    raise InputError(
                        f"label '{key}' is none of the classes {keys}.",
                        where=column.first(key),
                        hint="Mend the label, or add it to the classes.",
                    )
        if len(known) < len(keys):
            raise InputError(f"the classes {keys} repeat one.", hint="Name each class once.")
        names = {**{k: k for k in keys}, **gold, **used}
        return keys, as_names(names[key] for key in keys)

    if truths:
        _check_gold_classes(used, gold, truths["label"], notes)
    names = {**gold, **used}
    spare = {**(truths["label"].spare if truths else {}), **answers.spare}
    spare = {key: name for key, name in spare.items() if key not in names}
    if spare:
        notes.append(
            f"{answers.source.name}: {some_names(spare)} of the categories of column "
            f"'{answers.name}' stand(s) in no row; kept as class(es)."
        )
    names = {**spare, **names}
    if len(names) < 2:
        raise answers.source.error(
            f"every label is '{next(iter(names))}': there is nothing to decide.",
            "Name all the classes there are, if others are possible.",
        )
    note_alike([*used, *spare], notes)
    keys = in_order(list(names))
    return keys, as_names(names[key] for key in keys)


def _first_values(column: Column) -> dict[str, object]:
    _, first = number_names(column.keys)
    return dict(zip(column.keys[first], column.cells[first], strict=True))


def number_names(keys: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Index of every key in order of first appearance, and where each key appears first."""
    codes, uniques = pd.factorize(keys)
    first = np.full(len(uniques), len(codes), np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    return codes.astype(np.int64), first


def _check_gold_classes(
    used: dict[str, object], gold: dict[str, object], truth: Column, notes: list[str]
) -> None:
    """Note gold classes that no labeler ever gave: slips of spelling, or rare classes."""
    _, unused = numbered_classes(truth, list(used))
    for key in unused[:_SHOWN]:
        what = f"{truth.first(key)}: no labeler ever answered '{key}'; it is kept as a class."
        notes.append(WarningNote(what))
    if len(unused) > _SHOWN:
        more = f"{truth.source.name}: so are {len(unused) - _SHOWN} more that no labeler answered."
        notes.append(WarningNote(more))
    if not set(gold) & set(used):
        raise truth.source.error(
            f"no gold label ({some_names(gold)}) is ever given by a labeler ({some_names(used)}).",
            "Use the same names for the classes in both tables.",
        )


def numbered_classes(
    column: Column, class_keys: list[str]
) -> tuple[npt.NDArray[np.intp], list[str]]:
    """Index of every label among the classes, and the labels that are none, numbered after them.

    Raises:
        InputError: if a label differs from a class by its spelling alone.
    """
    known = set(class_keys)
    plain = {plain_spelling(key): key for key in class_keys}
    extra = [key for key in pd.unique(column.keys) if key not in known]
    for key in extra:
        if plain_spelling(key) in plain:
            here, elsewhere = _quoted_apart(key, plain[plain_spelling(key)])
            raise InputError(
                f"label {here} is spelt {elsewhere} elsewhere.",
                where=column.first(key),
                hint="Spell it the same in both tables.",
            )
    return positions([*class_keys, *extra], column.keys), extra


def in_order(keys: list[str]) -> list[str]:
    """Keys of classes in numeric order if all are numbers, else alphabetic."""
    try:
        numbers = {key: float(key) for key in keys}
    except ValueError:
        return sorted(keys)
    if any(map(math.isnan, numbers.values())):  # a name, such as NAN, that no number goes before
        return sorted(keys)
    return sorted(keys, key=lambda key: (numbers[key], key))


def are_numbers(names: Iterable[object]) -> bool:
    """Whether all of these are called by numbers."""
    numbers = pd.to_numeric(pd.Series([str(name) for name in names]), "coerce")
    return bool(numbers.notna().all())


def plain_spelling(key: str) -> str:
    """Spelling without what people vary or cannot see.

    That is case, the .0 of a number turned float, how accents are composed, characters of no
    width, and which blanks stand between words.
    """
    return _as_seen(key).casefold().removesuffix(".0")


def _as_seen(key: str) -> str:
    """Equal for texts that look the same on paper."""
    if not key.isascii():
        visible = (letter for letter in key if unicodedata.category(letter) != "Cf")
        key = unicodedata.normalize("NFC", "".join(visible))
    return " ".join(key.split())


def _quoted_apart(key: str, other: str) -> tuple[str, str]:
    """Two different names in quotes, with their hidden characters in ASCII if they look alike."""
    if _as_seen(key) == _as_seen(other):
        return ascii(key), ascii(other)
    return f"'{key}'", f"'{other}'"


def note_alike(keys: Iterable[str], notes: list[str], what: str = "classes") -> None:
    """Note the names that differ by their spelling alone."""
    by_plain: dict[str, str] = {}
    pairs = []
    for key in keys:
        other = by_plain.setdefault(plain_spelling(key), key)
        if other != key:
            pairs.append((other, key))
    for pair in pairs[:_SHOWN]:
        named = " and ".join(_quoted_apart(*pair))
        notes.append(WarningNote(f"{named} are taken for different {what}."))
    if len(pairs) > _SHOWN:
        more = f"So are {len(pairs) - _SHOWN} more pairs of {what} that differ by their spelling."
        notes.append(WarningNote(more))


def note_alike_names(names: Iterable[object], what: str, notes: list[str]) -> None:
    """Note the names of labelers or examples that differ by their spelling alone."""
    if not all(type(name) is int for name in names):
        keys = list(map(str, names))
        if not _are_plainly_different(keys):
            note_alike(keys, notes, what)


def _are_plainly_different(keys: list[str]) -> bool:
    """Whether a quick look tells that no two of many names differ by their spelling alone."""
    text = "\n".join([*keys, ""])
    is_simple = text.isascii() and not any(blank in text for blank in ("  ", *"\t\r\x0b\x0c"))
    plain = text.lower().replace(".0\n", "\n").split("\n")[:-1]
    return is_simple and len(plain) == len(keys) == len(set(plain))


def note_odd_classes(keys: Sequence[str], num_answers: int, notes: list[str]) -> None:
    """Note classes that look like something else: numbers, free text, JSON, several choices."""
    if len(keys) > _FEW_CLASSES and 2 * len(keys) > num_answers:
        what = (
            f"There are {len(keys)} classes in {num_answers} answers, such as {some_names(keys)}: "
            "if they are numbers on a scale or free text, put them into a few classes first."
        )
        notes.append(WarningNote(what))
    in_json = {key for key in keys if key[0] in "[{" and _is_json(key)}
    several = set(_of_several_choices([key for key in keys if key not in in_json]))
    for found, what in ((in_json, "are JSON"), (several, "hold several choices")):
        if found:
            name = min(found)
            name = name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}..."
            what = f"{len(found)} class(es) {what}, such as '{name}': each is taken for a "
            notes.append(WarningNote(what + "class of its own. Give one plain label per row."))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _of_several_choices(keys: list[str]) -> list[str]:
    """Those whose parts, between commas, semicolons or bars, stand in other keys as well."""
    found = []
    for separator in _BETWEEN_CHOICES:
        parts = {key: {part.strip() for part in key.split(separator)} for key in keys}
        times = collections.Counter(part for choices in parts.values() for part in choices)
        found += [
            key
            for key, choices in parts.items()
            if len(choices) > 1 and all(part and times[part] > 1 for part in choices)
        ]
    return found


def some_names(names: Any) -> str:
    """The first of the names, for a message."""
    shown = [f"'{name}'" for name in list(names)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(names) > _SHOWN else "")
