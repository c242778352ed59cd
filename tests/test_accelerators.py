"""What is read from compilers, and the pages made of it: the compilers themselves are not here."""

import jax
import pytest

from tests.accelerator.page import page
from tests.benchmarks.accelerators import Program, fallen, in_memory, network_step, table, uncounted

HLO = """
ENTRY %main (a: s8[10,1000], b: s32[8]) -> f32[1000] {
  %a = s8[10,1000]{1,0:T(8,128)(4,1)} parameter(0)
  %b = s32[8]{0:T(128)} parameter(1)
  %kernel.1 = f32[1000]{0:T(1024)} custom-call(%a, %b), custom_call_target="tpu_custom_call"
  %other = f32[1000]{0:T(1024)} custom-call(%a), custom_call_target="AllocateBuffer"
  ROOT %sum = f32[1000]{0:T(1024)} scatter(%kernel.1, %b, %other), update_window_dims={}
}
"""


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("f32[1000]{0:T(1024)}", 4 * 1024),
        ("s8[10,1000]{1,0:T(8,128)(4,1)}", 16 * 1024),
        ("f32[1000,4]{0,1:T(4,128)}", 4 * 1024 * 4),
        ("(s32[2,3]{1,0}, pred[])", 24 + 1),
    ],
)
def test_bytes_of_an_array_with_its_tiles(shape, expected):
    assert in_memory(shape) == expected


def test_bytes_that_cost_analysis_leaves_out():
    """The kernel reads a and b and writes; the scatter reads its three operands."""
    a, b, flat = 16 * 1024, 4 * 128, 4 * 1024
    assert uncounted(HLO) == (a + b + flat) + (flat + b + flat)


def test_bars_that_fall_are_named_and_put_under_the_table():
    program = Program("votes", len, (), "10", accessed=2.0, one_pass=True, no_loops=True)
    found = {"name": "votes", "size": "10", "cpu_seconds": 50.0, "least_bytes": 100}
    found |= {"argument_bytes": 80, "temporary_bytes": 8, "accessed_bytes": 250.0}
    found |= {"fusion": 3, "scatter": 0, "while": 1}
    on = {platform: list(fallen(program, found, platform)) for platform in ("tpu", "cuda")}
    assert on["tpu"] == [
        "compiles in 50 s of CPU time, not 40",
        "accesses 2.5 times the least, not 2.0",
    ]
    assert on["cuda"][1:] == [
        "temporaries are 10% of the arguments, not 1%",
        "has 1 while loops, not 0",
    ]
    written = table([found | {"platform": "tpu", "fallen": on["tpu"]}])
    assert "| votes | 10 | 2.5, 0.0 MB, 50.0 s | not compiled |" in written
    assert "- votes, TPU v5e: accesses 2.5 times the least, not 2.0." in written


def test_what_compiles_longer_than_asked_is_held_to_what_is_stated(monkeypatch):
    stated = {("fit", "tpu"): 90.0}
    monkeypatch.setattr("tests.benchmarks.accelerators.STATED_CPU_SECONDS", stated)
    found = {"name": "fit", "size": "10", "cpu_seconds": 80.0, "temporary_bytes": 0}
    found |= {"platform": "tpu", "accessed_bytes": 9.0, "least_bytes": 9, "fallen": []}
    program = Program("fit", len, (), "10")
    assert not list(fallen(program, found, "tpu"))
    assert list(fallen(program, found | {"cpu_seconds": 91.0}, "tpu"))
    assert list(fallen(program, found, "cuda"))
    written = table([found])
    assert "- fit, TPU v5e: compiles in 80 s of CPU time; asked 40, stated 90." in written
    assert "Short of what is asked" not in table([found | {"cpu_seconds": 39.0}])


def test_a_page_says_what_was_measured_and_what_was_not():
    machine = {"device": "gpu: H100", "jax": "0.12.0", "python": "3.12.1"}
    row = {"part": "kernels", "name": "table", "size": "10", "seconds": 0.5, "of_copy": 0.75}
    record = {"machine": machine, "small": True, "seconds": 60.0, "results": [row]}
    written = page(record | {"left_out": [{"part": "tests", "why": "no time was left"}]})
    assert "| table | 10 | 0.5 | 0.75 of the copy |" in written
    assert "- tests: no time was left." in written
    assert "a trial" in written


@pytest.mark.slow
def test_a_step_of_the_network_is_traced():
    """What is compiled for chips calls the package as it is, though no chip is there."""
    program = network_step()
    _, loss = jax.eval_shape(program.call, *program.arguments)
    assert loss.shape == ()
