import concurrent.futures
import json
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
from gtx_bayes.devices import as_here, examples_mesh
from gtx_bayes.inference import pool
from gtx_bayes.inference.loop import ChunksInMemory
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.sums import over_examples
from tests.on_devices import simulate

IS_FLOAT64 = jnp.zeros(()).dtype == jnp.float64


class TestChunks:
    @pytest.mark.parametrize("num_examples", [1, 3, 203])
    @pytest.mark.parametrize("number", [1, 3, 4])
    def test_every_answer_once(self, num_examples, number):
        labels, _, _, _ = simulate(num_examples)
        chunks = ChunksInMemory.cut(labels, None, None, jax.devices()[:number]).chunks
        assert len(chunks) % number == 0
        found = []
        for at, chunk in enumerate(chunks):
            columns = (chunk.labels.example, chunk.labels.labeler, chunk.labels.label)
            example, labeler, label = (np.asarray(column) for column in columns)
            there = label != MISSING
            place = example[there] * len(chunks) + at
            found.extend(zip(place, labeler[there], label[there], strict=True))
            by_segment = np.asarray(chunk.segments.segment_labeler)[chunk.segments.of_label]
            np.testing.assert_array_equal(by_segment[there], labeler[there])
        there = np.asarray(labels.label) != MISSING
        expected = [np.asarray(a)[there] for a in (labels.example, labels.labeler, labels.label)]
        assert sorted(found) == sorted(zip(*expected, strict=True))

    def test_values_come_back_in_order(self):
        labels, _, own, _ = simulate(21)
        chunks = ChunksInMemory.cut(labels, None, own, jax.devices()[:3])
        np.testing.assert_array_equal(chunks.join(chunks.split(own, 0.0)), own)
        np.testing.assert_array_equal(chunks.join([c.class_prior for c in chunks.chunks]), own)

    def test_sums_over_examples_leave_out_nothing(self):
        values = jnp.asarray(np.random.default_rng(0).random((3000, 2)), float)
        np.testing.assert_allclose(over_examples(values), values.sum(axis=0), rtol=1e-6)


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
    found = pool.fit(labels, assessment, class_prior, models=("one-coin",), dependence=0.0)
    return float(found.lead.counts[0, 0]) / labels.num_labels


class TestManyAnswersOfOneLabeler:
    def test_go_by_chunks(self, monkeypatch):
        """In one float32 sum the terms come to be rounded to 32nds, and 0.667 becomes 0.657."""
        crowd = one_labeler(600_000)
        monkeypatch.setattr(pool, "MOST_AT_ONCE", 500_000)
        assert share_right(*crowd) == pytest.approx(2 / 3, abs=1e-4)

    @pytest.mark.slow
    def test_ten_million(self):
        assert share_right(*one_labeler(10_000_000)) == pytest.approx(2 / 3, abs=1e-4)


def on_devices(number, *arguments):
    """The report of `tests.on_devices`: compiled without optimisation, which takes longer."""
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(number),
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
    report = json.loads(done.stdout)
    assert report["num_devices"] == number
    return report


def check_report(report):
    """Equal for any number of devices; to one without a mesh but for roundings.

    A fit's roundings are enlarged by the Newton steps of its prior, whose curvature is a
    difference of slopes.
    """
    tolerance = 1e-5 if IS_FLOAT64 else 3e-4
    for name, found in report["fits"].items():
        assert found["steps"][0] == found["steps"][1], name
        assert max(found["difference"], found["counts"]) < tolerance, name
        assert found["from the first"] == 0.0, name
    assert report["few examples"] < tolerance
    for name, (of_parameters, of_class_probs, of_densities) in report["draws"].items():
        assert max(of_parameters, of_class_probs, of_densities) < 1e-5, name
    for found in report["kernels"].values():
        expected = {"difference": 0.0, "devices": report["num_devices"], "kinds": [], "most": 0}
        assert found == expected
    assert report["methods"]["majority-vote"] == 0.0
    assert max(report["methods"].values()) < tolerance
    assert set(report["runs"].values()) == {0.0}


@pytest.mark.slow
def test_two_devices():
    check_report(on_devices(2))


@pytest.mark.slow
def test_every_model_on_1_2_4_and_8_devices():
    check_report(on_devices(8, "--all"))


def test_threads_compute_in_the_precision_of_who_starts_them():
    with jax.enable_x64(True), concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(as_here(jnp.zeros), ()).result().dtype == jnp.float64
