"""Easy and hard examples: on the hard ones a crowd can be wrong together."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gtx_bayes.labelers.hard_examples import HardExamples
from gtx_bayes.labels import Labels
from gtx_bayes.models.base import Params
from gtx_bayes.models.conjugate import AbstractConjugateModel
from gtx_bayes.models.one_coin import log_prob_of_coin
from gtx_bayes.models.priors import HARD_SHARE, DifficultyPrior

_SHIFT_SCALE = 3.0  # of the half-normal prior of the shift, in log odds


@dataclasses.dataclass(frozen=True)
class DifficultyModel(AbstractConjugateModel):
    r"""One coin for easy examples, another for hard ones; nobody says which is which.

    .. math::
        h \sim \mathrm{Beta}(2, 18), \quad s \sim \mathrm{HalfNormal}(3), \quad
        \mathrm{logit} \, \beta_j = \mathrm{logit} \, \alpha_j - s

    with :math:`\alpha_j` of `OneCoinModel` for easy examples and :math:`\beta_j` for hard ones.

    Between two classes, n labelers of one accuracy :math:`\alpha` who agree leave odds of

    .. math::
        \frac{(1 - h) \, \alpha^n + h \, \beta^n}
        {(1 - h) \, (1 - \alpha)^n + h \, (1 - \beta)^n}

    that they are right. Where hard examples mislead as surely as easy ones inform,
    :math:`1 - \beta = \alpha`, confidence stops at 1 - h however many agree. It grows to one for
    a smaller shift, which the draws decide: averaged over them, confidence in agreeing labels
    tends to the posterior probability of :math:`s < 2 \, \mathrm{logit} \, \alpha`, and not to
    one. With more classes wrong labels to hard examples scatter, and agreement convinces all
    the same: a shared wrong label is nothing that this model knows.

    Between two even classes only gold tells misleading examples from uninformative ones: for
    labelers of one accuracy the labels are as probable under s as under
    :math:`2 \, \mathrm{logit} \, \alpha - s`.

    References:
        Whitehill et al. (2009), NIPS 22, where every example has a difficulty of its own and the
        crowd is never worse than chance.
    """

    name: ClassVar[str] = "difficulty"
    description: ClassVar[str] = "two accuracies per labeler, for easy and for hard examples"
    words: ClassVar[str] = (
        "Every labeler is right with a probability of their own, and a share of the examples is "
        "hard for everybody."
    )

    def cohort_prior(self, num_classes: int) -> DifficultyPrior:
        """Beta, for easy examples and for hard ones."""
        return DifficultyPrior.default(num_classes)

    def num_subclasses(self, num_classes: int) -> int:
        """Easy and hard."""
        return 2

    def parameters(self, num_labelers: int, num_classes: int) -> Params:
        """Log odds of a right label to easy and to hard examples, and the share of the hard."""
        import numpyro
        import numpyro.distributions as dist

        from gtx_bayes.models.distributions import LogitBeta, learn_cohort

        a, b = learn_cohort(num_classes)
        hard_share = numpyro.sample("hard_share", dist.Beta(*HARD_SHARE))
        shift = numpyro.sample("shift", dist.HalfNormal(_SHIFT_SCALE))
        with numpyro.plate("labeler", num_labelers):
            log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
        numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
        numpyro.deterministic("hard_accuracy", jax.nn.sigmoid(log_odds - shift))
        return {"easy": log_odds, "hard": log_odds - shift, "hard_share": hard_share}

    def log_latent(self, params: Params, num_classes: int) -> Float[Array, "num_classes two"]:
        """The same for all classes."""
        share = params["hard_share"]
        shares = jnp.stack([jnp.log1p(-share), jnp.log(share)])
        return jnp.broadcast_to(shares, (num_classes, 2))

    def log_prob(self, params: Params, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """Right or wrong, by one coin or the other."""
        both = [log_prob_of_coin(params[kind][:, None], labels) for kind in ("easy", "hard")]
        return jnp.stack(both, axis=2).reshape(labels.num_labels, -1)

    def labelers(self, params: Params, reference: Labels) -> HardExamples:
        """By their accuracies."""
        easy, hard = (jax.nn.sigmoid(params[kind]) for kind in ("easy", "hard"))
        return HardExamples(easy, hard, params["hard_share"], reference.num_classes)
