r"""A pool of models instead of a choice of one, and the probability that labelers are independent.

No labeler model is true of a crowd, and gold is rarely enough to say which is nearest. So each is
fitted once, and the class posterior is their mixture,

.. math::
    P(Y_i \mid \mathcal{L}) = S \, P_0(Y_i \mid \mathcal{L})
        + (1 - S) \sum_k W_k \int P_k(Y_i \mid \mathcal{L}, \rho) \, p_k(\rho) \, d\rho.

A fit says of each example what its answers' probability is, and that of its gold, by all other
examples (`VariationalFit.evidence`). Two questions are asked of these leave-one-out scores.

- Which mixture predicts classes best? Its weights :math:`W` have a Dirichlet prior worth one gold
  label, and gold says the rest (`inference.stacking`). The mean of that prior is what is thought
  of each model beforehand, times the probability of the answers to two typical examples: of two
  wrong models, hundreds of nats of answers do not say which names classes better. Labelers who are
  all alike (`inference.alike`) take part, once there is gold. Of models that exclude each other,
  such as two explanations of one bloc, W are the posterior probabilities.
- Is the crowd that of Kumar et al. (2024): one accuracy for every labeler, and labelers
  independent? That model, :math:`P_0`, can be true, so all answers count in full: S is its
  posterior probability against the others. Classes are even, as in the paper's simulations; a
  twentieth of its prior has their proportions learnt.

Every model stands in the pool without and with looks that examples have for everybody, see
`inference.looks`. The posterior :math:`p_k(\rho)` of the dependence is by gold, see
`inference.dependence`; the mass S is an atom of it at zero.
"""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from gtx_bayes.devices import as_here
from gtx_bayes.inference import alike as of_alike
from gtx_bayes.inference import joint, variational
from gtx_bayes.inference import looks as looks_of
from gtx_bayes.inference.alike import Alike
from gtx_bayes.inference.beta import BetaPosterior
from gtx_bayes.inference.dependence import GRID, Dependence
from gtx_bayes.inference.joint import Candidate, Choice, JointPosterior, PassedOn
from gtx_bayes.inference.looks import Looks, can_be_learnt
from gtx_bayes.inference.one_sided import mostly_one_sided
from gtx_bayes.inference.variational import VariationalFit
from gtx_bayes.inference.weighing import (
    AUTO_MODELS,
    LEAST_WEIGHT,
    Fitted,
    Weighed,
    Weighing,
    subsample,
    weigh,
)
from gtx_bayes.labels import Assessment, Labels
from gtx_bayes.models.base import AbstractCohortPrior, AbstractLabelerModel
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.padding import (
    on_device,
    padded_to_bucket,
)
from gtx_bayes.posterior import ClassPrior

ALIKE = "alike"
"""What labelers who are alike are called among the models of a pool."""

PRIOR_INDEPENDENT = 0.8
"""Probability, before any answer, that a crowd is that of the paper."""

MOST_AT_ONCE = 4_000_000
"""Answers beyond which a fit goes by chunks, and takes the heaviest model of a pool alone.

float32 loses counts of more from one labeler.
"""

_MOST_BESIDE = 1_000_000  # answers that models are fitted to at the same time

NUM_DRAWS = 64
"""Draws behind the interval of a confidence."""

_DECIDED = 0.95  # weight of one of two verdicts from which no more gold is asked for

_WHY_GOLD_ALONE = (
    "Most answers come from labelers who only ever give one class, so that agreement does not tell "
    "who is right; labelers are known from gold alone, and else taken for better than chance."
)


class Pool(NamedTuple):
    """What gold and answers say of labels and labelers together, by several models.

    Attributes:
        components: the joint posterior under each model, heaviest first.
        weights: posterior weight of each among these, summing to one.
        alike: labelers taken for alike, whose weight the others leave; they are part of the class
            posterior, and nothing else. None where there is no such part.
        class_probs: class posterior of each example, the mixture of all; one at gold.
        accuracy: posterior of each labeler's accuracy, likewise.
        has_given_class_prior: whether the prior of the classes was given.
        prior_independent: probability that labelers are independent before any answer; zero where
            that is no question.
        is_auto: whether no model was asked for.
        why: what the models are weighed by, in words; empty if one was asked for.
        takes_alike: whether labelers taken for alike are a part once there is gold.
    """

    components: tuple[JointPosterior, ...]
    weights: tuple[float, ...]
    alike: Alike | None
    class_probs: Float[Array, "num_examples num_classes"]
    accuracy: BetaPosterior
    has_given_class_prior: bool
    prior_independent: float
    is_auto: bool
    why: str
    takes_alike: bool

    @classmethod
    def of(
        cls,
        components: Sequence[JointPosterior],
        weights: Sequence[float],
        alike: Alike | None = None,
        tables: tuple[Labels, Assessment] | None = None,
        *,
        has_given_class_prior: bool,
        prior_independent: float,
        is_auto: bool,
        why: str,
        takes_alike: bool = False,
    ) -> "Pool":
        """The mixture of some components; arguments are the attributes, and what was fitted."""
        order = sorted(range(len(weights)), key=lambda k: -weights[k])
        components = tuple(components[k] for k in order)
        shares = np.array([weights[k] for k in order])
        shares = shares / shares.sum()
        return cls(
            components,
            tuple(shares.tolist()),
            alike,
            mixture(shares, [each.class_probs for each in components], alike, tables),
            _mixed_accuracy(shares, [each.accuracy for each in components]),
            has_given_class_prior,
            prior_independent,
            is_auto,
            why,
            takes_alike,
        )

    @property
    def weight_of_models(self) -> float:
        """What labelers as if alike leave to the components."""
        return 1.0 if self.alike is None else 1.0 - self.alike.weight

    @property
    def weighted(self) -> Iterator[tuple[JointPosterior, float]]:
        """Each component and its weight."""
        return zip(self.components, self.weights, strict=True)

    def probs_by_rho(
        self, labels: Labels, assessment: Assessment
    ) -> Iterator[tuple[float, Float[np.ndarray, "num_examples num_classes"]]]:
        """Class posteriors by each model and a few values of rho, each after its weight.

        See `JointPosterior.probs_by_rho`.
        """
        rest = self.weight_of_models
        for each, weight in self.weighted:
            for share, probs in each.probs_by_rho(labels, assessment):
                yield rest * weight * share, probs
        if self.alike is not None:
            yield self.alike.weight, self.alike.class_probs(labels, assessment)

    @property
    def lead(self) -> JointPosterior:
        """The heaviest component."""
        return self.components[0]

    @property
    def labeler_model(self) -> AbstractLabelerModel:
        """The labeler model of the heaviest."""
        return self.lead.labeler_model

    @property
    def model(self) -> str:
        """Its name."""
        return self.lead.model

    @property
    def prior(self) -> AbstractCohortPrior:
        """Its prior of the labelers."""
        return self.lead.prior

    @property
    def labelers(self) -> AbstractLabelers:
        """The labelers at its posterior means."""
        return self.lead.labelers

    @property
    def given_class_prior(self) -> ClassPrior | None:
        """The prior of the classes if it was given."""
        return self.lead.class_prior if self.has_given_class_prior else None

    @property
    def class_prior(self) -> ClassPrior:
        """The prior of the classes given, or the mean of those that the components have."""
        if self.has_given_class_prior or len(self.components) == 1:
            return self.lead.class_prior
        return mixture(np.array(self.weights), [each.class_prior for each in self.components])

    @property
    def converged(self) -> bool:
        """Whether all fits came to rest."""
        return all(each.converged for each in self.components)

    @property
    def trusts_gold_alone(self) -> bool:
        """Whether labelers are known from gold and not from their agreement."""
        return self.lead.trusts_gold_alone

    @property
    def asks_independence(self) -> bool:
        """Whether it is a question if labelers are independent."""
        is_asked = self.prior_independent > 0.0 and self.lead.dependence.is_learnt
        return is_asked and not self.trusts_gold_alone and not self.is_of_verdicts

    @property
    def weight_by_model(self) -> dict[AbstractLabelerModel | None, float]:
        """All the weight of each model without conjugate prior; under None that of the others."""
        weights: dict[AbstractLabelerModel | None, float] = {}
        for each, weight in self.weighted:
            model = each.prior.labeler_model
            weights[model] = weights.get(model, 0.0) + weight
        return weights

    @property
    def is_of_verdicts(self) -> bool:
        """Whether labels follow two verdicts, see `inference.two_verdicts`."""
        models = self.weight_by_model
        return self.is_auto and all(model and model.explains_dependence for model in models)

    @property
    def is_undecided(self) -> bool:
        """Whether they do, and which of them is the class is open."""
        return self.is_of_verdicts and max(self.weight_by_model.values()) < _DECIDED

    @property
    def dependence(self) -> Dependence:
        """Posterior of rho: over all components without looks, which take its place in others.

        The probability that it is zero is that of the whole pool.
        """
        if not self.lead.dependence.is_learnt:
            return self.lead.dependence
        probs = np.array([each.dependence.probs for each in self.components])
        weights = np.array(self.weights)
        independent = self.weight_of_models * float(weights @ probs[:, 0])
        dependent = probs[:, 1:].sum(axis=1)
        is_plain = np.array([each.looks is None for each in self.components])
        if (weights * dependent)[is_plain].sum() > 0.0:
            weights, probs = weights[is_plain], probs[is_plain]
        rest = weights @ probs[:, 1:]
        rest = rest / rest.sum() if rest.sum() > 0.0 else rest
        return Dependence(GRID, np.array([independent, *(1.0 - independent) * rest]))

    def table(self) -> pd.DataFrame:
        """One row a model, heaviest first: what it is, its `weight`, and `rho`.

        The last is the posterior mean of the dependence under it.
        """
        rest = self.weight_of_models
        rows = [
            (
                each.model,
                each.looks is not None,
                each.learns_class_prior,
                rest * weight,
                each.dependence.mean,
            )
            for each, weight in self.weighted
        ]
        if self.alike is not None:
            labelers, rho, weight = self.alike
            rows.append((ALIKE, False, labelers.given_prior is None, weight, rho.mean))
        columns = ["model", "has_looks", "learns_class_prior", "weight", "rho"]
        table = pd.DataFrame(rows, columns=columns)
        return table.sort_values("weight", ascending=False, kind="stable", ignore_index=True)

    def shares(self, rng: np.random.Generator, num_draws: int) -> list[int]:
        """How many of some draws are of each component."""
        return [int(share) for share in rng.multinomial(num_draws, self.weights)]

    def credible_interval(
        self,
        key: Key[Array, ""],
        labels: Labels,
        *,
        prob: float = 0.95,
        num_draws: int = NUM_DRAWS,
        mesh: Mesh | None = None,
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Limits for the probability of each example's most probable class.

        Equal-tailed, over draws of the model, of its labelers, of what their cohort shares and of
        rho: how far the confidence would move if all were known. The confidence is the mean of
        what is drawn; where that is so skew that its mean lies outside, the interval is widened to
        hold it. Gold examples are not treated apart.

        Args:
            key: random key.
            labels: the answers.
            prob: posterior probability inside, in (0, 1).
            num_draws: how many draws.
            mesh: devices to draw on; one where it is absent.
        """
        class_probs = np.asarray(self.class_probs)
        best = class_probs.argmax(axis=1).astype(np.int32)
        rng, num_alike = generator(key), 0
        if self.alike is not None:
            num_alike = int(rng.binomial(num_draws, self.alike.weight))
        shares = self.shares(rng, num_draws - num_alike)
        parts = [
            each.draw_probs(rng, labels, best, share, mesh=mesh)
            for each, share in zip(self.components, shares, strict=True)
            if share
        ]
        if self.alike is not None and num_alike:
            of_labelers, rho, _ = self.alike
            parts.append(of_labelers.draw_probs(rng, labels, rho, best, num_alike))
        return equal_tailed(np.concatenate(parts), class_probs.max(axis=1), prob)

    def reweighed(
        self,
        components: Sequence[JointPosterior],
        weighed: "Weighed",
        labels: Labels,
        assessment: Assessment,
    ) -> "Pool":
        """With other components in the place of these, and all that they were fitted to."""
        return Pool.of(
            components,
            weighed.weights,
            weighed.kept_alike,
            (labels, assessment),
            has_given_class_prior=self.has_given_class_prior,
            prior_independent=self.prior_independent,
            is_auto=self.is_auto,
            why=self.why,
            takes_alike=self.takes_alike,
        )


def generator(key: Key[Array, ""]) -> np.random.Generator:
    """NumPy's generator by a key of JAX."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def equal_tailed(
    drawn: Float[np.ndarray, "num_draws num_examples"],
    confidence: Float[np.ndarray, " num_examples"],
    prob: float,
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Limits of the middle `prob` of some draws, widened to hold the confidence."""
    low, high = np.quantile(drawn, [(1.0 - prob) / 2.0, (1.0 + prob) / 2.0], axis=0)
    return np.minimum(low, confidence), np.maximum(high, confidence)


def fit(
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None = None,
    *,
    models: Sequence[str | AbstractLabelerModel] = AUTO_MODELS,
    dependence: float | None = None,
    prior_independent: float = PRIOR_INDEPENDENT,
    mesh: Mesh | None = None,
) -> Pool:
    """Fit some models, weigh them, and learn the dependence.

    Args:
        labels: the answers.
        assessment: the gold.
        class_prior: prior of each class, or of each class of each example; when absent every
            model stands twice in the pool, with classes even and with their proportions learnt.
        models: registered names or models.
        dependence: rho, if it is given instead of learnt; 0 for independence.
        prior_independent: probability, before any answer, that labelers are independent, each
            with one accuracy. A question only where rho is learnt, one-coin is among the models,
            and there is another to hold against it.
        mesh: devices to fit on, from `devices.examples_mesh`; one where it is absent.
    """
    size, gold = labels, assessment
    candidates = _candidates(models, class_prior, labels, assessment)
    if all(candidate.is_padded for candidate in candidates):
        labels, assessment, class_prior = padded_to_bucket(
            labels.of_classes(), assessment, class_prior
        )
        candidates = _candidates(models, class_prior, labels, assessment)
    candidates = _or_gold_alone(candidates, models, class_prior, labels, assessment)
    why, weighed, alike = "", None, None
    asks_alike = takes_alike(models, candidates) and size.num_labels <= MOST_AT_ONCE
    if asks_alike:
        alike = of_alike.fit(labels, assessment, class_prior)
    weighing = Weighing(dependence, prior_independent, alike)
    if size.num_labels > MOST_AT_ONCE:
        found, why = choose(subsample(labels, assessment), assessment, candidates, weighing)
        candidates, weighed = [found.candidate], Weighed((1.0,), (found.dependence,))
    is_cut = mesh is not None or size.num_labels > MOST_AT_ONCE
    fitted = fit_all(labels, assessment, candidates, mesh, is_cut=is_cut)
    weighed = weighed or weigh(labels, assessment, fitted, weighing)
    kept = [k for k, weight in enumerate(weighed.weights) if weight >= LEAST_WEIGHT]
    components = _by_model(
        lambda k: _report(labels, assessment, fitted[k], weighed.dependence[k], size),
        kept,
        [fitted[k].candidate for k in kept],
        labels,
    )
    return Pool.of(
        components,
        [weighed.weights[k] for k in kept],
        weighed.kept_alike,
        (size, gold),
        has_given_class_prior=class_prior is not None,
        prior_independent=prior_independent,
        is_auto=len(models) > 1 or prior_independent > 0.0,
        why=why or why_of(candidates, assessment),
        takes_alike=asks_alike,
    )


def fit_one(labels: Labels, assessment: Assessment, choice: Choice, why: str) -> Pool:
    """A pool of one model, chosen by `choose`; `why` goes with it."""
    size = labels
    given = choice.candidate.class_prior
    labels, assessment, given = padded_to_bucket(labels.of_classes(), assessment, given)
    candidate = choice.candidate._replace(class_prior=given)
    fitted = _fitted(labels, assessment, candidate)
    return Pool.of(
        [_report(labels, assessment, fitted, choice.dependence, size)],
        [1.0],
        has_given_class_prior=given is not None,
        prior_independent=0.0,
        is_auto=True,
        why=why,
    )


def candidates_of(
    labels: Labels,
    assessment: Assessment,
    class_prior: ClassPrior | None,
    models: Sequence[str | AbstractLabelerModel],
) -> list[Candidate]:
    """The models of a pool for these answers; arguments as for `fit`, in padded size."""
    found = _candidates(models, class_prior, labels, assessment)
    return _or_gold_alone(found, models, class_prior, labels, assessment)


def choose(
    labels: Labels,
    assessment: Assessment,
    candidates: Sequence[Candidate],
    by: Weighing,
) -> tuple[Choice, str]:
    """The heaviest of some models without looks, and why in words."""
    why = _WHY_GOLD_ALONE if candidates[0].trusts_gold_alone else ""
    if len(candidates) == 1 and by.dependence is not None:
        return Choice(candidates[0], Dependence.known(by.dependence)), why
    weights, found, _ = weigh(labels, assessment, fit_all(labels, assessment, candidates), by)
    # Looks take part in the weighing, and chunks have none.
    best = max(range(len(candidates)), key=lambda k: (not candidates[k].has_looks, weights[k]))
    if len(candidates) > 1:
        why = (
            f"the heaviest without looks of a pool of models, with a weight of {weights[best]:.2f},"
            " which alone is fitted to a table of this size"
        )
    # Independence as probable as in the pool, not as in the model that is left of it.
    rho = found[best]
    if rho.prob_independent:
        probs = [each.prob_independent for each in found]
        rho = rho.with_independence(float(np.dot(weights, probs)))
    return Choice(candidates[best], rho), why


def _candidates(
    models: Sequence[str | AbstractLabelerModel],
    class_prior: ClassPrior | None,
    labels: Labels,
    assessment: Assessment,
) -> list[Candidate]:
    num_classes, earlier = labels.num_classes, assessment.earlier
    priors: tuple[ClassPrior | None, ...] = (class_prior,)
    if class_prior is None and (earlier is None or earlier.class_total is None):
        priors = (None, variational.uniform(num_classes))
    found = [Candidate.of(model, num_classes, prior) for model in models for prior in priors]
    # Proportions that are learnt have a prior of their own where a model has no conjugate one.
    found = [each for each in found if each.is_padded or each.class_prior is priors[0]]
    if len(models) > 1 and can_be_learnt(labels):
        found += [each._replace(has_looks=True) for each in found if each.model in AUTO_MODELS]
    return found


def _or_gold_alone(
    candidates: list[Candidate],
    models: Sequence[str | AbstractLabelerModel],
    class_prior: ClassPrior | None,
    labels: Labels,
    assessment: Assessment,
) -> list[Candidate]:
    """The candidates; gold alone where none was asked for and agreement does not tell."""
    if tuple(models[:2]) != AUTO_MODELS or not mostly_one_sided(labels):
        return candidates
    return [_from_gold_alone(class_prior, assessment)]


def _from_gold_alone(class_prior: ClassPrior | None, assessment: Assessment) -> Candidate:
    """Classes as given, or in the shares of other tasks with one more of each."""
    if class_prior is None:
        total = np.asarray(assessment.known_class_total) + 1.0
        class_prior = on_device(total / total.sum())
    found = Candidate.of(AUTO_MODELS[0], assessment.num_classes, class_prior)
    return found._replace(trusts_gold_alone=True)


def takes_alike(
    models: Sequence[str | AbstractLabelerModel], candidates: Sequence[Candidate]
) -> bool:
    """Whether labelers as if alike are a part of the pool, once there is gold."""
    return tuple(models[:2]) == AUTO_MODELS and not candidates[0].trusts_gold_alone


def why_of(candidates: Sequence[Candidate], assessment: Assessment) -> str:
    """What models are weighed by, in words; nothing of one that was asked for."""
    if candidates[0].trusts_gold_alone:
        return _WHY_GOLD_ALONE
    if len(candidates) == 1:
        return ""
    by_gold = " and its gold" if assessment.num_gold else ""
    return f"by how well they predict each example's answers{by_gold} from the other examples"


def fit_all(
    labels: Labels,
    assessment: Assessment,
    candidates: Sequence[Candidate],
    mesh: Mesh | None = None,
    *,
    is_cut: bool = False,
) -> list[Fitted]:
    """Every candidate fitted; once those that differ by looks alone."""
    plain: dict[tuple[str | AbstractLabelerModel, bool], Fitted] = {}

    def fitted(each: Candidate) -> Fitted:
        model = each.prior if isinstance(each.prior, AbstractLabelerModel) else each.model
        key = (model, each.class_prior is None)
        if key not in plain:
            plain[key] = _fitted(labels, assessment, each, mesh, is_cut=is_cut)
        looks = learn_looks(labels, assessment, each, plain[key].fit)
        return plain[key]._replace(candidate=each, looks=looks)

    return _by_model(fitted, candidates, candidates, labels)


def _by_model[T, R](
    function: Callable[[T], R], of: Sequence[T], candidates: Sequence[Candidate], labels: Labels
) -> list[R]:
    """A function of every candidate, or of what was made of it: one model beside the other.

    What is compiled for different models is compiled at the same time; candidates of one model
    share it, and go in turn.

    Args:
        function: what is done.
        of: its argument for each candidate.
        candidates: the candidates.
        labels: the answers: of many the memory is for one model at a time.
    """
    turns: dict[str, list[int]] = {}
    for at, each in enumerate(candidates):
        # NumPyro, behind models without a conjugate prior, is at home in one thread.
        turns.setdefault(each.model if each.is_padded else "", []).append(at)
    if len(turns) == 1 or labels.num_labels > _MOST_BESIDE or "" in turns:
        return [function(each) for each in of]
    call = as_here(lambda turn: [function(of[at]) for at in turn])
    with concurrent.futures.ThreadPoolExecutor(len(turns)) as executor:
        found = list(executor.map(call, turns.values()))
    by_place = {
        at: result
        for turn, results in zip(turns.values(), found, strict=True)
        for at, result in zip(turn, results, strict=True)
    }
    return [by_place[at] for at in range(len(candidates))]


def _fitted(
    labels: Labels,
    assessment: Assessment,
    candidate: Candidate,
    mesh: Mesh | None = None,
    *,
    is_cut: bool = False,
) -> Fitted:
    """A candidate without looks."""
    if is_cut and candidate.is_padded and not candidate.trusts_gold_alone:
        fit, chunks = joint.fit_chunks(labels, assessment, candidate, mesh)
        return Fitted(candidate, fit, chunks=chunks)
    return Fitted(candidate, candidate.fit(labels, assessment))


def learn_looks(
    labels: Labels, assessment: Assessment, candidate: Candidate, fitted: VariationalFit
) -> Looks | None:
    """Looks on top of a fit; None where the candidate has none."""
    if not candidate.has_looks:
        return None
    return looks_of.learn(labels, assessment, fitted, learns=candidate.class_prior is None)


def _report(
    labels: Labels, assessment: Assessment, fitted: Fitted, rho: Dependence, size: Labels
) -> JointPosterior:
    """What a fit says."""
    candidate, fit, looks, chunks = fitted
    passed_on = PassedOn(joint.posterior_mean(fit.prior, fit.counts), fit.proportions)
    choice = Choice(candidate, rho)
    return joint.report(labels, assessment, choice, fit, looks, passed_on, size=size, chunks=chunks)


def mixture(
    weights: npt.NDArray[np.float64],
    parts: Sequence[Any],
    alike: Alike | None = None,
    tables: tuple[Labels, Assessment] | None = None,
) -> Float[Array, "..."]:
    """A weighted sum, worked out on the host: nothing is compiled for the number of examples.

    Args:
        weights: of the parts, summing to one.
        parts: what is added up.
        alike: a further part of the class posteriors of some examples.
        tables: their labels and gold.
    """
    if alike is not None and tables is not None:
        weights = np.append((1.0 - alike.weight) * weights, alike.weight)
        parts = [*parts, alike.class_probs(*tables)]
    if len(parts) == 1:
        return cast(Array, parts[0])
    first = np.asarray(parts[0])
    total = np.zeros(first.shape)
    for weight, part in zip(weights, parts, strict=True):
        total += weight * np.asarray(part)
    return jax.device_put(total.astype(first.dtype))


def _mixed_accuracy(
    weights: npt.NDArray[np.float64], parts: Sequence[BetaPosterior]
) -> BetaPosterior:
    """The Beta distributions with the mean and variance of a mixture."""
    if len(parts) == 1:
        return parts[0]
    a = np.array([np.asarray(part.a, np.float64) for part in parts])
    b = np.array([np.asarray(part.b, np.float64) for part in parts])
    mean = a / (a + b)
    variance = mean * (1.0 - mean) / (a + b + 1.0)
    mixed = weights @ mean
    return BetaPosterior.from_moments(mixed, weights @ (variance + (mean - mixed) ** 2))
