"""Fine-tuning on what a crowd said: training, temperature, scores, and the labels disputed."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, Key

from gtx_bayes import decisions, metrics
from gtx_bayes.classifier.imputed import Imputed
from gtx_bayes.classifier.opinion import Opinion, believed, form_opinion
from gtx_bayes.classifier.parts import Parts
from gtx_bayes.classifier.temperature import Temperature, checked_temperature, has_copies
from gtx_bayes.columns import Names
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import METRICS
from gtx_bayes.finetune.checkpoint import Checkpoint
from gtx_bayes.finetune.efficientnet import EfficientNet
from gtx_bayes.finetune.head import HeadConfig, cached_features, own_head, train_head, with_head
from gtx_bayes.finetune.images import ImageSet
from gtx_bayes.finetune.predictions import class_probs, fit_temperature, score
from gtx_bayes.finetune.targets import TARGETS, only, take
from gtx_bayes.finetune.train import History, Progress, TrainingConfig, Watched, train
from gtx_bayes.finetune.weights import FineTuned
from gtx_bayes.metrics import Estimate

SCORES = {
    **{name: METRICS[name] for name in ("accuracy", "balanced_error", "log_loss", "brier", "ece")},
    "auroc": metrics.auroc,
}
"""What a classifier is scored by, by name."""


@dataclasses.dataclass(frozen=True)
class HeadOrAll:
    """The last layer is trained, then all weights from there; gold held out chooses between them.

    The lower log loss on it wins, each at the temperature that it asks for. Without such gold, or
    where it is nearly copied by images trained on, all weights are not trained: nothing could say
    whether they are better, and on few images they often are not.

    Attributes:
        head: how the last layer is trained.
        whole: how all weights are.
    """

    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)
    whole: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)


class Choice(NamedTuple):
    """Log loss on the gold held out, in nats, at the temperature that it asks for.

    Attributes:
        head: of the last layer trained alone; None without such gold.
        whole: of all weights trained; None where they were not.
    """

    head: float | None
    whole: float | None

    @property
    def is_whole(self) -> bool:
        """Whether all weights are better."""
        return self.head is not None and self.whole is not None and self.whole < self.head

    @property
    def note(self) -> str:
        """What was chosen, and why."""
        if self.head is None or self.whole is None:
            return (
                "Only the last layer was trained: no gold held out can say whether training all "
                "weights is better."
            )
        return (
            f"On the gold held out the log loss is {self.head:.3f} with the last layer trained "
            f"alone and {self.whole:.3f} with all weights: "
            f"{'all weights are' if self.is_whole else 'the last layer alone is'} kept."
        )


class Evaluation(NamedTuple):
    """Scores of a classifier on images that it was not trained on.

    Attributes:
        plain: scores of its probabilities at temperature 1, by name.
        tempered: at its own temperature.
        class_probs: its probabilities at temperature 1.
        class_probs_tempered: at its own.
        true_label: the classes.
    """

    plain: dict[str, Estimate]
    tempered: dict[str, Estimate]
    class_probs: Float[np.ndarray, "num_images num_classes"]
    class_probs_tempered: Float[np.ndarray, "num_images num_classes"]
    true_label: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuning:
    """A classifier fine-tuned on imputed labels.

    Attributes:
        images: all of them.
        imputed: the labels.
        parts: what became of each image.
        targets: name of what was trained towards.
        config: how the network was trained; a `HeadConfig` if only the last layer was.
        model: the network with its classes and its temperature.
        temperature: what was found of that.
        choice: between the last layer and all weights; None where it was not left open.
        history: how the training of all weights went, also if the last layer alone was better;
            empty where there was none.
        logits: of every image.
        opinion: of images in `judged`, by heads that were trained without their labels.
        judged: positions of the images that have a label and do not evaluate.
        imputed_label: class of each task; of tied classes one at random.
    """

    images: ImageSet
    imputed: Imputed
    parts: Parts
    targets: str
    config: TrainingConfig | HeadConfig
    model: FineTuned
    temperature: Temperature
    choice: Choice | None
    history: History
    logits: Float[np.ndarray, "num_images num_classes"]
    opinion: Opinion
    judged: np.ndarray
    imputed_label: np.ndarray

    @property
    def is_head_only(self) -> bool:
        """Whether all but the last layer stayed as it was."""
        return isinstance(self.config, HeadConfig)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about images, labels and their match."""
        given = (self.images, self.imputed, self.parts, self.temperature)
        notes = tuple(note for each in given for note in each.notes)
        return notes if self.choice is None else (*notes, self.choice.note)

    def scores(self) -> dict[str, Evaluation]:
        """Scores by the part they were measured on: "assessment", "evaluation", where it has any.

        The temperature was found on the assessment, by one number.
        """
        parts = {"assessment": self.parts.assesses, "evaluation": self.parts.evaluates}
        return {name: self._evaluation(part) for name, part in parts.items() if part.any()}

    def _evaluation(self, part: Bool[np.ndarray, " num_images"]) -> Evaluation:
        truth = self.parts.true_label[part]
        plain = class_probs(self.logits[part])
        tempered = class_probs(self.logits[part], self.model.temperature)
        return Evaluation(_scored(plain, truth), _scored(tempered, truth), plain, tempered, truth)

    def predictions(self) -> pd.DataFrame:
        """One row per image: what the model says of it, and its imputed label.

        Of images trained on it repeats in part the imputed label; see `disputes`.
        """
        probs = class_probs(self.logits, self.model.temperature)
        table = predictions_table(self.images.names, self.model.class_names, probs)
        at, imputed = self.parts.task, self.imputed
        more: dict[str, Any] = {
            "imputed_label": np.where(at >= 0, imputed.class_names[self.imputed_label][at], None),
            "imputed_confidence": np.where(at >= 0, imputed.class_probs.max(axis=1)[at], None),
            "num_labels": np.where(at >= 0, imputed.num_labels[at], 0),
            "part": self.parts.names(),
            "is_trained_on": self.parts.trains,
        }
        return table.assign(**more)

    def disputes(self) -> pd.DataFrame:
        """One row per image with a label, by how probably the label is wrong, most so first.

        `doubt` is believed of the image and the answers together (`opinion.believed`); known
        labels are never wrong. Ties go by the log odds that the image alone gives against the
        label. `model_label`, `model_confidence` and the columns `prob_<class>` are the opinion:
        of heads that were trained without the label.
        """
        task = self.parts.task[self.judged]
        label, rows = self.imputed_label[task], np.arange(task.size)
        opinion = self.opinion.class_probs
        both = believed(opinion, self.imputed.class_probs[task], self.imputed.class_prior[task])
        both[rows, label] = 0.0
        doubt = both.sum(axis=1)
        against = np.log1p(-opinion[rows, label]) - np.log(opinion[rows, label])
        names = self.imputed.class_names
        table = pd.DataFrame(
            {
                "task": self.imputed.names[task],
                "label": names[label],
                "confidence": self.imputed.class_probs[task, label],
                "model_label": names[opinion.argmax(axis=1)],
                "model_confidence": opinion.max(axis=1),
                "doubt": doubt,
                "num_labels": self.imputed.num_labels[task],
                "is_known": self.imputed.is_known[task],
                **{f"prob_{name}": opinion[:, k] for k, name in enumerate(names)},
            },
            index=self.judged,
        )
        return table.iloc[np.lexsort((-against, -doubt))]


def fine_tune(
    key: Key[Array, ""],
    network: EfficientNet,
    images: ImageSet,
    imputed: Imputed,
    parts: Parts,
    config: HeadOrAll | TrainingConfig | HeadConfig | None = None,
    *,
    targets: str | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Progress = lambda done, total: None,
) -> FineTuning:
    """A network fine-tuned on imputed labels, with all that is worth knowing of it.

    Args:
        key: random key.
        network: pretrained, with a classifier for the classes imputed.
        images: all of them.
        imputed: the labels.
        parts: what is to become of each image, as `part_images` says.
        config: how to train: a `HeadConfig` trains the last layer and leaves the others. A
            `TrainingConfig` goes on from there with all weights, and then trains the last layer
            once more, on what it will see: in training dropout and stochastic depth had changed
            that. `HeadOrAll`, the default, keeps what is better on gold held out.
        targets: a name in `gtx_bayes.finetune.targets.TARGETS`; the labels' own when absent.
        checkpoint: where to put a training of the whole network down, and to take it up from.
        progress: called after each step of a training of the whole network.

    Raises:
        InputError: for unknown targets, images all of one group, a checkpoint of another
            training, or one of a head, which takes seconds.
    """
    config = config or HeadOrAll()
    targets = targets or imputed.default_targets()
    if targets not in TARGETS:
        raise InputError(
            f"there are no targets '{targets}'.", hint=f"The targets are {', '.join(TARGETS)}."
        )
    judged = np.flatnonzero((parts.task >= 0) & ~parts.evaluates)
    if np.unique(images.group[judged]).size < 2:
        raise InputError(
            "all images with a label are of one group: none can be judged without it.",
            hint="Leave the groups out, or give images of more than one.",
        )
    if isinstance(config, HeadConfig) and checkpoint is not None:
        raise InputError(
            "a last layer alone is trained in seconds and is not put down.",
            where=str(checkpoint.path),
            hint="Leave the checkpoint out.",
        )
    key_ties, key_train, key_opinion, key_head = jax.random.split(key, 4)
    head_config = _head_config(config)

    def with_last_layer(
        network: EfficientNet, features: np.ndarray, config: TrainingConfig | HeadConfig
    ) -> _Trained:
        """The network with its last layer trained on these features, the same key for each."""
        some = take(towards, parts.trains)
        head = train_head(key_head, features[parts.trains], some, head_config)
        return _Trained(with_head(network, head), features, config)

    label = np.asarray(decisions.hard_label(key_ties, jnp.asarray(imputed.class_probs)))
    towards = TARGETS[targets](jnp.asarray(imputed.class_probs[parts.task], float))
    towards = only(towards, jnp.asarray(parts.trains))
    features = cached_features(network, images.pixels)
    is_copied = has_copies(features, parts, images.group)
    kept = with_last_layer(network, features, head_config)
    history, choice, whole = History(), None, config
    if isinstance(config, HeadOrAll):
        may_choose = parts.assesses.any() and not is_copied
        choice = Choice(kept.log_loss(parts) if may_choose else None, None)
        whole = config.whole if may_choose else config.head
    if isinstance(whole, TrainingConfig):
        watched = None
        if parts.assesses.any():
            watched = Watched(images.pixels[parts.assesses], parts.true_label[parts.assesses])
        trained, history = train(
            key_train,
            kept.network,
            images.pixels,
            towards,
            whole,
            watched=watched,
            checkpoint=checkpoint,
            progress=progress,
        )
        other = with_last_layer(trained, cached_features(trained, images.pixels), whole)
        if choice is not None:
            choice = choice._replace(whole=other.log_loss(parts))
        if choice is None or choice.is_whole:
            kept = other
    logits = kept.logits()
    temperature = checked_temperature(logits, parts, images.group, is_copied=is_copied)
    opinion = form_opinion(
        key_opinion,
        kept.features[judged],
        take(towards, judged),
        imputed.class_probs[parts.task[judged]],
        images.group[judged],
        head_config,
    )
    return FineTuning(
        images=images,
        imputed=imputed,
        parts=parts,
        targets=targets,
        config=kept.config,
        model=FineTuned(kept.network, tuple(imputed.class_names), temperature.value),
        temperature=temperature,
        choice=choice,
        history=history,
        logits=logits,
        opinion=opinion,
        judged=judged,
        imputed_label=label,
    )


class _Trained(NamedTuple):
    """A network, what its classifier sees of every image, and how it was trained."""

    network: EfficientNet
    features: Float[np.ndarray, "num_images num_features"]
    config: TrainingConfig | HeadConfig

    def logits(self) -> Float[np.ndarray, "num_images num_classes"]:
        return np.asarray(own_head(self.network).logits(jnp.asarray(self.features)))

    def log_loss(self, parts: Parts) -> float:
        """On the gold held out, at the temperature that it asks for."""
        logits, truth = self.logits()[parts.assesses], parts.true_label[parts.assesses]
        return score(class_probs(logits, fit_temperature(logits, truth)), truth).log_loss


def _head_config(config: HeadOrAll | TrainingConfig | HeadConfig) -> HeadConfig:
    """How the last layer is trained."""
    match config:
        case HeadOrAll():
            return config.head
        case TrainingConfig():
            return HeadConfig()
    return config


def predictions_table(
    names: Names,
    class_names: Any,
    probs: Float[np.ndarray, "num_images num_classes"],
) -> pd.DataFrame:
    """One row per image: task, label, confidence and prob_<class> of every class."""
    classes = np.asarray(class_names, object)
    return pd.DataFrame(
        {
            "task": names,
            "label": classes[probs.argmax(axis=1)],
            "confidence": probs.max(axis=1),
            **{f"prob_{name}": probs[:, k] for k, name in enumerate(classes)},
        }
    )


def _scored(
    probs: Float[np.ndarray, "num_images num_classes"], truth: np.ndarray
) -> dict[str, Estimate]:
    found = _estimates(jnp.asarray(probs, float), jnp.asarray(truth))
    return {name: found[name] for name in SCORES}  # JAX puts keys in alphabetical order


@jax.jit
def _estimates(
    class_probs: Float[Array, "num_images num_classes"], true_label: Int[Array, " num_images"]
) -> dict[str, Estimate]:
    return {name: score(class_probs, true_label) for name, score in SCORES.items()}
