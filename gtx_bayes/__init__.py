"""Labels of varying quality and a little gold in; honest class posteriors and intervals out.

Everything a user needs by name is here. Names are imported on first use, so that a program which
only wants one of them, such as the command line, does not wait for all.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gtx_bayes.aggregation.aggregate import Aggregation as Aggregation
    from gtx_bayes.aggregation.aggregate import aggregate as aggregate
    from gtx_bayes.aggregation.dawid_skene import DawidSkene as DawidSkene
    from gtx_bayes.aggregation.grow import grow as grow
    from gtx_bayes.aggregation.gtx import ClassPosterior as ClassPosterior
    from gtx_bayes.aggregation.gtx import Gtx as Gtx
    from gtx_bayes.aggregation.joint_method import GtxBayes as GtxBayes
    from gtx_bayes.aggregation.majority_vote import MajorityVote as MajorityVote
    from gtx_bayes.aggregation.one_coin_em import OneCoinEM as OneCoinEM
    from gtx_bayes.aggregation.soft_vote import SoftVote as SoftVote
    from gtx_bayes.aggregation.state import read_state as read_state
    from gtx_bayes.aggregation.state import write_state as write_state
    from gtx_bayes.aggregation.weighted_majority_vote import (
        WeightedMajorityVote as WeightedMajorityVote,
    )
    from gtx_bayes.collection.next_labels import next_labels as next_labels
    from gtx_bayes.crowd import Crowd as Crowd
    from gtx_bayes.decisions import confidence as confidence
    from gtx_bayes.decisions import hard_label as hard_label
    from gtx_bayes.decisions import uncertainty as uncertainty
    from gtx_bayes.devices import examples_mesh as examples_mesh
    from gtx_bayes.errors import InputError as InputError
    from gtx_bayes.evaluation import evaluate as evaluate
    from gtx_bayes.evaluation import match_truth as match_truth
    from gtx_bayes.inference.beta import BetaPosterior as BetaPosterior
    from gtx_bayes.inference.beta import CohortPrior as CohortPrior
    from gtx_bayes.inference.gold_counts import gold_counts as gold_counts
    from gtx_bayes.inference.plug_in import accuracy_mle as accuracy_mle
    from gtx_bayes.io.readers import read_crowd as read_crowd
    from gtx_bayes.labelers.one_coin import OneCoin as OneCoin
    from gtx_bayes.labels import MISSING as MISSING
    from gtx_bayes.labels import Assessment as Assessment
    from gtx_bayes.labels import Labels as Labels
    from gtx_bayes.posterior import batch_class_posterior as batch_class_posterior
    from gtx_bayes.posterior import batch_log_evidence as batch_log_evidence
    from gtx_bayes.posterior import batch_log_odds as batch_log_odds
    from gtx_bayes.posterior import class_posterior as class_posterior
    from gtx_bayes.posterior import gather_evidence as gather_evidence
    from gtx_bayes.posterior import no_evidence as no_evidence
    from gtx_bayes.posterior import update as update
    from gtx_bayes.registry import METHODS as METHODS
    from gtx_bayes.registry import register as register
    from gtx_bayes.simulation import simulate_crowd as simulate_crowd
    from gtx_bayes.simulation import simulate_queue as simulate_queue

_HOME = {
    "Aggregation": "aggregation.aggregate",
    "Assessment": "labels",
    "BetaPosterior": "inference.beta",
    "ClassPosterior": "aggregation.gtx",
    "CohortPrior": "inference.beta",
    "Crowd": "crowd",
    "DawidSkene": "aggregation.dawid_skene",
    "Gtx": "aggregation.gtx",
    "GtxBayes": "aggregation.joint_method",
    "InputError": "errors",
    "Labels": "labels",
    "METHODS": "registry",
    "MISSING": "labels",
    "MajorityVote": "aggregation.majority_vote",
    "OneCoin": "labelers.one_coin",
    "OneCoinEM": "aggregation.one_coin_em",
    "SoftVote": "aggregation.soft_vote",
    "WeightedMajorityVote": "aggregation.weighted_majority_vote",
    "accuracy_mle": "inference.plug_in",
    "aggregate": "aggregation.aggregate",
    "batch_class_posterior": "posterior",
    "batch_log_evidence": "posterior",
    "batch_log_odds": "posterior",
    "class_posterior": "posterior",
    "confidence": "decisions",
    "evaluate": "evaluation",
    "examples_mesh": "devices",
    "gather_evidence": "posterior",
    "gold_counts": "inference.gold_counts",
    "grow": "aggregation.grow",
    "hard_label": "decisions",
    "match_truth": "evaluation",
    "next_labels": "collection.next_labels",
    "no_evidence": "posterior",
    "read_crowd": "io.readers",
    "read_state": "aggregation.state",
    "register": "registry",
    "simulate_crowd": "simulation",
    "simulate_queue": "simulation",
    "uncertainty": "decisions",
    "update": "posterior",
    "write_state": "aggregation.state",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gtx_bayes' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gtx_bayes.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
