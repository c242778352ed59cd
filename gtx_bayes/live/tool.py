"""What a labeling tool is to the loop: five verbs, and what they speak of."""

import abc
import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd

from gtx_bayes.columns import Table


class Question(NamedTuple):
    """A question with one answer out of several, asked of every task.

    Attributes:
        name: what answers call it.
        about: what of the task it is about.
        classes: the answers there are; empty where the tool does not say.
    """

    name: str
    about: str
    classes: tuple[str, ...]


class Task(NamedTuple):
    """A task as it stands in the tool.

    Attributes:
        name: its number.
        is_open: whether the tool counts it as wanting labels.
        num_places: how many people it is shown to in all.
        num_labels: how many have answered; gold is no answer.
        num_taken: how many of the places are taken: those, and the ones who passed where that
            counts.
    """

    name: int
    is_open: bool
    num_places: int
    num_labels: int
    num_taken: int


class AbstractLabelingTool(abc.ABC):
    """One project of a labeling tool. No verb deletes an answer or a task.

    Attributes:
        name: what the tool is called.
    """

    name: ClassVar[str]

    @property
    def title(self) -> str:
        """What the project is called."""
        return self.name

    @property
    def notes(self) -> Sequence[str]:
        """What its user should mend in the settings of the project."""
        return ()

    @abc.abstractmethod
    def questions(self) -> Sequence[Question]:
        """The questions that this project asks and the loop can decide on."""

    @abc.abstractmethod
    def workers(self) -> Sequence[int]:
        """Those who may answer, ourselves left out."""

    @abc.abstractmethod
    def tasks(self) -> Sequence[Task]:
        """Every task as it stands, in the order of the project."""

    @abc.abstractmethod
    def annotations(self, question: Question) -> Table:
        """The answers to a question as of the last `tasks`, a later one of a worker below.

        The table may have no rows; what is known of tasks is its `gold`.
        """

    def keep(self, folder: Path) -> None:
        """Put what was read into a folder, so that another process need not read it again."""
        return

    @abc.abstractmethod
    def open(self, task: Task, num_more: int) -> None:
        """Show the task to so many more people; several threads do so at once."""

    @abc.abstractmethod
    def close(self, task: Task) -> None:
        """Show the task to nobody more; likewise."""

    @abc.abstractmethod
    def predict(
        self, examples: Mapping[Question, pd.DataFrame], version: str, *, is_dry: bool = False
    ) -> int:
        """Show what was found of tasks; nothing is written where it stands already.

        Args:
            examples: `task` and `prob_<class>` by question, for the same tasks.
            version: says who found it; predictions of other names are left alone.
            is_dry: count alone, and write nothing.

        Returns:
            How many predictions were written or renewed, or would be.
        """


class ToolError(ConnectionError):
    """The tool cannot be reached or fails, however often it is asked; later it may answer."""

    def __init__(self, url: str, what: str) -> None:
        super().__init__(errno.ECONNABORTED, what, url)
