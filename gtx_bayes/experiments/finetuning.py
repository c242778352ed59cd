"""Fine-tuning on imputed labels: the paper's section 4, its Figures 4 and 5.

Labelers label a pool of images under a budget, by one method after the other. A network is trained
on what was labelled, and scored on images that nobody labelled. What the paper leaves unsaid, and
how it is settled here, stands in "Fine-tuning" in the documentation.
"""

import dataclasses
import hashlib
import itertools
import time
from functools import cache, lru_cache, partial, reduce
from operator import itemgetter
from pathlib import Path

import jax
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.stats
from jaxtyping import Array, Int, Key

from gtx_bayes.aggregation import gtx, majority_vote, weighted_majority_vote
from gtx_bayes.errors import InputError
from gtx_bayes.experiments import training_log
from gtx_bayes.experiments.imputed_labels import METHODS, Imputed, Labeling, impute
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.setting import AGGREGATORS, COHORTS, ONE_LABEL_IS_CERTAIN
from gtx_bayes.experiments.study import Row, Study, known_figure, summarise
from gtx_bayes.experiments.training_log import Record, Setting
from gtx_bayes.experiments.trainings import AbstractTraining, FullFineTuning, HeadOnly, Logits
from gtx_bayes.finetune.efficientnet import EfficientNet, to_tensors
from gtx_bayes.finetune.images import ImageSet
from gtx_bayes.finetune.predictions import class_probs, fit_temperature, score
from gtx_bayes.finetune.split import Split, given_split, split_images
from gtx_bayes.labels import MISSING

NAME = "finetuning"

_FORMAT = 1  # of the log; another number where the same configuration gives other results


_COUNTS = ("num_training_images", "labels_spent")
_RATES = ("noise_rate", "expected_noise_rate", "expected_noise_rate_gtx")
_SCORES = (
    "balanced_error",
    "error",
    "ece",
    "ece_tempered",
    "auroc",
    "log_loss",
    "log_loss_tempered",
)

FIGURES = (*_COUNTS, *_RATES, *_SCORES)
"""What the rows of the study hold, by cohort, method and budget."""


PAPER_METHODS = tuple(AGGREGATORS)

PRINTED_FRIEDMAN = {"accurate": 2.5e-9}
"""P-values of Friedman's test that the paper prints, by cohort."""

PRINTED_DUNN = {
    ("accurate", frozenset({gtx.NAME, majority_vote.NAME})): 0.043,
    ("accurate", frozenset({gtx.NAME, weighted_majority_vote.NAME})): 0.038,
}
"""P-values of Dunn's test that the paper prints, by cohort and pair."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The paper's settings.

    Attributes:
        labeling: budgets, and how labels are collected.
        training: how the network is trained.
        num_seeds: how often labelers, their assessment and their answers are drawn.
        num_repetitions: trainings on the same imputed labels.
        assessment: share of the images that assess the labelers.
        evaluation: share of the images withheld, where images do not say which.
    """

    labeling: Labeling = dataclasses.field(default_factory=Labeling)
    training: AbstractTraining = dataclasses.field(default_factory=FullFineTuning)
    num_seeds: int = 5
    num_repetitions: int = 3
    assessment: float = 0.1
    evaluation: float = 0.1

    @classmethod
    def quick(cls, training: AbstractTraining | None = None) -> "Config":
        """Three seeds, four budgets, one training each; a head alone, unless told otherwise."""
        labeling = Labeling(budgets=(250, 500, 1000, 4000))
        return cls(labeling, training or HeadOnly(), num_seeds=3, num_repetitions=1)

    @property
    def num_trainings(self) -> int:
        """How many trainings the study makes."""
        settings = len(COHORTS) * len(METHODS) * len(self.labeling.budgets)
        return settings * self.num_seeds * self.num_repetitions


def run(
    key: Key[Array, ""],
    config: Config,
    images: ImageSet,
    network: EfficientNet,
    *,
    log: Path | None = None,
    progress: Progress = silent,
) -> Study:
    """Label, train and score, for every cohort, seed, method, budget and repetition.

    `points` has a line for every training, `rows` their means and standard errors over seeds.
    The random keys of a training depend on `key` and its setting alone. Images are split once.

    Args:
        key: random key.
        config: the settings.
        images: with a class each; if they name a part "test", that is what is evaluated on.
        network: where every training starts.
        log: file that gets a line for each training as soon as it is done. Those it has already
            are not done again.
        progress: called with the number of trainings done.

    Raises:
        InputError: for images without classes, or a log of another configuration.
        ValueError: for a budget too small to finish an image, or a network of other classes.
    """
    _check(config, images, network)
    key_split, key_labels, key_training = jax.random.split(key, 3)
    split = split_for(key_split, config, images)
    configuration = fingerprint(key, config, images, network)
    done, torn = ({}, ()) if log is None else training_log.recover(log, configuration)
    truth = images.true_label

    @lru_cache(maxsize=1)
    def labels(cohort: str, seed: int) -> dict[str, Imputed]:
        """What all methods make of the pool."""
        key_cohort = jax.random.fold_in(key_labels, list(COHORTS).index(cohort))
        return jax.device_get(
            impute(
                jax.random.fold_in(key_cohort, seed),
                *COHORTS[cohort],
                truth[split.training],
                truth[split.assessment],
                config.labeling,
                num_classes=images.num_classes,
            )
        )

    trainer = cache(partial(config.training.prepare, network, images, split))

    def train(setting: Setting) -> Record:
        """From labels to scores."""
        started = time.perf_counter()
        method = METHODS[setting.method]
        place = config.labeling.budgets.index(setting.budget)
        imputed = labels(setting.cohort, setting.seed)[method.labeling]
        imputed = jax.device_put(jax.tree.map(itemgetter(place), imputed))
        # Methods share a key that does not depend on what was trained before: where their labels
        # are equal, so are their networks, and they differ by more than the noise of trainings.
        cohort = list(COHORTS).index(setting.cohort)
        numbers = (cohort, setting.budget, setting.seed, setting.repetition)
        key_here = reduce(jax.random.fold_in, numbers, key_training)
        logits = trainer()(key_here, method.targets(imputed, images.num_classes))
        return {
            **setting._asdict(),
            "num_training_images": int(imputed.num_images),
            "labels_spent": int(imputed.labels_spent),
            **{name: float(getattr(imputed, name)) for name in _RATES},
            **_scores(logits, truth[split.evaluation], truth[split.assessment]),
            "seconds": round(time.perf_counter() - started, 3),
        }

    records = []
    every = itertools.product(  # a stopped study has whole seeds first
        range(config.num_seeds),
        COHORTS,
        METHODS,
        config.labeling.budgets,
        range(config.num_repetitions),
    )
    for seed, cohort, method, budget, repetition in every:
        setting = Setting(cohort, method, budget, seed, repetition)
        if setting not in done:
            done[setting] = train(setting)
            if log is not None:
                training_log.append(log, configuration, done[setting])
        records.append(done[setting])
        progress(len(records), config.num_trainings)
    points = pd.DataFrame(records)
    points = points.astype({name: float for name in FIGURES if name not in _COUNTS})
    notes = (*images.notes, *torn, *_notes(config, images, split, points))
    return Study(NAME, config.num_seeds, rows_of(config, points), points, notes)


def fingerprint(
    key: Key[Array, ""], config: Config, images: ImageSet, network: EfficientNet
) -> str:
    """A checksum of everything that the trainings depend on, and of the precision."""
    digest = hashlib.sha256()
    options = (_FORMAT, config, network.config, jax.random.key_data(key).tolist())
    digest.update(repr((*options, str(jax.dtypes.canonicalize_dtype(float)))).encode())
    for array in (images.pixels, images.true_label, images.group):
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(repr(None if images.split is None else images.split.tolist()).encode())
    for path, tensor in sorted(to_tensors(network).items()):
        digest.update(path.encode() + np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()[:16]


def _scores(
    logits: Logits,
    evaluation: Int[np.ndarray, " num_evaluation"],
    assessment: Int[np.ndarray, " num_assessment"],
) -> dict[str, float | None]:
    """Scores on the images withheld, raw and at the temperature that the assessment asks for."""
    temperature = fit_temperature(logits.assessment, assessment)
    raw = score(class_probs(logits.evaluation), evaluation)._asdict()
    tempered = score(class_probs(logits.evaluation, temperature), evaluation)._asdict()
    found = raw | {f"{name}_tempered": value for name, value in tempered.items()}
    found["temperature"] = temperature
    names = (*_SCORES, "temperature")
    return {name: _known(found[name]) for name in names}


def _known(value: float) -> float | None:
    """None for what cannot be worked out, as where a training diverged."""
    return float(value) if np.isfinite(value) else None


def split_for(key: Key[Array, ""], config: Config, images: ImageSet) -> Split:
    """Images that are labelled, that assess and that are withheld, as they say or at random."""
    if images.split is not None:
        return given_split(key, images, assessment=config.assessment)
    return split_images(key, images, assessment=config.assessment, evaluation=config.evaluation)


def _check(config: Config, images: ImageSet, network: EfficientNet) -> None:
    unknown = int(np.sum(images.true_label == MISSING))
    if unknown:
        raise InputError(
            f"{unknown} of {len(images.true_label)} images have no class, and simulated labelers "
            "need one to answer.",
            hint="Give a table with the class of every image, or leave the others out of it.",
        )
    least = min(config.labeling.budgets)
    if least < config.labeling.max_labels:
        raise ValueError(f"a budget of {least} may not finish one image")
    if network.config.num_classes != images.num_classes:
        raise ValueError(
            f"a network of {network.config.num_classes} classes for {images.num_classes}"
        )


def _notes(config: Config, images: ImageSet, split: Split, points: pd.DataFrame) -> tuple[str, ...]:
    sizes = (len(split.training), len(split.assessment), len(split.evaluation))
    notes = [
        "{} images to be labelled, {} that assess the labelers, {} withheld.".format(*sizes),
        config.training.described(),
        f"Budgets: {', '.join(f'{b:,}' for b in config.labeling.budgets)}; the paper names the "
        "range, 250 to 4,000.",
    ]
    if config.num_seeds < Config.num_seeds or config.num_repetitions < Config.num_repetitions:
        notes.append(
            f"Seeds: {config.num_seeds}, trainings on each labelling: {config.num_repetitions}; "
            f"the paper has {Config.num_seeds} and {Config.num_repetitions}."
        )
    unspent = points[points["num_training_images"] == sizes[0]]
    if (unspent["labels_spent"] < unspent["budget"]).any():
        notes.append("Where a method ran out of images, the rest of its budget was not spent.")
    if images.split is not None:
        notes.append("The images withheld are those that the table gives as the part 'test'.")
    return tuple(notes)


def rows_of(config: Config, points: pd.DataFrame) -> list[Row]:
    """Means over seeds of the means over repetitions; a training without a score leaves none."""
    setting = ["cohort", "method", "budget"]
    each = points.groupby([*setting, "seed"], sort=False)[list(FIGURES)]
    rows: list[Row] = []
    for found in summarise(each.mean(skipna=False).reset_index(), setting, FIGURES):
        constant = METHODS[found["method"]].labeling in ONE_LABEL_IS_CERTAIN
        row: Row = {
            "cohort": found.pop("cohort"),
            "method": found.pop("method"),
            "strategy": "fixed" if constant else "confidence-threshold",
            "threshold": None if constant else config.labeling.threshold,
            "max_labels": config.labeling.max_labels,
        }
        rows.append(row | found)
    return rows


def significance(study: Study) -> list[Row]:
    """Do the paper's methods differ in balanced error? Friedman's test, then Dunn's, by cohort.

    Blocks of Friedman's test are a budget, seed and repetition, as repeated measures. That is what
    the paper seems to do, and it takes too much for granted: trainings of one seed share their
    labels, and budgets of one seed share labelers and answers. A second test of the means over
    repetitions has fewer blocks, whose budgets are still not independent. Dunn's test ranks all
    trainings together, in spite of budgets, and takes them for independent too.

    Returns:
        Rows with the p-value, None where all values tie, and the paper's beside, where it prints
        one; it was had on other images unless the study ran on the paper's. For a pair also the
        difference in mean balanced error, first less second, and its standard error over seeds.

    References:
        Friedman (1937), The use of ranks to avoid the assumption of normality implicit in the
        analysis of variance. Dunn (1964), Multiple comparisons using rank sums; adjusted for the
        number of pairs as by Holm (1979).
    """
    rows: list[Row] = []
    for cohort in COHORTS:
        mine = study.points[study.points["cohort"] == cohort]
        block = ["budget", "seed", "repetition"]
        table = mine.pivot_table("balanced_error", block, "method")[list(PAPER_METHODS)]
        for blocks, values in (
            ("trainings", table),
            ("means over repetitions", table.groupby(["budget", "seed"]).mean()),
        ):
            row: Row = {"cohort": cohort, "test": "friedman", "blocks": blocks}
            row |= {"num_blocks": len(values), "statistic": None, "p_value": None}
            of_methods = values.to_numpy(float).T
            if (of_methods != of_methods[0]).any():
                found = scipy.stats.friedmanchisquare(*of_methods)
                row |= {"statistic": _known(found.statistic), "p_value": _known(found.pvalue)}
            rows.append(row | {"paper_p_value": PRINTED_FRIEDMAN.get(cohort)})
        rows += _dunn_rows(cohort, table)
    return rows


def _dunn_rows(cohort: str, table: pd.DataFrame) -> list[Row]:
    from scikit_posthocs import posthoc_dunn  # takes two seconds to import

    p_values: dict[str, npt.NDArray[np.float64]] = {}
    values = table.to_numpy(float)
    if (values != values[0, 0]).any():
        for name, adjust in (("p_value", None), ("p_value_holm", "holm")):
            p_values[name] = posthoc_dunn(values.T, p_adjust=adjust).to_numpy()
    by_seed = table.groupby("seed").mean()
    rows: list[Row] = []
    for first, second in itertools.combinations(reversed(PAPER_METHODS), 2):
        at = PAPER_METHODS.index(first), PAPER_METHODS.index(second)
        row: Row = {"cohort": cohort, "test": "dunn", "pair": [first, second]}
        row["difference"] = known_figure(by_seed[first] - by_seed[second])
        for name in ("p_value", "p_value_holm"):
            row[name] = _known(p_values[name][at]) if p_values else None
        row["paper_p_value"] = PRINTED_DUNN.get((cohort, frozenset({first, second})))
        rows.append(row)
    return rows
