"""Things known by name: this package's own, those of installed packages, and a user's file."""

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import sys
import types
import typing
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gtx_bayes.errors import InputError

USER_FILE = "_gtx_bayes_file_"
"""What the name of a module begins with that is a user's file."""

_FILE = ".py:"


class Registry[T]:
    """Classes of one kind by name, imported when they are asked for.

    A class has a `name` and a one-line `description`; the fields of its dataclass are its options.

    Args:
        kind: what it holds, in the singular, as errors say it ("model").
        group: entry points of this group are found beside `members`: `NAME = "module:Class"`.
        base: `module:Class` of the abstract class that every member extends.
        members: members of this package, `module:Class` by name.
    """

    def __init__(self, kind: str, group: str, base: str, members: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._base = base
        self._members = dict(members)
        self._registered: dict[str, type[T]] = {}

    def names(self, *, installed: bool = True) -> tuple[str, ...]:
        """Every name: this package's, then those of installed packages, then what was registered.

        Nothing is imported for it.

        Args:
            installed: whether to look through the installed packages, which takes a while.
        """
        points = self._entry_points() if installed else ()
        return tuple(dict.fromkeys((*self._members, *points, *self._registered)))

    def __iter__(self) -> Iterator[str]:
        """Every name."""
        return iter(self.names())

    def base(self) -> type[T]:
        """The abstract class that every member extends."""
        return typing.cast(type[T], _import(self._base))

    def register(self, cls: type[T]) -> type[T]:
        """Add a class under its `name`, as a decorator; it replaces one of that name."""
        name = vars(cls).get("name")
        if not isinstance(name, str) or not name or _FILE in name or name == "auto":
            raise TypeError(
                f"{cls.__name__} has no name of its own: give it one, `name = 'my-{self.kind}'`"
            )
        self._registered[name] = cls
        return cls

    def find(self, name: str) -> type[T]:
        """The class of that name, or the class `FILE.py:Class` names.

        Raises:
            InputError: if there is none, or the file or the class in it cannot be had.
        """
        if name in self._registered:
            return self._checked(self._registered[name], name)
        if name in self._members:
            return self._checked(_import(self._members[name]), name)
        if _FILE in name:
            return self._checked(self._of_file(name), name)
        if name in (points := self._entry_points()):
            try:
                return self._checked(points[name].load(), name)
            except ImportError as error:
                raise InputError(
                    f"the {self.kind} '{name}' cannot be imported: {error}.",
                    hint=f"See to the package that declares it (group {self.group}).",
                ) from error
        raise InputError(
            f"there is no {self.kind} '{name}'.",
            hint=f"There are {', '.join(self.names())}, and FILE.py:Class.",
        )

    def build(self, named: str | T, options: Mapping[str, str] | None = None) -> T:
        """An instance: of the class of that name, or the object itself if it is one already.

        Args:
            named: a name, `FILE.py:Class`, or an instance.
            options: fields of its dataclass, as texts.

        Raises:
            InputError: for an unknown name, field or value, or a field without a value.
        """
        if not isinstance(named, str):
            return self._checked_instance(named)
        cls = self.find(named)
        taken = parse_options(cls, options or {}, f"{self.kind} {named}")
        try:
            return cls(**taken)
        except (TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"the {self.kind} '{named}' cannot be made: {error}.",
                hint=f"Its options are {_options_in_words(cls)}.",
            ) from error

    def _entry_points(self) -> dict[str, importlib.metadata.EntryPoint]:
        return {point.name: point for point in importlib.metadata.entry_points(group=self.group)}

    def _of_file(self, name: str) -> Any:
        path, _, cls = name.rpartition(":")
        module = import_file(Path(path), self.kind)
        if not hasattr(module, cls):
            there = [each for each, of in vars(module).items() if self._is_member(of)]
            raise InputError(
                f"there is no '{cls}' in it.",
                where=path,
                hint=f"It has {', '.join(there)}." if there else f"Define a {self.kind} in it.",
            )
        return getattr(module, cls)

    def _is_member(self, found: object) -> bool:
        base = self.base()
        return isinstance(found, type) and issubclass(found, base) and found is not base

    def _checked(self, found: Any, name: str) -> type[T]:
        if not self._is_member(found):
            raise InputError(
                f"'{name}' is no {self.kind}: it does not extend {self.base().__name__}.",
                hint=f"Derive it from {self._base.replace(':', '.')}.",
            )
        if not isinstance(getattr(found, "name", None), str):
            raise InputError(
                f"the {self.kind} '{name}' has no name.",
                hint=f"Give it one, name = 'my-{self.kind}'.",
            )
        params = getattr(found, "__dataclass_params__", None)
        if params is None or not params.frozen:
            raise InputError(
                f"the {self.kind} '{name}' is no frozen dataclass.",
                hint="Decorate it with @dataclasses.dataclass(frozen=True).",
            )
        return typing.cast(type[T], found)

    def _checked_instance(self, found: T) -> T:
        if not isinstance(found, self.base()):
            raise InputError(
                f"{found!r} is no {self.kind}.",
                hint=f"Give a name ({', '.join(self.names())}) or an instance of "
                f"{self.base().__name__}.",
            )
        return found


def import_file(path: Path, kind: str) -> types.ModuleType:
    """The module in a file, read once as long as the file stays as it is.

    It can import its neighbours: their folder comes last where modules are looked for.

    Raises:
        InputError: if there is no such file, or reading it fails.
    """
    path = path.expanduser().resolve()
    if not path.is_file():
        raise InputError(
            "there is no such file.", where=str(path), hint=f"Name the file of the {kind}."
        )
    as_it_is = zlib.crc32(f"{path} {path.stat().st_mtime_ns}".encode())  # in any process
    name = f"{USER_FILE}{path.stem}_{as_it_is:x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"reading the {kind} failed: {type(error).__name__}: {error}.",
            where=str(path),
            hint="Run the file with Python to see where.",
        ) from error
    return module


def parse_options(cls: type, options: Mapping[str, str], what: str) -> dict[str, Any]:
    """Texts as values of a dataclass's fields.

    Raises:
        InputError: for a field there is not, and a text that is no value of its type.
    """
    fields = {field.name: field for field in _options_of(cls)}
    taken = {}
    for name, text in options.items():
        field = fields.get(name.replace("-", "_"))
        if field is None:
            raise InputError(
                f"the {what} has no option '{name}'.",
                hint=f"Its options are {_options_in_words(cls)}.",
            )
        taken[field.name] = _parse(text, field, _kinds_of(cls, field), what)
    return taken


def _options_of(cls: type) -> tuple[dataclasses.Field[Any], ...]:
    if not dataclasses.is_dataclass(cls):
        return ()
    return tuple(f for f in dataclasses.fields(cls) if f.init and f.metadata.get("option", True))


def _options_in_words(cls: type) -> str:
    def in_words(field: dataclasses.Field[Any]) -> str:
        is_needed = field.default is dataclasses.MISSING
        is_needed = is_needed and field.default_factory is dataclasses.MISSING
        return f"{field.name} (needed)" if is_needed else f"{field.name}={field.default}"

    return ", ".join(map(in_words, _options_of(cls))) or "none"


def _parse(text: str, field: dataclasses.Field[Any], accepted: tuple[Any, ...], what: str) -> Any:
    """A text as the first of some types that takes it: none, true or false, numbers, text."""
    for kind, read in _READERS.items():
        if kind in accepted:
            try:
                return read(text)
            except (KeyError, ValueError):
                continue
    wanted = [words for kind, words in _IN_WORDS.items() if kind in accepted]
    if not wanted:
        return text
    raise InputError(f"'{text}' is no {field.name} of the {what}.", hint=f"Give {wanted[-1]}.")


def _plain(text: str) -> int | float | str:
    """A whole number, a number, or the text."""
    for wanted in (int, float):
        try:
            return wanted(text)
        except ValueError:
            continue
    return text


_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_READERS: dict[type, Callable[[str], Any]] = {
    type(None): lambda text: {"none": None}[text.lower()],
    bool: lambda text: _TRUTH[text.lower()],
    int: int,
    float: float,
    str: str,
    tuple: lambda text: tuple(_plain(part.strip()) for part in text.split(",")),
}
_IN_WORDS = {bool: "true or false", int: "a whole number", float: "a number"}


def _kinds_of(cls: type, field: dataclasses.Field[Any]) -> tuple[Any, ...]:
    """The types that a field may be of; that of its default where annotations are not at hand."""
    try:
        hint = typing.get_type_hints(cls).get(field.name)
    except Exception:  # names that are imported for the type checker alone
        return (type(field.default),)
    is_one = isinstance(hint, type) or typing.get_origin(hint) is tuple
    accepted = [
        typing.get_origin(kind) or kind for kind in ((hint,) if is_one else typing.get_args(hint))
    ]
    if found := tuple(kind for kind in accepted if any(kind is known for known in _READERS)):
        return found
    return (int, float, str) if field.default is dataclasses.MISSING else (type(field.default),)


def _import(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def option_pairs(given: list[str], option: str, example: str = "NAME=VALUE") -> dict[str, str]:
    """Texts `NAME=VALUE` as a dictionary; messages call one as an example.

    Raises:
        InputError: for one without "=", and a name given twice.
    """
    pairs: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise InputError(f"'{text}' is no {example}.", hint=f"Write {option} {example}.")
        if name.strip() in pairs:
            what = f"'{name.strip()}' is given twice."
            raise InputError(what, hint=f"Write {option} {example} once.")
        pairs[name.strip()] = value.strip()
    return pairs


MODELS: Registry[Any] = Registry(
    "model",
    "gtx_bayes.models",
    "gtx_bayes.models.base:AbstractLabelerModel",
    {
        "one-coin": "gtx_bayes.models.one_coin:OneCoinModel",
        "class-conditional": "gtx_bayes.models.class_conditional:ClassConditionalModel",
        "confusion": "gtx_bayes.models.confusion:ConfusionModel",
        "difficulty": "gtx_bayes.models.difficulty:DifficultyModel",
        "looks": "gtx_bayes.models.looks:LooksModel",
        "bloc": "gtx_bayes.models.bloc:BlocModel",
        "communities": "gtx_bayes.models.communities:CommunitiesModel",
        "ordinal": "gtx_bayes.models.ordinal:OrdinalModel",
        "drift": "gtx_bayes.models.drift:DriftModel",
        "abstaining": "gtx_bayes.models.abstaining:AbstainingModel",
    },
)
"""Labeler models: what `--model` takes."""

POLICIES: Registry[Any] = Registry(
    "strategy",
    "gtx_bayes.policies",
    "gtx_bayes.collection.base:AbstractPolicy",
    {
        name: f"gtx_bayes.collection.{module}"
        for name, module in {
            "uncertainty": "uncertainty_sampling:UncertaintySampling",
            "confidence-threshold": "confidence_threshold:ConfidenceThreshold",
            "random": "random_sampling:RandomSampling",
            "fixed": "fixed:Fixed",
            "risk": "risk:RiskTarget",
            "knowledge-gradient": "knowledge_gradient:KnowledgeGradient",
            "information": "information:InformationPerCost",
        }.items()
    },
)
"""Policies that spend labels: what `--strategy` takes."""

METHODS: Registry[Any] = Registry(
    "method",
    "gtx_bayes.methods",
    "gtx_bayes.aggregation.base:AbstractMethod",
    {
        name: f"gtx_bayes.aggregation.{where}"
        for name, where in {
            "majority-vote": "majority_vote:MajorityVote",
            "weighted-majority-vote": "weighted_majority_vote:WeightedMajorityVote",
            "soft-vote": "soft_vote:SoftVote",
            "gtx": "gtx:Gtx",
            "one-coin-em": "one_coin_em:OneCoinEM",
            "dawid-skene": "dawid_skene:DawidSkene",
            "wawa": "wawa:Wawa",
            "bwa": "bwa:Bwa",
            "ibcc": "ibcc:Ibcc",
            "gtx-bayes": "joint_method:GtxBayes",
        }.items()
    },
)
"""Aggregation methods: what `--method` takes."""

IMPORTERS: Registry[Any] = Registry(
    "format",
    "gtx_bayes.importers",
    "gtx_bayes.importers.base:AbstractImporter",
    {
        name: f"gtx_bayes.importers.{where}"
        for name, where in {
            "label-studio": "label_studio:LabelStudio",
            "prodigy": "prodigy:Prodigy",
            "doccano": "doccano:Doccano",
            "toloka": "toloka:Toloka",
            "mturk": "mturk:MechanicalTurk",
            "appen": "appen:Appen",
            "zooniverse": "zooniverse:Zooniverse",
            "cvat": "cvat:Cvat",
            "labelbox": "labelbox:Labelbox",
            "argilla": "argilla:Argilla",
            "sagemaker": "sagemaker:SageMaker",
            "promptfoo": "promptfoo:Promptfoo",
            "inspect": "inspect_log:InspectLog",
            "deepeval": "deepeval:DeepEval",
            "lm-eval": "lm_eval:LmEval",
            "by-task": "by_task:ByTask",
        }.items()
    },
)
"""Exports of labeling tools and of panels of judges: what `--format` takes beside "table"."""

_ALL = (MODELS, POLICIES, METHODS, IMPORTERS)


def register[C: type](cls: C) -> C:
    """Make a class known by its `name`, as a decorator, whatever kind it is.

    Raises:
        TypeError: if it extends none of the abstract classes.
    """
    for registry in _ALL:
        if issubclass(cls, registry.base()):
            registry.register(cls)
            return cls
    bases = ", ".join(registry.base().__name__ for registry in _ALL)
    raise TypeError(f"{cls.__name__} extends none of {bases}")
