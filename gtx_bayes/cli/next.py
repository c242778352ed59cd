"""`gtx-bayes next`: which examples to label next."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from gtx_bayes.cli.tables import (
    AbstainOption,
    BlankChoice,
    BlankOption,
    ClassesOption,
    ClassPriorOption,
    CovariateOption,
    DependenceOption,
    DuplicateChoice,
    DuplicatesOption,
    ExampleTableOption,
    GoldLabelColumnOption,
    GoldOption,
    GoldTaskColumnOption,
    KeepAbstentionsOption,
    LabelColumnOption,
    LabelerTableOption,
    LabelsArgument,
    MethodOption,
    MethodOptionsOption,
    ModelOption,
    ModelSettingsOption,
    TaskColumnOption,
    WorkerColumnOption,
    given,
    method_of,
    parse_abstain,
    parse_options,
    parse_prior,
)
from gtx_bayes.cli.terminal import (
    DebugOption,
    JsonOption,
    SeedOption,
    in_options,
    print_json,
    print_notes,
    print_table,
    reports_errors,
    stage,
)
from gtx_bayes.errors import InputError, told_apart

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from gtx_bayes.aggregation.aggregate import NamedPrior
    from gtx_bayes.crowd import Crowd

_SHOWN = 20


@reports_errors
def next_(
    labels: LabelsArgument,
    batch: Annotated[int, typer.Option(min=1, help="How many examples to name.")] = 10,
    gold: GoldOption = None,
    tasks: Annotated[
        Path | None, typer.Option(help="Every task there is, unlabelled ones included: task.")
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="What chooses: a name below, or FILE.py:Class for one of your own.")
    ] = "uncertainty",
    strategy_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the strategy; repeat it for more."),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            "--cost",
            metavar="TABLE",
            help="Prices of answers, for strategies that look at them: cost, by worker, by task, "
            "or by both.",
        ),
    ] = None,
    method: MethodOption = "gtx-bayes",
    method_option: MethodOptionsOption = None,
    model: ModelOption = "auto",
    model_option: ModelSettingsOption = None,
    dependence: DependenceOption = "learned",
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
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="In place of a threshold: stop when the labels accepted are expected to hold at "
            "most this proportion of errors.",
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
    second_opinion: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Class probabilities from elsewhere, such as disagreements.csv of finetune, to "
            "be weighed in with the answers: task, prob_<class>.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the batch as a table (.csv, .tsv, .jsonl, .parquet)."
        ),
    ] = None,
    class_prior: ClassPriorOption = None,
    classes: ClassesOption = None,
    duplicates: DuplicatesOption = DuplicateChoice.error,
    abstain: AbstainOption = None,
    blank: BlankOption = BlankChoice.error,
    keep_abstentions: KeepAbstentionsOption = False,
    covariate: CovariateOption = None,
    labeler_table: LabelerTableOption = None,
    example_table: ExampleTableOption = None,
    task_column: TaskColumnOption = None,
    worker_column: WorkerColumnOption = None,
    label_column: LabelColumnOption = None,
    gold_task_column: GoldTaskColumnOption = None,
    gold_label_column: GoldLabelColumnOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Name the examples whose next label is worth most; none when all have reached the stop rule.

    Needs the tables alone: add the new answers to LABELS and call again with the same seed. Each
    call names different examples, one label for each; wait for the answers before the next call.
    Gold examples are never named.
    """
    start = time.perf_counter()
    batch_file = None
    if output is not None:
        from gtx_bayes.io.writers import OutputFile, check_ending

        check_ending(output)
        inputs = (labels, gold, tasks, second_opinion, labeler_table, example_table, costs)
        batch_file = OutputFile(output, inputs)
    with stage(f"Reading {labels}"):
        from gtx_bayes.abstentions import abstain_keys
        from gtx_bayes.columns import (
            EXAMPLE_ROLE,
            TRUTH_ROLES,
            columns_for,
            read_columns,
        )
        from gtx_bayes.crowd import Crowd
        from gtx_bayes.crowd_tables import read_truths
        from gtx_bayes.io.readers import read_covariate_tables, read_labels, read_table
        from gtx_bayes.registry import POLICIES, option_pairs

        chosen = method_of(method, method_option)
        policy_options = option_pairs(strategy_option or [], "--strategy-option")
        policy = POLICIES.build(strategy, policy_options)
        columns = given(example=task_column, labeler=worker_column, label=label_column)
        gold_columns = given(example=gold_task_column, label=gold_label_column)

        answers = read_labels(labels, columns, covariate or ())
        known, tasks_frame, tasks_source = None, None, None
        costs_frame, costs_source = None, None
        if costs is not None:
            from gtx_bayes.collection.costs import COST_ROLES

            named = given(example=task_column, labeler=worker_column)
            costs_frame, costs_source = read_table(costs, columns_for(COST_ROLES, named))
        if gold is not None:
            known = read_table(gold, columns_for(TRUTH_ROLES, gold_columns))
        if tasks is not None:
            named = given(example=task_column)
            tasks_frame, tasks_source = read_table(tasks, columns_for(EXAMPLE_ROLE, named))
        gold_tasks: frozenset[str] = frozenset()
        if known is not None:
            keys = abstain_keys(parse_abstain(abstain))
            gold_tasks = frozenset(read_truths(known, gold_columns, [], keys)["example"].keys)
        crowd, notes = None, []
        if second_opinion is not None and not len(answers.frame):
            raise InputError(
                "there is no answer yet to weigh a second opinion with.",
                where="--second-opinion",
                mend="Leave it out until there are answers.",
            )
        # Without an answer yet, the tasks alone decide.
        if tasks_frame is None or len(answers.frame):
            named = given(example=task_column)
            answered = read_columns(answers.frame, EXAMPLE_ROLE, named, answers.source)["example"]
            if known is not None and not gold_tasks & set(answered.keys):
                notes.append(f"{gold}: no gold example has an answer yet.")
                known = None
            crowd = Crowd.from_frames(
                answers,
                known,
                duplicates=duplicates.value,
                classes=None if classes is None else classes.split(","),
                abstain=parse_abstain(abstain),
                blank=blank.value,
                keep_abstentions=keep_abstentions,
                covariates=covariate or (),
                columns=columns,
                gold_columns=gold_columns,
                **read_covariate_tables(labeler_table, example_table),
            )
    with stage("Choosing"):
        import jax

        from gtx_bayes.aggregation.aggregate import aggregate
        from gtx_bayes.collection.next_labels import next_labels

        result = None
        if crowd is not None:
            options = parse_options(model, dependence, model_option)
            prior = _prior(crowd, class_prior, second_opinion)
            result = aggregate(crowd, chosen, class_prior=prior, **options)
        found = next_labels(
            jax.random.key(seed),
            result,
            batch=batch,
            strategy=policy,
            threshold=threshold,
            risk=risk,
            max_labels=max_labels,
            tasks=tasks_frame,
            tasks_columns=_present(tasks_frame, example=task_column),
            tasks_source=tasks_source,
            gold_tasks=gold_tasks,
            num_classes=2 if classes is None else max(2, len(classes.split(","))),
            costs=costs_frame,
            costs_columns=_present(costs_frame, example=task_column, labeler=worker_column),
            costs_source=costs_source,
        )
        if batch_file is not None:
            from gtx_bayes.io.writers import fill_table

            with batch_file.written() as partial:
                fill_table(found.examples, partial)
    rows: list[dict[str, Any]] = [
        {str(name): value for name, value in row.items()}
        for row in found.examples.to_dict("records")
    ]
    told = [] if result is None else [in_options(note) for note in result.notes]
    notes = [*notes, *told, *found.notes]
    print_notes(notes)
    if as_json:
        print_json(
            {
                "strategy": found.strategy,
                "method": chosen.name,
                "threshold": found.threshold,
                "max_labels": found.max_labels,
                "batch": batch,
                "num_open": found.num_open,
                "num_done": found.num_done,
                "examples": rows,
                "seconds": round(time.perf_counter() - start, 3),
                **told_apart(notes),
            }
        )
        return
    if not rows:
        print(f"All {found.num_done} examples have reached the stop rule: nothing to label.")
        return
    numbers = ("confidence", "cost")
    shown = [{k: float(v) if k in numbers else v for k, v in row.items()} for row in rows[:_SHOWN]]
    more = "" if len(rows) <= _SHOWN else f", the first {_SHOWN} of {len(rows)}"
    print_table(f"To label next ({found.strategy}){more}", shown)
    print(f"{found.num_open} examples want a label, {found.num_done} do not.")
    if output is not None:
        print(f"The batch is in {output}.")


def _prior(
    crowd: "Crowd", class_prior: str | None, opinion: Path | None
) -> "npt.ArrayLike | NamedPrior | None":
    """The class prior: one for all examples, or one for each from a second opinion."""
    if opinion is None:
        return parse_prior(class_prior)
    if class_prior is not None:
        raise InputError(
            "there are a class prior and a second opinion, which holds one already.",
            where="--class-prior",
            mend="Give one of the two.",
        )
    from gtx_bayes.aggregation.second_opinion import second_opinion
    from gtx_bayes.columns import columns_of_probs
    from gtx_bayes.io.readers import read_table

    return second_opinion(crowd, read_table(opinion, columns_of_probs))


def _present(table: "pd.DataFrame | None", **columns: str | None) -> dict[str, str]:
    """The columns of the answers that the user named, where another table has them too."""
    if table is None:
        return {}
    return {role: name for role, name in given(**columns).items() if name in table.columns}


class NextCommand(TyperCommand):
    """Its help ends with the names of the strategies, looked up when it is shown."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """List them, those of installed packages too."""
        from gtx_bayes.registry import POLICIES

        with formatter.section("Strategies"):
            formatter.write_text(", ".join(POLICIES.names()))
