"""Labelers with known parameters: how probable labels are, and how to draw them."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from gtx_bayes.errors import InputError
from gtx_bayes.evidence import Evidence, no_evidence
from gtx_bayes.labels import MISSING, Labels, PaddedLabels, Prefixes, check_whole
from gtx_bayes.log_space import LogNumber
from gtx_bayes.padding import pad_to
from gtx_bayes.votes import AnyLabels, check_sizes


class AbstractLabelers(abc.ABC):
    """Labelers whose parameters are known: a frozen pytree dataclass over all of them.

    A subclass is final and writes `num_labelers` and `log_prob_of_labels`; the rest follows, and
    is overridden where there is a faster way.

    An example's latent state is its class, and within the class one of `num_subclasses` that
    nobody names (easy or hard, say). State c is of class c // M and subclass c % M; given the
    state labels are independent.
    """

    num_classes: int

    @property
    @abc.abstractmethod
    def num_labelers(self) -> int:
        """Number of labelers."""

    @abc.abstractmethod
    def log_prob_of_labels(self, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """Log-probability of every label given each latent state, in nats.

        Args:
            labels: in any order; entries that are no label may have any value.
        """

    def padded(self, num_labelers: int) -> "AbstractLabelers":
        """So many labelers, these first, so that few sizes are compiled; or these alone."""
        size = self.num_labelers
        return jax.tree.map(
            lambda part: pad_to(part, num_labelers) if np.shape(part)[:1] == (size,) else part,
            self,
        )

    @property
    def num_answers(self) -> int:
        """What a label may be: the classes, then answers that are no class."""
        return self.num_classes

    @property
    def num_subclasses(self) -> int:
        """M, how many subclasses a class has."""
        return 1

    @property
    def log_subclass_probs(self) -> Float[Array, "num_classes num_subclasses"]:
        """Log-probability of each subclass given the class."""
        return jnp.zeros((self.num_classes, 1))

    @property
    def vote_weight(self) -> LogNumber | None:
        """Where labels are weighted votes, the likelihood ratio of the class voted for.

        Against any other class, per labeler; None where evidence is no such sum.
        """
        return None

    @property
    def prob_right(self) -> Float[Array, "*cohorts num_labelers"] | None:
        """Probability of a right label where wrong ones are all alike; None where they are not."""
        return None

    @property
    def confusion_matrix(self) -> Float[Array, "*cohorts num_labelers num_classes num_answers"]:
        """Probability of each label given each class, subclasses together."""
        shape = (self.num_labelers, self.num_answers)
        labeler, answer = (place.reshape(-1) for place in jnp.indices(shape))
        every = Labels(jnp.zeros_like(labeler), labeler, answer, 1, shape[0], self.num_classes)
        by_class = self.sum_out_subclasses(self.log_prob_of_labels(every))
        return jnp.exp(jnp.swapaxes(by_class.reshape(*shape, self.num_classes), 1, 2))

    def sum_out_subclasses(
        self, log_probs: Float[Array, "rows num_latents"]
    ) -> Float[Array, "rows num_classes"]:
        """Log-probabilities given each class from those given each latent state."""
        if self.num_subclasses == 1:
            return log_probs
        by_class = log_probs.reshape(-1, self.num_classes, self.num_subclasses)
        return jax.nn.logsumexp(by_class + self.log_subclass_probs, axis=2)

    def is_known(self, labels: Labels) -> Bool[Array, " num_labels"]:
        """Which entries are labels that these labelers can give.

        Where they give any that are no class, all of those count as the last kind.
        """
        gives_others = self.num_answers > self.num_classes
        return (labels.label >= 0) & (gives_others | (labels.label < self.num_classes))

    def log_prob_of_known(self, labels: Labels) -> Float[Array, "num_labels num_latents"]:
        """`log_prob_of_labels`, zero for what is no label."""
        return jnp.where(self.is_known(labels)[:, None], self.log_prob_of_labels(labels), 0.0)

    def batch_log_prob(self, labels: AnyLabels) -> Float[Array, "rows num_classes"]:
        r"""Log-likelihood of every example's labels under each class, in nats.

        .. math:: \log P(\mathcal{L}(i) \mid Y_i = y)

        Args:
            labels: in any form; what is no label carries no evidence.
        """
        check_sizes(labels, self.num_labelers, self.num_classes)
        per_label = self.log_prob_of_known(flat_labels(labels))
        return self.sum_out_subclasses(sum_by_example(labels, per_label))

    def evidence(self, labels: AnyLabels) -> Evidence:
        """The same as a state that tells zero from small, and that labels can be added to."""
        check_sizes(labels, self.num_labelers, self.num_classes)
        if self.num_subclasses > 1:
            found = LogNumber.from_log(self.batch_log_prob(labels))
        else:
            per_label = LogNumber.from_log(self.log_prob_of_known(flat_labels(labels)))
            found = LogNumber(*(sum_by_example(labels, part) for part in per_label))
        return Evidence(found, no_evidence(*found.coarse.shape).common)

    def add_evidence(self, evidence: Evidence, labels: Labels) -> Evidence:
        """The state after more labels, in time in proportion to these.

        Raises:
            ValueError: if classes have subclasses, whose sum an example's labels enter together.
        """
        if self.num_subclasses > 1:
            raise ValueError(
                f"{type(self).__name__} sums subclasses out over all labels of an example: gather "
                "them anew"
            )
        per_label = LogNumber.from_log(self.log_prob_of_known(labels))
        parts = zip(evidence.likelihood, per_label, strict=True)
        after = (total.at[labels.example].add(part, mode="drop") for total, part in parts)
        return evidence._replace(likelihood=LogNumber(*after))

    def likelihood(self, labels: Int[Array, " num_labelers"]) -> LogNumber:
        r"""Probability of one example's labels under each class: a product over its labels (Eq. 1).

        The definition, label by label, that `batch_log_prob` and `evidence` agree with.

        Args:
            labels: class of each labeler's label; `MISSING`, and what is no class, carries no
                evidence.
        """
        check_whole("labels", labels)
        num_labelers = self.num_labelers
        if labels.shape != (num_labelers,):
            raise ValueError(
                f"the labels have shape {labels.shape}: give one for each of {num_labelers} "
                f"labelers, {MISSING} where there is none"
            )
        labeler = jnp.arange(num_labelers)
        one = Labels(jnp.zeros_like(labeler), labeler, labels, 1, num_labelers, self.num_classes)
        found = LogNumber(*(part.sum(axis=0) for part in self.label_factors(one)))
        if self.num_subclasses == 1:
            return found
        return LogNumber.from_log(self.sum_out_subclasses(found.log()[None])[0])

    def label_factors(self, labels: Labels) -> LogNumber:
        """Probability of every label given each latent state; one for what is no label."""
        return LogNumber.from_log(self.log_prob_of_known(labels))

    def log_prob(self, labels: Int[Array, " num_labelers"]) -> Float[Array, " num_classes"]:
        """The logarithm of `likelihood`, in nats."""
        return self.likelihood(labels).log()

    def floored_log_prob(self, labels: Labels) -> Float[Array, "num_examples num_classes"]:
        """`batch_log_prob`, where probabilities that round to zero count as the smallest number.

        Certain labelers who contradict each other then cancel one for one.
        """
        least = jnp.log(jnp.finfo(jnp.zeros(()).dtype).tiny)
        per_label = jnp.maximum(self.log_prob_of_known(labels), least)
        return self.sum_out_subclasses(sum_by_example(labels, per_label))

    def floored_evidence(self, labels: Labels) -> Float[Array, "num_examples num_classes"]:
        """`floored_log_prob` up to what the classes share, where that is faster."""
        return self.floored_log_prob(labels)

    def log_prob_of_answers(
        self, labels: Labels, latent: Int[Array, " num_labels"]
    ) -> Float[Array, "num_labels num_answers"]:
        """Log-probability of each possible label in the place of every entry.

        Args:
            labels: who labels which example.
            latent: latent state of the example of every entry.
        """

        def of_answer(answer: int) -> Float[Array, " num_labels"]:
            given = jnp.full(labels.label.shape, answer, jnp.int32)
            log_probs = self.log_prob_of_labels(dataclasses.replace(labels, label=given))
            return jnp.take_along_axis(log_probs, latent[:, None], axis=1)[:, 0]

        return jnp.stack([of_answer(answer) for answer in range(self.num_answers)], axis=1)

    def draw_labels(
        self, key: Key[Array, ""], labels: Labels, latent: Int[Array, " num_examples"]
    ) -> Int[Array, " num_labels"]:
        """A label for every entry.

        Args:
            key: random key.
            labels: who labels which example.
            latent: latent state of each example.
        """
        log_probs = self.log_prob_of_answers(labels, latent[labels.example])
        return jax.random.categorical(key, log_probs, axis=-1)

    def draw_latents(
        self, key: Key[Array, ""], true_label: Int[Array, " num_examples"]
    ) -> Int[Array, " num_examples"]:
        """A latent state for each example, given its class."""
        if self.num_subclasses == 1:
            return true_label
        subclass = jax.random.categorical(key, self.log_subclass_probs[true_label], axis=-1)
        return true_label * self.num_subclasses + subclass

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Labels for every example, one from each labeler asked.

        Args:
            key: random key.
            labeler: who is asked.
            true_label: class of each example.
        """
        key_latents, key_labels = jax.random.split(key)
        latent = self.draw_latents(key_latents, true_label)
        unlabeled = PaddedLabels(
            labeler, jnp.zeros_like(labeler), self.num_labelers, self.num_classes
        )
        return self.draw_labels(key_labels, flat_labels(unlabeled), latent).reshape(labeler.shape)

    def sample(
        self, key: Key[Array, ""], true_label: Int[Array, ""]
    ) -> Int[Array, " num_labelers"]:
        """One label per labeler for an example whose class is `true_label`."""
        everybody = jnp.arange(self.num_labelers)[:, None]
        return self.answer(key, everybody, true_label[None])[:, 0]


class AbstractConfusionMatrices(AbstractLabelers):
    """Labelers whose labels depend on the class alone: their probabilities are looked up.

    A subclass is final and writes `num_labelers` and `confusion_matrix`.
    """

    def log_prob_of_labels(self, labels: Labels) -> Float[Array, "num_labels num_classes"]:
        """Looked up."""
        by_answer = jnp.swapaxes(jnp.log(self.confusion_matrix), 1, 2)
        return by_answer[labels.labeler, jnp.clip(labels.label, 0, self.num_classes - 1)]

    def log_prob_of_answers(
        self, labels: Labels, latent: Int[Array, " num_labels"]
    ) -> Float[Array, "num_labels num_classes"]:
        """Rows of the confusion matrices."""
        return jnp.log(self.confusion_matrix[labels.labeler, latent])

    def draw_labels(
        self, key: Key[Array, ""], labels: Labels, latent: Int[Array, " num_examples"]
    ) -> Int[Array, " num_labels"]:
        """By `answer`, every entry an example of its own."""
        return self.answer(key, labels.labeler[None], latent[labels.example])[0]

    def answer(
        self,
        key: Key[Array, ""],
        labeler: Int[Array, "num_places num_examples"],
        true_label: Int[Array, " num_examples"],
    ) -> Int[Array, "num_places num_examples"]:
        """Labels for every example, one from each labeler asked."""
        rows = self.confusion_matrix[labeler, true_label]
        return jax.random.categorical(key, jnp.log(rows), axis=-1)


def flat_labels(labels: AnyLabels) -> Labels:
    """Any form of labels as one entry per place, in no order that counts."""
    if isinstance(labels, Labels):
        return labels
    if isinstance(labels, Prefixes):
        return labels.of.long()
    if isinstance(labels, PaddedLabels):
        return labels.long()
    labeler = jnp.broadcast_to(jnp.arange(labels.shape[0])[:, None], labels.shape)
    # A table does not know the number of classes: labelers put in their own.
    return PaddedLabels(labeler, labels, labels.shape[0], 2).long()


def sum_by_example(
    labels: AnyLabels, per_label: Float[Array, "num_labels num_latents"]
) -> Float[Array, "rows num_latents"]:
    """Sums over each example's labels of what `flat_labels` has an entry for."""
    num_latents = per_label.shape[1]
    if isinstance(labels, Labels):
        none = jnp.zeros((labels.num_examples, num_latents), per_label.dtype)
        return none.at[labels.example].add(per_label)
    if isinstance(labels, Prefixes):
        by_place = per_label.reshape(*labels.of.label.shape, num_latents)
        so_far = jnp.cumsum(by_place, axis=0)
        so_far = jnp.concatenate([jnp.zeros_like(so_far[:1]), so_far])
        return so_far.reshape(-1, num_latents)
    shape = labels.label.shape if isinstance(labels, PaddedLabels) else labels.shape
    return per_label.reshape(*shape, num_latents).sum(axis=0)


def right_or_other(
    key: Key[Array, ""],
    prob_right: Float[Array, "num_places num_examples"],
    true_label: Int[Array, " num_examples"],
    num_classes: int,
) -> Int[Array, "num_places num_examples"]:
    """The true class with probability `prob_right`, else any other class alike."""
    key_right, key_other = jax.random.split(key)
    if num_classes == 2:
        other = 1 - true_label
    else:
        offset = jax.random.randint(key_other, prob_right.shape, 1, num_classes)
        other = (true_label + offset) % num_classes
    right = jax.random.uniform(key_right, prob_right.shape) < prob_right
    return jnp.where(right, true_label, other)


def wrong_alike(
    accuracy: Float[Array, "*cohorts num_labelers one_or_num_classes"], num_classes: int
) -> Float[Array, "*cohorts num_labelers num_classes num_classes"]:
    """Confusion matrices with accuracies on the diagonal, the rest of each row spread evenly."""
    right = accuracy[..., None]
    wrong = (1.0 - right) / (num_classes - 1)
    return jnp.where(jnp.eye(num_classes, dtype=bool), right, wrong)


def check_probs(name: str, values: Any) -> None:
    """Raise `InputError` for values below 0 or above 1 of an array at hand; NaN stays what it is.

    Within a trace values are not known: there what is no probability comes out as NaN.
    """
    if isinstance(values, jax.core.Tracer) or not isinstance(values, np.ndarray | jax.Array):
        return  # traced, or one of JAX's placeholders
    if isinstance(values, jax.Array) and not values.is_fully_addressable:
        return
    flat = np.asarray(values).reshape(-1)
    rounding = 8 * np.finfo(flat.dtype).eps if np.issubdtype(flat.dtype, np.floating) else 0.0
    outside = (flat < -rounding) | (flat > 1.0 + rounding)
    if outside.any():
        at = int(np.argmax(outside))
        raise InputError(
            f"{name} holds {flat[at]:g}, which is no probability.",
            where=f"{name}{list(map(int, np.unravel_index(at, np.shape(values))))}",
            hint="Give values in [0, 1].",
        )
