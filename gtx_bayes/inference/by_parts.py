"""The joint fit by parts: on many devices, and of tables too large for sums of floats."""

from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from gtx_bayes.devices import Dealt, deal, on_parts
from gtx_bayes.inference import variational
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.conjugate import AbstractConjugatePrior
from gtx_bayes.posterior import ClassPrior
from gtx_bayes.sums import AbstractSums


class DealtCrowd(NamedTuple):
    """A crowd's answers and what is known of its examples, dealt out to the devices of a mesh.

    Attributes:
        dealt: the answers.
        true_label: the gold, by part; None where nobody asks for it.
        class_prior: prior of each class; None where there is one for each example, or none.
        own_prior: prior of each class of each example, by part; else None.
        rows: see `variational.rows_from_gold`.
    """

    dealt: Dealt
    true_label: Int[Array, "num_parts num_rows"] | None
    class_prior: Float[Array, " num_classes"] | None
    own_prior: Float[Array, "num_parts num_rows num_classes"] | None
    rows: variational.Rows | None


def deal_crowd(
    labels: Labels, assessment: Assessment | None, class_prior: ClassPrior | None, mesh: Mesh
) -> DealtCrowd:
    """Deal out a crowd."""
    dealt = deal(labels, mesh)
    true_label = rows = own_prior = None
    if assessment is not None:
        true_label = dealt.spread(assessment.true_label, MISSING)
        rows = variational.rows_from_gold(labels, assessment)
    if class_prior is not None and class_prior.ndim == 2:
        own_prior, class_prior = dealt.spread(class_prior, 1.0 / labels.num_classes), None
    return DealtCrowd(dealt, true_label, class_prior, own_prior, rows)


def fit(
    crowd: DealtCrowd,
    prior: AbstractConjugatePrior,
    *,
    max_steps: int = variational.MAX_STEPS,
    tolerance: float = variational.TOLERANCE,
) -> VariationalFit:
    """`variational.fit` of a crowd that is dealt out; the result in the order of its examples.

    Every device steps through its own examples. What they add up to for the labelers and the
    classes goes to all devices after each step, and each renews the cohort's prior for itself.

    Args:
        crowd: answers, gold and prior of the classes.
        prior: prior of the labelers; its parameters are where their learning starts.
        max_steps: the most passes over the answers.
        tolerance: stop when no probability changes by more.
    """
    learns = crowd.class_prior is None and crowd.own_prior is None
    num_classes = crowd.dealt.parts.labels.num_classes
    class_prior = variational.even(num_classes) if learns else crowd.class_prior

    def fit_from(rows: variational.Rows | None) -> VariationalFit:
        own = prior if rows is None else prior.trusting_gold()
        shared = (own, class_prior, learns, max_steps, tolerance, rows)
        by_part, of_all = on_parts(_fit, crowd.dealt, shared, (crowd.true_label, crowd.own_prior))
        of_examples: dict[str, Any] = {
            name: crowd.dealt.collect(values) for name, values in by_part.items()
        }
        # Every device has these; left there, all that follows would run on all of them.
        of_all = jax.tree.map(lambda values: jax.device_put(np.asarray(values)), of_all)
        return variational.on_host(VariationalFit(**of_examples, **of_all))

    return variational.best_start(fit_from, crowd.rows)[0]


def _fit(
    labels: Labels, sums: AbstractSums, shared: PyTree, of_examples: PyTree
) -> tuple[dict[str, Array], dict[str, Any]]:
    prior, class_prior, learns, max_steps, tolerance, rows = shared
    true_label, own_prior = of_examples
    found = variational.settle(
        labels,
        Assessment(true_label, labels.num_classes),
        prior,
        class_prior if own_prior is None else own_prior,
        learns,
        max_steps,
        tolerance,
        rows,
        sums,
    )._asdict()
    names = ["class_probs", "kind_probs", "evidence"]
    if own_prior is not None:
        names += ["class_prior", "proportions"]
    return {name: found.pop(name) for name in names}, found
