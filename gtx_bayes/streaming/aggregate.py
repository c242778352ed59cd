"""From a Parquet table to a directory of results, stage by stage; what is done stays done."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from gtx_bayes.abstentions import (
    Blank,
    abstain_keys,
    check_blank,
    no_answer,
    note_alone,
    note_blank,
    note_look_alikes,
    note_unused,
)
from gtx_bayes.aggregation import joint_method
from gtx_bayes.aggregation.aggregate import (
    check_class_prior,
    configured,
)
from gtx_bayes.aggregation.alarms import alarms
from gtx_bayes.aggregation.base import AbstractMethod, Fit, LabelerAccuracy
from gtx_bayes.aggregation.joint_method import AUTO, GtxBayes
from gtx_bayes.aggregation.tables import labeler_table
from gtx_bayes.classes import find_classes, note_alike_names, note_odd_classes, some_names
from gtx_bayes.columns import (
    TRUTH_ROLES,
    Column,
    Names,
    Source,
    as_names,
    columns_for,
    distinct_examples,
    positions,
)
from gtx_bayes.covariates import MICROSECONDS_PER_DAY, note_times, of_each
from gtx_bayes.crowd_tables import (
    Duplicates,
    check_duplicates,
    kept_abstentions,
    names_of_others,
    note_left_out,
    note_repeats,
    note_unlabelled,
    note_unread_count,
    read_truths,
)
from gtx_bayes.errors import InputError, notes_as_json, notes_from_json
from gtx_bayes.inference import pool, variational
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import Dependence
from gtx_bayes.inference.gold_counts import gold_counts
from gtx_bayes.inference.joint import Candidate, Choice
from gtx_bayes.inference.model_size import check_num_class_probs
from gtx_bayes.inference.variational import Rows
from gtx_bayes.io.readers import read_table
from gtx_bayes.labels import Assessment, Labels, check_num_classes
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.standard_size import in_standard_size
from gtx_bayes.streaming import survey
from gtx_bayes.streaming.automatic import fit_automatically
from gtx_bayes.streaming.chunks import ChunksOnDisk
from gtx_bayes.streaming.crew import Crew
from gtx_bayes.streaming.parts import Gold, Numbering, PartedTable, is_sorted, sizes_of, sort_part
from gtx_bayes.streaming.results import Scorer, Sums, fit_conjugate, rule_scorer, write_examples
from gtx_bayes.streaming.scatter import (
    MOST_PER_PART,
    Classes,
    is_scattered,
    labelers_of,
    number_of_parts,
    record_of,
    remove_scattered,
    scatter,
)
from gtx_bayes.streaming.table import ParquetTable
from gtx_bayes.streaming.work import WorkDirectory
from gtx_bayes.sums import from_whole

LABELERS = "labelers.csv"

_NUMBERING, _SORTED, _SURVEYED, _CHOICE = (
    f"{name}.json" for name in ("numbering", "sorted", "surveyed", "choice")
)


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
        seed: decides the hard label where classes tie.
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
    seed: int = 0
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

    def other_keys(self) -> list[str]:
        """The answers that are no class, as keys of a column.

        Raises:
            InputError: if abstentions are to be kept and there are none.
        """
        keys = abstain_keys(self.abstain)
        return kept_abstentions(keys, self.blank) if self.keep_abstentions else []

    def has_abstentions(self) -> bool:
        """Whether anything was named that is an abstention."""
        return bool(self.abstain) or self.blank == "abstain"


class Outcome(NamedTuple):
    """What a run says besides the examples, which are on the disk.

    Attributes:
        table: the table in parts.
        class_names: name of every class.
        labelers: one row per labeler, as `Aggregation.labelers`.
        num_abstained: how many abstentions there are.
        model: name of the labeler model, or "votes".
        class_prior: prior of the classes, given or learnt; None stands for a uniform one.
        dependence: posterior of rho, for methods that have one.
        interval: which kind of interval the labelers have, in words.
        mean_confidence: of the examples that are not gold; None if all are.
        num_passes: how many passes over the answers the fit took.
        notes: what a user should know of the tables and the fit.
        seconds: how long each stage took, by name.
    """

    table: PartedTable
    class_names: Names
    labelers: pd.DataFrame
    num_abstained: int
    model: str
    class_prior: npt.NDArray[np.floating] | None
    dependence: Dependence | None
    interval: str
    mean_confidence: float | None
    num_passes: int
    notes: tuple[str, ...]
    seconds: dict[str, float]


class _Numbered(NamedTuple):
    """The names in a table, in the order of their numbers, and what is to be said of them."""

    labelers: list[Any]
    class_keys: list[str]
    class_names: list[Any]
    notes: list[str]
    labeler_covariates: dict[str, list[float]]


class _Begun(NamedTuple):
    """A run whose table is in parts, for a method to finish; `prior` is that of the classes."""

    request: Request
    chunks: ChunksOnDisk
    numbered: _Numbered
    prior: ClassPrior | None
    notes: list[str]
    examples: Path
    clock: "_Clock"

    @property
    def table(self) -> PartedTable:
        """The table."""
        return self.chunks.table

    def write(self, scorer: Scorer) -> Sums:
        """Write the examples."""
        key = jax.random.key(self.request.seed)
        class_names = as_names(self.numbered.class_names)
        sums = write_examples(key, self.chunks, class_names, scorer, self.examples)
        self.clock.lap("write")
        return sums


class _Clock:
    """How long the stages take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """The time since the last call went into this stage."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def aggregate_table(request: Request, work: WorkDirectory, crew: Crew, examples: Path) -> Outcome:
    """Aggregate a table, and write its examples.

    All processes of a team call this together, with directories that they share.

    Args:
        request: what is to be computed.
        work: what is done so far.
        crew: who does it.
        examples: folder to write the examples to, which must not exist.

    Raises:
        InputError: for anything wrong with the tables, with the place and the hint.
    """
    clock = _Clock()
    request.check()
    source = ParquetTable.open(request.labels, request.columns, request.blank, request.covariates)
    num_parts = number_of_parts(source.num_rows, request.most_per_part)
    if not crew.has(work, _SORTED):
        _scatter(source, num_parts, work, crew)
        clock.lap("read")
        _sort(request, source, num_parts, work, crew)
        clock.lap("sort")
    kept = work.read(_NUMBERING)
    numbered = _Numbered(**(kept | {"notes": notes_from_json(kept["notes"])}))
    sizes = tuple(sizes_of(part, work) for part in range(num_parts))
    whole = PartedTable(
        work,
        sizes,
        len(numbered.labelers),
        len(numbered.class_keys),
        len(numbered.class_keys) + len(request.other_keys()),
        tuple(request.covariates),
        {name: np.array(values) for name, values in numbered.labeler_covariates.items()},
    )
    table = whole.keeping(**request.configured.takes(whole.num_classes))
    if isinstance(request.configured, GtxBayes):
        joint_method.check_covariates(request.configured.model, table.covariate_names)
    check_num_class_probs(
        num_examples=table.num_examples,
        num_labels=table.num_labels,
        num_classes=table.num_classes,
    )
    notes = [*numbered.notes, *_table_notes(table, request)]
    if table.num_answers < whole.num_answers:
        note_left_out(names_of_others(request.other_keys()), (), notes)
    if not table.covariate_names:
        note_left_out((), whole.covariate_names, notes)
    class_names = as_names(numbered.class_names)
    prior = None
    if request.class_prior is not None:
        prior = check_class_prior(request.class_prior, class_names, -1)
    given = variational.even(table.num_classes) if prior is None else prior
    chunks = ChunksOnDisk(table, crew, given, work)
    if not crew.has(work, _SURVEYED):
        survey.take_survey(chunks)
        _once(work, _SURVEYED, True, crew)
        clock.lap("survey")
    is_joint = isinstance(request.configured, GtxBayes)
    finish = _finish_jointly if is_joint else _finish_by_rule
    return finish(_Begun(request, chunks, numbered, prior, notes, examples, clock))


def _scatter(source: ParquetTable, num_parts: int, work: WorkDirectory, crew: Crew) -> None:
    crew.do(
        "Reading",
        range(len(source.pieces)),
        lambda number: source.pieces[number].num_rows,
        lambda number, _: scatter(source, source.pieces[number], number, num_parts, work),
        is_done=lambda number: is_scattered(number, work),
    )


def _sort(
    request: Request, source: ParquetTable, num_parts: int, work: WorkDirectory, crew: Crew
) -> None:
    classes = Classes()
    chunks, class_codes, num_dropped = [], [], 0
    lowest = np.full(len(source.covariates), np.inf)
    for number in range(len(source.pieces)):
        record = record_of(number, work)
        codes = classes.merge(record["classes"])
        num_dropped += record["num_dropped"]
        lowest = np.minimum(lowest, record["lowest"])
        for chunk in range(record["chunks"]):
            chunks.append((number, chunk))
            class_codes.append(codes)
    notes: list[str] = []
    spoken = _spoken(request, classes, num_dropped, notes)
    labeler_names, labeler_codes = _unified([labelers_of(*at, work) for at in chunks])
    truths = None
    if request.gold is not None:
        wanted = columns_for(TRUTH_ROLES, request.gold_columns)
        keys = abstain_keys(request.abstain)
        truths = read_truths(read_table(request.gold, wanted), request.gold_columns, notes, keys)
    place = Source(str(request.labels), rows=tuple(classes.rows))
    answers = Column(
        source.columns["label"], as_names(classes.cells), as_names(classes.keys), place
    ).entries(spoken)
    class_keys, class_names = find_classes(answers, truths, request.classes, notes)
    check_num_classes(len(class_keys))
    if request.classes is None:
        note_odd_classes(class_keys, source.num_rows, notes)
        count_of = dict(zip(classes.keys, classes.counts, strict=True))
        note_look_alikes(class_keys, lambda key: count_of.get(key, 0), notes)
    note_alike_names(labeler_names, "labelers", notes)
    note_unread_count(source.all_columns, source.columns.values(), str(request.labels), notes)
    others = request.other_keys()
    to_class = positions([*class_keys, *others], as_names(classes.keys)).astype(np.int32)
    starts = _starts(source, lowest, notes)
    labeler_covariates = _labeler_covariates(request, as_names(labeler_names), notes)
    numbering = Numbering(
        chunks,
        labeler_codes,
        [to_class[codes] for codes in class_codes],
        as_names(labeler_names),
        class_names,
        len(class_keys) + len(others),
        starts,
    )
    gold = None if truths is None else _gold(truths, class_keys, source, num_parts)
    crew.do(
        "Sorting",
        range(num_parts),
        lambda _: source.num_rows // num_parts,
        lambda part, _: sort_part(part, source, numbering, gold, request.duplicates, work),
        is_done=lambda part: is_sorted(part, work),
    )
    if truths is not None and not any(sizes_of(p, work).num_gold for p in range(num_parts)):
        raise InputError(
            f"no gold example ({some_names(truths['example'].keys)}) was labelled by anyone.",
            where=truths["example"].source.name,
            hint="Use the same names for the examples in both tables.",
        )
    if truths is not None:
        num_named = len(set(truths["example"].keys))
        num_found = sum(sizes_of(part, work).num_gold for part in range(num_parts))
        if num_named > num_found:
            unlabelled = [n for part in range(num_parts) for n in sizes_of(part, work).unlabelled]
            where = truths["example"].source.name
            notes.append(note_unlabelled(where, num_named - num_found, unlabelled))
    found = _Numbered(labeler_names, class_keys, list(class_names), notes, labeler_covariates)
    _once(work, _NUMBERING, found._asdict() | {"notes": notes_as_json(notes)}, crew)
    _once(work, _SORTED, True, crew)
    if crew.team.rank == 0:
        remove_scattered(work)


def _starts(source: ParquetTable, lowest: npt.NDArray[np.float64], notes: list[str]) -> list[float]:
    """What each covariate is counted from: times from the first, numbers from zero."""
    starts = []
    for name, first in zip(source.covariates, lowest.tolist(), strict=True):
        starts.append(first if name in source.times else 0.0)
        if name in source.times:
            moment = pd.Timestamp(round(first * MICROSECONDS_PER_DAY), unit="us", tz="UTC")
            note_times(name, moment.isoformat(), str(source.path), notes)
    return starts


def _labeler_covariates(request: Request, names: Names, notes: list[str]) -> dict[str, list[float]]:
    if request.labeler_covariates is None:
        return {}
    found = of_each("labeler", names, read_table(request.labeler_covariates), {}, notes)
    return {name: values.tolist() for name, values in found.items()}


def _spoken(
    request: Request, classes: Classes, num_dropped: int, notes: list[str]
) -> npt.NDArray[np.intp]:
    """Which of the values answered are no abstentions."""
    where = str(request.labels)
    keys = abstain_keys(request.abstain)
    num_blank = sum(n for key, n in zip(classes.keys, classes.counts, strict=True) if key == "")
    note_blank(num_dropped + num_blank, request.blank, where, notes)
    note_unused([key for key in keys if key not in classes.keys], where, notes)
    is_answer = np.array([key not in ("", *keys) for key in classes.keys], bool)
    if not is_answer.any():
        raise no_answer(where)
    return np.flatnonzero(is_answer)


def _unified(dictionaries: list[pa.Array]) -> tuple[list[Any], list[npt.NDArray[np.int32]]]:
    """The names in all dictionaries, and what the entries of each are called among them."""
    encoded = pa.chunked_array(dictionaries).dictionary_encode().unify_dictionaries()
    names = encoded.chunk(0).dictionary
    codes = [chunk.indices.to_numpy().astype(np.int32) for chunk in encoded.chunks]
    return names.to_pylist(), codes


def _gold(
    truths: dict[str, Column], class_keys: list[str], source: ParquetTable, num_parts: int
) -> Gold:
    kept = distinct_examples(truths["example"], truths["label"])
    true_label = positions(class_keys, truths["label"].keys[kept])
    names = truths["example"].keys[kept]
    return Gold.of_names(names, true_label, source.example_type, num_parts)


def _table_notes(table: PartedTable, request: Request) -> list[str]:
    notes: list[str] = []
    repeats, dropped, pairs = (
        sum(getattr(size, name) for size in table.sizes)
        for name in ("num_repeats", "num_dropped", "num_pairs")
    )
    note_repeats(repeats, dropped, pairs, request.duplicates, notes)
    note_alone(sum(size.num_alone for size in table.sizes), notes)
    return notes


def _finish_jointly(run: _Begun) -> Outcome:
    chunks, clock = run.chunks, run.clock
    table = chunks.table
    choice, why, rows = _choose(run.request, table, run.prior, chunks.crew)
    clock.lap("choose")
    chosen, rho = choice.candidate, choice.dependence
    if chosen.trusts_gold_alone:
        return _finish_from_gold(run, choice, why)
    if isinstance(chosen.prior, AbstractLabelerModel):
        fit = fit_automatically(chunks, chosen.prior, choice)
    else:
        fit = fit_conjugate(chunks, chosen.prior, choice, rows)
    clock.lap("fit")
    sums = run.write(fit.scorer)
    dtype = jnp.zeros(()).dtype
    moments = fit.prior.accuracy_moments(
        from_whole(sums.counts).astype(dtype),
        from_whole(sums.class_total).astype(dtype),
        choice.dependence.nodes()[1],
    )
    found = BetaPosterior.from_moments(*(of[: table.num_labelers] for of in moments))
    gold = survey.gold_of(table)
    counts = gold_counts(gold.labels, gold.assessment)
    return _outcome(
        run,
        joint_method.posterior_accuracy(found, counts, table.num_classes),
        sums,
        model=chosen.model,
        class_prior=np.asarray(fit.class_prior),
        dependence=choice.dependence,
        num_passes=fit.num_passes,
        notes=joint_method.notes_of_one(
            choice,
            why,
            prior_independent=_gtx_bayes(run.request).prior_asked if rho.prob_independent else 0.0,
            num_gold=table.num_gold,
            converged=fit.converged,
        ),
    )


def _finish_from_gold(run: _Begun, choice: Choice, why: str) -> Outcome:
    """Every example judged at what gold alone says of the labelers."""
    labels, assessment = survey.gold_of(run.table)
    fit = joint_method.report(pool.fit_one(labels, assessment, choice, why), labels, assessment)
    return _write_by_rule(run, fit, dependence=choice.dependence)


def _finish_by_rule(run: _Begun) -> Outcome:
    request, gold = run.request, survey.gold_of(run.table)
    fit = request.configured.fit(gold.labels, gold.assessment, run.prior)
    return _write_by_rule(run, fit, dependence=None)


def _write_by_rule(run: _Begun, fit: Fit, *, dependence: Dependence | None) -> Outcome:
    table = run.table
    spare = table.room_for_labelers - table.num_labelers
    padded = jax.tree.map(
        lambda values: (
            jnp.pad(values, (0, spare), mode="edge")
            if np.shape(values) == (table.num_labelers,)
            else values
        ),
        fit.aggregator,
    )
    sums = run.write(rule_scorer(padded))
    return _outcome(
        run,
        fit.labeler_accuracy,
        sums,
        model=fit.model,
        class_prior=None if fit.class_prior is None else np.asarray(fit.class_prior),
        dependence=dependence,
        num_passes=0,
        notes=fit.notes,
    )


def _outcome(
    run: _Begun, accuracy: LabelerAccuracy, sums: Sums, *, notes: tuple[str, ...], **rest: Any
) -> Outcome:
    table = run.table
    labeler_names, class_names = as_names(run.numbered.labelers), as_names(run.numbered.class_names)
    num_open = table.num_examples - table.num_gold
    confidence = float(from_whole(sums.confidence))
    num_labels, num_abstained = (
        from_whole(counted)[: table.num_labelers].astype(np.int64)
        for counted in (sums.answers, sums.abstained)
    )
    told = num_abstained if run.request.has_abstentions() else None
    some = survey.some_of(table)
    found = alarms(
        some.labels,
        accuracy.counts,
        None,
        ~some.assessment.which_gold(),
        labeler_names=labeler_names,
        class_names=class_names,
    )
    return Outcome(
        table=table,
        class_names=class_names,
        labelers=labeler_table(labeler_names, accuracy, num_labels, told),
        num_abstained=int(num_abstained.sum()),
        interval=accuracy.interval,
        mean_confidence=confidence / num_open if num_open else None,
        notes=(*run.notes, *notes, *found),
        seconds=run.clock.seconds,
        **rest,
    )


def _choose(
    request: Request, table: PartedTable, prior: ClassPrior | None, crew: Crew
) -> tuple[Choice, str, Rows | None]:
    """The model, why it is, and where its fit starts, chosen once for all processes."""
    work, rank = table.work, crew.team.rank
    method = _gtx_bayes(request)
    if not crew.has(work, _CHOICE):
        crew.tell("Choosing a model", 0, 0)
        record = None
        among = joint_method.models_for(
            method.model,
            num_labels=table.num_labels,
            num_labelers=table.num_labelers,
            num_classes=table.num_classes,
        )
        if rank == 0:
            some = survey.some_of(table)
            labels, assessment, padded_prior = in_standard_size(*some, prior)
            if any(not Candidate.of(m, table.num_classes, None).is_padded for m in among.models):
                (labels, assessment), padded_prior = some, prior
            found, why = pool.choose(
                labels,
                assessment,
                padded_prior,
                models=among.models,
                dependence=method.dependence,
                prior_independent=method.prior_asked,
            )
            rows = _rows(table, found.candidate, labels, assessment)
            record = {
                "model": found.candidate.model,
                "learns": found.candidate.class_prior is None,
                "rho": list(map(float, found.dependence[0])),
                "probs": list(map(float, found.dependence[1])),
                "why": among.why(why),
                "trusts_gold_alone": found.candidate.trusts_gold_alone,
                "rows": None if rows is None else np.asarray(rows, np.float64).tolist(),
            }
        _once(work, _CHOICE, record, crew)
    kept = work.read(_CHOICE)
    uniform = jnp.full(table.num_classes, 1.0 / table.num_classes)
    given = uniform if prior is None else prior
    asked = method.model
    candidate = Candidate.of(
        kept["model"] if asked == AUTO else asked,
        table.num_classes,
        None if kept["learns"] else given,
    )._replace(trusts_gold_alone=kept["trusts_gold_alone"])
    dependence = Dependence(np.array(kept["rho"]), np.array(kept["probs"]))
    rows = None if kept["rows"] is None else jnp.asarray(np.array(kept["rows"]), float)
    return Choice(candidate, dependence), kept["why"], rows


def _gtx_bayes(request: Request) -> GtxBayes:
    method = request.configured
    assert isinstance(method, GtxBayes), "no other method chooses among models"
    return method


def _rows(
    table: PartedTable, chosen: Candidate, labels: Labels, assessment: Assessment
) -> Rows | None:
    """Where the fit starts, by a fit to the answers that models are judged by."""
    gold = survey.gold_of(table)
    rows = variational.rows_from_gold(gold.labels, gold.assessment)
    prior = chosen.prior
    if rows is None or chosen.trusts_gold_alone or isinstance(prior, AbstractLabelerModel):
        return None
    return variational.best_start(
        lambda rows: variational.fit_from(labels, assessment, prior, chosen.class_prior, rows),
        rows,
    )[1]


def _once(work: WorkDirectory, name: str, record: object, crew: Crew) -> None:
    """Let one process keep a record, and the others wait for it."""
    if crew.team.rank == 0:
        work.write(name, record)
    crew.team.meet()


def _fingerprint(path: Path | None) -> list[list[Any]]:
    """Names, sizes and times of the files of a table."""
    if path is None:
        return []
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [
        [str(file.relative_to(path.parent)), status.st_size, status.st_mtime_ns]
        for file in files
        if file.is_file() and (status := file.stat())
    ]
