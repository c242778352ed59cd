"""The loop: read what was answered, decide on every task, carry it out, say what was found."""

import dataclasses
import hashlib
import time
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.class_priors import NamedPrior
from gtx_bayes.aggregation.result import Aggregation
from gtx_bayes.aggregation.state import check_options, read_state, write_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.blocs import find_blocs
from gtx_bayes.classes import some_names
from gtx_bayes.collection.base import UNLIMITED, AbstractPolicy
from gtx_bayes.collection.costs import COST_ROLES, read_costs
from gtx_bayes.collection.next_labels import NextLabels, next_labels
from gtx_bayes.columns import Column, Table, read_columns
from gtx_bayes.crowd import Crowd
from gtx_bayes.crowd_tables import read_truths
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.io.writers import OutputFile, fill_table
from gtx_bayes.labels import MISSING
from gtx_bayes.live.journal import Journal
from gtx_bayes.live.tool import AbstractLabelingTool, Question, Task

OPEN, CLOSE = "open", "close"
PREDICTED_BY = "gtx-bayes-loop"
"""Before the version in what predictions are called: a name that no export has."""

_REQUESTS = 4  # at the same time: a tool that waits for its disk answers others meanwhile
_MOST_NAME = 100  # bytes of a question that files are named by
DEFAULT_THRESHOLD, DEFAULT_CAP, DEFAULT_BATCH = 0.95, 5, 100


@dataclasses.dataclass(frozen=True)
class Rules:
    """Which task gets another label, and when it has enough.

    Attributes:
        policy: what orders the tasks that want a label.
        threshold: tasks more confident than this are retired; by default 0.95 where the policy
            has none of its own and there is no risk target.
        risk: in place of it the largest expected proportion of errors among retired tasks.
        max_labels: the most labels a task gets; by default 5 where the policy sets no limit.
        batch: how many tasks are open at once, before others are opened again.
        budget: the most labels in all, those there are included; with costs what they may cost.
        costs: price of an answer, as for `next_labels`.
        gold: known labels; column `question` where the project asks several. In place of the
            answers that the tool marks as ground truth.
        assess: of how many gold tasks every worker is asked; 0 leaves gold tasks as they are.
        class_prior: prior of the classes.
        finds_blocs: whether workers who copy each other count as one.
        arguments: of `aggregate`, about the model.
        seed: of the draws that break ties.
    """

    policy: AbstractPolicy
    threshold: float | None = None
    risk: float | None = None
    max_labels: int | None = None
    batch: int = DEFAULT_BATCH
    budget: float | None = None
    costs: Table | None = None
    gold: Table | None = None
    assess: int = 0
    class_prior: Sequence[float] | NamedPrior | None = None
    finds_blocs: bool = True
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def limits(self) -> dict[str, Any]:
        """The stop rules as `next_labels` takes them."""
        threshold, most = self.threshold, self.max_labels
        if threshold is None and self.risk is None and getattr(self.policy, "threshold", 0) == 1:
            threshold = DEFAULT_THRESHOLD
        if most is None and getattr(self.policy, "max_labels", 0) == UNLIMITED:
            most = DEFAULT_CAP
        return {"threshold": threshold, "risk": self.risk, "max_labels": most}


class Report(NamedTuple):
    """What a round came to.

    Attributes:
        num_labels: answers there are, gold left out.
        num_open: tasks that are to get another label.
        num_waiting: tasks that want one, of more than may be open at once.
        num_closed: how many are retired, by the reason why; of several questions' the first.
        decisions: what was decided that was not decided already, as it stands in the journal.
        num_changed: tasks that were opened or closed in the tool.
        num_predicted: predictions written or renewed.
        results: what was found, by question.
        about: what each question is about.
        notes: what a user should know.
        seconds: how long it took.
    """

    num_labels: int
    num_open: int
    num_waiting: int
    num_closed: dict[str, int]
    decisions: list[dict[str, Any]]
    num_changed: int
    num_predicted: int
    results: dict[str, Aggregation]
    about: dict[str, str]
    notes: tuple[str, ...]
    seconds: float


class _Verdict(NamedTuple):
    """What one question has to say on all tasks.

    Attributes:
        question: the question.
        result: what was found; None before the first answer.
        gold: tasks whose label is known.
        found: those that want a label, most valuable first, and the limits.
    """

    question: Question
    result: Aggregation | None
    gold: frozenset[str]
    found: NextLabels


class Loop:
    """A project under one set of rules. `round` decides; after a stop another loop goes on."""

    def __init__(self, tool: AbstractLabelingTool, journal: Journal, rules: Rules) -> None:
        self.tool, self.journal, self.rules = tool, journal, rules
        self._kept: dict[str, Aggregation] = {}

    def round(self, *, is_dry: bool = False) -> Report:
        """Read, decide and carry out what is not so already; a second round at once does nothing.

        Args:
            is_dry: decide alone: nothing is written, in the tool or here.

        Raises:
            InputError: for anything wrong in the project, the tables or the rules, and if another
                process decides.
            ToolError: if the tool cannot be reached.
        """
        if is_dry:
            return self._round(is_dry=True)
        with self.journal.held():
            return self._round(is_dry=False)

    def _round(self, *, is_dry: bool) -> Report:
        start = time.perf_counter()
        questions = self.tool.questions()
        tasks = {task.name: task for task in self.tool.tasks()}
        if not tasks:
            raise InputError("the project has no tasks.", hint="Import some.")
        notes: list[str] = [WarningNote(note) for note in self.tool.notes]
        verdicts, tables = [], []
        for question in questions:
            table, gold = self._known(question, len(questions) > 1)
            tables.append(table)
            verdicts.append(self._verdict(question, table, gold, tasks, is_dry=is_dry))
        rows, wanted = self._decide(verdicts, tasks)
        assessed = self._assessed(verdicts, tables, tasks)
        rows += [
            {"task": name, "question": "", "action": OPEN, "reason": "assess"}
            | {"num_labels": tasks[name].num_labels, "num_more": more}
            for name, more in assessed.items()
        ]
        for row in rows:
            task = tasks[row["task"]]
            row["was"] = {"overlap": task.num_places, "is_labeled": not task.is_open}
        more_by_task = wanted | assessed
        decisions = self.journal.new(rows)
        notes += self._of_no_use(verdicts)
        is_gold = {name for name in tasks if all(str(name) in each.gold for each in verdicts)}
        if len(is_gold) == len(tasks):
            notes.append(
                WarningNote(
                    "every task has a known label, so there is nothing to decide. Label Studio "
                    'takes imported annotations for ground truth unless they say "ground_truth": '
                    "false."
                )
            )
        waiting = {row["task"] for row in rows if row["reason"] == "batch"}
        retired = tasks.keys() - more_by_task.keys() - is_gold - waiting
        left_alone = is_gold - assessed.keys() if not self.rules.assess else set()
        changes = [
            (task, more)
            for name, task in tasks.items()
            if name not in left_alone and _is_change(task, more := more_by_task.get(name, 0))
        ]
        if not is_dry:
            self.tool.keep(self.journal.folder)
            self.journal.add(decisions)
            with ThreadPoolExecutor(_REQUESTS) as executor:
                list(executor.map(lambda change: self._change(*change), changes))
        num_predicted = self._predict(verdicts, sorted(retired), is_dry=is_dry)
        reasons = pd.Series(
            {row["task"]: row["reason"] for row in reversed(rows) if row["task"] in retired},
            dtype=object,
        )
        for each in verdicts:
            notes += [*(each.result.notes if each.result is not None else ()), *each.found.notes]
        return Report(
            sum(task.num_labels for name, task in tasks.items() if name not in is_gold),
            len(wanted),
            len(waiting),
            {str(reason): int(number) for reason, number in reasons.value_counts().items()},
            decisions,
            len(changes),
            num_predicted,
            {each.question.name: each.result for each in verdicts if each.result is not None},
            {each.name: each.about for each in questions},
            tuple(dict.fromkeys(notes)),
            time.perf_counter() - start,
        )

    def _change(self, task: Task, num_more: int) -> None:
        if num_more:
            self.tool.open(task, num_more)
        else:
            self.tool.close(task)

    def _of_no_use(self, verdicts: Sequence[_Verdict]) -> Iterable[str]:
        """Notes on rules that come to nothing."""
        rules, gold = self.rules, self.rules.gold
        if rules.assess and not any(each.gold for each in verdicts):
            yield WarningNote(
                "nobody is assessed, for there is no gold: mark annotations as ground truth, or "
                "give `gold=`."
            )
        for each in verdicts:
            if gold is None:
                break
            of_it = gold.frame
            if len(verdicts) > 1:
                of_it = of_it[of_it["question"].astype(str) == each.question.name]
            if not len(of_it):
                what = f"no row is about '{each.question.name}', for which the tool's gold counts."
                yield WarningNote(f"{gold.source.name}: {what}")
        if rules.costs is not None and all(each.result is None for each in verdicts):
            roles = {"optional": ("example", "labeler")}
            found = read_columns(rules.costs.frame, COST_ROLES, {}, rules.costs.source, **roles)
            workers = {str(worker) for worker in self.tool.workers()}
            if "labeler" in found and not workers & set(found["labeler"].keys):
                what = f"it prices none of the workers {some_names(sorted(workers))}."
                yield WarningNote(f"{rules.costs.source.name}: {what}")

    def _known(self, question: Question, is_one_of_several: bool) -> tuple[Table, Table | None]:
        """Answers to a question, and the gold that counts: the user's, or else the tool's."""
        table = self.tool.annotations(question)
        gold = self.rules.gold
        if gold is not None and is_one_of_several:
            if "question" not in gold.frame:
                raise gold.source.error(
                    "the project asks several questions.",
                    "Give a column question, which names the one that each label answers.",
                )
            of_it = gold.frame["question"].astype(str) == question.name
            gold = dataclasses.replace(gold, frame=gold.frame[of_it].reset_index(drop=True))
        known = gold if gold is not None and len(gold.frame) else table.gold
        return dataclasses.replace(table, gold=None), known

    def _verdict(
        self,
        question: Question,
        table: Table,
        gold: Table | None,
        tasks: Mapping[int, Task],
        *,
        is_dry: bool,
    ) -> _Verdict:
        rules, known = self.rules, frozenset[str]()
        answered = set(table.frame["task"].astype(str))
        notes = []
        if gold is not None:
            truths = read_truths(gold, None, [])
            known = frozenset(truths["example"].keys)
            gold = _answered(truths, answered)
            if absent := sorted(known - {str(name) for name in tasks}):
                what = f"the project has no gold task {some_names(absent)}."
                notes.append(WarningNote(f"{truths['example'].source.name}: {what}"))
        result = None
        if len(table.frame):
            result = self._fit(question, table, gold, is_dry=is_dry)
        # The cap is of answers as they came, where workers who count as one give several.
        limits = rules.limits()
        found = next_labels(
            jax.random.key(rules.seed),
            result,
            batch=len(tasks),
            strategy=rules.policy,
            tasks=pd.DataFrame({"task": list(tasks)}),
            gold_tasks=known,
            num_classes=max(2, len(question.classes)),
            costs=None if rules.costs is None else rules.costs.frame,
            costs_source=None if rules.costs is None else rules.costs.source,
            **limits,
        )
        found = found._replace(notes=(*notes, *found.notes))
        return _Verdict(question, result, known, found)

    def _fit(
        self, question: Question, table: Table, gold: Table | None, *, is_dry: bool
    ) -> Aggregation:
        """What the answers come to: kept, grown by what is new, or found anew.

        Anew where an answer, gold or a class went away, where workers count as one, and whenever
        the number of answers has passed a power of two: a fit that grows weighs its models anew
        but never takes one in again.
        """
        rules, file = self.rules, self._file(question, "state")
        given = set(table.frame["label"].astype(str))
        classes = [*question.classes, *sorted(given - set(question.classes))]
        crowd = Crowd.from_frames(
            table, gold, classes=classes if len(classes) > 1 else None, duplicates="last"
        )
        kept = self._kept.get(question.name)
        if kept is None and file.exists():
            kept = self._read(file)
        news = None if kept is None else _news(kept.answered, crowd)
        if kept is not None and news is not None and not any(map(len, news)):
            self._kept[question.name] = kept
            return kept
        finds = rules.finds_blocs and rules.costs is None
        has_blocs = finds and find_blocs(crowd) is not None
        if kept is not None and news is not None and not has_blocs and _is_near(kept, crowd):
            more, more_gold = (table if len(table) else None for table in news)
            result = update(kept, more, more_gold, duplicates="last").result
        else:
            prior, arguments = rules.class_prior, rules.arguments
            result = aggregate(crowd, class_prior=prior, finds_blocs=finds, **arguments)
        self._kept[question.name] = result
        if not is_dry:
            # The fit comes last: what it knows of is not written again.
            for what, found in ("examples", result.examples()), ("labelers", result.labelers()):
                with OutputFile(self._file(question, f"{what}.csv")).written() as partial:
                    fill_table(found, partial)
            if result.blocs is None:
                with OutputFile(file).written() as partial:
                    write_state(result, partial)
        return result

    def _read(self, file: Path) -> Aggregation | None:
        """The fit that was kept, if it is of this version and was made under these rules."""
        rules = self.rules
        try:
            kept = read_state(file)
            check_options(kept, where=str(file), class_prior=rules.class_prior, **rules.arguments)
        except InputError:
            return None
        return kept

    def _file(self, question: Question, what: str) -> Path:
        name = urllib.parse.quote(question.name, safe="", errors="surrogatepass")
        if len(name) > _MOST_NAME:
            name = f"{name[:_MOST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return self.journal.folder / f"{name}.{what}"

    def _decide(
        self, verdicts: Sequence[_Verdict], tasks: Mapping[int, Task]
    ) -> tuple[list[dict[str, Any]], dict[int, int]]:
        """A row for every question and task that is no gold, and the tasks that get a label."""
        rank: dict[int, int] = {}
        for each in verdicts:
            for at, name in enumerate(each.found.examples["task"]):
                if tasks[name].num_labels < (each.found.max_labels or UNLIMITED):
                    rank[name] = min(at, rank.get(name, at))
        in_order = sorted(rank, key=lambda name: (rank[name], name))
        # Those that are open stay so: nobody is to lose the task before them.
        open_now = [name for name in in_order if tasks[name].is_open]
        waiting = [name for name in in_order if not tasks[name].is_open]
        in_batch = {*open_now, *waiting[: max(0, self.rules.batch - len(open_now))]}
        affordable = self._affordable(verdicts, [n for n in in_order if n in in_batch], tasks)
        rule = "threshold" if self.rules.risk is None else "risk"
        rows = [row for each in verdicts for row in _rows(each, tasks, rank, rule)]
        for row in rows:
            if row["action"] == OPEN and row["task"] not in affordable:
                reason = "budget" if row["task"] in in_batch else "batch"
                row |= {"action": CLOSE, "reason": reason}
        return rows, dict.fromkeys(affordable, 1)

    def _affordable(
        self, verdicts: Sequence[_Verdict], in_order: Sequence[int], tasks: Mapping[int, Task]
    ) -> set[int]:
        """As many of the tasks as the budget has a label for."""
        if self.rules.budget is None:
            return set(in_order)
        price: dict[int, float] = {}
        for each in verdicts:
            if "cost" in each.found.examples:
                examples = each.found.examples
                price |= dict(zip(examples["task"], examples["cost"], strict=True))
        left = self.rules.budget - self._spent(verdicts, tasks)
        total = np.cumsum([price.get(name, 1.0) for name in in_order])
        return {name for name, sum_ in zip(in_order, total, strict=True) if sum_ <= left + 1e-9}

    def _spent(self, verdicts: Sequence[_Verdict], tasks: Mapping[int, Task]) -> float:
        """How many labels there are, or what they cost: an annotation once, whatever it answers."""
        costs = self.rules.costs
        if costs is None:
            return float(sum(task.num_labels for task in tasks.values()))
        spent = 0.0
        for each in verdicts:
            if each.result is None:
                continue
            crowd = each.result.crowd
            names = crowd.labeler_names, crowd.example_names
            price = read_costs(costs.frame, {}, costs.source, *names).price
            labels = crowd.labels
            given = np.asarray(labels.label) != MISSING
            price = np.broadcast_to(price, (labels.num_labelers, labels.num_examples))
            of_each = price[np.asarray(labels.labeler)[given], np.asarray(labels.example)[given]]
            spent = max(spent, float(of_each.sum()))
        return spent

    def _assessed(
        self, verdicts: Sequence[_Verdict], tables: Sequence[Table], tasks: Mapping[int, Task]
    ) -> dict[int, int]:
        """How many more are to answer each gold task, so that every worker has answered some."""
        if not self.rules.assess:
            return {}
        gold = [name for name in tasks if any(str(name) in each.gold for each in verdicts)]
        is_gold = {str(name) for name in gold}
        answered: dict[str, set[str]] = {str(worker): set() for worker in self.tool.workers()}
        for table in tables:
            names = (table.frame[of].astype(str) for of in ("worker", "task"))
            for worker, task in zip(*names, strict=True):
                if task in is_gold:
                    answered.setdefault(worker, set()).add(task)
        more: dict[int, int] = {}
        for done in answered.values():
            left = [name for name in gold if str(name) not in done]
            for name in left[: max(0, self.rules.assess - len(done))]:
                more[name] = more.get(name, 0) + 1
        return more

    def _predict(
        self, verdicts: Sequence[_Verdict], retired: Iterable[int], *, is_dry: bool
    ) -> int:
        """Show what was found of the tasks that nobody labels any more."""
        from importlib.metadata import version

        examples = {}
        for each in verdicts:
            if each.result is not None:
                probs = each.result.probs
                probs.index = probs.index.astype(str)
                known = [name for name in retired if str(name) in probs.index]
                if known:
                    table = probs.loc[[str(name) for name in known]].add_prefix("prob_")
                    examples[each.question] = table.rename_axis("task").reset_index()
        name = f"{PREDICTED_BY} {version('gtx_bayes')}"
        return self.tool.predict(examples, name, is_dry=is_dry)


def _answered(truths: Mapping[str, Column], answered: Set[str]) -> Table | None:
    """The gold of tasks that have answers, which alone teaches; None where there is none."""
    at = np.flatnonzero([key in answered for key in truths["example"].keys])
    if not at.size:
        return None
    example, label = (truths[of].entries(at) for of in ("example", "label"))
    return Table(pd.DataFrame({"task": example.cells, "label": label.cells}), example.source)


def _is_change(task: Task, more: int) -> bool:
    """Whether the tool has to be told."""
    if more:
        return not task.is_open or task.num_places != task.num_taken + more
    return task.is_open


def _rows(
    verdict: _Verdict, tasks: Mapping[int, Task], wanted: Mapping[int, int], rule: str
) -> Iterable[dict[str, Any]]:
    """What one question decides on each task, gold left out, and the posterior behind it."""
    found, result = verdict.found, verdict.result
    open_ones = found.examples.set_index("task")
    probs = {}
    if result is not None:
        names = [str(name) for name in result.crowd.class_names]
        table = np.asarray(result.class_probs, float).round(6)
        for task, row in zip(result.crowd.example_names, table, strict=True):
            probs[str(task)] = dict(zip(names, row.tolist(), strict=True))
    for name, task in tasks.items():
        if str(name) in verdict.gold:
            continue
        of_task = probs.get(str(name), {})
        label = max(of_task, key=lambda each: of_task[each], default=None)
        confidence = None if label is None else of_task[label]
        is_wanted = name in open_ones.index and name in wanted
        reason = "unsure"
        if not is_wanted:
            is_sure = task.num_labels < (found.max_labels or UNLIMITED)
            if confidence is not None and found.threshold is not None:
                is_sure |= confidence > found.threshold
            reason = (rule if found.threshold is not None else found.strategy) if is_sure else "cap"
        row = {
            "task": name,
            "question": verdict.question.name,
            "action": OPEN if is_wanted else CLOSE,
            "reason": reason,
            "num_labels": task.num_labels,
            "label": label,
            "confidence": confidence,
            "threshold": found.threshold,
            "max_labels": found.max_labels,
            "probs": of_task,
        }
        for more in ("cost", "worker"):
            if is_wanted and more in open_ones:
                row[more] = open_ones.loc[name, more]
        yield row


def _news(old: Crowd, new: Crowd) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Answers and gold that an older crowd has not; None where it has some that went away."""
    if [*map(str, old.class_names)] != [*map(str, new.class_names)]:
        return None
    before, now = old.to_frames(), new.to_frames()
    found = []
    for of, (table, more) in enumerate(zip(before, now, strict=True)):
        known, there = _by_name(table), _by_name(more)
        if not (known.keys() <= there.keys() if of == 0 else known.items() <= there.items()):
            return None
        is_new = [known.get(name) != label for name, label in there.items()]
        found.append(more[np.array(is_new, bool)])
    return found[0], found[1]


def _by_name(table: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """The label of each task, or of each task and worker."""
    *names, labels = (table[name].astype(str) for name in table.columns)
    return dict(zip(zip(*names, strict=True), labels, strict=True))


def _is_near(kept: Aggregation, crowd: Crowd) -> bool:
    """Whether a fit is of the kind that grows, and of answers of no smaller power of two."""
    numbers = kept.crowd.labels.num_labels, crowd.labels.num_labels
    return kept.blocs is None and numbers[0].bit_length() == numbers[1].bit_length()
