r"""Stochastic variational inference: the parameters of a crowd model from a few examples at a time.

A step reads the answers of B examples, counts each N / B times and moves the guide, a normal
distribution per parameter on its unconstrained scale, uphill on

.. math::
    \mathrm{E}_q \left[ \frac{N}{B} \sum_{i \in \text{batch}} \log P(\mathcal{L}(i) \mid \theta)
    + \log p(\theta) - \log q(\theta) \right],

an unbiased estimate of the evidence lower bound. Memory beyond the table itself (9 to 12 bytes an
answer) depends on the batch alone, and so does the time of a step.

References:
    Hoffman et al. (2013), JMLR 14; Kucukelbir et al. (2017), JMLR 18.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from numpyro.infer import SVI, Trace_ELBO, init_to_mean
from numpyro.infer.autoguide import AutoNormal
from numpyro.optim import Adam

from gtx_bayes.inference.crowd_models import CrowdModel
from gtx_bayes.inference.nuts import Draws
from gtx_bayes.labels import MISSING, Assessment, Labels


class SviFit(NamedTuple):
    """A fitted guide.

    Attributes:
        median: of every site of the model under the guide.
        losses: minus the estimated evidence lower bound at every step, in nats.
        params: location and scale of the guide's normal distributions.
        guide: the guide, for NumPyro's own tools.
    """

    median: dict[str, Array]
    losses: Float[Array, " num_steps"]
    params: dict[str, Array]
    guide: AutoNormal

    def sample(self, key: Key[Array, ""], num_draws: int) -> Draws:
        """Independent draws from the guide, as one chain."""
        sites = self.guide.sample_posterior(key, self.params, sample_shape=(num_draws,))
        return Draws({name: np.asarray(site)[None] for name, site in sites.items()}, {})


class Batches(NamedTuple):
    """Mini-batches of a table: B examples in a row, going round, of N in shuffled order.

    Every example is in B of the N batches, so that with the first drawn at random the sum over a
    batch times N / B is unbiased for the sum over the table; with B = N it is that sum.

    Attributes:
        labels: the answers, without padding, by shuffled example.
        assessment: the gold, shuffled likewise.
        first: where the answers of each example begin, and where the last one's end.
        batch_examples: B.
        most_labels: the most answers that an example has.
    """

    labels: Labels
    assessment: Assessment
    first: Int[Array, " num_examples_and_end"]
    batch_examples: int
    most_labels: int

    @classmethod
    def shuffled(
        cls, key: Key[Array, ""], labels: Labels, assessment: Assessment, batch_examples: int
    ) -> "Batches":
        """Shuffle the examples of a table.

        Raises:
            ValueError: if there are fewer examples than a batch takes, or none in a batch.
        """
        num_examples = labels.num_examples
        if not 1 <= batch_examples <= num_examples:
            raise ValueError(f"{num_examples} examples cannot fill batches of {batch_examples}")
        order = np.asarray(jax.random.permutation(key, num_examples))
        counts = labels.count_by_example()[order]
        answers = labels.entries(np.flatnonzero(np.asarray(labels.label) != MISSING))
        return cls(
            labels=answers.of_examples(order),
            assessment=Assessment(assessment.true_label[order], assessment.num_classes),
            first=jnp.asarray(np.concatenate([[0], np.cumsum(counts)]), jnp.int32),
            batch_examples=batch_examples,
            most_labels=int(counts.max()),
        )

    def batch(self, start: Int[Array, ""]) -> tuple[Labels, Assessment]:
        """The examples from place `start`, each with as many entries as the most-answered one."""
        example = (start + jnp.arange(self.batch_examples)) % self.labels.num_examples
        entry = self.first[example][:, None] + jnp.arange(self.most_labels)
        there = (entry < self.first[example + 1][:, None]).reshape(-1)
        entry = jnp.where(there, entry.reshape(-1), 0)
        missing = jnp.asarray(MISSING, self.labels.label.dtype)
        labels = Labels(
            example=jnp.repeat(jnp.arange(self.batch_examples), self.most_labels),
            labeler=self.labels.labeler[entry],
            label=jnp.where(there, self.labels.label[entry], missing),
            num_examples=self.batch_examples,
            num_labelers=self.labels.num_labelers,
            num_classes=self.labels.num_classes,
            covariates={
                name: jnp.where(there, values[entry], 0.0)
                for name, values in self.labels.covariates.items()
            },
            labeler_covariates=self.labels.labeler_covariates,
            example_covariates={
                name: values[example] for name, values in self.labels.example_covariates.items()
            },
            num_answers=self.labels.num_answers,
        )
        return labels, Assessment(self.assessment.true_label[example], self.assessment.num_classes)


def fit_svi(
    key: Key[Array, ""],
    model: CrowdModel,
    labels: Labels,
    assessment: Assessment,
    *,
    batch_examples: int,
    num_steps: int,
    learning_rate: float = 0.05,
) -> SviFit:
    """Fit independent normal distributions to the posterior of a crowd model.

    They start at the prior's mean, where labelers are better than chance.

    They centre well, but are too narrow where parameters depend on each other: accuracies on the
    cohort's mean and concentration, and on the classes of examples with few answers. Use NUTS
    where it can be afforded and intervals count.

    Args:
        key: random key.
        model: one of `crowd_models.crowd_model`, with all but its answers, gold and `scale` bound
            by `functools.partial`.
        labels: the answers. A batch has as many entries per example as the example with the most
            answers, so split examples that have far more than others.
        assessment: the gold.
        batch_examples: B.
        num_steps: steps of Adam. See that `losses` has levelled off.
        learning_rate: length of its first steps, on the unconstrained scale; it falls to zero
            along half a cosine.

    Raises:
        ValueError: if there are fewer examples than a batch takes.
    """
    key_order, key_init, key_start = jax.random.split(key, 3)
    batches = Batches.shuffled(key_order, labels, assessment, batch_examples)
    scale = labels.num_examples / batch_examples
    guide = AutoNormal(model, init_loc_fn=init_to_mean)
    optimiser = Adam(optax.cosine_decay_schedule(learning_rate, max(num_steps, 1)))
    svi = SVI(model, guide, optimiser, Trace_ELBO(), scale=scale)

    def step(state: Any, start: Int[Array, ""]) -> tuple[Any, Float[Array, ""]]:
        return svi.update(state, *batches.batch(start))

    state = svi.init(key_init, *batches.batch(jnp.asarray(0)))
    starts = jax.random.randint(key_start, (num_steps,), 0, labels.num_examples)
    state, losses = jax.lax.scan(step, state, starts)
    params = svi.get_params(state)
    return SviFit(guide.median(params), losses, params, guide)
