"""Small files that could cost everything: each is done or refused in 30 CPU seconds and 4 GB.

CPU seconds and the peak of memory are those of a process of its own, as the system counts them,
which do not depend on what else the machine does.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(not hasattr(os, "wait4"), reason="the system does not count"),
]

MOST_BYTES = 5_000_000
MOST_CPU_SECONDS = 30
MOST_MEMORY = 4 * 2**30
# An input far beyond the bar must not take the machine with it.
_LIMITED = f'ulimit -t {6 * MOST_CPU_SECONDS}; ulimit -v {8 * MOST_MEMORY // 1024}; exec "$@"'


def csv(rows, header="task,worker,label"):
    return "\n".join([header, *rows, ""])


def answers(num=300):
    return [f"t{at // 3},w{at % 3},{at * 7 // 5 % 2}" for at in range(num)]


GOLD = csv([f"t{at},{at % 2}" for at in range(100)], "task,label")


def wide_header():
    names = ["task", "worker", "label", *(f"c{at}" for at in range(300_000))]
    return csv([row + "," * 300_000 for row in answers(6)], ",".join(names))


def column_twice():
    names = [f"c{at}" for at in range(300_000)]
    return csv(["1"], ",".join(["task", "worker", "label", *names, *names]))


def two_hundred_thousand_classes():
    return csv(f"t{at},w{at % 7},c{at}" for at in range(200_000))


def gold_of_many_classes():
    odd = [f"x{at},c{at}" for at in range(200_000)]
    return csv([*GOLD.splitlines()[1:], *odd], "task,label")


def everything_spelt_alike():
    return csv(f"{letter}{at},w{at % 5},{at % 2}" for at in range(100_000) for letter in "tT")


def a_choice_of_many():
    choices = ["|".join(str((at * 7 + j) % 5000) for j in range(800)) for at in range(1200)]
    return csv(f"t{at},w{at % 3},{choice}" for at, choice in enumerate(choices))


def objects_with_keys_of_their_own():
    row = '{{"task": {}, "worker": {}, "label": {}, "k{}": 1}}'
    return "\n".join(row.format(at // 3, at % 3, at % 2, at) for at in range(60_000))


def deep_json():
    depth = 400_000
    return '{"task": 1, "worker": 2, "label": 3, "x": ' + "[" * depth + "]" * depth + "}\n"


def probabilities_of_many_classes():
    num = 200_000
    header = "task," + ",".join(f"prob_{at}" for at in range(num))
    return csv([f"t{at},1" + ",0" * (num - 1) for at in range(2)], header)


def probabilities_of_many_examples():
    return csv((f"t{at},.5,.5" for at in range(150_000)), "task,prob_0,prob_1")


def truth_of_many_classes():
    return csv((f"t{at},{at if at < 2 else f'c{at}'}" for at in range(150_000)), "task,label")


CASES = {
    # name: command, first table, its ending, second table (gold or truth)
    "probabilities of many classes": ("evaluate", probabilities_of_many_classes, "csv", GOLD),
    "truth of many classes": (
        "evaluate",
        probabilities_of_many_examples,
        "csv",
        truth_of_many_classes,
    ),
    "every answer another class": ("aggregate", two_hundred_thousand_classes, "csv", None),
    "a header that repeats itself": ("aggregate", column_twice, "csv", None),
    "deep JSON": ("next", deep_json, "jsonl", None),
}
SLOW_CASES = {
    "300,000 columns": ("aggregate", wide_header, "csv", GOLD),
    "300,000 columns, next": ("next", wide_header, "csv", GOLD),
    "300,000 columns, diagnose": ("diagnose", wide_header, "csv", GOLD),
    "every answer another class, diagnose": (
        "diagnose", two_hundred_thousand_classes, "csv", None,
    ),
    "every answer another class, next": ("next", two_hundred_thousand_classes, "csv", None),
    "gold of many classes": ("aggregate", lambda: csv(answers()), "csv", gold_of_many_classes),
    "everything spelt alike": ("aggregate", everything_spelt_alike, "csv", GOLD),
    "a choice of many": ("aggregate", a_choice_of_many, "csv", None),
    "keys of their own": ("aggregate", objects_with_keys_of_their_own, "jsonl", GOLD),
    "deep JSON, aggregate": ("aggregate", deep_json, "jsonl", None),
    "one row of commas": (
        "aggregate", lambda: csv([*answers(), "," * 4_900_000]), "csv", None,
    ),
    "blank lines": ("aggregate", lambda: csv(answers()) + "\n" * 4_900_000, "csv", GOLD),
    "a cell of quotes": (
        "aggregate",
        lambda: csv(["t,u,0,", 't,v,1,"' + '""' * 2_000_000 + '"'], "task,worker,label,note"),
        "csv",
        None,
    ),
    "a class of four million letters": (
        "aggregate", lambda: csv([*answers(), "t1,w9," + "z" * 4_000_000]), "csv", GOLD,
    ),
    "numbers of 400,000 digits": (
        "aggregate", lambda: csv(f"t{at},w,{'9' * 400_000}{at}" for at in range(10)), "csv", None,
    ),
}  # fmt: skip


def run(folder, command, first, ending, second):
    """Exit code, CPU seconds, peak of memory and stderr of a command on the tables."""
    text = first()
    labels = folder / f"first.{ending}"
    labels.write_text(text)
    assert labels.stat().st_size <= MOST_BYTES
    words = [command, str(labels)]
    if command in ("aggregate", "diagnose"):
        words += ["-o", str(folder / "out")]
    if second is not None:
        other = folder / "second.csv"
        other.write_text(second if isinstance(second, str) else second())
        assert other.stat().st_size <= MOST_BYTES
        words += ["--truth" if command == "evaluate" else "--gold", str(other)]
    program = str(Path(sys.executable).with_name("gtx-bayes"))
    said = Path(folder / "stderr")
    with said.open("w") as stderr:
        child = subprocess.Popen(
            ["sh", "-c", _LIMITED, "sh", program, *words], stdout=subprocess.DEVNULL, stderr=stderr
        )
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    return child.returncode, seconds, usage.ru_maxrss * 1024, said.read_text()


@pytest.fixture(scope="module")
def seconds_of_small_crowd(tmp_path_factory):
    """CPU seconds that a command takes with 300 answers, most of them for compiling."""

    @functools.cache
    def seconds(command):
        folder = tmp_path_factory.mktemp("small")
        code, seconds, _, said = run(folder, command, lambda: csv(answers()), "csv", GOLD)
        assert code == 0, said
        return seconds

    return seconds


@pytest.mark.parametrize(
    "case",
    [pytest.param(name, marks=pytest.mark.slow if "class" in name else []) for name in CASES],
)
def test_a_small_file_costs_little(tmp_path, case):
    check(run(tmp_path, *CASES[case]), MOST_CPU_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW_CASES)
def test_a_small_file_that_is_fitted_costs_little(tmp_path, case, seconds_of_small_crowd):
    compiling = seconds_of_small_crowd(SLOW_CASES[case][0])
    check(run(tmp_path, *SLOW_CASES[case]), MOST_CPU_SECONDS + compiling)


def check(outcome, most_cpu_seconds):
    code, seconds, memory, said = outcome
    assert code in (0, 2), said[-2000:]
    assert seconds < most_cpu_seconds
    assert memory < MOST_MEMORY
    assert len(said) < 20_000  # nor is it told at length
