"""Tables of methods, models and policies, from the registries that the commands read."""

import dataclasses
from typing import TYPE_CHECKING

from gtx_bayes.registry import METHODS, MODELS, POLICIES, Registry

if TYPE_CHECKING:
    from sphinx.application import Sphinx

UNLIMITED = 2**31 - 1
KINDS = {"METHODS": METHODS, "MODELS": MODELS, "POLICIES": POLICIES}


def table(registry: Registry[object]) -> str:
    """Name, description and options of every member of this package, as Markdown."""
    lines = ["| name | what it does | options |", "|---|---|---|"]
    for name in registry.names(installed=False):
        member = registry.find(name)
        options = ", ".join(f"`{option}`" for option in options_of(member)) or "none"
        lines.append(f"| `{name}` | {getattr(member, 'description', '')} | {options} |")
    return "\n".join(lines)


def options_of(member: type) -> list[str]:
    """The fields of a class that a command can set, each with its default."""
    found = []
    for field in dataclasses.fields(member) if dataclasses.is_dataclass(member) else ():
        if not field.init or field.name == "num_classes":
            continue
        has_default = field.default is not dataclasses.MISSING
        default = "unlimited" if field.default == UNLIMITED else field.default
        found.append(f"{field.name}={default}" if has_default else field.name)
    return found


def fill(_: "Sphinx", page: str, source: list[str]) -> None:
    """Put a table in the place of `<!-- METHODS -->` and its like."""
    if page != "registries":
        return
    for kind, registry in KINDS.items():
        source[0] = source[0].replace(f"<!-- {kind} -->", table(registry))


def setup(app: "Sphinx") -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
