"""What is to be computed of a table in files, and from what."""

import dataclasses
import functools
import glob
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gtx_bayes.abstentions import Blank, abstain_keys, check_blank
from gtx_bayes.aggregation import joint_method
from gtx_bayes.aggregation.aggregate import configured
from gtx_bayes.aggregation.base import AbstractMethod
from gtx_bayes.aggregation.joint_method import GtxBayes
from gtx_bayes.crowd_tables import Duplicates, check_duplicates, kept_abstentions
from gtx_bayes.errors import InputError
from gtx_bayes.io.contents import files_below

MOST_POOLED = 30_000_000
"""Answers beyond which the heaviest model of a pool is fitted alone, unless told otherwise."""

MOST_PER_PART = 2**20
"""About how many answers a part of the table may hold; one example's are never divided."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be computed, and from what.

    Attributes:
        labels: the table of answers: a Parquet file, or a folder of them.
        gold: the table of gold labels, of any format.
        method: the method, or its name.
        options: `model` and `dependence`, as for `aggregate`.
        class_prior: prior of each class, in their order or by name.
        classes: every class there is.
        duplicates: which answers count where a labeler contradicts itself.
        abstain: values that are abstentions.
        blank: what a blank answer is.
        keep_abstentions: keep abstentions as answers that are no class.
        covariates: columns of `labels` that are numbers or times.
        labeler_covariates: a table with one row per labeler, of any format.
        columns: columns of `labels` by role, where no alias fits.
        gold_columns: columns of `gold` by role.
        groups: column of `labels` with the groups of labelers who count as one.
        finds_blocs: whether "gtx-bayes" counts labelers as one who copy each other, by gold.
        seed: decides the hard label where classes tie.
        intervals: whether confidences have intervals, each by `pool.NUM_DRAWS` passes more.
        pool: whether all models of a pool are fitted that weigh anything, or the heaviest alone; by
            `MOST_POOLED` if None.
        most_per_part: about how many answers are held at a time.
    """

    labels: Path
    gold: Path | None = None
    method: str | AbstractMethod = joint_method.NAME
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    class_prior: Sequence[float] | Mapping[str, float] | None = None
    classes: Sequence[str] | None = None
    duplicates: Duplicates = "error"
    abstain: Sequence[object] = ()
    blank: Blank = "error"
    keep_abstentions: bool = False
    covariates: Sequence[str] = ()
    labeler_covariates: Path | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    gold_columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    groups: str | None = None
    finds_blocs: bool = True
    seed: int = 0
    intervals: bool = False
    pool: bool | None = None
    most_per_part: int = MOST_PER_PART

    def check(self) -> None:
        """Raise `InputError` for options that no table could go with."""
        chosen = self.configured
        check_duplicates(self.duplicates)
        check_blank(self.blank)
        abstain_keys(self.abstain, self.classes)
        self.other_keys()
        if isinstance(chosen, GtxBayes):
            joint_method.check_options(chosen.model, chosen.dependence, chosen.prior_independent)
        elif self.intervals:
            raise InputError(
                f"{chosen.name} has no posterior, and no intervals of confidences.",
                where="intervals",
                hint=f"Leave them out, or use {joint_method.NAME}.",
            )
        elif not chosen.learns_from_gold_alone:
            raise InputError(
                f"{chosen.name} learns from all answers at once, and a streamed table is never in "
                "memory as a whole.",
                where="method",
                hint=f"Use {joint_method.NAME}, or aggregate in memory.",
            )

    @functools.cached_property
    def configured(self) -> AbstractMethod:
        """The method with its options.

        Raises:
            InputError: for an unknown method, and an option that it does not have.
        """
        return configured(self.method, **self.options)

    def identity(self) -> dict[str, Any]:
        """What a resumed run must have in common with the one that began, by name."""
        record = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("labels", "gold", "options", "labeler_covariates")
        }
        record["method"] = repr(self.configured)
        record["abstain"] = abstain_keys(self.abstain)
        record |= {"labels": _fingerprint(self.labels), "gold": _fingerprint(self.gold)}
        return {**record, "labeler_covariates": _fingerprint(self.labeler_covariates)}

    @property
    def inputs(self) -> tuple[Path | None, ...]:
        """The files that are read."""
        return self.labels, self.gold, self.labeler_covariates

    def other_keys(self) -> list[str]:
        """The answers that are no class, as keys of a column.

        Raises:
            InputError: if abstentions are to be kept and there are none.
        """
        keys = abstain_keys(self.abstain)
        return kept_abstentions(keys, self.blank) if self.keep_abstentions else []

    def takes_pool(self, num_labels: int) -> bool:
        """Whether a pool is fitted to so many answers, or one model alone."""
        return num_labels <= MOST_POOLED if self.pool is None else self.pool

    def has_abstentions(self) -> bool:
        """Whether anything was named that is an abstention."""
        return bool(self.abstain) or self.blank == "abstain"


def is_remote(address: str) -> bool:
    """Whether a table lies elsewhere: s3://, https:// and the like."""
    return re.match(r"[a-z0-9]+://", address) is not None


def address_of(path: Path) -> str:
    """The table as it was named: a path has lost one of the slashes of an address."""
    return re.sub(r"^([a-z0-9]{2,}):/+", r"\1://", str(path))


def _fingerprint(path: Path | None) -> list[list[Any]]:
    """Names, sizes and times of the files of a table; of one elsewhere no more than its name."""
    if path is None:
        return []
    if is_remote(address_of(path)):
        return [[address_of(path)]]
    files = files_below(path) if path.is_dir() else [path]
    if not path.exists():
        files = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
    return [
        [
            str(file.relative_to(path.parent) if path.exists() else file),
            status.st_size,
            status.st_mtime_ns,
        ]
        for file in files
        if file.is_file() and (status := file.stat())
    ]
