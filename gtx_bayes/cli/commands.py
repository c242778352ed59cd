"""The commands of `gtx-bayes` in one Typer app. Heavy modules are imported inside commands."""

from typing import Annotated

import typer

from gtx_bayes.cli.aggregate import aggregate
from gtx_bayes.cli.convert import convert
from gtx_bayes.cli.demo import demo
from gtx_bayes.cli.diagnose import diagnose
from gtx_bayes.cli.estimate import estimate
from gtx_bayes.cli.evaluate import evaluate
from gtx_bayes.cli.export import export
from gtx_bayes.cli.finetune import finetune
from gtx_bayes.cli.label_studio import app as label_studio
from gtx_bayes.cli.next import NextCommand, next_
from gtx_bayes.cli.plan import plan
from gtx_bayes.cli.predict import predict
from gtx_bayes.cli.reproduce import reproduce
from gtx_bayes.cli.simulate import app as simulate
from gtx_bayes.cli.usage import Command, Program

app = typer.Typer(
    name="gtx-bayes",
    cls=Program,
    help="Labels of varying quality and a little gold in; class posteriors with honest "
    "confidence and labeler accuracies with intervals out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: Rich's own takes twice as long to import as all else
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (demo, convert, aggregate, diagnose, estimate, evaluate, export):
    app.command(cls=Command)(function)
app.command("next", cls=NextCommand)(next_)
for function in (plan, finetune, predict, reproduce):
    app.command(cls=Command)(function)
app.add_typer(simulate, name="simulate")
app.add_typer(label_studio, name="label-studio")


def _version(wanted: bool | None) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"gtx-bayes {version('gtx_bayes')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool | None,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = None,
) -> None:
    """Aggregate the answers of a crowd."""
