"""Tables of any library and kind: the same crowd; and of what is none, an error in words."""

import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.plots import plot_confusion
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import evaluate
from gtx_bayes.frames import as_frame
from tests.exports import ANSWERS, GOLD
from tests.test_importers import long_table, rows_of

LONG = pd.DataFrame(ANSWERS, columns=["task", "worker", "label"])
KINDS = {
    "pandas": LONG,
    "polars": pl.from_pandas(LONG),
    "polars, lazy": pl.from_pandas(LONG).lazy(),
    "polars, categories": pl.from_pandas(LONG).with_columns(pl.col("label").cast(pl.Categorical)),
    "arrow": pa.Table.from_pandas(LONG),
    "dictionaries": LONG.to_dict("records"),
    "lists": LONG.to_dict("list"),
    "arrays": {name: LONG[name].to_numpy() for name in LONG},
}
KNOWN = pd.DataFrame(GOLD, columns=["task", "label"])
GOLDS = {
    "frame": KNOWN,
    "polars": pl.from_pandas(KNOWN),
    "series": KNOWN.set_index("task")["label"],
    "dictionary": dict(GOLD),
    "dictionaries": KNOWN.to_dict("records"),
    "lists": KNOWN.to_dict("list"),
}


class HubDataset:
    """As a dataset of the Hugging Face hub: it can make itself a data frame."""

    def to_pandas(self):
        return LONG


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_the_same_crowd(kind):
    assert rows_of(Crowd.from_frames(KINDS[kind])) == rows_of(long_table(None, []))


def test_what_makes_itself_a_data_frame():
    assert rows_of(Crowd.from_frames(HubDataset())) == rows_of(long_table(None, []))


@pytest.mark.parametrize("kind", GOLDS)
def test_gold_of_every_kind(kind):
    assert rows_of(Crowd.from_frames(LONG, GOLDS[kind])) == rows_of(long_table(None, GOLD))


def test_long_integers_beside_a_gap_stay_what_they_are():
    number = 2**53 + 1
    for frame in (pl.DataFrame({"task": [number, None]}), pa.table({"task": [number, None]})):
        assert as_frame(frame, "labels")["task"][0] == number


def test_an_enumeration_declares_its_classes():
    kind = pl.Enum(["cat", "dog", "eel"])
    frame = pl.from_pandas(LONG).with_columns(pl.col("label").cast(kind))
    assert list(Crowd.from_frames(frame).class_names) == ["cat", "dog", "eel"]


def test_results_are_scored_against_a_dictionary():
    examples = pl.DataFrame({"task": ["1", "3"], "prob_cat": [0.9, 0.2], "prob_dog": [0.1, 0.8]})
    assert float(evaluate(examples, dict(GOLD))["accuracy"].value) == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("labels.csv", r"the text or path 'labels.csv'.*read_crowd"),
        (None, r"`labels` is None.*list of dictionaries"),
        (3, "`labels` is 3"),
        ([1, 2], "`labels` is a list"),
        ({"task": ["a"], "worker": ["u", "v"], "label": ["x"]}, "have different lengths"),
        ({"task": ["a"], "worker": "u"}, "not all of whose values are columns"),
        ({}, "not all of whose values are columns"),
        (np.zeros((2, 3)), r"`labels` is a[n]? \w+"),
    ],
)
def test_what_is_no_table(given, message):
    with pytest.raises(InputError, match=message):
        as_frame(given, "labels")


FUZZ = """
import itertools, sys
import numpy as np, pandas as pd, polars as pl
import gtx_bayes
from gtx_bayes import Crowd, InputError, aggregate, evaluate, update, read_crowd
from gtx_bayes import CrowdClassifier, exporters, read_state

ODD = [None, True, 7, -1.5, float("nan"), "text", "", b"bytes", object(), print, int, (), [], {},
       [None], ["a"], ["a", "a"], [["a"]], [{}], [{"task": 1}], {"task": 1}, {"task": []},
       {"task": ["a"], "worker": ["u"], "label": [None]}, {1: [2], None: [3], (4,): [5]},
       {"worker": 3}, {"label": "label"}, {"task": "worker"}, {3, 4}, range(3), iter([1]),
       np.arange(3), np.zeros((2, 2)), np.array(1), pd.Series([1, 2]), pd.DataFrame(),
       pd.DataFrame({"task": [[1]], "worker": [{}], "label": [()]}), pd.DataFrame([[1, 2]]),
       pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("c", "d")])),
       pl.DataFrame({"a": [1]}), pl.Series([1]), ValueError("x"), 10**30, 1j, pd.NaT,
       {"task": ["a", "b"], "worker": ["u", "u"], "label": ["x", "y"]}]
GOOD = pd.DataFrame({"task": [*"aabb"], "worker": [*"uvuv"], "label": [*"xyxx"]})
KNOWN = {"a": "x"}
crowd = Crowd.from_frames(GOOD, KNOWN)
voted = aggregate(crowd, "majority-vote")
joint = aggregate(crowd, model="one-coin", dependence=0.0, class_prior=[0.5, 0.5])
NET = {"task": ["a", "b"], "prob_x": [0.9, 0.2], "prob_y": [0.1, 0.8]}
heard = aggregate(crowd, "gtx", opinions={"net": NET})
calls = {
    "labels": lambda x: Crowd.from_frames(x),
    "gold": lambda x: Crowd.from_frames(GOOD, x),
    **{name: (lambda name: lambda x: Crowd.from_frames(GOOD, KNOWN, **{name: x}))(name)
       for name in ("duplicates", "classes", "abstain", "blank", "keep_abstentions", "covariates",
                    "labeler_covariates", "example_covariates", "groups", "columns",
                    "gold_columns", "wide", "count_column", "counts")},
    "read": lambda x: read_crowd(x),
    "read gold": lambda x: read_crowd("/nowhere", x),
    "aggregate": lambda x: aggregate(x, "majority-vote"),
    "method": lambda x: aggregate(crowd, x) if isinstance(x, str) or not callable(x) else None,
    "class_prior": lambda x: x is None or aggregate(crowd, "majority-vote", class_prior=x),
    "model": lambda x: aggregate(crowd, model=x, dependence=2.0),
    "dependence": lambda x: x is None or aggregate(crowd, "majority-vote", dependence=x),
    "evaluate": lambda x: evaluate(voted.examples(), x),
    "results": lambda x: evaluate(x, KNOWN),
    "predict": lambda x: voted.predict(x),
    "seed": lambda x: x is None or voted.examples(x),
    "confusion": lambda x: voted.confusion_matrix(x),
    "grow": lambda x: x is None or update(joint, x),
    "grow gold": lambda x: x is None or update(joint, None, x),
    "fit": lambda x: CrowdClassifier(method="majority-vote").fit(x),
    "fit gold": lambda x: CrowdClassifier(method="majority-vote").fit(GOOD, x),
    "fitted": lambda x: x is None or CrowdClassifier("majority-vote").fit(GOOD).predict(x),
    "score": lambda x: CrowdClassifier(method="majority-vote").fit(GOOD).score(x),
    **{f"set {name}": (lambda name: lambda x: CrowdClassifier(
           **{"method": "majority-vote", name: x}).fit(GOOD, KNOWN).predict(GOOD))(name)
       for name in ("method", "model", "dependence", "prior_independent", "duplicates", "classes",
                    "abstain", "blank", "columns", "gold_columns", "seed")
       if name != "method"},
    "opinions": lambda x: x is None or aggregate(crowd, "gtx", opinions=x),
    "opinion": lambda x: aggregate(crowd, "gtx", opinions={"net": x}),
    "opinion named": lambda x: isinstance(x, (set, list, dict)) or x.__hash__ is None or
        aggregate(crowd, "gtx", opinions={x: {"task": ["a"], "prob_x": [0.5], "prob_y": [0.5]}}),
    "opinions of new": lambda x: x is None or heard.predict(GOOD, opinions=x),
    "history": lambda x: x is None or aggregate(crowd, "gtx", history=x),
    **{f"history {name}": (lambda name: lambda x: aggregate(crowd, "gtx", history={
           "worker": ["u"], "accuracy": [0.5], "strength": [9], name: [x]}))(name)
       for name in ("worker", "accuracy", "strength")},
    "class counts": lambda x: aggregate(crowd, "gtx", class_prior={"x": 3, "y": x}),
    "prior_independent": lambda x: x is None or aggregate(crowd, prior_independent=x,
        model="one-coin", dependence=2.0),
    **{f"export {f.__name__}": f for f in (exporters.label_studio, exporters.soft_labels,
       exporters.fiftyone, exporters.class_names)},
    "export cleanlab": lambda x: exporters.cleanlab(x, voted.examples()),
    "export to cleanlab": lambda x: exporters.cleanlab(GOOD, x),
    "state": lambda x: isinstance(x, int) or read_state(x),
}
bad = []
for name, call in calls.items():
    for odd in ODD:
        try:
            call(odd)
        except InputError as error:
            assert str(error), name
        except Exception as error:
            bad.append(f"{name} of {odd!r:.80}: {type(error).__name__}: {error}"[:300])
print("\\n".join(bad))
sys.exit(bool(bad))
"""


@pytest.mark.parametrize("library", [pl, pa])
def test_results_are_of_the_library_of_the_answers(library):
    """The same cells, whatever came in, and plots and scores take them."""
    given = pl.from_pandas(LONG)
    given = given if library is pl else given.to_arrow()
    result = aggregate(Crowd.from_frames(given, KNOWN), "majority-vote")
    expected = aggregate(Crowd.from_frames(LONG, KNOWN), "majority-vote")
    kind = pl.DataFrame if library is pl else pa.Table
    for name in ("examples", "labelers", "confusion"):
        found = getattr(result, name)()
        assert type(found) is kind
        assert list(found.to_pandas().columns) == list(getattr(expected, name)().columns)
        own = getattr(result.in_pandas, name)()
        pd.testing.assert_frame_equal(own, getattr(expected, name)())
    assert evaluate(result.examples(), KNOWN)["accuracy"].value == 1.0
    plot_confusion(result.confusion())
    assert type(result.predict(LONG)) is kind


@pytest.mark.slow
@pytest.mark.end_to_end
def test_of_nothing_given_a_raw_error_comes(tmp_path):
    """In a process of its own, in which no types are checked, as users have it."""
    program = [sys.executable, "-c", FUZZ]  # an empty name is the folder the process is in
    run = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
