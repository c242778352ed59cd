"""`gtx-bayes next`: which examples to label next."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gtx_bayes.cli.compilation_cache import compile_quickly
from gtx_bayes.cli.options import (
    CrowdOptions,
    EvidenceOptions,
    GoldOption,
    JsonOption,
    LabelsArgument,
    MethodOptions,
    ModelOptions,
    SeedOption,
    named,
    parse_risk,
    read_if_given,
)
from gtx_bayes.cli.terminal import (
    command,
    in_options,
    number_text,
    print_json,
    print_next,
    print_notes,
    print_table,
    stage,
    words_of,
)
from gtx_bayes.cli.usage import Command
from gtx_bayes.errors import InputError, split_warnings

if TYPE_CHECKING:
    import pandas as pd

    from gtx_bayes.aggregation.result import Aggregation
    from gtx_bayes.io.writers import OutputFile
    from gtx_bayes.panels.active import DrawnGold

_SHOWN = 20


@command
def next_(
    *,
    labels: LabelsArgument,
    batch: Annotated[int, typer.Option(min=1, help="How many examples to name.")] = 10,
    gold: GoldOption = None,
    tasks: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="Every task there is, unlabelled ones included: task."),
    ] = None,
    purpose: Annotated[
        Literal["labels", "estimate"],
        typer.Option(
            "--for",
            help="What the batch is for: further labels of the crowd, or gold for estimate, drawn "
            "with known probabilities.",
        ),
    ] = "labels",
    strategy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.py:Class",
            help="What chooses: a name below, or FILE.py:Class for one of your own. [default: "
            "uncertainty; information where --cost has prices of workers]",
        ),
    ] = None,
    strategy_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the strategy; repeat it for more."),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            "--cost",
            metavar="TABLE",
            help="Prices of answers: cost, by worker, by task, or by both. Where workers have "
            "prices it is also named whom to ask; else they are for strategies that look at them.",
        ),
    ] = None,
    methods: MethodOptions,
    models: ModelOptions,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Examples more confident than this get no more labels. "
            "[default: the strategy's, 0.95 with confidence-threshold, else none]",
        ),
    ] = None,
    risk: Annotated[
        str | None,
        typer.Option(
            metavar="EPS|CLASS=EPS,...",
            help="In place of a threshold: stop when the labels accepted are expected to hold at "
            "most this proportion of errors; by class for example yes=0.01,no=0.05.",
        ),
    ] = None,
    max_labels: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The most labels an example gets. "
            "[default: the strategy's, 5 with confidence-threshold and fixed, else no limit]",
        ),
    ] = None,
    evidence: EvidenceOptions,
    second_opinion: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="As --opinion, for one such as disagreements.csv."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the batch as a table (.csv, .tsv, .jsonl, .parquet)."
        ),
    ] = None,
    tables: CrowdOptions,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Name the examples whose next label is worth most; none when all have reached the stop rule.

    Needs the tables alone: add the new answers to LABELS and call again with the same seed. Each
    call names different examples, one label for each; wait for the answers before the next call.
    Gold examples are never named.
    """
    start = time.perf_counter()
    targets = parse_risk(risk)
    if purpose == "estimate":
        _refuse_for_gold(
            {
                "--strategy": strategy,
                "--strategy-option": strategy_option,
                "--threshold": threshold,
                "--risk": risk,
                "--max-labels": max_labels,
                "--cost": costs,
                "--tasks": tasks,
            }
        )
    if second_opinion is not None:
        if any(one.partition("=")[0].strip() == "second opinion" for one in evidence.opinion or ()):
            what = "'second opinion' is what that of --second-opinion is called."
            raise InputError(what, where="--opinion", hint="Give it another name.")
        opinions = [*(evidence.opinion or []), f"second opinion={second_opinion}"]
        evidence = dataclasses.replace(evidence, opinion=opinions)
    batch_file = None
    if output is not None:
        from gtx_bayes.io.writers import OutputFile, check_ending

        check_ending(output)
        batch_file = OutputFile(output, tables.inputs(labels, gold, tasks, *evidence.files, costs))
    with stage(f"Reading {named(labels)}"):
        from gtx_bayes.abstentions import abstain_keys
        from gtx_bayes.collection.costs import COST_ROLES, prices_labelers
        from gtx_bayes.columns import (
            EXAMPLE_ROLE,
            Source,
            columns_for,
            read_columns,
        )
        from gtx_bayes.crowd import Crowd
        from gtx_bayes.crowd_tables import read_truths
        from gtx_bayes.io.readers import read_covariate_tables
        from gtx_bayes.registry import POLICIES, option_pairs

        method = methods.build()
        gold_columns = tables.gold_columns()
        of_costs = columns_for(COST_ROLES, tables.columns("example", "labeler"))
        costs_frame, costs_source = read_if_given(costs, of_costs) or (None, None)
        costs_columns = _present(costs_frame, tables.columns("example", "labeler"))
        if strategy is None:
            strategy = "uncertainty"
            if costs_frame is not None and prices_labelers(
                costs_frame, costs_columns, costs_source or Source("costs")
            ):
                strategy = "information"
        policy_options = option_pairs(strategy_option or [], "--strategy-option")
        policy = POLICIES.build(strategy, policy_options)
        counts_blocs = costs is None or policy.chooses_labelers
        if not counts_blocs and tables.group_column is not None:
            raise InputError(
                "costs are of single workers, and groups count as one.",
                where="--groups",
                hint="Leave it out, or --cost, or take --strategy information.",
            )
        answers = tables.read_labels(labels)
        of_tasks = columns_for(EXAMPLE_ROLE, tables.columns("example"))
        tasks_frame, tasks_source = read_if_given(tasks, of_tasks) or (None, None)
        known = tables.read_gold(gold) or answers.gold
        gold_tasks: frozenset[str] = frozenset()
        if known is not None:
            keys = abstain_keys(tables.abstentions())
            gold_tasks = frozenset(read_truths(known, gold_columns, [], keys)["example"].keys)
        crowd, notes = None, []
        if evidence.opinion and not len(answers.frame):
            raise InputError(
                "there is no answer yet to weigh an opinion with.",
                where="--opinion" if second_opinion is None else "--second-opinion",
                hint="Leave it out until there are answers.",
            )
        # Without an answer yet, the tasks alone decide.
        if tasks_frame is None or len(answers.frame):
            of_answers = answers.roles or tables.columns()
            here = {role: name for role, name in of_answers.items() if role == "example"}
            answered = read_columns(answers.frame, EXAMPLE_ROLE, here, answers.source)["example"]
            if known is not None and not gold_tasks & set(answered.keys):
                notes.append(f"{gold}: no gold example has an answer yet.")
                known, answers = None, dataclasses.replace(answers, gold=None)
            crowd = Crowd.from_frames(
                answers,
                known,
                groups=tables.group_column,
                **tables.crowd_arguments(),
                **read_covariate_tables(tables.labeler_table, tables.example_table),
            )
            compile_quickly(crowd.labels.num_labels)
    with stage("Choosing"):
        import jax

        from gtx_bayes.aggregation.aggregate import aggregate
        from gtx_bayes.collection.next_labels import next_labels

        result = None
        if crowd is not None:
            finds = tables.finds_blocs and counts_blocs  # costs are of single workers
            result = aggregate(
                crowd,
                method,
                class_prior=models.prior(),
                finds_blocs=finds,
                **evidence.arguments(),
                **models.arguments(),
            )
        if purpose == "estimate":
            assert result is not None
            drawn = _draw_gold(seed, result, batch, batch_file)
            _print_gold(
                drawn,
                [*notes, *(in_options(note) for note in result.notes)],
                start,
                output,
                as_json=as_json,
            )
            return
        found = next_labels(
            jax.random.key(seed),
            result,
            batch=batch,
            strategy=policy,
            threshold=threshold,
            risk=targets,
            max_labels=max_labels,
            tasks=tasks_frame,
            tasks_columns=_present(tasks_frame, tables.columns("example")),
            tasks_source=tasks_source,
            gold_tasks=gold_tasks,
            num_classes=max(2, len(tables.class_names() or ())),
            costs=costs_frame,
            costs_columns=costs_columns,
            costs_source=costs_source,
        )
        if batch_file is not None:
            from gtx_bayes.io.writers import fill_table

            with batch_file.written() as partial:
                fill_table(found.examples, partial)
    rows = found.examples.to_dict("records")
    if result is not None:
        notes += [in_options(note) for note in result.notes]
    notes += found.notes
    print_notes(notes)
    if as_json:
        print_json(
            {
                "strategy": found.strategy,
                "method": method.name,
                "threshold": found.threshold,
                "max_labels": found.max_labels,
                "batch": batch,
                "num_open": found.num_open,
                "num_done": found.num_done,
                "examples": rows,
                "seconds": round(time.perf_counter() - start, 3),
                **split_warnings(notes),
            }
        )
        return
    if not rows:
        print(f"All {found.num_done} examples have reached the stop rule: nothing to label.")
        _print_after(labels, gold, methods, models, tables)
        return
    numbers = ("confidence", "cost")
    shown = [{k: float(v) if k in numbers else v for k, v in row.items()} for row in rows[:_SHOWN]]
    more = "" if len(rows) <= _SHOWN else f", the first {_SHOWN} of {len(rows)}"
    print_table(f"To label next ({found.strategy}){more}", shown)
    print(f"{found.num_open} examples want a label, {found.num_done} do not.")
    if "cost" in found.examples:
        print(f"The batch costs {number_text(float(found.examples['cost'].sum()))}.")
    if output is not None:
        print(f"The batch is in {output}.")
    print("Add the answers to LABELS and call again with the same options.")
    _print_after(labels, gold, methods, models, tables)


def _print_after(
    labels: list[Path],
    gold: Path | None,
    methods: MethodOptions,
    models: ModelOptions,
    tables: CrowdOptions,
) -> None:
    """The command that comes when all answers are there."""
    of_crowd = (labels, *(() if gold is None else ("--gold", gold)), *words_of(tables))
    chosen = (*words_of(methods), *words_of(models))
    print_next(("aggregate", *of_crowd, *chosen, "--output", "result"))


def _refuse_for_gold(given: dict[str, Any]) -> None:
    """Raise `InputError` for what has no say in which gold is drawn."""
    for option, value in given.items():
        if value not in (None, False):
            raise InputError(
                "has no say in which gold is drawn.",
                where=option,
                hint="Leave it out, or --for estimate.",
            )


def _draw_gold(
    seed: int, result: "Aggregation", batch: int, batch_file: "OutputFile | None"
) -> "DrawnGold":
    """Examples to get gold labels for, written where that is asked for."""
    from gtx_bayes.io.writers import fill_table
    from gtx_bayes.panels.active import draw_gold

    drawn = draw_gold(seed, result, batch)
    if batch_file is not None:
        with batch_file.written() as partial:
            fill_table(drawn.examples, partial)
    return drawn


def _print_gold(
    drawn: "DrawnGold", notes: list[str], start: float, output: Path | None, *, as_json: bool
) -> None:
    rows = drawn.examples.to_dict("records")
    print_notes(notes)
    if as_json:
        print_json(
            {
                "for": "estimate",
                "batch": len(rows),
                "num_open": drawn.num_open,
                "examples": rows,
                "seconds": round(time.perf_counter() - start, 3),
                **split_warnings(notes),
            }
        )
        return
    more = "" if len(rows) <= _SHOWN else f", the first {_SHOWN} of {len(rows)}"
    print_table(f"To be labelled as gold{more}", rows[:_SHOWN])
    print("Add them to GOLD with the column `weight`, and estimate with --gold-weight weight.")
    if output is not None:
        print(f"The batch is in {output}.")


def _present(table: "pd.DataFrame | None", columns: dict[str, str]) -> dict[str, str]:
    """The columns of the answers that the user named, where another table has them too."""
    return {role: name for role, name in columns.items() if table is not None and name in table}


class NextCommand(Command):
    """Its help ends with the names of the strategies, looked up when it is shown."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """List them, those of installed packages too."""
        from gtx_bayes.registry import POLICIES

        with formatter.section("Strategies"):
            formatter.write_text(", ".join(POLICIES.names()))
