import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gtx_bayes import InputError
from gtx_bayes.cli.options import mesh_of
from gtx_bayes.devices import deal, examples_mesh, on_parts
from gtx_bayes.inference import joint
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.sums import STRETCH, digits, from_digits
from tests.on_devices import NUM_LABELERS, NUMBERS, simulate

IS_FLOAT64 = jnp.zeros(()).dtype == jnp.float64


class TestSums:
    def test_digits_add_up_in_any_order(self):
        """What is left out of a term is below half of the last digit."""
        values = np.random.default_rng(0).uniform(-3.0, 1000.0, 3000)
        values = np.asarray(values, jnp.zeros(()).dtype)
        found = digits(jnp.asarray(values))
        total = from_digits(found.sum(axis=1, dtype=found.dtype), jnp.zeros(()))
        expected = math.fsum(values.tolist())
        left_out = values.size * 2.0 ** -(51 if IS_FLOAT64 else 21)
        rounding = 4 * expected * float(jnp.finfo(values.dtype).eps)
        assert abs(float(total) - expected) <= left_out + rounding
        reverse = from_digits(found[:, ::-1].sum(axis=1, dtype=found.dtype), jnp.zeros(()))
        assert float(reverse) == float(total)

    def test_negative_numbers(self):
        values = jnp.array([-0.25, -3.0, -7.5])
        np.testing.assert_array_equal(from_digits(digits(values), values), values)


class TestDealing:
    @pytest.mark.parametrize("num_examples", [1, 3, 203])
    @pytest.mark.parametrize("number", [1, 3, 4])
    def test_every_answer_once(self, num_examples, number):
        labels, _, _, _ = simulate(num_examples)
        dealt = deal(labels, examples_mesh(number))
        parts = dealt.parts
        part, at = np.nonzero(np.asarray(parts.labels.label) != MISSING)
        assert parts.num_parts % number == 0
        example = np.asarray(parts.labels.example)[part, at] * parts.num_parts + part
        found = (
            example,
            *(np.asarray(a)[part, at] for a in (parts.labels.labeler, parts.labels.label)),
        )
        there = np.asarray(labels.label) != MISSING
        expected = [np.asarray(a)[there] for a in (labels.example, labels.labeler, labels.label)]
        assert sorted(zip(*found, strict=True)) == sorted(zip(*expected, strict=True))
        owner = np.asarray(parts.owner)[part, np.asarray(parts.stretch)[part, at]]
        np.testing.assert_array_equal(owner, found[1])
        assert (np.diff(np.asarray(parts.labels.example), axis=1) >= 0).all()

    def test_stretches_are_short(self):
        num_labels = 8 * 3 * STRETCH + 5
        labels = Labels.from_arrays(
            np.arange(num_labels),
            np.zeros(num_labels, int),
            np.zeros(num_labels, int),
            num_classes=2,
        )
        parts = deal(labels, examples_mesh(1)).parts
        for stretch, label in zip(
            *map(np.asarray, (parts.stretch, parts.labels.label)), strict=True
        ):
            count = np.bincount(stretch[label != MISSING])
            assert count.max() <= STRETCH
            assert count.size == -(-count.sum() // STRETCH)

    def test_values_come_back_in_order(self):
        labels, _, own, _ = simulate(21)
        dealt = deal(labels, examples_mesh(3))
        np.testing.assert_array_equal(dealt.collect(dealt.spread(own, 0.0)), own)
        stacked = jnp.stack([dealt.spread(own, 0.0), dealt.spread(2 * own, 0.0)])
        np.testing.assert_array_equal(dealt.collect(stacked, axis=1), jnp.stack([own, 2 * own]))

    def test_sums_over_examples_leave_out_nothing(self):
        labels, _, own, _ = simulate(50)
        dealt = deal(labels, examples_mesh(4))
        _, found = on_parts(sum_of_examples, dealt, None, dealt.spread(own, 0.0))
        np.testing.assert_allclose(found, own.sum(axis=0), rtol=1e-6)


def sum_of_examples(labels, sums, shared, values):
    return None, sums.of_examples(values)


class TestAskingForDevices:
    def test_as_many_as_there_are(self):
        assert examples_mesh().size == jax.device_count()
        assert examples_mesh(jax.devices()[1:3]).size == 2
        assert mesh_of(None) is None
        assert mesh_of("2").size == 2

    @pytest.mark.parametrize("number", ["0", "4000", "some"])
    def test_others_are_refused(self, number):
        with pytest.raises(InputError, match="devices"):
            mesh_of(number)


def one_labeler(num_labels):
    """A labeler alone, three classes, nothing known.

    The vote of one third and one more is the start, 2/3 for the answer; that is what the
    hyperprior expects of a labeler, so that the accuracy stays there, exactly.
    """
    zeros = np.zeros(num_labels, np.int32)
    labels = Labels.from_arrays(np.arange(num_labels), zeros, zeros, num_classes=3)
    return labels, Assessment.none(num_labels, 3), jnp.full(3, 1 / 3)


def share_right(labels, assessment, class_prior):
    found = joint.fit(labels, assessment, class_prior, models=("one-coin",), dependence=0.0)
    return float(found.counts[0, 0]) / labels.num_labels


class TestManyAnswersOfOneLabeler:
    def test_go_by_parts(self, monkeypatch):
        """In one float32 sum the terms come to be rounded to 32nds, and 0.667 becomes 0.657."""
        crowd = one_labeler(600_000)
        monkeypatch.setattr(joint, "MOST_AT_ONCE", 500_000)
        assert share_right(*crowd) == pytest.approx(2 / 3, abs=1e-4)

    @pytest.mark.slow
    def test_ten_million(self):
        assert share_right(*one_labeler(10_000_000)) == pytest.approx(2 / 3, abs=1e-4)


def on_eight_devices(*arguments):
    """The report of `tests.on_devices`: compiled without optimisation, which takes longer."""
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": "8",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.on_devices", *arguments],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_report(report):
    """Equal to one device without a mesh: bits where whole numbers are added, else roundings.

    A fit's roundings are enlarged by the Newton steps of its prior, whose curvature is a
    difference of slopes.
    """
    assert report["num_devices"] == 8
    tolerance = 1e-9 if IS_FLOAT64 else 3e-4
    for name, found in report["fits"].items():
        assert found["steps"][0] == found["steps"][1], name
        assert max(found["difference"], found["counts"]) < tolerance, name
    assert report["few examples"] < tolerance
    for name, (of_parameters, of_class_probs, of_densities) in report["draws"].items():
        assert of_parameters == of_class_probs == 0.0, name
        assert of_densities < 1e-5, name
    for found in report["kernels"].values():
        assert found == {"difference": 0.0, "devices": 8, "kinds": [], "most": 0}
    assert report["methods"]["majority-vote"] == 0.0
    assert max(report["methods"].values()) < tolerance
    assert report["runs"] == {str(number): 0.0 for number in NUMBERS}


@pytest.mark.end_to_end
def test_eight_devices():
    report = on_eight_devices()
    check_report(report)
    # Three digits of right and wrong answers and the variance of every labeler: a device has 26
    # examples or more, of three classes.
    assert report["exchanged"] == {"kinds": ["all-reduce"], "most": 3 * 3 * NUM_LABELERS}


@pytest.mark.slow
def test_every_model_on_1_2_4_and_8_devices():
    check_report(on_eight_devices("--all"))
