"""Labels of varying quality and a little gold in; honest class posteriors and intervals out.

Everything a user needs by name is here, and modules below it need no import of their own:
`import gtx_bayes` and then `gtx_bayes.metrics`. Names are imported on first use, so that a program
which only wants one of them, such as the command line, does not wait for all.
"""

import importlib

TYPE_CHECKING = False  # type checkers know the name; importing `typing` would take longer

if TYPE_CHECKING:
    from gtx_bayes import metrics as metrics
    from gtx_bayes.aggregation.aggregate import aggregate as aggregate
    from gtx_bayes.aggregation.base import AbstractMethod as AbstractMethod
    from gtx_bayes.aggregation.base import Fit as Fit
    from gtx_bayes.aggregation.dawid_skene import DawidSkene as DawidSkene
    from gtx_bayes.aggregation.gtx import ClassPosterior as ClassPosterior
    from gtx_bayes.aggregation.gtx import Gtx as Gtx
    from gtx_bayes.aggregation.joint_method import GtxBayes as GtxBayes
    from gtx_bayes.aggregation.majority_vote import MajorityVote as MajorityVote
    from gtx_bayes.aggregation.one_coin_em import OneCoinEM as OneCoinEM
    from gtx_bayes.aggregation.result import Aggregation as Aggregation
    from gtx_bayes.aggregation.soft_vote import SoftVote as SoftVote
    from gtx_bayes.aggregation.state import read_state as read_state
    from gtx_bayes.aggregation.state import write_state as write_state
    from gtx_bayes.aggregation.update import update as update
    from gtx_bayes.aggregation.weighted_majority_vote import (
        WeightedMajorityVote as WeightedMajorityVote,
    )
    from gtx_bayes.collection.base import AbstractPolicy as AbstractPolicy
    from gtx_bayes.collection.confidence_threshold import ConfidenceThreshold as ConfidenceThreshold
    from gtx_bayes.collection.fixed import Fixed as Fixed
    from gtx_bayes.collection.next_labels import next_labels as next_labels
    from gtx_bayes.collection.random_sampling import RandomSampling as RandomSampling
    from gtx_bayes.collection.uncertainty_sampling import UncertaintySampling as UncertaintySampling
    from gtx_bayes.crowd import Crowd as Crowd
    from gtx_bayes.devices import examples_mesh as examples_mesh
    from gtx_bayes.diagnostics.calibration import calibration as calibration
    from gtx_bayes.diagnostics.predictive import predictive_checks as predictive_checks
    from gtx_bayes.diagnostics.report.page import diagnose as diagnose
    from gtx_bayes.diagnostics.sbc import (
        simulation_based_calibration as simulation_based_calibration,
    )
    from gtx_bayes.errors import InputError as InputError
    from gtx_bayes.estimator import CrowdClassifier as CrowdClassifier
    from gtx_bayes.evaluation import evaluate as evaluate
    from gtx_bayes.io.readers import read_crowd as read_crowd
    from gtx_bayes.labels import MISSING as MISSING
    from gtx_bayes.labels import Assessment as Assessment
    from gtx_bayes.labels import Labels as Labels
    from gtx_bayes.losses import decide as decide
    from gtx_bayes.models.base import AbstractLabelerModel as AbstractLabelerModel
    from gtx_bayes.models.class_conditional import ClassConditional as ClassConditional
    from gtx_bayes.models.confusion import ConfusionMatrix as ConfusionMatrix
    from gtx_bayes.models.difficulty import HardExamples as HardExamples
    from gtx_bayes.models.one_coin import OneCoin as OneCoin
    from gtx_bayes.panels.estimate import estimate as estimate
    from gtx_bayes.posterior import batch_class_posterior as batch_class_posterior
    from gtx_bayes.posterior import class_posterior as class_posterior
    from gtx_bayes.registry import METHODS as METHODS
    from gtx_bayes.registry import MODELS as MODELS
    from gtx_bayes.registry import POLICIES as POLICIES
    from gtx_bayes.registry import register as register
    from gtx_bayes.simulation import simulate as simulate
    from gtx_bayes.simulation import simulate_crowd as simulate_crowd
    from gtx_bayes.simulation import simulate_queue as simulate_queue

_HOME = {
    "AbstractLabelerModel": "models.base",
    "AbstractMethod": "aggregation.base",
    "AbstractPolicy": "collection.base",
    "Aggregation": "aggregation.result",
    "Assessment": "labels",
    "ClassConditional": "models.class_conditional",
    "ClassPosterior": "aggregation.gtx",
    "ConfidenceThreshold": "collection.confidence_threshold",
    "ConfusionMatrix": "models.confusion",
    "Crowd": "crowd",
    "CrowdClassifier": "estimator",
    "DawidSkene": "aggregation.dawid_skene",
    "Fit": "aggregation.base",
    "Fixed": "collection.fixed",
    "Gtx": "aggregation.gtx",
    "GtxBayes": "aggregation.joint_method",
    "HardExamples": "models.difficulty",
    "InputError": "errors",
    "Labels": "labels",
    "METHODS": "registry",
    "MISSING": "labels",
    "MODELS": "registry",
    "MajorityVote": "aggregation.majority_vote",
    "OneCoin": "models.one_coin",
    "OneCoinEM": "aggregation.one_coin_em",
    "POLICIES": "registry",
    "RandomSampling": "collection.random_sampling",
    "SoftVote": "aggregation.soft_vote",
    "UncertaintySampling": "collection.uncertainty_sampling",
    "WeightedMajorityVote": "aggregation.weighted_majority_vote",
    "aggregate": "aggregation.aggregate",
    "batch_class_posterior": "posterior",
    "calibration": "diagnostics.calibration",
    "class_posterior": "posterior",
    "decide": "losses",
    "diagnose": "diagnostics.report.page",
    "estimate": "panels.estimate",
    "evaluate": "evaluation",
    "examples_mesh": "devices",
    "update": "aggregation.update",
    "next_labels": "collection.next_labels",
    "predictive_checks": "diagnostics.predictive",
    "read_crowd": "io.readers",
    "read_state": "aggregation.state",
    "register": "registry",
    "simulate": "simulation",
    "simulate_crowd": "simulation",
    "simulate_queue": "simulation",
    "simulation_based_calibration": "diagnostics.sbc",
    "write_state": "aggregation.state",
}

__all__ = ["__version__", "metrics", *_HOME]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"gtx_bayes.{_HOME[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("gtx_bayes")
    if name.startswith("_"):
        raise AttributeError(f"module 'gtx_bayes' has no attribute {name!r}")
    try:
        return importlib.import_module(f"gtx_bayes.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"gtx_bayes.{name}":
            raise  # a module of ours that lacks a library
        raise AttributeError(f"module 'gtx_bayes' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted(__all__)
