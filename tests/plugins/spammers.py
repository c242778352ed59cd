"""Some labelers read the question, others answer by habit, whatever it is."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from gtx_bayes.models.base import AbstractLabelerModel


@dataclasses.dataclass(frozen=True)
class Spammers(AbstractLabelerModel):
    """With probability e a labeler tries and is right with probability a, else answers by habit.

    Attributes:
        least: how many labels of habit a labeler is taken to have given before, of each class.
    """

    name: ClassVar[str] = "spammers"
    description: ClassVar[str] = "labelers who try, or answer by habit"

    least: float = 1.0

    def parameters(self, num_labelers, num_classes):
        """Effort, accuracy and habits."""
        accuracy = numpyro.sample("accuracy", dist.Beta(8.0, 2.0))
        with numpyro.plate("labeler", num_labelers):
            effort = numpyro.sample("effort", dist.Beta(4.0, 2.0))
            habit = numpyro.sample("habit", dist.Dirichlet(self.least * jnp.ones(num_classes)))
        return {"accuracy": accuracy, "effort": effort, "habit": habit}

    def log_prob(self, params, labels):
        """Mixed."""
        is_right = labels.label[:, None] == jnp.arange(labels.num_classes)
        wrong = (1.0 - params["accuracy"]) / (labels.num_classes - 1)
        tried = jnp.where(is_right, params["accuracy"], wrong)
        label = jnp.clip(labels.label, 0, labels.num_classes - 1)
        effort = params["effort"][labels.labeler]
        by_habit = (1.0 - effort) * params["habit"][labels.labeler, label]
        return jnp.log(effort[:, None] * tried + by_habit[:, None])
