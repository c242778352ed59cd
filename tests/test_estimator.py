"""The front door in scikit-learn's shape."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.utils import estimator_checks

from gtx_bayes import Crowd, CrowdClassifier, aggregate
from gtx_bayes.errors import InputError
from tests.exports import ANSWERS, GOLD

LONG = pd.DataFrame(ANSWERS, columns=["task", "worker", "label"])
KNOWN = dict(GOLD)


@pytest.fixture(scope="module")
def fitted():
    return CrowdClassifier(method="dawid-skene").fit(pl.from_pandas(LONG), KNOWN)


def test_what_is_fitted_is_what_aggregate_finds(fitted):
    expected = aggregate(Crowd.from_frames(LONG, KNOWN), "dawid-skene")
    np.testing.assert_array_equal(fitted.predict_proba().to_numpy(), expected.class_probs)
    assert list(fitted.predict_proba().columns) == list(fitted.classes_) == ["cat", "dog"]
    assert list(fitted.predict_proba().index) == list(fitted.predict().index) == [*"1234"]
    assert fitted.predict()["1"] == "cat"
    pd.testing.assert_series_equal(fitted.predict(), expected.label)
    pd.testing.assert_frame_equal(fitted.predict_proba(), expected.probs)


def test_new_answers_teach_nothing(fitted, tmp_path):
    new = [{"task": "9", "worker": worker, "label": "dog"} for worker in ("ann", "bob")]
    pd.DataFrame(new).to_csv(tmp_path / "new.csv", index=False)
    before = fitted.predict_proba()
    for labels in (new, tmp_path / "new.csv"):
        probs = fitted.predict_proba(labels)
        assert list(probs.index) == ["9"]
        np.testing.assert_allclose(probs.sum(axis=1), 1.0, rtol=1e-5)
        assert fitted.predict(labels)["9"] == probs.loc["9"].idxmax()
    pd.testing.assert_frame_equal(before, fitted.predict_proba())


def test_files_and_crowds(tmp_path):
    LONG.to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(GOLD, columns=["task", "label"]).to_csv(tmp_path / "gold.csv", index=False)
    from_files = CrowdClassifier(method="majority-vote").fit(
        tmp_path / "a.csv", tmp_path / "gold.csv"
    )
    crowd = Crowd.from_frames(LONG, KNOWN)
    from_crowd = CrowdClassifier(method="majority-vote").fit(crowd)
    pd.testing.assert_frame_equal(from_files.predict_proba(), from_crowd.predict_proba())
    with pytest.raises(InputError, match="a crowd has its own gold"):
        CrowdClassifier().fit(crowd, KNOWN)


def test_score(fitted):
    label = fitted.predict()
    truth = {"1": label["1"], "2": label["2"], "3": label["3"], "x": "cat"}
    assert fitted.score(truth) == fitted.score(LONG, truth) == 1.0
    assert fitted.score({**truth, "4": "eel"}) == 0.75
    with pytest.raises(InputError, match="no task has a true label"):
        fitted.score({"x": "cat"})


def test_parameters_are_as_scikit_learn_wants_them():
    """What its `clone` does: a new one of the parameters, each the same object."""
    estimator = CrowdClassifier(method="gtx", class_prior={"cat": 0.5, "dog": 0.5}, abstain=["?"])
    params = estimator.get_params(deep=False)
    copy = type(estimator)(**params)
    assert all(copy.get_params()[name] is value for name, value in params.items())
    assert estimator.set_params(method="wawa") is estimator
    assert estimator.get_params()["method"] == "wawa"
    assert repr(copy).startswith("CrowdClassifier(method='gtx'")
    with pytest.raises(InputError, match="no option 'methods'"):
        estimator.set_params(methods="gtx")


def test_it_is_pickled_with_what_it_learnt(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    pd.testing.assert_frame_equal(copy.predict_proba(), fitted.predict_proba())
    assert not hasattr(pickle.loads(pickle.dumps(CrowdClassifier())), "result_")


CHECKS = (
    *("no_attributes_set_in_init", "parameters_default_constructible", "get_params_invariance"),
    *("set_params", "estimator_cloneable"),
    *("estimator_repr", "mixin_order", "estimator_tags_renamed", "valid_tag_types"),
)


@pytest.mark.parametrize("check", CHECKS)
def test_checks_of_scikit_learn(check):
    """Those that feed it nothing; the page for people from other libraries lists why.

    One more passes where no types are checked, as they are here: that of odd values in `__init__`.
    """
    getattr(estimator_checks, f"check_{check}")("CrowdClassifier", CrowdClassifier())
    page = Path(__file__).parents[1] / "docs" / "coming_from.md"
    assert f"`{check}`" in page.read_text(encoding="utf-8")


def test_history_and_opinions():
    """As `aggregate` has them."""
    history = {"worker": ["ann", "bob", "cyd"], "accuracy": [0.9, 0.8, 0.6], "strength": [50] * 3}
    probs = {
        "task": list("1234"),
        "prob_cat": [0.9, 0.8, 0.2, 0.1],
        "prob_dog": [0.1, 0.2, 0.8, 0.9],
    }
    fitted = CrowdClassifier("gtx").fit(LONG, KNOWN, history=history, opinions={"net": probs})
    crowd = Crowd.from_frames(LONG, KNOWN)
    expected = aggregate(crowd, "gtx", history=history, opinions={"net": probs})
    pd.testing.assert_frame_equal(fitted.predict_proba(), expected.probs)
    new = [{"task": "9", "worker": worker, "label": "dog"} for worker in ("ann", "bob")]
    opinion = {"net": {"task": ["9"], "prob_cat": [0.99], "prob_dog": [0.01]}}
    without, with_it = (fitted.predict_proba(new, opinions=of) for of in (None, opinion))
    assert with_it.loc["9", "cat"] >= without.loc["9", "cat"]


def test_before_it_is_fitted():
    for call in ("predict", "predict_proba"):
        with pytest.raises(InputError, match="nothing is fitted yet"):
            getattr(CrowdClassifier(), call)()
