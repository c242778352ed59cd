r"""The contract of a labeler model: a prior of parameters, and what a label says given these.

A model is one file. It says how the labelers of one cohort err,

.. math::
    \theta \sim \text{parameters}, \qquad
    Z_i \mid Y_i = y, \theta \sim \text{log\_latent}, \qquad
    y_i^j \mid Z_i = z, \theta \sim \text{log\_prob},

where the latent state :math:`Z_i` of an example is its class :math:`Y_i`, or its class and
something else that nobody names. Class posteriors, simulated labels, maximum a posteriori fits,
draws, confusion matrices, cross-validation, predictive checks, states and streams follow from it.
"""

import abc
import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from gtx_bayes.errors import InputError
from gtx_bayes.evidence import ClassPrior
from gtx_bayes.labels import MISSING, Assessment, Labels
from gtx_bayes.models.labelers import AbstractLabelers

Params = dict[str, Any]
"""Parameters of a cohort by name."""


class AbstractLabelerModel(abc.ABC):
    """How labelers of one kind err: a frozen dataclass whose fields are options.

    A subclass is final and writes `parameters` and `log_prob`. Fields are numbers, texts or
    tuples of them: a model is a constant to the compiler.

    Attributes:
        name: what `--model` takes.
        description: one line, for the command line and the report.
        words: a sentence for the report; the description when empty.
        covariates: names of the covariates that `log_prob` reads from the labels.
        tells_labelers_apart: whether it says nothing of answers of which nobody knows who gave
            which, as one that compares labelers with each other.
        has_tables: whether a table of K x K is made for each labeler, for draws or reports.
        explains_dependence: whether it says why labelers err together, so that little dependence
            is expected beside it.
    """

    name: ClassVar[str]
    description: ClassVar[str] = ""
    words: ClassVar[str] = ""
    covariates: ClassVar[tuple[str, ...]] = ()
    has_tables: ClassVar[bool] = True
    tells_labelers_apart: ClassVar[bool] = False
    explains_dependence: ClassVar[bool] = False

    @abc.abstractmethod
    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """The prior: NumPyro sites, those of single labelers under `plate("labeler", ...)`.

        All are continuous, and on scales of order one: what the labels leave unknown of a
        parameter is taken for at most three units of its unconstrained scale. A cohort's spread
        is best written as an offset times a scale (`distributions.pooled_log_odds`): at the joint
        mode of labelers and the scale of a prior around them the scale would collapse.

        Returns:
            What `log_prob` takes, made of the sites' values.
        """

    @abc.abstractmethod
    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """Log-probability of every label given each latent state of its example, in nats.

        Args:
            params: what `parameters` returns.
            labels: the labels, in any order, with their covariates; entries that are `MISSING`
                or no label that the model can give may get any finite value.
        """

    def num_subclasses(self, num_classes: int) -> int:
        """M, how many latent states a class has: state c is of class c // M."""
        return 1

    def log_latent(
        self, params: Params, num_classes: int
    ) -> Float[Array, "num_classes num_subclasses"]:
        """Log-probability of each latent state given its class; zero where there is one."""
        return jnp.zeros((num_classes, self.num_subclasses(num_classes)))

    def num_answers(self, num_classes: int) -> int:
        """What a label may be: the classes first, then answers that are no class."""
        return num_classes

    @property
    def title(self) -> str:
        """Its name, with what tells it from others of the name."""
        return self.name

    def notes(self, labeler_names: Sequence[object], weight: float) -> tuple[str, ...]:
        """What to know of a crowd under this model, where its options name labelers.

        Args:
            labeler_names: of every labeler.
            weight: posterior weight of the model.
        """
        return ()

    def at(self, params: Params, num_labelers: int, num_classes: int) -> AbstractLabelers:
        """Labelers with known parameters, without covariates."""
        none = jax.device_put(np.zeros(0, np.int32))
        empty = Labels(none, none, none, 0, num_labelers, num_classes)
        return self.labelers(params, reference_labels(empty))

    def labelers(self, params: Params, reference: Labels) -> AbstractLabelers:
        """The labelers of these parameters; `reference` as in `ModelLabelers`."""
        return ModelLabelers(params, reference, self)

    def for_labels(self, labels: Labels) -> "AbstractLabelerModel":
        """The model for a table, which a fit asks for once: with options that follow from it.

        Raises:
            InputError: unless the labels have the covariates that the model needs.
        """
        self.check_covariates(covariates_of(labels))
        return self

    def check_covariates(self, there: Collection[str]) -> None:
        """Raise `InputError` unless all that the model needs are among these names."""
        missing = [name for name in self.covariates if name not in there]
        if missing:
            raise InputError(
                f"the model {self.name} needs the covariate '{missing[0]}'.",
                hint="Name the column of the table that holds it as a covariate.",
            )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ModelLabelers(AbstractLabelers):
    """Labelers of any model at known parameters.

    Attributes:
        params: what the model's `parameters` returns.
        reference: one entry per labeler, with the covariates that its confusion matrix is for.
        model: the model.
    """

    params: Params
    reference: Labels
    model: AbstractLabelerModel = dataclasses.field(metadata={"static": True})

    @property
    def num_labelers(self) -> int:
        """Number of labelers."""
        return self.reference.num_labelers

    def padded(self, num_labelers: int) -> "ModelLabelers":
        """These alone: which parameters are of labelers, the model knows."""
        return self

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return self.reference.num_classes

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
        """As the model has it; at the covariates of `reference` where labels come without."""
        at = self.reference
        of_labelers = {name: values[labels.labeler] for name, values in at.covariates.items()}
        of_examples = {
            name: jnp.broadcast_to(values.mean(), (labels.num_examples,))
            for name, values in at.example_covariates.items()
        }
        labels = dataclasses.replace(
            labels,
            num_classes=self.num_classes,
            covariates=of_labelers | labels.covariates,
            labeler_covariates=at.labeler_covariates | labels.labeler_covariates,
            example_covariates=of_examples | labels.example_covariates,
        )
        return self.model.log_prob(self.params, labels)


Counts = Float[Array, "num_labelers ..."]
"""Expected counts of every labeler; what they count depends on the model."""

LatentProbs = Float[Array, "num_examples num_latents"]
"""Probability of each latent state of each example."""


class AbstractCohortPrior(abc.ABC):
    """What is known of a cohort, fitted: a frozen pytree dataclass.

    Of a conjugate model the prior that its labelers share (`AbstractConjugatePrior`); of any other
    the posterior of its parameters (`inference.automatic`).

    Attributes:
        num_classes: K.
    """

    num_classes: int

    @property
    def num_subclasses(self) -> int:
        """M, how many subclasses a class has."""
        return 1

    @property
    def labeler_model(self) -> AbstractLabelerModel | None:
        """The labeler model, where it is not the registered one of its name."""
        return None

    @abc.abstractmethod
    def counts(self, labels: Labels, latent_probs: LatentProbs) -> Counts:
        """Expected counts of every labeler, given the latent states' probabilities."""

    @abc.abstractmethod
    def posterior_mean(self, counts: Counts) -> AbstractLabelers:
        """The labelers at their posterior means."""

    @abc.abstractmethod
    def sample(self, key: Key[Array, ""], counts: Counts) -> AbstractLabelers:
        """A draw of the labelers from their posterior given the counts."""

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, counts: Counts, num_draws: int) -> Iterator[Any]:
        """Draws of all that labelers share and are, on the host, as `drawn_evidence` takes them.

        On the host, because every compiled function with random numbers takes long to compile.
        """

    @abc.abstractmethod
    def drawn_evidence(
        self,
        drawn: Any,
        counts: Counts,
        labels: Labels,
        class_prior: ClassPrior,
        evidence: Float[Array, "num_examples num_classes"],
    ) -> Float[Array, "num_examples num_classes"]:
        """Log-probability of every example's labels at a draw.

        Args:
            drawn: one of `draw`.
            counts: expected counts of the labelers.
            labels: the labels.
            class_prior: prior of the classes.
            evidence: the same as the fit has it.
        """

    @abc.abstractmethod
    def accuracy_moments(
        self,
        by_rho: Float[np.ndarray, "num_labelers ..."],
        class_total: Float[np.ndarray, "num_nodes num_classes"],
        weights: Float[np.ndarray, " num_nodes"],
    ) -> tuple[Float[np.ndarray, " num_labelers"], Float[np.ndarray, " num_labelers"]]:
        """Posterior mean and variance of accuracies; true labels, cohort and rho are uncertain.

        Args:
            by_rho: expected counts of the labelers at some values of rho, which the last axis is.
            class_total: expected number of labelled examples of each class at these values.
            weights: of the values.
        """

    @abc.abstractmethod
    def log_evidence_bound(self, of_classes: Float[Array, ""], counts: Counts) -> float:
        """Lower bound on the log-probability of all labels, or an approximation to it, in nats.

        Args:
            of_classes: expected log-prior of the classes, plus the entropy of the latent states.
            counts: expected counts of the labelers.
        """

    def in_size(
        self, labels: Labels, assessment: Assessment, class_prior: ClassPrior | None
    ) -> tuple[Labels, Assessment, Float[Array, "..."] | None]:
        """Tables padded to the sizes that fits are compiled for."""
        return labels, assessment, class_prior

    def counts_in_size(self, counts: Counts) -> Float[Array, "padded_labelers ..."]:
        """Counts padded likewise."""
        return counts

    def first_labelers[L: AbstractLabelers](self, num_labelers: int, labelers: L) -> L:
        """The labelers without padding."""
        return labelers


def covariates_of(labels: Labels) -> set[str]:
    """Names of all covariates: of labels, of labelers and of examples."""
    return {*labels.covariates, *labels.labeler_covariates, *labels.example_covariates}


def reference_labels(labels: Labels) -> Labels:
    """One entry per labeler, about one example, each at the mean of its covariates.

    Covariates of labels are means over the labeler's own labels, or over all labels where it gave
    none; those of examples are means over all examples.
    """
    num_labelers = labels.num_labelers
    is_label = np.asarray(labels.label) != MISSING
    labeler = np.asarray(labels.labeler)[is_label]
    number = np.bincount(labeler, minlength=num_labelers)

    def of_labelers(values: Array) -> Array:
        kept = np.asarray(values)[is_label]
        total = np.bincount(labeler, kept, minlength=num_labelers)
        everybody = kept.mean() if kept.size else 0.0
        found = np.where(number > 0, total / np.maximum(number, 1), everybody)
        return jax.device_put(found.astype(kept.dtype))

    def of_examples(values: Array) -> Array:
        found = np.asarray(values)
        return jax.device_put(found.mean(keepdims=True) if found.size else np.zeros(1, found.dtype))

    def column(values: np.ndarray) -> Array:
        return jax.device_put(values.astype(np.int32))

    return Labels(
        column(np.zeros(num_labelers)),
        column(np.arange(num_labelers)),
        column(np.zeros(num_labelers)),
        1,
        num_labelers,
        labels.num_classes,
        covariates={name: of_labelers(values) for name, values in labels.covariates.items()},
        labeler_covariates=labels.labeler_covariates,
        example_covariates={
            name: of_examples(values) for name, values in labels.example_covariates.items()
        },
        num_answers=labels.num_answers,
    )
