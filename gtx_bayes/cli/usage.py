"""Help texts that fit a terminal: words and names whole, summaries whole, types for people."""

import copy
import inspect
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo

_TYPES = {int: "N", float: "NUMBER", str: "TEXT", Path: "FILE"}
_HYPHEN = "\ue000"  # in place of a hyphen, after which lines may be broken


class _Formatter(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    """Breaks lines at spaces alone, and names arguments once."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The usage, without Typer's braces around what is required."""
        plain = args.translate({ord("{"): None, ord("}"): None}).replace("......", "...")
        super().write_usage(prog, plain, prefix)

    def write_text(self, text: str) -> None:
        """A paragraph."""
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        """Names and what they mean; a type in angle brackets is Typer's own, of an argument."""
        whole = [(name.partition(" <")[0], text.replace("-", _HYPHEN)) for name, text in rows]
        super().write_dl(whole, col_max, col_spacing)

    def getvalue(self) -> str:
        """What was written."""
        return str(super().getvalue()).replace(_HYPHEN, "-")


class _Context(typer.Context):
    formatter_class = _Formatter


class Command(TyperCommand):
    """A command whose help is as above."""

    context_class = _Context

    def get_short_help_str(self, limit: int = 45) -> str:
        """The summary: the first sentence, whole."""
        return super().get_short_help_str(10_000)


class Program(TyperGroup):
    """The program, or a group of its commands, likewise."""

    context_class = _Context

    def get_short_help_str(self, limit: int = 45) -> str:
        """The summary: the first sentence, whole."""
        return super().get_short_help_str(10_000)


def with_type(parameter: inspect.Parameter) -> inspect.Parameter:
    """A parameter whose help names its type for people, such as N, NUMBER, FILE or a|b."""
    if typing.get_origin(parameter.annotation) is not Annotated:
        return parameter
    hint, *more = typing.get_args(parameter.annotation)
    info = next((found for found in more if isinstance(found, OptionInfo)), None)
    name = _type_name(hint)
    if info is None or info.metavar is not None or name is None:
        return parameter
    named = copy.copy(info)
    named.metavar = name
    return parameter.replace(annotation=Annotated[hint, named])


def _type_name(hint: Any) -> str | None:
    """The name of a type; None for a switch."""
    if typing.get_origin(hint) is Literal:
        return "|".join(map(str, typing.get_args(hint)))
    of = [part for part in typing.get_args(hint) if part is not type(None)]
    return _type_name(of[0]) if of else _TYPES.get(hint)
