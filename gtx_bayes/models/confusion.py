"""A confusion matrix per labeler: the model of Dawid and Skene (1979)."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gtx_bayes.labels import Labels
from gtx_bayes.models.base import Params
from gtx_bayes.models.conjugate import (
    AbstractConjugateModel,
    AbstractConjugatePrior,
    AbstractRowsPrior,
    Cells,
)
from gtx_bayes.models.hyperprior import HyperPrior
from gtx_bayes.models.labelers import AbstractConfusionMatrices, check_probs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionMatrix(AbstractConfusionMatrices):
    r"""Labelers whose labels depend on the true class in any way at all.

    .. math:: P(\mathcal{L}(i) \mid Y_i = y) = \prod_{j \in \mathcal{J}(i)} \theta_{j, y, y_i^j}

    For two classes this is the two-coin model: a sensitivity and a specificity per labeler.

    Attributes:
        confusion: :math:`\theta_{jyl}`, the probability that labeler j gives label l to an example
            of class y, in [0, 1]; rows sum to one. Leading axes hold cohorts.
        num_classes: K.

    References:
        Dawid and Skene (1979), Applied Statistics 28; Kumar et al. (2024), sec. 6.
    """

    confusion: Float[Array, "*cohorts num_labelers num_classes num_classes"]
    num_classes: int = dataclasses.field(metadata={"static": True})

    def __post_init__(self) -> None:
        """Refuse what is no probability where arrays are at hand."""
        check_probs("confusion", self.confusion)

    @property
    def num_labelers(self) -> int:
        """Number of labelers."""
        return self.confusion.shape[0]

    @property
    def confusion_matrix(self) -> Float[Array, "*cohorts num_labelers num_classes num_classes"]:
        """As they are."""
        return self.confusion


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConfusionPrior(AbstractRowsPrior[ConfusionMatrix]):
    """Rows of confusion matrices: a cell for each label.

    Counts have shape (num_labelers, K, K + 2): by true class, then label, and the variances of
    the numbers of right and of wrong labels.
    """

    @staticmethod
    @functools.cache
    def cells(num_classes: int) -> Cells:
        """A row for each class, a cell for each label."""
        each = np.arange(num_classes)
        return Cells(each, right=each, wrong=np.tile(each, (num_classes, 1)))

    def labelers(
        self, rows: Float[Array, "num_labelers num_classes num_classes"]
    ) -> ConfusionMatrix:
        """Labelers of these confusion matrices."""
        return ConfusionMatrix(rows, self.num_classes)


@dataclasses.dataclass(frozen=True)
class ConfusionModel(AbstractConjugateModel):
    r"""Labelers whose labels depend on the class in any way, partially pooled.

    .. math::
        m_y \sim \mathrm{Dirichlet}(8 c_y), \quad \log \kappa \sim \mathrm{Normal}, \quad
        \theta_{jy} \sim \mathrm{Dirichlet}(\kappa m_y)

    with :math:`c_y` half-way from chance to perfection, as in `better_than_chance`, and the
    `HyperPrior` for :math:`\log \kappa`. Sampled are the log odds of each wrong label against
    the right one: the probabilities of labelers who hardly err would run into 1.

    References:
        Dawid and Skene (1979), Applied Statistics 28; Paun et al. (2018), TACL 6, for the pooling.
    """

    name: ClassVar[str] = "confusion"
    description: ClassVar[str] = "a confusion matrix per labeler"
    words: ClassVar[str] = (
        "Every labeler takes each class for each other with a probability of their own, so that "
        "habits such as favouring one answer are seen through."
    )

    def cohort_prior(self, num_classes: int) -> AbstractConjugatePrior:
        """Dirichlet, row by row."""
        return ConfusionPrior.default(num_classes)

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log ratios of wrong labels to right ones."""
        import numpyro
        import numpyro.distributions as dist

        from gtx_bayes.models.distributions import (
            LogRatioDirichlet,
            better_than_chance_rows,
            in_class_order,
            learn_concentration,
            log_simplex,
            right_first,
        )

        classes = numpyro.plate("class", num_classes, dim=-1)
        with classes:
            mean = numpyro.sample("mean", dist.Dirichlet(better_than_chance_rows(num_classes)))
        concentration = learn_concentration(HyperPrior.for_classes(num_classes))
        with numpyro.plate("labeler", num_labelers, dim=-2), classes:
            log_ratios = numpyro.sample(
                "log_ratios", LogRatioDirichlet(concentration * right_first(mean))
            )
        log_confusion = in_class_order(log_simplex(log_ratios))
        numpyro.deterministic("confusion", jnp.exp(log_confusion))
        return {"log_confusion": log_confusion}

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Looked up."""
        label = jnp.clip(labels.label, 0, labels.num_classes - 1)
        return params["log_confusion"][labels.labeler, :, label]

    def labelers(self, params: Params, reference: Labels) -> ConfusionMatrix:
        """By their confusion matrices."""
        return ConfusionMatrix(jnp.exp(params["log_confusion"]), reference.num_classes)
