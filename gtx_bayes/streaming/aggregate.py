"""From a table in files to a directory of results, stage by stage; what is done stays done."""

import concurrent.futures
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pandas as pd

from gtx_bayes.abstentions import (
    abstain_keys,
    no_answer,
    note_alone,
    note_blank,
    note_look_alikes,
    note_unused,
)
from gtx_bayes.aggregation import joint_method
from gtx_bayes.aggregation.alarms import alarms
from gtx_bayes.aggregation.base import Fit
from gtx_bayes.aggregation.joint_method import GtxBayes
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.aggregation.tables import (
    confusion_by,
    confusion_table,
    labeler_table,
    no_confusion,
    overlaps,
)
from gtx_bayes.blocs import find_blocs, group_blocs, member_table, note_of
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
from gtx_bayes.crowd import Crowd
from gtx_bayes.crowd_tables import (
    names_of_others,
    note_columns,
    note_left_out,
    note_repeats,
    note_unlabelled,
    read_truths,
)
from gtx_bayes.errors import InputError, notes_as_json
from gtx_bayes.inference import alike, joint, looks, pool, variational, weighing
from gtx_bayes.inference.alike import LabelersAlike
from gtx_bayes.inference.dependence import Dependence
from gtx_bayes.inference.joint import Candidate, Choice, PassedOn
from gtx_bayes.inference.looks import Looks
from gtx_bayes.inference.model_size import check_num_class_probs
from gtx_bayes.inference.pool import Pool
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.inference.weighing import Scores, Weighed, Weighing
from gtx_bayes.io.readers import read_table
from gtx_bayes.labels import Assessment, Labels, check_num_classes
from gtx_bayes.models.base import AbstractLabelerModel
from gtx_bayes.padding import padded_to_bucket
from gtx_bayes.streaming import collect, ingest, results, subsample
from gtx_bayes.streaming.chunks import (
    BLOCS,
    CHOICE,
    GOLD,
    JOINED,
    NUMBERING,
    WEIGHTS,
    ChunksOnDisk,
    Fitted,
    Numbered,
    join_part,
)
from gtx_bayes.streaming.executor import Callback, silent, threads
from gtx_bayes.streaming.parts import PartedTable, gold_found
from gtx_bayes.streaming.request import Request, address_of
from gtx_bayes.streaming.work import WorkDirectory
from gtx_bayes.sums import from_fixed_point

LABELERS = "labelers.csv"

_SORTED, _SURVEYED = "sorted.json", "surveyed.json"


class Outcome(NamedTuple):
    """What a run says besides the examples, which are on the disk.

    Attributes:
        table: the table in parts.
        class_names: name of every class.
        labelers: one row per labeler, as `Aggregation.labelers`; blocs count as one.
        blocs: the members of blocs, as `blocs.Joined`; None where there are none.
        confusion: as `Aggregation.confusion`; None where it has too many rows.
        num_abstained: how many abstentions there are.
        fit: the method fitted, and what was found of the labelers; examples are let go.
        result: the same with all examples in memory, where that was asked for.
        mean_confidence: of the examples that are not gold; None if all are.
        num_passes: how many passes over the answers the fit took.
        num_workers: how many parts were worked on at a time.
        notes: what a user should know of the tables and the fit.
        seconds: how long each stage took, by name.
    """

    table: PartedTable
    class_names: Names
    labelers: pd.DataFrame
    blocs: pd.DataFrame | None
    confusion: pd.DataFrame | None
    num_abstained: int
    fit: Fit
    result: Aggregation | None
    mean_confidence: float | None
    num_passes: int
    num_workers: int
    notes: tuple[str, ...]
    seconds: dict[str, float]


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


def aggregate_table(
    request: Request,
    work: WorkDirectory,
    examples: Path,
    *,
    executor: concurrent.futures.Executor | None = None,
    num_devices: int | None = None,
    memory: str | None = None,
    callback: Callback = silent,
    keeps_examples: bool = False,
) -> Outcome:
    """Aggregate a table, and write its examples.

    Args:
        request: what is to be computed.
        work: what is done so far.
        examples: folder to write the examples to, which must not exist.
        executor: who does the parts; threads when absent. Processes elsewhere need the same
            versions of the packages, and a file system that has `work` and `examples`.
        num_devices: how many devices each process takes; all when absent.
        memory: what the buffers of reading may take, "4GB" for instance.
        callback: called with the stage, how much of it is done, and how much there is, in rows.
        keeps_examples: whether to bring all examples of "gtx-bayes" into memory at the end, in the
            order of the parts, as a state needs them.

    Raises:
        InputError: for anything wrong with the tables, with the place and the hint.
        LostWorkersError: if nobody is left to do the parts; the work resumes.
    """
    clock = _Clock()
    request.check()
    with threads(num_devices or len(jax.local_devices())) as own:
        if not work.has(NUMBERING):
            work.remove(ingest.SCATTERED)
            _read(request, work, memory, callback)
            clock.lap("read")
        chunks = ChunksOnDisk.led(
            request, work, executor or own, num_devices=num_devices, callback=callback
        )
        if not work.has(_SORTED):
            chunks.sort()
            work.write(_SORTED, True)
            work.remove(ingest.SCATTERED)
            clock.lap("sort")
        return _finish(chunks, examples, clock, keeps_examples=keeps_examples)


def _finish(
    chunks: ChunksOnDisk, examples: Path, clock: _Clock, *, keeps_examples: bool
) -> Outcome:
    """From a table in parts to its result."""
    request, table, whole = chunks.request, chunks.table, chunks.whole_table
    if isinstance(request.configured, GtxBayes):
        joint_method.check_covariates(request.configured.model, table.covariate_names)
    check_num_class_probs(
        num_examples=table.num_examples,
        num_labels=table.num_labels,
        num_classes=table.num_classes,
    )
    notes = [*chunks.numbered.notes, *_notes_of_gold(chunks), *_table_notes(table, request)]
    if table.num_answers < whole.num_answers:
        note_left_out(names_of_others(request.other_keys()), (), notes)
    if not table.covariate_names:
        note_left_out((), whole.covariate_names, notes)
    if not chunks.store.has(_SURVEYED):
        subsample.take_subsamples(chunks)
        if _join_blocs(chunks):
            subsample.take_subsamples(chunks)
        chunks.store.write(_SURVEYED, True)
        clock.lap("survey")
    if isinstance(request.configured, GtxBayes):
        _choose(chunks)
        if keeps_examples:
            collect.check_kept(chunks)
        clock.lap("choose")
    # Others take the accuracies that gold alone gives.
    fits = {} if chunks.rule is not None else _fit(chunks)
    clock.lap("fit")
    sums = results.write_examples(chunks, examples)
    clock.lap("write")
    fit, result = chunks.rule or _report(chunks, fits, sums), None
    if keeps_examples:
        crowd, known = collect.crowd_of(chunks, tuple(notes)), collect.known_examples(chunks)
        kept = _report(chunks, fits, sums, crowd, known)
        assert kept.joint is not None
        probs, prior = kept.joint.class_probs, kept.class_prior
        result = Aggregation(joint_method.NAME, crowd, kept, probs, prior)
        clock.lap("keep")
    num_passes = sum(each.num_passes for each in {id(of): of for of in fits.values()}.values())
    return _outcome(
        chunks, fit, sums, result, num_passes=num_passes, notes=notes, seconds=clock.seconds
    )


def _read(request: Request, work: WorkDirectory, memory: str | None, callback: Callback) -> None:
    """Number the names in the files, bring each example's answers together, and keep both."""
    with ingest.database(work, memory) as connection:
        named = request.columns, request.covariates
        table = ingest.open_table(
            connection, request.labels, *named, work, callback, request.groups
        )
        num_parts = ingest.number_of_parts(table.num_rows, request.most_per_part)
        found = ingest.distinct(connection, table)
        notes: list[str] = []
        labelers = table.names("labeler", found["labeler"].cells, found["labeler"].places)
        if labelers.null_count:
            first = int(labelers.is_null().to_numpy(zero_copy_only=False).argmax())
            raise table.no_value("labeler", found["labeler"].places[first])
        encoded = labelers.dictionary_encode()
        labeler_names, of_cells = encoded.dictionary.to_pylist(), encoded.indices.to_pylist()
        classes = Classes.of(table, found["label"])
        if "" in classes.keys and request.blank == "error":
            raise table.no_value("label", classes.places[classes.keys.index("")])
        spoken = _spoken(request, classes, notes)
        truths = None
        if request.gold is not None:
            wanted = columns_for(TRUTH_ROLES, request.gold_columns)
            keys = abstain_keys(request.abstain)
            gold = read_table(request.gold, wanted)
            truths = read_truths(gold, request.gold_columns, notes, keys)
        rows = tuple(map(table.row, classes.places))
        answers = Column(
            table.columns["label"],
            as_names(classes.cells),
            as_names(classes.keys),
            Source(table.path, rows=rows),
        ).entries(spoken)
        class_keys, class_names = find_classes(answers, truths, request.classes, notes)
        check_num_classes(len(class_keys))
        if request.classes is None:
            note_odd_classes(class_keys, table.num_rows, notes)
            count_of = dict(zip(classes.keys, classes.counts, strict=True))
            note_look_alikes(class_keys, lambda key: count_of.get(key, 0), notes)
        note_alike_names(labeler_names, "labelers", notes)
        names, given = table.all_columns, request.columns
        has_gold = truths is not None
        note_columns(names, table.columns, given, table.path, notes, has_gold=has_gold)
        starts = _starts(table, ingest.lowest(connection, table), notes)
        groups = None
        if request.groups is not None:
            of_labeler = ingest.groups_of(connection, table, request.groups)
            groups = [of_labeler[str(name)] for name in labeler_names]
        labeler_covariates = _labeler_covariates(request, as_names(labeler_names), notes)
        ingest.partition(connection, table, num_parts, work, callback)
    where = "" if truths is None else truths["example"].source.name
    _keep_gold(truths, class_keys, work)
    numbered = Numbered(
        labeler_names,
        of_cells,
        classes.of_cells,
        class_keys,
        list(class_names),
        notes,
        labeler_covariates,
        num_parts,
        table._asdict(),
        starts,
        where,
        groups,
    )
    work.write(NUMBERING, numbered._asdict() | {"notes": notes_as_json(notes)})
    work.remove(ingest.CONVERTED)


class Classes(NamedTuple):
    """What was answered, in the order of first appearance.

    Attributes:
        keys: as text, the empty one for blank answers.
        cells: as given, text without surrounding blanks.
        places: where each was first.
        counts: how often each was answered.
        of_cells: the key of every cell that was found, of which several may be one.
    """

    keys: list[str]
    cells: list[Any]
    places: list[int]
    counts: list[int]
    of_cells: list[str]

    @classmethod
    def of(cls, table: ingest.AnswerFiles, found: ingest.Found) -> "Classes":
        """From the distinct cells."""
        column = table.cells("label", found.cells, found.places)
        by_key: dict[str, list[Any]] = {}
        for key, cell, place, count in zip(
            column.keys, column.cells, found.places, found.counts, strict=True
        ):
            is_plain = isinstance(cell, (str, int, float))
            by_key.setdefault(key, [cell if is_plain else key, place, 0])[-1] += count
        cells, places, counts = map(list, zip(*by_key.values(), strict=True))
        return cls(list(by_key), cells, places, counts, list(map(str, column.keys)))


def _keep_gold(
    truths: dict[str, Column] | None, class_keys: list[str], work: WorkDirectory
) -> None:
    names, true_label = np.zeros(0, str), np.zeros(0, np.intp)
    if truths is not None:
        kept = distinct_examples(truths["example"], truths["label"])
        names = truths["example"].keys[kept].astype(str)
        true_label = positions(class_keys, truths["label"].keys[kept])
    work.write_arrays(GOLD, names=names, true_label=true_label)


def _notes_of_gold(chunks: ChunksOnDisk) -> list[str]:
    """What is to be said of gold that nobody labelled."""
    where, sizes = chunks.numbered.gold_source, chunks.table.sizes
    num_found = sum(size.num_gold for size in sizes)
    names = chunks.store.read_arrays(GOLD)["names"]
    if len(names) == num_found:
        return []
    if not num_found:
        raise InputError(
            f"no gold example ({some_names(names)}) was labelled by anyone.",
            where=where,
            hint="Use the same names for the examples in both tables.",
        )
    is_found = np.zeros(len(names), bool)
    for part in range(len(sizes)):
        is_found[gold_found(part, chunks.store)] = True
    return [note_unlabelled(where, len(names) - num_found, names[~is_found])]


def _starts(table: ingest.AnswerFiles, lowest: list[float], notes: list[str]) -> list[float]:
    """What each covariate is counted from: times from the first, numbers from zero."""
    starts = []
    for name, first in zip(table.covariates, lowest, strict=True):
        is_time = name in table.times and np.isfinite(first)
        starts.append(first if is_time else 0.0)
        if is_time:
            moment = pd.Timestamp(round(first * MICROSECONDS_PER_DAY), unit="us", tz="UTC")
            note_times(name, moment.isoformat(), table.path, notes)
    return starts


def _labeler_covariates(request: Request, names: Names, notes: list[str]) -> dict[str, list[float]]:
    if request.labeler_covariates is None:
        return {}
    found = of_each("labeler", names, read_table(request.labeler_covariates), {}, notes)
    return {name: values.tolist() for name, values in found.items()}


def _spoken(request: Request, classes: Classes, notes: list[str]) -> npt.NDArray[np.intp]:
    """Which of the values answered are no abstentions."""
    where = address_of(request.labels)
    keys = abstain_keys(request.abstain)
    num_blank = sum(n for key, n in zip(classes.keys, classes.counts, strict=True) if key == "")
    note_blank(num_blank, request.blank, where, notes)
    note_unused([key for key in keys if key not in classes.keys], where, notes)
    is_answer = np.array([key not in ("", *keys) for key in classes.keys], bool)
    if not is_answer.any():
        raise no_answer(where)
    return np.flatnonzero(is_answer)


def _table_notes(table: PartedTable, request: Request) -> list[str]:
    notes: list[str] = []
    repeats, dropped, pairs = (
        sum(getattr(size, name) for size in table.sizes)
        for name in ("num_repeats", "num_dropped", "num_pairs")
    )
    note_repeats(repeats, dropped, pairs, request.duplicates, notes)
    note_alone(sum(size.num_alone for size in table.sizes), notes)
    return notes


def _join_blocs(chunks: ChunksOnDisk) -> bool:
    """Let labelers count as one who are in a group, or copy each other; whether any do."""
    store, table, names = chunks.store, chunks.singly, as_names(chunks.numbered.labelers)
    if store.has(JOINED):
        return True
    groups, has_covariates = chunks.numbered.groups, bool(table.covariate_names)
    found = None
    if groups is not None:
        found = group_blocs(as_names(groups), names)
        if found is not None and has_covariates:
            raise InputError(
                "a group of labelers has no covariates.", hint="Leave out the groups or the model."
            )
    elif chunks.request.finds_blocs and not has_covariates and _is_joint(chunks):
        gold = subsample.gold_of(table)
        found = find_blocs(
            Crowd(gold.labels, gold.assessment, as_names([]), names, chunks.class_names)
        )
    if found is None:
        return False
    store.write(BLOCS, [found.of_labeler.tolist(), found.names.tolist(), found.note])
    (counts, num_tied), _ = chunks.each("Joining blocs", join_part)
    store.write(JOINED, [from_fixed_point(counts).tolist(), int(from_fixed_point(num_tied))])
    return True


def _is_joint(chunks: ChunksOnDisk) -> bool:
    return isinstance(chunks.request.configured, GtxBayes)


def _fit(chunks: ChunksOnDisk) -> dict[int, Fitted]:
    """Every model that weighs anything fitted to all labels, by its number; and weighed."""
    models = [chunks.model(number) for number in chunks.fitted]
    by_fit = {model.fitted: model for model in models}
    fits = {number: results.fit(chunks.model(number)) for number in by_fit}
    for model in models:
        if model.candidate.has_looks:
            results.learn_looks(model)
    if not chunks.store.has(WEIGHTS):
        by_some = chunks.weighed(CHOICE)
        chunks.store.write(WEIGHTS, _record(_weighed_by_all(chunks) or by_some))
    return {model.number: fits[model.fitted] for model in models}


def _weighed_by_all(chunks: ChunksOnDisk) -> Weighed | None:
    """Weights of all models by all labels; None where one alone is fitted."""
    if len(chunks.candidates) == 1:
        return None
    fitted, labelers_alike = chunks.fitted, None
    if chunks.store.read(CHOICE)["takes_alike"] and chunks.table.num_gold:
        labelers_alike = chunks.labelers_alike
    by = _weighing(chunks, labelers_alike)
    found = dict(zip(fitted, results.score(chunks, fitted, by), strict=True))
    numbers, num_gold = range(len(chunks.candidates)), len(found[fitted[0]].gold)
    scores = [found.get(number) or Scores.least(by, num_gold) for number in numbers]
    return weighing.weigh_scores(chunks.candidates, scores, by)


def _weighing(chunks: ChunksOnDisk, labelers_alike: LabelersAlike | None) -> Weighing:
    method = chunks.request.configured
    assert isinstance(method, GtxBayes)
    return Weighing(method.dependence, method.prior_asked, labelers_alike)


def _record(weighed: Weighed) -> dict[str, Any]:
    """Weights as plain numbers, as `ChunksOnDisk.weighed` reads them."""

    def plain(rho: Dependence) -> list[list[float]]:
        return [list(map(float, part)) for part in rho]

    of_alike = weighed.alike
    return {
        "weights": list(map(float, weighed.weights)),
        "dependence": list(map(plain, weighed.dependence)),
        "alike": None if of_alike is None else [plain(of_alike.dependence), of_alike.weight],
    }


def _report(
    chunks: ChunksOnDisk,
    fits: dict[int, Fitted],
    sums: results.Sums,
    crowd: Crowd | None = None,
    known: Sequence[results.Known] | None = None,
) -> Fit:
    """What the mixture says, by sums over the examples; these it has where they are given."""
    labels, assessment, _ = subsample.gold_of(chunks.table)
    size = labels.of_examples(np.zeros(0, np.int64)) if crowd is None else crowd.labels
    dtype, posteriors = jnp.zeros(()).dtype, []
    by_model = [from_fixed_point(of).astype(dtype) for of in sums.by_model]
    for at, (model, _, rho) in enumerate(chunks.components):
        fitted, candidate = fits[model.number], model.candidate
        of = results.Known.nothing(labels.num_classes, fitted.prior.num_subclasses)
        of = of if known is None else known[at]
        independent = VariationalFit(
            of.independent,
            of.subclass_probs,
            of.evidence,
            chunks.class_prior,
            fitted.class_prior,
            fitted.counts,
            fitted.prior,
            fitted.num_passes,
            fitted.converged,
        )
        own = Looks(results.log_shares(model), of.with_looks) if candidate.has_looks else None
        passed_on = PassedOn(joint.posterior_mean(fitted.prior, fitted.counts), fitted.class_prior)
        posteriors.append(
            joint.report_sums(
                by_model[2 * at],
                by_model[2 * at + 1],
                of.class_probs,
                Choice(candidate, rho),
                independent,
                own,
                passed_on,
                size=size,
            )
        )
    method = chunks.request.configured
    assert isinstance(method, GtxBayes)
    if crowd is not None:
        labels, assessment = crowd.labels, crowd.assessment
    none = Assessment.none(size.num_examples, size.num_classes)
    found = Pool.of(
        posteriors,
        [weight for _, weight, _ in chunks.components],
        chunks.alike,
        (size, none if crowd is None else assessment),
        has_given_class_prior=chunks.given_prior is not None,
        prior_independent=method.prior_asked,
        is_auto=method.model == joint_method.AUTO,
        why=chunks.store.read(CHOICE)["why"],
        takes_alike=chunks.store.read(CHOICE)["takes_alike"],
    )
    return joint_method.report(found, labels, assessment)


def _outcome(
    chunks: ChunksOnDisk,
    fit: Fit,
    sums: results.Sums,
    result: Aggregation | None,
    *,
    num_passes: int,
    notes: Sequence[str],
    seconds: dict[str, float],
) -> Outcome:
    table, accuracy = chunks.table, fit.labeler_accuracy
    labeler_names, class_names = chunks.labeler_names, chunks.class_names
    blocs = None
    if chunks.store.has(JOINED):
        counts, num_tied = chunks.store.read(JOINED)
        names = as_names(chunks.numbered.labelers)
        blocs = member_table(chunks.blocs, names, np.array(counts).astype(np.int64))
        notes = [*notes, note_of(chunks.blocs, num_tied)]
    num_open = table.num_examples - table.num_gold
    confidence = float(from_fixed_point(sums.confidence))
    num_labels, num_abstained = (
        from_fixed_point(counted)[: table.num_labelers].astype(np.int64)
        for counted in (sums.answers, sums.abstained)
    )
    counts = from_fixed_point(sums.overlaps)
    shown = num_abstained if chunks.request.has_abstentions() else None
    some = subsample.some_of(table)
    found = alarms(
        some.labels,
        accuracy.counts,
        None,
        ~some.assessment.which_gold(),
        labeler_names=labeler_names,
        class_names=class_names,
    )
    confusion = None
    if sums.confusion.size:
        counted = from_fixed_point(sums.confusion)[: table.num_labelers]
        matrices = confusion_by(fit, results.confusion_source(chunks), counted)
        others = names_of_others(chunks.request.other_keys())
        answer_names = as_names([*class_names, *others])
        confusion = confusion_table(matrices, labeler_names, class_names, answer_names)
    else:
        notes = [*notes, no_confusion(table.num_labelers, table.num_classes)]
    return Outcome(
        table=table,
        class_names=class_names,
        labelers=labeler_table(labeler_names, accuracy, num_labels, shown).assign(
            **overlaps(counts[:, : table.num_labelers], num_labels, table.num_examples)
        ),
        blocs=blocs,
        confusion=confusion,
        num_abstained=int(num_abstained.sum()),
        fit=fit,
        result=result,
        mean_confidence=confidence / num_open if num_open else None,
        num_passes=num_passes,
        num_workers=0 if chunks.workers is None else chunks.workers.num_slots,
        notes=(*notes, *fit.notes, *found),
        seconds=seconds,
    )


def _choose(chunks: ChunksOnDisk) -> None:
    """Weigh the models by some labels, and find where their fits start, unless that was done.

    Of a large table the heaviest alone is kept.
    """
    table, method, work = chunks.table, chunks.request.configured, chunks.store
    if work.has(CHOICE):
        return
    assert isinstance(method, GtxBayes)
    assert chunks.workers is not None
    chunks.workers.callback("Choosing a model", 0, 0)
    among = joint_method.models_for(
        method.model,
        num_labels=table.num_labels,
        num_labelers=table.num_labelers,
        num_classes=table.num_classes,
    )
    labels, assessment, _ = subsample.some_of(table)
    prior = chunks.given_prior
    if all(Candidate.of(model, table.num_classes, None).is_padded for model in among.models):
        labels, assessment, prior = padded_to_bucket(labels, assessment, prior)
    has_room = all(
        looks.has_room(size.num_examples, size.num_labels, table.num_classes)
        for size in table.sizes
    )
    candidates = [
        each
        for each in pool.candidates_of(labels, assessment, prior, among.models)
        if has_room or not each.has_looks
    ]
    takes_pool, why = chunks.request.takes_pool(table.num_labels), ""
    takes_alike = takes_pool and pool.takes_alike(among.models, candidates)
    by = _weighing(chunks, alike.fit(labels, assessment, prior) if takes_alike else None)
    if takes_pool:
        weighed = Weighed((1.0,), (Dependence.known(method.dependence or 0.0),))
        if len(candidates) > 1 or method.dependence is None:
            fitted = pool.fit_all(labels, assessment, candidates)
            weighed = weighing.weigh(labels, assessment, fitted, by)
        why = pool.why_of(candidates, assessment)
    else:
        (chosen, rho), why = pool.choose(labels, assessment, candidates, by)
        candidates, weighed = [chosen], Weighed((1.0,), (rho,))
    kept = [
        {
            "model": each.model,
            "learns": each.class_prior is None,
            "has_looks": each.has_looks,
            "trusts_gold_alone": each.trusts_gold_alone,
        }
        for each in candidates
    ]
    rows = [_rows(each, labels, assessment) for each in candidates]
    found = {"candidates": kept, "rows": rows, "why": among.why(why), "takes_alike": takes_alike}
    work.write(CHOICE, found | _record(weighed))


def _rows(chosen: Candidate, labels: Labels, assessment: Assessment) -> list[list[float]] | None:
    """Where the fit starts, by a fit to the subsample."""
    prior = chosen.prior
    if isinstance(prior, AbstractLabelerModel) or chosen.trusts_gold_alone or chosen.has_looks:
        return None
    if variational.rows_from_gold(labels, assessment) is None:
        return None
    rows = variational.fit_and_start(labels, assessment, prior, chosen.class_prior)[1]
    return None if rows is None else np.asarray(rows, np.float64).tolist()
