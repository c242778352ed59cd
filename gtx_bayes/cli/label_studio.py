"""`gtx-bayes label-studio`: a project of Label Studio, labeled by what its answers are worth."""

import contextlib
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.cli.options import JsonOption, ModelOptions, SeedOption
from gtx_bayes.cli.signals import Stopped
from gtx_bayes.cli.terminal import command, in_options, print_summary, print_table, stage
from gtx_bayes.cli.usage import Command, Program
from gtx_bayes.errors import InputError, split_warnings

if TYPE_CHECKING:
    from gtx_bayes.live.label_studio import LabelStudio
    from gtx_bayes.live.loop import Loop, Report

_SHOWN = 20

app = typer.Typer(
    cls=Program,
    help="Decide in Label Studio which task gets another label, and when to stop.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@dataclasses.dataclass(frozen=True)
class ProjectOptions:
    """Which project, and where what is known of it is kept."""

    url: Annotated[
        str, typer.Option(metavar="URL", help="Where Label Studio is: http://localhost:8080.")
    ]
    project: Annotated[int, typer.Option(min=1, help="Number of the project.")]
    token_env: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Environment variable with the access token of somebody who may change the "
            "project.",
        ),
    ] = "LABEL_STUDIO_API_KEY"
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the fit, every decision, examples and labelers. "
            "[default: label-studio-PROJECT]",
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class RuleOptions:
    """Which task gets another label, and when it has enough."""

    strategy: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.py:Class", help="What orders the tasks, as for gtx-bayes next."
        ),
    ] = "uncertainty"
    strategy_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the strategy; repeat it for more."),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Tasks more confident than this are retired. [default: 0.95 without --risk]",
        ),
    ] = None
    risk: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="In place of a threshold: of the retired tasks at most this proportion is "
            "expected to be wrong.",
        ),
    ] = None
    max_labels: Annotated[
        int | None, typer.Option(min=1, help="The most labels a task gets. [default: 5]")
    ] = None
    batch: Annotated[
        int, typer.Option(min=1, help="Open tasks again until so many are open at once.")
    ] = 100
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="The most labels in all; with --cost what all may cost together."
        ),
    ] = None
    costs: Annotated[
        Path | None,
        typer.Option(
            "--cost", metavar="TABLE", help="Prices of answers: cost, by worker, by task, or both."
        ),
    ] = None
    gold: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Known labels: task (its number), label; question, if there are several. "
            "[default: annotations marked as ground truth]",
        ),
    ] = None
    assess: Annotated[
        int | None,
        typer.Option(
            min=0, help="Have every worker answer so many gold tasks. [default: gold stays as is]"
        ),
    ] = None


@contextlib.contextmanager
def _in_options() -> Iterator[None]:
    """What the library calls a token and a secret comes by way of the environment."""
    try:
        yield
    except InputError as error:
        if error.where not in ("token", "secret"):
            raise
        where = f"--{error.where}-env"
        raise InputError(error.what, where=where, hint=error.hint) from error


@command
@_in_options()
def sync(
    *,
    of: ProjectOptions,
    rules: RuleOptions,
    models: ModelOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Go on: a round every so many seconds."),
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Read the answers, decide on every task, open and close tasks, and write predictions.

    Twice is once: a second call with nothing new changes nothing. No annotation is ever deleted.
    """
    if watch is not None and (dry_run or as_json):
        raise InputError(
            "goes on and on.", where="watch", hint="Leave out --dry-run and --json, or --watch."
        )
    with stage("Starting"):
        from gtx_bayes.live.server import try_round

        _, loop = _loop(of, rules, models, seed)
    if dry_run:
        with stage("Deciding"):
            report = loop.round(is_dry=True)
        _print(report, loop, as_json=as_json, would=True)
        return
    with loop.journal.held():
        with stage("Deciding"):
            report = loop.round()
        _print(report, loop, as_json=as_json)
        sys.stdout.flush()
        with _until_ctrl_c():
            while watch is not None:
                time.sleep(watch)
                try_round(loop)


@command
@_in_options()
def serve(
    *,
    of: ProjectOptions,
    rules: RuleOptions,
    models: ModelOptions,
    secret_env: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Environment variable with the secret that callers have to know."
        ),
    ] = "GTX_BAYES_SECRET",
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 9090,
    every: Annotated[
        float,
        typer.Option(min=1.0, metavar="SECONDS", help="A round this often even without a call."),
    ] = 60.0,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Have Label Studio call us there: the address of this server, as it sees it.",
        ),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Do what sync does whenever somebody has answered: a backend that Label Studio calls."""
    with stage("Starting"):
        from gtx_bayes.live.server import Backend

        secret = _of_environment(secret_env, "secret-env")
        tool, loop = _loop(of, rules, models, seed)
        title = f"Project {of.project} at {of.url}"
        backend = Backend(loop, (host, port), secret, seconds=every, title=title)
    with loop.journal.held(), backend.running(), _until_ctrl_c():
        if register is not None:
            tool.register(register, secret, "gtx-bayes")
        address = f"http://{host}:{backend.server_address[1]}"
        print(f"{title}: listening at {address}; Ctrl-C ends it.", flush=True)
        while True:
            time.sleep(every)


app.command("sync", cls=Command)(sync)
app.command("serve", cls=Command)(serve)


@contextlib.contextmanager
def _until_ctrl_c() -> Iterator[None]:
    """What goes on and on ends well by Ctrl-C; other signals end it as they end all commands."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if isinstance(stop, Stopped) and stop.number != signal.SIGINT:
            raise
        print("Ended; the next run goes on from here.", flush=True)


def _of_environment(name: str, option: str) -> str:
    found = os.environ.get(name, "").strip()
    if not found:
        raise InputError(
            f"the environment variable {name} is not set.", where=f"--{option}", hint="Set it."
        )
    return found


def _loop(
    of: ProjectOptions, rules: RuleOptions, models: ModelOptions, seed: int
) -> "tuple[LabelStudio, Loop]":
    """The loop that the options ask for; nothing is asked of Label Studio yet."""
    token = _of_environment(of.token_env, "token-env")
    from gtx_bayes.io.readers import read_table
    from gtx_bayes.io.writers import refuse_inputs
    from gtx_bayes.live.journal import Journal
    from gtx_bayes.live.label_studio import LabelStudio
    from gtx_bayes.live.loop import Loop, Rules
    from gtx_bayes.registry import POLICIES, option_pairs

    if rules.threshold is not None and rules.risk is not None:
        raise InputError("there is a threshold too.", where="risk", hint="Give one of the two.")
    folder = (of.state or Path(f"label-studio-{of.project}")).expanduser()
    refuse_inputs(folder, (rules.gold, rules.costs))
    tool = LabelStudio(of.url, of.project, token, folder=folder)
    journal = Journal(folder, {"url": tool.url, "project": of.project})
    as_they_are = ("threshold", "risk", "max_labels", "batch", "budget")
    tables = {"gold": rules.gold, "costs": rules.costs}
    options = option_pairs(rules.strategy_option or [], "--strategy-option")
    given: dict[str, Any] = {
        **{name: getattr(rules, name) for name in as_they_are},
        "assess": rules.assess or 0,
        **{name: None if path is None else read_table(path) for name, path in tables.items()},
        "class_prior": models.prior(),
        "arguments": models.arguments(),
    }
    policy = POLICIES.build(rules.strategy, options)
    return tool, Loop(tool, journal, Rules(policy, **given, seed=seed))


def _print(report: "Report", loop: "Loop", *, as_json: bool, would: bool = False) -> None:
    """What a round came to."""
    from gtx_bayes.live.server import OF_LABELERS

    done = ("num_labels", "num_open", "num_waiting", "num_closed", "num_changed", "num_predicted")
    summary = {name: getattr(report, name) for name in done} | {
        "decisions": report.decisions,
        "labelers": {name: of.labelers().to_dict("records") for name, of in report.results.items()},
        "seconds": round(report.seconds, 3),
        **split_warnings(map(in_options, report.notes)),
    }
    if not as_json:
        for name, rows in summary["labelers"].items():
            shown = [{of: row[of] for of in OF_LABELERS} for row in rows[:_SHOWN]]
            print_table(f"Labelers ({name})", shown)
    if would and not as_json and report.decisions:
        columns = ("task", "action", "reason", "label", "confidence")
        shown = [{name: row.get(name) for name in columns} for row in report.decisions[:_SHOWN]]
        print_table(f"Would be decided, the first of {len(report.decisions)}", shown)
    closed = {f"retired by {why}": number for why, number in sorted(report.num_closed.items())}
    overview = {
        "answers": report.num_labels,
        "open": report.num_open,
        "waiting": report.num_waiting,
        **closed,
        "new decisions": len(report.decisions),
        "tasks to change" if would else "tasks changed": report.num_changed,
        "predictions": report.num_predicted,
    }
    folder = loop.journal.folder
    title = "Nothing was done" if would else f"Project {loop.tool.title} → {folder}"
    print_summary(summary, folder, overview, title, as_json=as_json)
