r"""The contract of a labeler model: a prior of parameters, and what a label says given these.

A model is one file. It says how the labelers of one cohort err,

.. math::
    \theta \sim \text{parameters}, \qquad
    y_i^j \mid Z_i = z, \theta \sim \text{log\_prob}, \qquad
    Z_i \mid Y_i = y, \theta \sim \text{log\_latent},

where the latent state :math:`Z_i` of an example is its class :math:`Y_i`, or its class and
something else that nobody names. Class posteriors, simulated labels, maximum a posteriori fits,
draws, confusion matrices, cross-validation, predictive checks, states and streams follow from it.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gtx_bayes.labelers.base import AbstractLabelers
from gtx_bayes.labels import Labels

Params = dict[str, Any]
"""Parameters of a cohort by name: arrays, those of labelers with a first axis for them."""


class AbstractLabelerModel(abc.ABC):
    """How labelers of one kind err: a frozen dataclass whose fields are options.

    A subclass is final and writes `parameters` and `log_prob`. Fields are numbers, texts or
    tuples of them: a model is a constant to the compiler.

    Attributes:
        name: what `--model` takes.
        description: one line, for the command line and the report.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""

    @abc.abstractmethod
    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """The prior: NumPyro sites, those of single labelers under `plate("labeler", ...)`.

        Returns:
            What `log_prob` takes, made of the sites' values.
        """

    @abc.abstractmethod
    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """Log-probability of every label given each latent state of its example, in nats.

        Args:
            params: what `parameters` returns.
            labels: the labels, in any order, with their covariates; entries that are `MISSING`
                may get any finite value.
        """

    def num_subclasses(self, num_classes: int) -> int:
        """How many latent states a class has: state c is of class c // M."""
        return 1

    def log_latent(
        self, params: Params, num_classes: int
    ) -> Float[Array, "num_classes num_subclasses"]:
        """Log-probability of each latent state given its class; zero where there is one."""
        return jnp.zeros((num_classes, self.num_subclasses(num_classes)))

    def num_answers(self, num_classes: int) -> int:
        """What a label may be: the classes first, then answers that are no class."""
        return num_classes

    def labelers(self, params: Params, num_labelers: int, num_classes: int) -> AbstractLabelers:
        """The labelers of these parameters."""
        return ModelLabelers(params, self, num_labelers, num_classes)

    def table_size(self, num_labelers: int, num_classes: int) -> int:
        """How many numbers the largest table of the labelers has; limits what is fitted unasked."""
        return num_labelers * num_classes


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ModelLabelers(AbstractLabelers):
    """Labelers of any model at known parameters.

    Attributes:
        params: what the model's `parameters` returns.
        model: the model.
        num_labelers: J.
        num_classes: K.
    """

    params: Params
    model: AbstractLabelerModel = dataclasses.field(metadata={"static": True})
    num_labelers: int = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})

    @property
    def num_answers(self) -> int:
        """As the model has it."""
        return self.model.num_answers(self.num_classes)

    @property
    def num_subclasses(self) -> int:
        """As the model has it."""
        return self.model.num_subclasses(self.num_classes)

    @property
    def log_subclass_probs(self) -> Float[Array, "num_classes num_subclasses"]:
        """As the model has it."""
        return self.model.log_latent(self.params, self.num_classes)

    def log_prob_of_labels(self, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """As the model has it."""
        return self.model.log_prob(self.params, labels)
