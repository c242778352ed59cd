"""Write tables and whole result directories: all of a result or none of it."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import pandas as pd

from gtx_bayes.errors import InputError

_WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table, the format by the file's ending; the file appears whole or not at all.

    Raises:
        InputError: for an ending that names no known format.
    """
    path = Path(path)
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise InputError(
            f"the ending '{path.suffix}' names no known format.",
            where=str(path),
            mend=f"Use one of {', '.join(_WRITERS)}.",
        )
    with whole_file(path) as partial:
        write(frame, partial)


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A place to write a file that takes its name when the block ends without an error.

    Raises:
        InputError: if there is no writing there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _no_writing(path.parent, error) from error
    with scratch:
        partial = Path(scratch.name) / path.name
        yield partial
        partial.replace(path)


class OutputDirectory:
    """A directory of results that appears whole, replaces an older one whole, or not at all.

    Use as a context manager; files written into `path` inside the block take the place of
    `target` when the block ends without an error. A directory that holds anything but files of
    an earlier result is refused rather than replaced.

    Attributes:
        target: where the results will stand.
        path: where to write them meanwhile.
    """

    def __init__(self, target: str | Path, result_files: tuple[str, ...]) -> None:
        """Check the target.

        Args:
            target: the directory to make or replace.
            result_files: names, or patterns, of the files a result may hold.

        Raises:
            InputError: if the target is a file or holds foreign files.
        """
        self.target = Path(os.path.abspath(target))  # noqa: PTH100 - keep symbolic links
        if self.target.exists() and not self.target.is_dir():
            raise InputError(
                "there is a file of that name.", where=str(target), mend="Name a directory."
            )
        if self.target.is_dir():
            foreign = [
                entry.name
                for entry in sorted(self.target.iterdir())
                if not any(entry.match(pattern) for pattern in result_files)
            ]
            if foreign:
                raise InputError(
                    f"the directory holds '{foreign[0]}', which is no result of this command.",
                    where=str(target),
                    mend="Name a new or empty directory.",
                )

    def __enter__(self) -> "OutputDirectory":
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            made = tempfile.mkdtemp(dir=self.target.parent, prefix=f".{self.target.name}.")
        except OSError as error:
            raise _no_writing(self.target.parent, error) from error
        self.path = Path(made)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        self.path.chmod(0o777 & ~_umask())
        old = self.path.with_name(f"{self.path.name}.old")
        if self.target.exists():
            self.target.rename(old)
        self.path.rename(self.target)
        shutil.rmtree(old, ignore_errors=True)


def _no_writing(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write there: {error.strerror}.",
        where=str(path),
        mend="Name a directory you may write to.",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
