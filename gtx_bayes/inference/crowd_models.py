r"""A crowd's answers as NumPyro models, the unknown classes summed out exactly.

.. math::
    P(\mathcal{L} \mid \theta, \pi) = \prod_i \sum_y \pi_y \, P(\mathcal{L}(i) \mid Y_i = y, \theta)

The log-likelihood of an example's answers under each class is a plain function of the parameters
(`one_coin_log_prob` and its like): a sum over the answers in long form, nothing of size N times J.
The models put a prior around it. Gold examples contribute the term of their known class only.

Each model takes the answers, the gold and the prior of the classes, learnt under a flat Dirichlet
prior (site "class_prior") when absent. It returns the logarithm of
:math:`\pi_y P(\mathcal{L}(i) \mid Y_i = y, \theta)`, which samplers ignore and
`mean_class_posterior` reads. The factor "answers" holds one log-likelihood per example, times
`scale`: N / B if the answers are those of B examples drawn from N. A model of your own ends with
`observe`, which does all that.

Without gold the classes can swap names. With labelers at least as good as chance these swaps are
improbable, but a chain that starts in one may stay: start at the prior's mean,
`NUTS(model, init_strategy=init_to_mean)`, or give some gold.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float, Key, ScalarLike, Shaped
from numpyro import handlers
from numpyro.distributions import constraints

from gtx_bayes.inference.beta import CohortPrior, HyperPrior
from gtx_bayes.inference.models import LogitBeta
from gtx_bayes.inference.priors import HARD_SHARE, ConfusionPrior
from gtx_bayes.labels import MISSING, Assessment, Labels

CrowdModel = Callable[..., Float[Array, "num_examples num_classes"]]
"""A model of `labels` and `assessment`, and what else it takes by keyword."""

_SHIFT_SCALE = 3.0  # of the half-normal prior of the shift, in log odds


class LogRatioDirichlet(dist.Distribution):  # type: ignore[misc]
    r"""Log-ratios of a Dirichlet vector's entries to its first: `LogitBeta` for more than two.

    .. math::
        x_d = \log \frac{\theta_d}{\theta_0}, \qquad
        p(x) = \frac{1}{B(a)} \prod_{d=0}^{K-1} \theta_d^{a_d}

    Args:
        concentration: parameters :math:`a_0, \ldots, a_{K-1}` on the last axis, positive.
    """

    arg_constraints = {  # noqa: RUF012
        "concentration": constraints.independent(constraints.positive, 1)
    }
    support = constraints.real_vector
    reparametrized_params: list[str] = []  # noqa: RUF012

    def __init__(self, concentration: Any, *, validate_args: bool | None = None) -> None:
        self.concentration = jnp.asarray(concentration)
        *batch, size = self.concentration.shape
        super().__init__(tuple(batch), (size - 1,), validate_args=validate_args)

    @property
    def mean(self) -> Float[Array, "..."]:
        """Differences of digamma functions."""
        digammas = digamma(self.concentration)
        return digammas[..., 1:] - digammas[..., :1]

    def sample(
        self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()
    ) -> Float[Array, "..."]:
        """Differences of the logarithms of Gamma draws."""
        log_gamma = jax.random.loggamma(
            key, self.concentration, (*sample_shape, *self.concentration.shape)
        )
        return log_gamma[..., 1:] - log_gamma[..., :1]

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Log-density at log-ratios `value`."""
        log_beta = gammaln(self.concentration).sum(-1) - gammaln(self.concentration.sum(-1))
        return jnp.sum(self.concentration * log_simplex(value), axis=-1) - log_beta


def log_simplex(log_ratios: Float[Array, "*batch ratios"]) -> Float[Array, "*batch classes"]:
    """Logarithms of the probabilities, the first of which is the ratios' denominator."""
    first = jnp.zeros_like(log_ratios[..., :1])
    return jax.nn.log_softmax(jnp.concatenate([first, log_ratios], axis=-1), axis=-1)


@jax.jit
def one_coin_log_prob(
    labels: Labels, log_odds: Float[Array, " num_labelers"]
) -> Float[Array, "num_examples num_classes"]:
    r"""Log-likelihood of every example's answers under each class, one accuracy per labeler.

    .. math::
        \log P(\mathcal{L}(i) \mid Y_i = y) = \sum_{j \in \mathcal{J}(i)}
        I[y_i^j = y] \log \alpha_j + I[y_i^j \neq y] \log \frac{1 - \alpha_j}{K - 1}

    Args:
        labels: the answers; `MISSING` ones carry no evidence.
        log_odds: of a right answer, :math:`\log \alpha_j - \log(1 - \alpha_j)`.

    References:
        Kumar et al. (2024), Eq. 1.
    """
    others = jnp.log(labels.num_classes - 1.0)
    wrong = (jax.nn.log_sigmoid(-log_odds) - others)[labels.labeler]
    right_or_wrong = (log_odds + others)[labels.labeler]
    return _sum_by_example(labels, wrong[:, None]) + _sum_by_answer(labels, right_or_wrong)


@jax.jit
def class_conditional_log_prob(
    labels: Labels, log_odds: Float[Array, "num_labelers num_classes"]
) -> Float[Array, "num_examples num_classes"]:
    r"""The same with an accuracy :math:`\alpha_{jy}` for each true class.

    References:
        Kumar et al. (2024), sec. 6.
    """
    others = jnp.log(labels.num_classes - 1.0)
    wrong = (jax.nn.log_sigmoid(-log_odds) - others)[labels.labeler]
    right_or_wrong = (log_odds + others)[labels.labeler, jnp.maximum(labels.label, 0)]
    return _sum_by_example(labels, wrong) + _sum_by_answer(labels, right_or_wrong)


@jax.jit
def confusion_log_prob(
    labels: Labels, log_confusion: Float[Array, "num_labelers num_classes num_classes"]
) -> Float[Array, "num_examples num_classes"]:
    r"""The same with confusion matrices.

    .. math::
        \log P(\mathcal{L}(i) \mid Y_i = y) = \sum_{j \in \mathcal{J}(i)} \log \theta_{j, y, y_i^j}

    Args:
        labels: the answers.
        log_confusion: logarithms of :math:`\theta_{jyl}`: labeler, true class, answer.

    References:
        Dawid and Skene (1979), Applied Statistics 28.
    """
    of_answer = log_confusion[labels.labeler, :, jnp.maximum(labels.label, 0)]
    return _sum_by_example(labels, of_answer)


@jax.jit
def difficulty_log_prob(
    labels: Labels,
    log_odds: Float[Array, " num_labelers"],
    shift: Float[Array, ""],
    hard_share: Float[Array, ""],
) -> Float[Array, "num_examples num_classes"]:
    r"""The same where a share of the examples is hard for everybody, hardness summed out.

    .. math::
        P(\mathcal{L}(i) \mid Y_i = y) = (1 - h) \, P_\alpha(\mathcal{L}(i) \mid Y_i = y) +
        h \, P_\beta(\mathcal{L}(i) \mid Y_i = y)

    Args:
        labels: the answers.
        log_odds: of a right answer :math:`\alpha_j` to an easy example.
        shift: by how much those of :math:`\beta_j`, to a hard example, are lower.
        hard_share: h, in (0, 1).
    """
    easy = jnp.log1p(-hard_share) + one_coin_log_prob(labels, log_odds)
    hard = jnp.log(hard_share) + one_coin_log_prob(labels, log_odds - shift)
    return jnp.logaddexp(easy, hard)


def one_coin(
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    *,
    cohort: CohortPrior | None = None,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    r"""One accuracy per labeler, partially pooled.

    .. math::
        m \sim \mathrm{Beta}, \quad \log \kappa \sim \mathrm{Normal}, \quad
        \alpha_j \sim \mathrm{Beta}(m \kappa, (1 - m) \kappa)

    with the `HyperPrior` for m and :math:`\log \kappa`, unless they are given.

    Args:
        labels: the answers.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent.
        cohort: the prior of the accuracies; learnt when absent.
        scale: what each example counts.
    """
    a, b = _learn_cohort(labels.num_classes) if cohort is None else (cohort.a, cohort.b)
    with numpyro.plate("labeler", labels.num_labelers):
        log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
    numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
    return observe(one_coin_log_prob(labels, log_odds), assessment, class_prior, scale)


def class_conditional(
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    *,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    r"""An accuracy per labeler and true class, partially pooled by class; two coins for two.

    .. math::
        m_y \sim \mathrm{Beta}, \quad \log \kappa_y \sim \mathrm{Normal}, \quad
        \alpha_{jy} \sim \mathrm{Beta}(m_y \kappa_y, (1 - m_y) \kappa_y)

    Wrong answers are uniform over the other classes.

    Args:
        labels: the answers.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent.
        scale: what each example counts.

    References:
        Kumar et al. (2024), sec. 6; Raykar et al. (2010), JMLR 11, for two classes.
    """
    classes = numpyro.plate("class", labels.num_classes, dim=-1)
    with classes:
        a, b = _learn_cohort(labels.num_classes)
    with numpyro.plate("labeler", labels.num_labelers, dim=-2), classes:
        log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
    numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
    return observe(class_conditional_log_prob(labels, log_odds), assessment, class_prior, scale)


def confusion(
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    *,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    r"""A confusion matrix per labeler, partially pooled.

    .. math::
        m_y \sim \mathrm{Dirichlet}(8 c_y), \quad \log \kappa \sim \mathrm{Normal}, \quad
        \theta_{jy} \sim \mathrm{Dirichlet}(\kappa m_y)

    with :math:`c_y` half-way from chance to perfection, as in `ConfusionPrior.default`, and the
    `HyperPrior` for :math:`\log \kappa`. Sampled are the log odds of each wrong answer against
    the right one: the probabilities of labelers who hardly err would run into 1.

    Args:
        labels: the answers.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent.
        scale: what each example counts.

    References:
        Dawid and Skene (1979), Applied Statistics 28; Paun et al. (2018), TACL 6, for the pooling.
    """
    hyper = HyperPrior.for_classes(labels.num_classes)
    classes = numpyro.plate("class", labels.num_classes, dim=-1)
    with classes:
        mean = numpyro.sample("mean", dist.Dirichlet(_better_than_chance(labels.num_classes)))
    log_concentration = numpyro.sample(
        "log_concentration", dist.Normal(hyper.log_concentration, hyper.log_concentration_sd)
    )
    concentration = numpyro.deterministic("concentration", jnp.exp(log_concentration))
    with numpyro.plate("labeler", labels.num_labelers, dim=-2), classes:
        log_ratios = numpyro.sample(
            "log_ratios", LogRatioDirichlet(concentration * _right_first(mean))
        )
    log_confusion = _in_order(log_simplex(log_ratios))
    numpyro.deterministic("confusion", jnp.exp(log_confusion))
    return observe(confusion_log_prob(labels, log_confusion), assessment, class_prior, scale)


def difficulty(
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    *,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    r"""Easy and hard examples; on the hard ones the crowd can be wrong together.

    .. math::
        h \sim \mathrm{Beta}(2, 18), \quad s \sim \mathrm{HalfNormal}(3), \quad
        \mathrm{logit} \, \beta_j = \mathrm{logit} \, \alpha_j - s

    with :math:`\alpha_j` of `one_coin` for easy examples and :math:`\beta_j` for hard ones.

    Between two classes, n labelers of one accuracy :math:`\alpha` who agree leave odds of

    .. math::
        \frac{(1 - h) \, \alpha^n + h \, \beta^n}
        {(1 - h) \, (1 - \alpha)^n + h \, (1 - \beta)^n}

    that they are right. Where hard examples mislead as surely as easy ones inform,
    :math:`1 - \beta = \alpha`, confidence stops at 1 - h however many agree. It grows to one for
    a smaller shift, which the draws decide: averaged over them, confidence in agreeing answers
    tends to the posterior probability of :math:`s < 2 \, \mathrm{logit} \, \alpha`, and not to
    one. With more classes wrong answers to hard examples scatter, and agreement convinces all
    the same: a shared wrong answer is nothing that this model knows.

    Between two even classes only gold tells misleading examples from uninformative ones: for
    labelers of one accuracy the answers are as probable under s as under
    :math:`2 \, \mathrm{logit} \, \alpha - s`.

    Args:
        labels: the answers.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent.
        scale: what each example counts.

    References:
        Whitehill et al. (2009), NIPS 22, where every example has a difficulty of its own and the
        crowd is never worse than chance.
    """
    a, b = _learn_cohort(labels.num_classes)
    hard_share = numpyro.sample("hard_share", dist.Beta(*HARD_SHARE))
    shift = numpyro.sample("shift", dist.HalfNormal(_SHIFT_SCALE))
    with numpyro.plate("labeler", labels.num_labelers):
        log_odds = numpyro.sample("log_odds", LogitBeta(a, b))
    numpyro.deterministic("accuracy", jax.nn.sigmoid(log_odds))
    numpyro.deterministic("hard_accuracy", jax.nn.sigmoid(log_odds - shift))
    log_prob = difficulty_log_prob(labels, log_odds, shift, hard_share)
    return observe(log_prob, assessment, class_prior, scale)


def communities(
    labels: Labels,
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    *,
    num_communities: int,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    r"""Labelers who confuse alike: confusion matrices mixed from those of a few communities.

    .. math::
        \Theta_{cy} \sim \mathrm{Dirichlet}(8 c_y), \quad
        v \sim \mathrm{Dirichlet}(1), \quad
        w_j \sim \mathrm{Dirichlet}(C v), \quad
        \theta_j = \sum_c w_{jc} \Theta_c

    with :math:`c_y` as in `confusion`. Membership is soft: a labeler may be between communities,
    and answers each example as a community drawn anew with probabilities :math:`w_j`. A labeler
    in one community for good would have to be summed out over all examples at once, together
    with their classes. Communities are exchangeable: compare `confusion` between chains, not
    `membership`.

    Args:
        labels: the answers.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent.
        num_communities: C.
        scale: what each example counts.

    References:
        Venanzi et al. (2014), WWW 23, with one community for each labeler, and labelers who
        deviate from it.
    """
    with (
        numpyro.plate("community", num_communities, dim=-2),
        numpyro.plate("class", labels.num_classes, dim=-1),
    ):
        log_ratios = numpyro.sample(
            "community_log_ratios",
            LogRatioDirichlet(_right_first(_better_than_chance(labels.num_classes))),
        )
    of_community = numpyro.deterministic(
        "community_confusion", jnp.exp(_in_order(log_simplex(log_ratios)))
    )
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(num_communities)))
    with numpyro.plate("labeler", labels.num_labelers):
        membership = numpyro.sample("membership", dist.Dirichlet(num_communities * weights))
    mixed = jnp.einsum("jc,cyl->jyl", membership, of_community)
    numpyro.deterministic("confusion", mixed)
    return observe(confusion_log_prob(labels, jnp.log(mixed)), assessment, class_prior, scale)


def observe(
    log_prob: Float[Array, "num_examples num_classes"],
    assessment: Assessment,
    class_prior: Float[Array, " num_classes"] | None = None,
    scale: ScalarLike = 1.0,
) -> Float[Array, "num_examples num_classes"]:
    r"""The end of every crowd model: the classes summed out into the factor "answers".

    .. math::
        \log \sum_y \pi_y \, P(\mathcal{L}(i) \mid Y_i = y, \theta)

    for every example i, the term of the known class alone where it is gold.

    Args:
        log_prob: log-likelihood of every example's answers under each class.
        assessment: the gold.
        class_prior: probability of each class; learnt when absent, as site "class_prior".
        scale: what each example counts.

    Returns:
        The terms of the sums, in logarithms; what the model returns.
    """
    if class_prior is None:
        class_prior = numpyro.sample(
            "class_prior", dist.Dirichlet(jnp.ones(assessment.num_classes))
        )
    known = assessment.true_label[:, None]
    possible = (known == MISSING) | (known == jnp.arange(assessment.num_classes))
    joint = jnp.where(possible, jnp.log(class_prior) + log_prob, -jnp.inf)
    numpyro.factor("answers", scale * jax.nn.logsumexp(joint, axis=1))
    return joint


def mean_class_posterior(
    model: CrowdModel,
    labels: Labels,
    assessment: Assessment,
    posterior: Mapping[str, Shaped[Any, "num_chains num_draws *shape"]],
) -> Float[Array, "num_examples num_classes"]:
    r"""Class posterior of every example, the parameters integrated out.

    .. math::
        P(Y_i = y \mid \mathcal{L}) \approx \frac{1}{S} \sum_s
        P(Y_i = y \mid \mathcal{L}(i), \theta_s, \pi_s)

    Exact given each draw, so that rare classes need no luck. Memory does not grow with the draws.

    Args:
        model: what was fitted, with what it was given besides answers and gold bound by
            `functools.partial`.
        labels: the answers to judge, of the same labelers; they may be others than those fitted.
        assessment: the gold; one at its known class.
        posterior: draws of every sample site, as in `Draws.posterior`.
    """
    draws = {
        name: jnp.asarray(site).reshape(-1, *site.shape[2:]) for name, site in posterior.items()
    }
    num_draws = next(iter(draws.values())).shape[0]

    def add(
        total: Float[Array, "num_examples num_classes"], draw: dict[str, Array]
    ) -> tuple[Float[Array, "num_examples num_classes"], None]:
        joint = handlers.substitute(model, draw)(labels, assessment)
        return total + jax.nn.softmax(joint, axis=1), None

    none = jnp.zeros((labels.num_examples, labels.num_classes))
    return jax.lax.scan(add, none, draws)[0] / num_draws


CROWD_MODELS: dict[str, CrowdModel] = {
    "one-coin": one_coin,
    "class-conditional": class_conditional,
    "confusion": confusion,
    "difficulty": difficulty,
}
"""The NumPyro model behind every name in `priors.PRIORS`."""


def _learn_cohort(num_classes: int) -> tuple[Float[Array, "*classes"], Float[Array, "*classes"]]:
    """Both shape parameters of the accuracies' Beta prior, under the `HyperPrior`."""
    hyper = HyperPrior.for_classes(num_classes)
    mean = numpyro.sample("mean", dist.Beta(hyper.mean_a, hyper.mean_b))
    log_concentration = numpyro.sample(
        "log_concentration", dist.Normal(hyper.log_concentration, hyper.log_concentration_sd)
    )
    concentration = numpyro.deterministic("concentration", jnp.exp(log_concentration))
    return mean * concentration, (1.0 - mean) * concentration


def _sum_by_example(
    labels: Labels, per_answer: Float[Array, "num_labels one_or_num_classes"]
) -> Float[Array, "num_examples one_or_num_classes"]:
    answers = jnp.where((labels.label != MISSING)[:, None], per_answer, 0.0)
    return jax.ops.segment_sum(
        answers, labels.example, labels.num_examples, indices_are_sorted=True
    )


def _sum_by_answer(
    labels: Labels, per_answer: Float[Array, " num_labels"]
) -> Float[Array, "num_examples num_classes"]:
    none = jnp.zeros((labels.num_examples, labels.num_classes), per_answer.dtype)
    answers = jnp.where(labels.label != MISSING, per_answer, 0.0)
    return none.at[labels.example, jnp.maximum(labels.label, 0)].add(answers)


def _better_than_chance(num_classes: int) -> Float[Array, "num_classes num_classes"]:
    """Dirichlet parameters of a cohort's mean rows, worth as much as the hyperprior's mean."""
    hyper = HyperPrior.for_classes(num_classes)
    return ConfusionPrior.default(num_classes).mean * (hyper.mean_a + hyper.mean_b)


def _right_first(
    rows: Float[Array, "*batch num_classes num_classes"],
) -> Float[Array, "*batch num_classes num_classes"]:
    """Entry d of row y is for answer y + d, counted round."""
    true = jnp.arange(rows.shape[-1])[:, None]
    return rows[..., true, (true + true.T) % rows.shape[-1]]


def _in_order(
    rows: Float[Array, "*batch num_classes num_classes"],
) -> Float[Array, "*batch num_classes num_classes"]:
    """Undo `_right_first`."""
    true = jnp.arange(rows.shape[-1])[:, None]
    return rows[..., true, (true.T - true) % rows.shape[-1]]
