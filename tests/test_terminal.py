"""What commands print at 80 columns: whole words, three digits, few notes, and what comes next."""

import dataclasses
import re
import shlex

import jax
import pytest
import typer
from typer.testing import CliRunner

from gtx_bayes.cli import terminal
from gtx_bayes.cli.commands import app
from gtx_bayes.cli.options import AnswerOptions, CrowdOptions
from gtx_bayes.errors import WarningNote
from gtx_bayes.registry import METHODS, MODELS

PROGRAM = typer.main.get_command(app)
COMMANDS = sorted(PROGRAM.commands)
STARTS = ("gtx-bayes ", "python -m gtx_bayes ")  # the second where the program is not on the path


@pytest.fixture
def loudness(monkeypatch):
    return lambda value: monkeypatch.setattr(terminal, "_loudness", value)


def usage(*words):
    run = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
    assert run.exit_code == 0
    return run.stdout


def check_commands(text):
    """Every command that a text names parses: it exists, and so do its options."""
    lines = text.partition("Next:\n")[2].splitlines()
    assert lines
    for line in lines:
        start = next(start for start in STARTS if line.strip().startswith(start))
        name, *words = shlex.split(line.strip().removeprefix(start))
        PROGRAM.commands[name].make_context(name, words)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_fits_and_names_types_for_people(self, command):
        text = usage(command)
        assert max(map(len, text.splitlines())) <= 80
        assert "<prob_class>" not in text
        assert not {"<path>", "<list", "<int", "<str", "<float"} & set(text.split())
        assert not {"{", "...."} & set(re.findall(r"[{]|[.]{4}", text.splitlines()[0]))

    def test_summaries_are_whole(self):
        text = " ".join(usage().split())
        assert "..." not in text.replace("[ARGS]...", "")
        for command in PROGRAM.commands.values():
            first = command.help.split("\n\n")[0].replace("\n", " ")
            assert first.rstrip(".") in text

    @pytest.mark.parametrize("command", ["aggregate", "next", "finetune"])
    def test_names_stay_whole(self, command):
        words = {word.strip(",.") for word in usage(command).split()}
        assert words.issuperset(METHODS.names())
        assert words.issuperset(MODELS.names())

    def test_studies_are_listed(self):
        (name,) = [p for p in PROGRAM.commands["reproduce"].params if p.name == "name"]
        words = {word.strip(",.") for word in usage("reproduce").split()}
        assert words.issuperset(name.type_descriptor.choices)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.12345, "0.123"),
        (0.5, "0.500"),
        (0.99961, "1.00"),
        (12.345, "12.3"),
        (-0.0123456, "-0.0123"),
        (123.456, "123"),
        (15000.2, "15,000"),
        (1.234e-7, "1.23e-07"),
    ],
)
def test_three_significant_digits(value, text):
    assert terminal.number_text(value) == text


class TestTable:
    def test_cells_stay_whole_where_there_is_no_room(self, capsys, monkeypatch):
        """Nine columns of nine characters: the later ones stand below, with the first repeated."""
        monkeypatch.setenv("COLUMNS", "80")
        names = [f"column-{at:02d}" for at in range(9)]
        terminal.print_table("A title of many words " * 5, [dict.fromkeys(names, "some-text")] * 2)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines[1:])) <= 80
        words = " ".join(lines).split()
        assert words.count("column-00") == 2
        assert all(words.count(name) == 1 for name in names[1:])
        assert words.count("some-text") == 2 * 10

    def test_long_texts_are_broken_at_spaces(self, capsys, monkeypatch):
        monkeypatch.setenv("COLUMNS", "60")
        text = "the answer is explained in a sentence that is longer than a line of the terminal"
        terminal.print_table("", [{"name": "a", "why": text, "error": 0.1234}])
        shown = capsys.readouterr().out
        assert set(text.split()) <= set(shown.split())
        assert "0.123" in shown


class TestNotes:
    NOTES = ("one", WarningNote("mind this"), "two", "three")

    def test_three_lines_warnings_first(self, capsys, loudness):
        loudness(0)
        terminal.print_notes(self.NOTES, "summary.json has them")
        shown = capsys.readouterr().err.splitlines()
        assert shown == ["Warning: mind this", "Note: one", "And 2 more: summary.json has them."]

    def test_three_are_three(self, capsys, loudness):
        loudness(0)
        terminal.print_notes(self.NOTES[:3])
        shown = capsys.readouterr().err.splitlines()
        assert shown == ["Warning: mind this", "Note: one", "Note: two"]

    def test_verbose_shows_all_and_quiet_warnings_alone(self, capsys, loudness):
        loudness(1)
        terminal.print_notes(self.NOTES)
        assert len(capsys.readouterr().err.splitlines()) == 4
        loudness(-1)
        terminal.print_notes(self.NOTES)
        assert capsys.readouterr().err == "Warning: mind this\n"


def test_stages_say_their_time_or_nothing(capsys, loudness):
    for value, lines in ((-1, 0), (1, 1)):
        loudness(value)
        with terminal.stage("Reading"):
            pass
        shown = [line for line in capsys.readouterr().err.splitlines() if " s" in line]
        assert len(shown) == lines


def test_compiled_programs_are_counted():
    """Those that no cache had, once the next one is asked for."""
    ask, find = terminal._ASKED, terminal._FOUND
    shown = []
    with terminal.counting_compiled(shown.append):
        for event in (ask, find, ask, ask, find, ask, find, ask, ask):
            jax.monitoring.record_event(event)
    assert shown == [1, 1, 1, 2]
    jax.monitoring.record_event(ask)
    assert len(shown) == 4


def test_words_of_options():
    """Those that differ from their defaults, and they parse to the same options again."""
    tables = CrowdOptions(
        classes="a,b", covariate=["when", "far off"], keep_abstentions=True, blank="drop"
    )
    words = terminal.words_of(tables)
    context = PROGRAM.commands["diagnose"].make_context(
        "diagnose", ["labels.csv", "--output", "out", *words]
    )
    for field in dataclasses.fields(tables):
        said, given = context.params[field.name], getattr(tables, field.name)
        assert (said or None) == (given or None)  # no value of a list is none or empty
    assert terminal.words_of(AnswerOptions()) == []


@pytest.mark.parametrize("start", STARTS)
def test_next_commands_start_with_what_runs(capsys, loudness, monkeypatch, start):
    loudness(0)
    monkeypatch.setattr(
        terminal.shutil, "which", lambda name: name if start.startswith(name) else None
    )
    terminal.print_next(("diagnose", "labels.csv", "--output", "report"))
    text = capsys.readouterr().out
    assert text.endswith(f"  {start}diagnose labels.csv --output report\n")
    check_commands(text)


def test_next_commands_are_quoted(capsys, loudness):
    loudness(0)
    terminal.print_next(("diagnose", "my labels.csv", "--output", "report"))
    assert "diagnose 'my labels.csv' --output report" in capsys.readouterr().out
    loudness(-1)
    terminal.print_next(("diagnose",))
    assert capsys.readouterr().out == ""


@pytest.mark.end_to_end
def test_every_command_names_the_next(tmp_path, monkeypatch):
    """From a demo to the last label: what is printed is a command that parses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text(
        "task,who,label\na,u,x\na,v,x\na,w,y\nb,u,y\nb,v,y\nb,w,y\nc,u,x\nc,w,y\n"
    )
    (tmp_path / "gold.csv").write_text("task,label\na,x\n")
    crowd = ("labels.csv", "--gold", "gold.csv", "--worker-column", "who")
    fast = ("--method", "majority-vote")
    for words in (
        ("aggregate", *crowd, *fast, "--output", "result"),
        ("next", *crowd, *fast, "--batch", "2"),
        ("evaluate", "result/examples.csv", "--truth", "gold.csv"),
    ):
        run = CliRunner().invoke(app, words)
        assert run.exit_code == 0, run.stderr
        check_commands(run.stdout)
        if words[0] != "evaluate":
            assert "--worker-column who" in run.stdout
        quiet = CliRunner().invoke(app, [*words, "--quiet"])
        assert "Next:" not in quiet.stdout
