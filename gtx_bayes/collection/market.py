"""What a simulated collection buys from: who answers, what is known of them, and prices."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped

from gtx_bayes.aggregation.base import AbstractAggregator
from gtx_bayes.collection.base import AbstractPolicy, Seen
from gtx_bayes.errors import InputError
from gtx_bayes.labels import PaddedLabels
from gtx_bayes.models.labelers import AbstractLabelers
from gtx_bayes.simulation import AnswerQueue


class Market(NamedTuple):
    """Who answers, what is known of them, and prices. Build it with `of`, which checks them.

    Attributes:
        answers: who comes to each example, in order, and what they say.
        labelers: the labeler model that policies see; None for votes.
        costs: price of a label by labeler (rows) and example (columns), one of either where it
            does not matter: whole numbers of the smallest coin, so that sums of them are exact;
            their total fits an int32. None where every label costs 1.
    """

    answers: PaddedLabels
    labelers: AbstractLabelers | None = None
    costs: Int[Array, "one_or_num_labelers one_or_num_examples"] | None = None

    @classmethod
    def of(
        cls,
        aggregator: AbstractAggregator,
        queue: AnswerQueue,
        costs: Shaped[Array | np.ndarray, "_ _"] | None = None,
    ) -> "Market":
        """The market of a queue of answers that an aggregator scores.

        Args:
            aggregator: its `model`, if it has one, is what policies see of the labelers.
            queue: the answers to be bought.
            costs: price of a label, shape (num_labelers or 1, num_examples or 1), from 1.

        Raises:
            InputError: for prices that are no whole numbers from 1, or of another shape.
        """
        answers = queue.answers
        if costs is not None:
            sizes = (answers.num_labelers, answers.num_examples)
            if any(size not in (1, most) for size, most in zip(costs.shape, sizes, strict=True)):
                raise InputError(
                    f"the costs have shape {costs.shape}, and there are {sizes[0]} labelers and "
                    f"{sizes[1]} examples.",
                    where="costs",
                    hint="Give a row for each labeler and a column for each example, or one.",
                )
            is_known = not isinstance(costs, jax.core.Tracer)
            is_whole = jnp.issubdtype(costs.dtype, jnp.integer)
            if not is_whole or (is_known and np.min(np.asarray(costs), initial=1) < 1):
                raise InputError(
                    "the costs are no whole numbers from 1.",
                    where="costs",
                    hint="Give them in the smallest coin, as integers.",
                )
            costs = jnp.asarray(costs, jnp.int32)
        return cls(answers, aggregator.labelers, costs)

    def prices(self) -> Int[Array, "num_places num_examples"] | None:
        """Price of every answer in the queue; None where each costs 1."""
        if self.costs is None:
            return None
        labeler = self.answers.labeler.astype(jnp.int32)
        row = labeler if self.costs.shape[0] > 1 else jnp.zeros_like(labeler)
        column = jnp.arange(row.shape[1]) if self.costs.shape[1] > 1 else 0
        return self.costs[row, column]

    def seen(self, policy: AbstractPolicy, seen: Seen) -> Seen:
        """The same collection with what else the policy sees."""
        if policy.sees_labelers:
            labels = self.answers.first(seen.num_labels)
            seen = dataclasses.replace(seen, labels=labels, labelers=self.labelers)
        return dataclasses.replace(seen, costs=self.costs)
