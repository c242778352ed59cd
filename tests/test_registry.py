"""Classes by name: ours, registered ones, those of a file, those of entry points."""

import abc
import dataclasses
from collections.abc import Callable

import pytest

from gtx_bayes.errors import InputError
from gtx_bayes.registry import Registry, option_pairs


class AbstractThing(abc.ABC):  # noqa: B024
    """What the things of these tests extend."""


@dataclasses.dataclass(frozen=True)
class Own(AbstractThing):
    """A thing with options of every type."""

    name = "own"
    description = "one of ours"
    rate: float = 0.5
    size: int = 3
    loud: bool = False
    word: str = "a"
    limit: float | None = None
    sizes: tuple[int, ...] = ()
    parts: str | tuple[str, ...] = "all"
    scale: Callable[[float], float] = float


HERE = f"{__name__}:"
DATACLASS = "import dataclasses\n@dataclasses.dataclass(frozen=True)\n"


@pytest.fixture
def things():
    return Registry("thing", "gtx_bayes.things", HERE + "AbstractThing", {"own": HERE + "Own"})


class TestNames:
    def test_ours_and_registered(self, things):
        @things.register
        @dataclasses.dataclass(frozen=True)
        class Mine(AbstractThing):
            name = "mine"

        assert things.names() == ("own", "mine")
        assert things.find("mine") is Mine

    def test_a_class_without_a_name(self, things):
        with pytest.raises(TypeError, match="has no name"):
            things.register(AbstractThing)

    def test_unknown(self, things):
        with pytest.raises(InputError, match=r"no thing 'other'.*There are own"):
            things.find("other")

    def test_something_else(self, things):
        with pytest.raises(InputError, match="is no thing"):
            things.build(3)


class TestFile:
    def write(self, tmp_path, text):
        path = tmp_path / "mine.py"
        path.write_text(f"from {__name__} import AbstractThing\n{text}")
        return f"{path}:Mine"

    def test_found_and_made(self, things, tmp_path):
        name = self.write(tmp_path, DATACLASS + "class Mine(AbstractThing):\n    name = 'mine'\n")
        assert things.build(name).name == "mine"
        assert things.find(name) is things.find(name)

    def test_no_such_class(self, things, tmp_path):
        name = self.write(tmp_path, "class Yours(AbstractThing):\n    pass\n")
        with pytest.raises(InputError, match=r"no 'Mine' in it\. It has Yours"):
            things.find(name)

    def test_a_class_that_is_no_constant(self, things, tmp_path):
        name = self.write(tmp_path, "class Mine(AbstractThing):\n    name = 'mine'\n")
        with pytest.raises(InputError, match="no frozen dataclass"):
            things.find(name)

    def test_a_class_without_a_name(self, things, tmp_path):
        name = self.write(tmp_path, DATACLASS + "class Mine(AbstractThing):\n    pass\n")
        with pytest.raises(InputError, match="has no name"):
            things.find(name)

    def test_another_class(self, things, tmp_path):
        name = self.write(tmp_path, "class Mine:\n    pass\n")
        with pytest.raises(InputError, match="does not extend AbstractThing"):
            things.find(name)

    def test_a_file_that_fails(self, things, tmp_path):
        name = self.write(tmp_path, "1 / 0\n")
        with pytest.raises(InputError, match=r"mine\.py: .*ZeroDivisionError"):
            things.find(name)

    def test_no_file(self, things, tmp_path):
        with pytest.raises(InputError, match="no such file"):
            things.find(f"{tmp_path / 'none.py'}:Mine")


class TestOptions:
    def test_by_type(self, things):
        given = {"rate": "1", "size": "4", "loud": "yes", "word": "7"}
        given |= {"limit": "2", "sizes": "1,2"}
        assert things.build("own", given) == Own(1.0, 4, True, "7", 2.0, (1, 2))
        assert things.build("own", {"limit": "none"}) == Own()
        assert things.build("own", {"parts": "some"}).parts == "some"

    @pytest.mark.parametrize(
        ("name", "value", "said"),
        [
            ("rate", "x", "Give a number"),
            ("size", "1.5", "whole number"),
            ("limit", "x", "Give a number"),
            ("loud", "x", "true or false"),
            ("pitch", "1", r"no option 'pitch'.*rate=0\.5"),
        ],
    )
    def test_refused(self, things, name, value, said):
        with pytest.raises(InputError, match=said):
            things.build("own", {name: value})

    def test_pairs(self):
        assert option_pairs(["a=1", "b=x=y"], "--opt") == {"a": "1", "b": "x=y"}
        for given in (["a"], ["a=1", "a=2"], ["=1"]):
            with pytest.raises(InputError, match="--opt NAME=VALUE"):
                option_pairs(given, "--opt")
