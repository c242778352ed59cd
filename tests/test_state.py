"""Fits that grow, and the file they are kept in."""

import dataclasses
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import gtx_bayes
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.aggregation.state import read_state, write_state
from gtx_bayes.aggregation.update import update
from gtx_bayes.cli.commands import app
from gtx_bayes.crowd import Crowd, update_crowd
from gtx_bayes.errors import InputError, WarningNote, split_warnings
from gtx_bayes.inference import incremental, pool, variational
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.simulation import simulate_crowd, uniform_cohort

HALF = jnp.array([0.5, 0.5])
CLOSE = 0.05
"""How far a class posterior may be from a refit's, with five answers an example.

After an update every probability theta of a labeler is within 2 x 0.01 of what the posterior was
computed with, on the scale 2 sqrt(theta): a weight log(a / (1 - a)) within 0.02 / sqrt(a (1 - a)),
0.05 at a = 0.8. Five weights off at random are off by 0.11 in log odds together, and a
probability by at most a quarter of that, 0.028; and both fits stop within 0.001 a step of rest.
"""


class Crowds:
    """One simulated crowd at several times: answers in order of arrival, gold from the first on.

    Small enough for one padded size, so that all tests share compiled programs.
    """

    def __init__(self, key, num_examples=50, num_labelers=8):
        key_cohort, key_answers = jax.random.split(key)
        cohort = uniform_cohort(key_cohort, num_labelers, 0.6, 0.9)
        queue = simulate_crowd(key_answers, cohort, num_examples, 5)
        place, example = np.indices(queue.answers.label.shape)
        order = np.argsort((example + 3 * place).ravel(), kind="stable")  # examples keep arriving
        self.example = example.ravel()[order]
        self.labeler = np.asarray(queue.answers.labeler).ravel()[order]
        self.label = np.asarray(queue.answers.label).ravel()[order]
        self.truth = np.asarray(queue.true_label)

    def at(self, num_labels, num_gold):
        """Labels and gold, by index."""
        columns = (part[:num_labels] for part in (self.example, self.labeler, self.label))
        labels = Labels.from_arrays(*columns, num_classes=2)
        gold = np.arange(num_gold)
        return labels, Assessment.from_arrays(
            gold, self.truth[gold], num_examples=labels.num_examples, num_classes=2
        )

    def tables(self, start, end, num_gold):
        """Answers from one time to another, and the gold, by name."""
        rows = slice(start, end)
        answers = pd.DataFrame(
            {
                "task": [f"t{i}" for i in self.example[rows]],
                "worker": self.labeler[rows],
                "label": [f"class {y}" for y in self.label[rows]],
            }
        )
        truth = [f"class {y}" for y in self.truth[:num_gold]]
        return answers, pd.DataFrame({"task": [f"t{i}" for i in range(num_gold)], "label": truth})


@pytest.fixture(scope="module")
def crowds():
    return Crowds(jax.random.key(20261122))


def fitted(labels, gold, model, class_prior, rho=None):
    """A model fitted afresh."""
    return pool.fit(labels, gold, class_prior, models=(model,), dependence=rho)


def updated(old, crowds, start, end, **options):
    """One update of a fit, from some answers and gold to more; (answers, gold) each."""
    changed = np.unique(crowds.example[start[0] : end[0]])
    new_gold = np.arange(start[1], end[1])
    return incremental.update(
        old, crowds.at(*start)[0], *crowds.at(*end), changed, new_gold, **options
    )


def assert_close(one, other):
    np.testing.assert_allclose(one.class_probs, other.class_probs, atol=CLOSE)
    # A hundredth of five posteriors of a labeler's twenty-five answers, and more.
    np.testing.assert_allclose(one.accuracy.mean, other.accuracy.mean, atol=CLOSE)


class TestUpdate:
    @pytest.mark.parametrize(
        ("model", "class_prior"),
        [
            ("one-coin", HALF),
            ("one-coin", None),
            ("confusion", None),
            pytest.param("class-conditional", HALF, marks=pytest.mark.slow),
            pytest.param("difficulty", None, marks=pytest.mark.slow),
        ],
    )
    def test_is_near_a_refit(self, crowds, model, class_prior):
        """Three new labelers' worth of answers, new examples, new gold; rho learnt or given."""
        start, end = (200, 5), (230, 10)
        rho = 0.2 if class_prior is None else None
        old = fitted(*crowds.at(*start), model, class_prior, rho)
        new = updated(old, crowds, start, end).joint
        assert new.converged
        fit = fitted(*crowds.at(*end), model, class_prior, rho)
        assert len(new.components) == (2 if class_prior is None else 1)
        assert [each.learns_class_prior for each in new.components] == [
            each.learns_class_prior for each in fit.components
        ]
        np.testing.assert_allclose(new.weights, fit.weights, atol=0.05)
        assert new.dependence.mean == pytest.approx(fit.dependence.mean, abs=0.02)
        assert_close(new, fit)
        assert np.abs(new.class_probs[:46] - old.class_probs[:46]).max() > 2 * CLOSE
        np.testing.assert_array_equal(new.class_probs[:10, 1], crowds.truth[:10])
        np.testing.assert_allclose(new.class_prior, fit.class_prior, atol=0.01)
        bounds = [each.lead.log_evidence_bound for each in (new, fit)]
        assert bounds[0] == pytest.approx(bounds[1], abs=0.5)

    @pytest.mark.parametrize("parts", [2, 25])
    def test_many_are_one(self, crowds, parts):
        """What each leaves behind does not add up: a hundred answers, four at a time."""
        old = fitted(*crowds.at(150, 0), "one-coin", HALF, 0.2)
        times = np.linspace(150, 250, parts + 1).astype(int)
        new = old
        for start, end in itertools.pairwise(times):
            new = updated(new, crowds, (start, 0), (end, 0)).joint
        once = updated(old, crowds, (150, 0), (250, 0)).joint
        assert_close(new, once)
        assert_close(new, fitted(*crowds.at(250, 0), "one-coin", HALF, 0.2))

    def test_counts_are_those_of_all_answers(self, crowds):
        """By differences, block after block, what one sum over the class posteriors gives."""
        old = fitted(*crowds.at(150, 0), "one-coin", HALF, 0.2)
        new = updated(old, crowds, (150, 0), (250, 9)).joint.lead.independent
        labels, _ = crowds.at(250, 9)
        np.testing.assert_allclose(new.counts, new.prior.counts(labels, new.class_probs), atol=1e-4)

    def test_costs_what_it_touches(self, crowds):
        """Two crowds that share nothing but the cohort prior: one of them learns, one rests."""
        first, there = slice(0, 110), int(crowds.example[:110].max()) + 1
        columns = (crowds.example[first], crowds.labeler[first], crowds.label[first])
        twice = [np.concatenate([columns[0], there + columns[0]])]
        twice += [np.concatenate([columns[1], 8 + columns[1]]), np.tile(columns[2], 2)]
        new = (np.arange(6), np.zeros(6, int), 1 - crowds.truth[:6])
        before = Labels.from_arrays(*twice, num_classes=2)
        now = Labels.from_arrays(*map(np.append, twice, new), num_classes=2)
        none = Assessment.none(2 * there, 2)
        old = fitted(before, none, "one-coin", HALF, 0.2)
        nobody = np.zeros(0, int)
        found = incremental.update(old, before, now, none, new[0], nobody, tolerance=0.08)
        was, is_ = old.lead.independent.class_probs, found.joint.lead.independent.class_probs
        is_renewed = np.any(np.asarray(was) != np.asarray(is_), axis=1)
        assert 6 < is_renewed.sum() <= found.num_recomputed < there
        assert not is_renewed[there:].any()
        everywhere = incremental.update(old, before, now, none, new[0], nobody, tolerance=0.0)
        assert everywhere.num_recomputed >= 2 * there

    def test_updates_share_a_program(self, crowds):
        old = fitted(*crowds.at(150, 0), "one-coin", HALF, 0.2)
        new = updated(old, crowds, (150, 0), (160, 3)).joint
        programs = variational._fit_state._cache_size()
        updated(new, crowds, (160, 3), (201, 7))
        assert variational._fit_state._cache_size() == programs


@pytest.fixture(scope="module")
def kept(crowds):
    """A result, and tables with more."""
    options = {"model": "one-coin", "dependence": 0.2, "class_prior": [0.5, 0.5]}
    return aggregate(Crowd.from_frames(*crowds.tables(0, 200, 5)), **options)


def assert_same(one, other):
    """Bit for bit."""
    for a, b in zip(*(jax.tree.leaves(result.fit.joint) for result in (one, other)), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("example_names", "labeler_names", "class_names"):
        assert list(getattr(one.crowd, name)) == list(getattr(other.crowd, name))
    for a, b in zip(*(jax.tree.leaves(result.crowd) for result in (one, other)), strict=True):
        if hasattr(a, "label"):
            np.testing.assert_array_equal(a.label, b.label)
    assert one.notes == other.notes


def rewritten(path, change):
    """The file, its arrays changed and no check sum the wiser."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path.with_suffix(""), **arrays)


def set_record(arrays, **more):
    record = json.loads(arrays["record"].tobytes()) | more
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)


def set_component(arrays, **more):
    (component,) = json.loads(arrays["record"].tobytes())["components"]
    set_record(arrays, components=[component | more])


class TestFile:
    def test_comes_back_as_it_was(self, kept, crowds, tmp_path):
        """Names that are numbers and names that are text, and what is made of it afterwards."""
        write_state(kept, tmp_path / "fit")
        back = read_state(tmp_path / "fit")
        assert_same(kept, back)
        assert back.crowd.labeler_names[0] == crowds.labeler[0]
        more = crowds.tables(0, 250, 9)
        assert_same(update(kept, *more).result, update(back, *more).result)

    def test_warnings_stay_warnings(self, kept, tmp_path):
        notes = (
            "Two rows are blank.",
            WarningNote("'no' and 'No' are taken for different classes."),
        )
        crowd = dataclasses.replace(kept.crowd, notes=notes)
        write_state(dataclasses.replace(kept, crowd=crowd), tmp_path / "fit")
        back = read_state(tmp_path / "fit").crowd.notes
        assert back == notes
        assert split_warnings(back) == {"notes": [notes[0]], "warnings": [notes[1]]}

    @pytest.mark.end_to_end
    def test_continued_in_a_fresh_process(self, kept, crowds, tmp_path):
        write_state(kept, tmp_path / "before.npz")
        for table, name in zip(crowds.tables(200, 250, 9), ("labels", "gold"), strict=True):
            table.to_csv(tmp_path / f"{name}.csv", index=False)
        code = (
            "import pandas, sys, gtx_bayes\n"
            "kept = gtx_bayes.read_state('before.npz')\n"
            "labels, gold = (pandas.read_csv(f'{n}.csv') for n in ('labels', 'gold'))\n"
            "gtx_bayes.write_state(gtx_bayes.update(kept, labels, gold).result, 'after.npz')\n"
        )
        here = {**os.environ, "PYTHONPATH": str(Path(gtx_bayes.__file__).parents[1])}
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, check=True)
        result = update(kept, *crowds.tables(200, 250, 9)).result
        assert_same(result, read_state(tmp_path / "after.npz"))

    @pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
    def test_cut_short(self, kept, tmp_path, share):
        write_state(kept, tmp_path / "fit.npz")
        whole = (tmp_path / "fit.npz").read_bytes()
        (tmp_path / "fit.npz").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"fit\.npz: the file is damaged or cut short"):
            read_state(tmp_path / "fit.npz")

    def test_something_else(self, tmp_path):
        (tmp_path / "labels.csv").write_text("task,worker,label\n")
        np.savez(tmp_path / "other.npz", x=np.zeros(3))
        for name in ("labels.csv", "other.npz"):
            with pytest.raises(InputError, match=f"{name}: the file is no state"):
                read_state(tmp_path / name)
        with pytest.raises(InputError, match="there is no such file"):
            read_state(tmp_path / "none.npz")
        with pytest.raises(InputError, match="cannot be read: Is a directory"):
            read_state(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda a: set_record(a, version=1), "has version 1, and this program reads 6"),
            (
                lambda a: set_component(a, values={"model": "two-coin"}),
                "the models 'two-coin' and 'one-coin'",
            ),
            (lambda a: set_component(a, weight=0.5), r"the weights of its models are \[0.5\]"),
            (lambda a: set_record(a, components=[]), r"the weights of its models are \[\]"),
            (lambda a: set_record(a, pool={}), "'has_given_class_prior'"),
            (lambda a: set_record(a, examples=["t0"]), r"example\[\d+\] is 1, outside \[0, 1\)"),
            (lambda a: set_record(a, labelers=["w"] * 8), "two of the labelers have one name"),
            (lambda a: set_record(a, fit_notes=True), "'fit_notes' is no list of notes"),
            (lambda a: set_record(a, notes=[["x"]]), "'notes' is no list of notes"),
            (lambda a: a.pop("0.independent.counts"), "missing"),
            (lambda a: a["labels.labeler"].put(7, 999), r"labeler\[7\] is 999, outside"),
            (lambda a: a["labels.label"].put(7, 2), r"label\[7\] is 2, outside"),
            (lambda a: a["labels.example"].put(0, 9), "not in order"),
            (lambda a: a["gold.example"].put(0, 1), "more than one gold label"),
            (lambda a: a["0.independent.evidence"].put(3, np.nan), "'independent.evidence' holds"),
            (lambda a: a["0.class_probs"].put(3, 0.5), "'class_probs' .* do not sum to one"),
            (lambda a: a["0.independent.counts"].put(3, -5.0), "counts below zero"),
            (lambda a: a["0.passed_on.labelers.accuracy"].put(0, 1.5), "no probabilities"),
            (lambda a: a["0.dependence.values"].put(0, 2.0), "neither one number"),
            (lambda a: a.update({"0.counts": a["0.counts"][:-1]}), "'counts' has shape"),
            (lambda a: a.update({"0.counts": a["0.counts"].astype(int)}), "'counts' holds int64"),
        ],
    )
    def test_does_not_fit_together(self, kept, tmp_path, change, message):
        write_state(kept, tmp_path / "fit.npz")
        rewritten(tmp_path / "fit.npz", change)
        with pytest.raises(InputError, match=message) as error:
            read_state(tmp_path / "fit.npz")
        assert error.value.where == str(tmp_path / "fit.npz")
        assert error.value.hint

    def test_flipped_bit(self, kept, tmp_path):
        write_state(kept, tmp_path / "fit.npz")
        content = bytearray((tmp_path / "fit.npz").read_bytes())
        content[content.find(np.asarray(kept.class_probs).tobytes()) + 7] ^= 1
        (tmp_path / "fit.npz").write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            read_state(tmp_path / "fit.npz")

    def test_small_files_stay_small(self, kept, tmp_path):
        """Zeros that a zip holds in a thousandth of their size, and names of very many classes."""
        about = np.frombuffer(b'{"kind": "state of a gtx-bayes fit", "version": 2}', np.uint8)
        np.savez_compressed(tmp_path / "zeros.npz", record=about, x=np.zeros(2 * 10**7))
        np.savez_compressed(tmp_path / "other.npz", x=np.zeros(2 * 10**7))
        write_state(kept, tmp_path / "classes.npz")
        names = [str(number) for number in range(100_000)]
        rewritten(tmp_path / "classes.npz", lambda a: set_record(a, classes=names))
        for name in ("zeros", "other", "classes"):
            tracemalloc.start()
            try:
                with pytest.raises(InputError, match=r"is no state|has shape"):
                    read_state(tmp_path / f"{name}.npz")
                assert tracemalloc.get_traced_memory()[1] < 100 * 10**6
            finally:
                tracemalloc.stop()

    @hypothesis.given(
        st.lists(
            st.tuples(st.integers(0, 117), st.sampled_from(list(b"{}()[]'\"\\,:\n\x00L<|9 ")))
        ),
        st.sampled_from(["record", "counts"]),
    )
    def test_malformed_headers(self, kept, changes, name):
        """Whatever stands where an array's type and shape should: bad input, no failure."""
        content = io.BytesIO()
        np.save(content, np.zeros(3, np.uint8))
        header = bytearray(content.getvalue())
        for at, byte in changes or [(10, ord("("))]:
            header[10 + at] = byte
        with tempfile.TemporaryDirectory() as top:
            path = Path(top) / "fit.npz"
            write_state(kept, path)
            with zipfile.ZipFile(path) as whole:
                members = {each: whole.read(each) for each in whole.namelist()}
            members[f"{name}.npy"] = bytes(header)
            with zipfile.ZipFile(path, "w") as broken:
                for each, found in members.items():
                    broken.writestr(each, found)
            with pytest.raises(InputError):
                read_state(path)

    def test_of_another_method(self, kept, tmp_path):
        with pytest.raises(InputError, match="a result of majority-vote cannot grow"):
            write_state(aggregate(kept.crowd, "majority-vote"), tmp_path / "fit.npz")
        assert not list(tmp_path.iterdir())


ANSWERS = pd.DataFrame(
    [("a", "u", "yes"), ("a", "v", "no"), ("b", "u", "no"), ("b", "v", "no")],
    columns=["task", "worker", "label"],
)
TRUTH = pd.DataFrame([("a", "yes")], columns=["task", "label"])


def rows(*cells):
    return pd.DataFrame(list(cells), columns=["task", "worker", "label"])


def held(crowd):
    """All answers of a crowd, in order."""
    return [tuple(row) for row in crowd.to_frames()[0].to_numpy()]


class TestTables:
    crowd = Crowd.from_frames(ANSWERS, TRUTH)

    def test_whole_export_or_its_end(self):
        """New names follow the old; what is there already is skipped, and counted."""
        new = rows(("c", "w", "yes"), ("a", "w", "yes"), ("b", "w", "no"))
        by_end = update_crowd(self.crowd, new)
        by_all = update_crowd(self.crowd, pd.concat([ANSWERS, new]))
        for growth in (by_end, by_all):
            assert growth.num_new_labels == 3
            assert list(growth.changed) == [0, 1, 2]
            assert list(growth.crowd.example_names) == ["a", "b", "c"]
            assert list(growth.crowd.labeler_names) == ["u", "v", "w"]
            expected = Crowd.from_frames(pd.concat([ANSWERS, new]), TRUTH)
            assert held(growth.crowd) == held(expected)
            np.testing.assert_array_equal(
                growth.crowd.assessment.true_label, expected.assessment.true_label
            )
        assert by_end.crowd.notes == ()
        assert "4 answers that the fit has already are skipped" in by_all.crowd.notes[0]
        again = update_crowd(by_all.crowd, new)
        assert (again.num_new_labels, again.changed.size) == (0, 0)

    @pytest.mark.parametrize(
        ("duplicates", "expected", "note"),
        [
            ("first", ["yes"], "the fit's count"),
            ("last", ["no"], "the new ones count"),
            ("all", ["yes", "no"], None),
        ],
    )
    def test_contradictions(self, duplicates, expected, note):
        contradiction = rows(("a", "u", "no"))
        with pytest.raises(
            InputError, match="row 0: 'u' answered 'a' with 'no' here and with 'yes'"
        ):
            update_crowd(self.crowd, contradiction)
        growth = update_crowd(self.crowd, contradiction, duplicates=duplicates)
        assert [y for i, j, y in held(growth.crowd) if (i, j) == ("a", "u")] == expected
        assert list(growth.changed) == ([] if duplicates == "first" else [0])
        assert note is None or note in growth.crowd.notes[0]
        again = update_crowd(growth.crowd, contradiction, duplicates=duplicates)
        assert again.changed.size == 0

    def test_repeats_that_all_count(self):
        """The third of a kind is new where there are two."""
        thrice = rows(*[("b", "u", "no")] * 3)
        growth = update_crowd(self.crowd, thrice, duplicates="all")
        assert growth.num_new_labels == 2
        assert update_crowd(growth.crowd, thrice, duplicates="all").num_new_labels == 0

    @pytest.mark.parametrize(
        ("labels", "gold", "message"),
        [
            (rows(("a", "w", "maybe")), None, "row 0: label 'maybe' is none of the classes"),
            (rows(("a", "w", "Yes")), None, "spelt 'yes' elsewhere"),
            (None, [("a", "no")], "row 0: example 'a' is 'no' here and was 'yes' in the fit"),
            (None, [("b", "no"), ("b", "yes")], "row 1: example 'b' is 'no' in an earlier row"),
            (None, [("b", "maybe")], "row 0: label 'maybe' is none of the classes"),
        ],
    )
    def test_refused(self, labels, gold, message):
        table = None if gold is None else pd.DataFrame(gold, columns=["task", "label"])
        with pytest.raises(InputError, match=message) as error:
            update_crowd(self.crowd, labels, table)
        assert error.value.hint

    def test_gold(self):
        """New, known already, and of an example that nobody labelled."""
        table = pd.DataFrame([("b", "no"), ("a", "yes"), ("z", "no")], columns=["task", "label"])
        growth = update_crowd(self.crowd, None, table)
        assert list(growth.new_gold) == [1]
        assert list(growth.crowd.assessment.true_label) == [1, 0]
        assert "1 gold example(s) that nobody labelled are left out: 'z'" in growth.crowd.notes[0]

    @pytest.mark.end_to_end
    def test_class_prior_by_example(self, crowds):
        """New examples have none; new answers to old examples are learnt."""
        crowd = Crowd.from_frames(*crowds.tables(0, 200, 5))
        prior = np.full((crowd.labels.num_examples, 2), 0.5)
        result = aggregate(crowd, model="one-coin", dependence=0.2, class_prior=prior)
        with pytest.raises(InputError, match="new examples have none"):
            update(result, rows(("new", 0, "class 1")))
        grown = update(result, rows(("t30", 99, "class 1")))
        assert grown.num_new_labelers == 1


@pytest.mark.end_to_end
class TestCommand:
    def call(self, folder, *more):
        words = ["aggregate", folder / "labels.csv", "--gold", folder / "gold.csv"]
        words += ["--output", folder / "out", "--state", folder / "fit.state", "--json", *more]
        return CliRunner().invoke(app, [str(word) for word in words])

    def write(self, folder, crowds, num_labels, num_gold):
        for table, name in zip(
            crowds.tables(0, num_labels, num_gold), ("labels", "gold"), strict=True
        ):
            table.to_csv(folder / f"{name}.csv", index=False)

    def test_round_trip(self, crowds, tmp_path):
        """The same command twice, the tables grown in between: as in Python."""
        self.write(tmp_path, crowds, 200, 5)
        options = ("--model", "one-coin", "--dependence", "0.2", "--class-prior", "0.5,0.5")
        first = json.loads(self.call(tmp_path, *options).stdout)
        assert not first["resumed"]
        assert first["num_new_labels"] == 200
        kept = read_state(tmp_path / "fit.state")
        self.write(tmp_path, crowds, 250, 9)
        second = json.loads(self.call(tmp_path).stdout)
        assert second["resumed"]
        assert (second["num_new_labels"], second["num_new_gold"]) == (50, 4)
        assert second["num_new_examples"] == second["num_examples"] - first["num_examples"] > 0
        assert second["num_labels"] == 250
        assert "200 answers that the fit has already are skipped." in second["notes"]
        frames = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("labels", "gold"))
        grown = update(kept, *frames).result
        examples = pd.read_csv(tmp_path / "out" / "examples.csv")
        np.testing.assert_allclose(examples[["prob_class 0", "prob_class 1"]], grown.class_probs)
        np.testing.assert_array_equal(
            read_state(tmp_path / "fit.state").class_probs, grown.class_probs
        )

    def test_refused(self, kept, crowds, tmp_path):
        """Nothing is written: state and results stay as they were, or absent."""
        self.write(tmp_path, crowds, 250, 9)
        write_state(kept, tmp_path / "fit.state")
        before = (tmp_path / "fit.state").read_bytes()
        for options, message in (
            (["--model", "confusion"], "model confusion, not one-coin"),
            (["--dependence", "none"], "dependence 0.0, not 0.2"),
            (["--class-prior", "0.9,0.1"], "class prior [0.9, 0.1], not [0.5, 0.5]"),
            (["--class-prior", "class 1=0.5,class 0=0.4"], "'class 0': 0.4}, not [0.5, 0.5]"),
            (["--classes", "no,yes"], "classes ['no', 'yes'], not ['class 0', 'class 1']"),
            (["--unordered"], "order of the classes: no, not told by the answers"),
            (["--method", "gtx"], "--state: gtx has no state to keep"),
            (["--state", str(tmp_path / "out" / "fit")], "--state: "),
            (["--label-column", "worker"], "cannot be the"),
        ):
            run = self.call(tmp_path, *options)
            assert run.exit_code == 2, run.output
            assert message in run.stderr
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "notes.txt").write_text("mine")
        assert "which is no result" in self.call(tmp_path).stderr
        assert (tmp_path / "fit.state").read_bytes() == before
        assert {path.name for path in tmp_path.iterdir()} == {
            "fit.state",
            "gold.csv",
            "labels.csv",
            "out",
        }
