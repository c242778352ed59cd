"""When does fine-tuning benefit from labels bought efficiently? The paper leaves it open (sec. 6).

A pool is labelled under a budget in many ways, and on each labelling a linear head is trained on
features of the images. Before the training `finetune.effective_number` says what each labelling is
worth, from its number of images and the posterior of `gtx`; the study asks how often that tells
which of two labellings trains the better head.
"""

import dataclasses
import itertools
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.optimize
import scipy.stats
from jaxtyping import Array, Float, Int, Key, ScalarLike
from matplotlib.figure import Figure

from gtx_bayes.aggregation import gtx, majority_vote
from gtx_bayes.experiments.drawing import series, styled
from gtx_bayes.experiments.features import AbstractFeatures, DrawnFeatures, Features
from gtx_bayes.experiments.imputed_labels import METHODS, Imputed, Labeling, Way, impute, soft
from gtx_bayes.experiments.noise_surface import trained_error
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.study import Row, Study, records, summarise
from gtx_bayes.finetune.effective_number import EXPONENT, SLOPE, num_trained_on, share_of_signal
from gtx_bayes.finetune.head import HeadConfig
from gtx_bayes.finetune.targets import Targets

NAME = "efficiency"
DEFAULT_RUNS = 10

EARLY_THRESHOLD = 0.8
"""A threshold below the paper's .95: more images, more errors."""


CANDIDATES: dict[str, Way] = {
    **METHODS,
    f"{gtx.NAME}-early": Way(gtx.NAME, threshold=EARLY_THRESHOLD),
    f"{majority_vote.NAME}-of-3": Way(majority_vote.NAME, max_labels=3),
    "one-label": Way(majority_vote.NAME, max_labels=1),
    "one-label-soft": Way(gtx.NAME, soft, max_labels=1),
}
"""The paper's four, `gtx-bayes` hard and soft, a lower threshold, and fewer labels per image."""


@dataclasses.dataclass(frozen=True)
class Config:
    """What is tried.

    Attributes:
        cohorts: limits of the uniform distributions of accuracies.
        pools: numbers of images to label.
        labels_per_image: budgets, in labels per image of the pool.
        candidates: names in `CANDIDATES`.
        num_labelers: J.
        gold_per_labeler: gold answers of each labeler that `gtx-bayes` sees.
        head: how heads are trained.
    """

    cohorts: tuple[tuple[float, float], ...] = (
        (0.55, 0.75),
        (0.6, 0.9),
        (0.7, 0.9),
        (0.8, 1.0),
        (0.9, 1.0),
    )
    pools: tuple[int, ...] = (300, 800)
    labels_per_image: tuple[float, ...] = (0.3, 0.6, 1.2, 2.4, 4.8)
    candidates: tuple[str, ...] = tuple(CANDIDATES)
    num_labelers: int = 10
    gold_per_labeler: int = 5
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)

    def budgets(self, num_pool: int) -> tuple[int, ...]:
        """Budgets for a pool of so many images."""
        return tuple(round(each * num_pool) for each in self.labels_per_image)


class Trained(NamedTuple):
    """Labellings of one pool, and what was learnt from them.

    Attributes:
        num_images: N.
        noise_rate: share of wrong hard labels.
        expected_noise_rate: what the posterior of `gtx` expects of it.
        share_of_signal: q, by that posterior.
        balanced_error: of the head, on the images withheld.
    """

    num_images: Int[Array, "*candidates_and_budgets"]
    noise_rate: Float[Array, "*candidates_and_budgets"]
    expected_noise_rate: Float[Array, "*candidates_and_budgets"]
    share_of_signal: Float[Array, "*candidates_and_budgets"]
    balanced_error: Float[Array, "*candidates_and_budgets"]


FIGURES = (*(name for name in Trained._fields if name != "share_of_signal"), "effective_number")
"""Figures of a row."""

SETTING = ["cohort", "num_pool", "budget"]
"""Columns that name a setting, in which candidates are compared."""


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    source: AbstractFeatures | None = None,
) -> Study:
    """Label, train and score in every setting.

    In a run all candidates and budgets meet the same images, labelers and order of images, and all
    trainings have the same key; those of equal kappa meet the same answers.

    Args:
        key: random key.
        config: the settings.
        runs: pools, cohorts and labellings drawn in each setting.
        progress: called with the number of labelled pools.
        source: of the features; drawn ones when absent. Pools larger than it has are left out.

    Returns:
        Rows with means over runs by setting and candidate; a line in `points` for each training.
        `accuracy_of_rules`, `fit_slope` and `reliability` take it from there.

    Raises:
        ValueError: if no pool is small enough.
    """
    config, source = config or Config(), source or DrawnFeatures()
    pools = source.within(config.pools)
    each = list(itertools.product(pools, range(len(config.cohorts)), range(runs)))
    tables = []
    for done, setting in enumerate(each, start=1):
        num_pool, cohort, at = setting
        key_draw, key_run = jax.random.split(reduce(jax.random.fold_in, setting, key))
        found = _label_and_train(
            key_run,
            *config.cohorts[cohort],
            source.draw(key_draw, num_pool),
            config,
            num_classes=source.num_classes,
        )
        low, high = config.cohorts[cohort]
        ways = list(itertools.product(config.candidates, config.budgets(num_pool)))
        columns = {
            "cohort": f"U({low:g}, {high:g})",
            "num_pool": num_pool,
            "budget": [budget for _, budget in ways],
            "method": [name for name, _ in ways],
            "run": at,
        }
        columns |= {k: part.ravel() for k, part in jax.device_get(found)._asdict().items()}
        tables.append(pd.DataFrame(columns))
        progress(done, len(each))
    points = pd.concat(tables, ignore_index=True)
    notes = (
        source.described(),
        "Labelers and their answers are simulated, with even errors.",
        f"Heads on fixed features are trained, for {config.head.num_epochs} epochs.",
    )
    with_number = points.assign(effective_number=effective_number(points))
    rows = summarise(with_number, (*SETTING, "method"), FIGURES)
    for row in rows:
        candidate = CANDIDATES[row["method"]]
        row |= {"threshold": candidate.threshold, "max_labels": candidate.max_labels}
    return Study(NAME, runs, rows, points, notes)


@partial(jax.jit, static_argnames=("config", "num_classes"))
def _label_and_train(
    key: Key[Array, ""],
    low: ScalarLike,
    high: ScalarLike,
    features: Features,
    config: Config,
    *,
    num_classes: int,
) -> Trained:
    """One pool, labelled by one new cohort in every way and for every budget, and a head on each.

    Accuracies of the cohort are drawn evenly from `low` to `high`.
    """
    key_labels, key_training = jax.random.split(key)
    num_pool = features.pool_label.shape[0]
    labelings: dict[Labeling, dict[str, Imputed]] = {}
    chosen = []
    for name in config.candidates:
        candidate = CANDIDATES[name]
        labeling = Labeling(
            config.budgets(num_pool),
            config.num_labelers,
            candidate.max_labels,
            candidate.threshold,
            config.gold_per_labeler,
        )
        if labeling not in labelings:
            labelings[labeling] = impute(
                key_labels,
                low,
                high,
                features.pool_label,
                features.gold_label,
                labeling,
                num_classes=num_classes,
            )
        imputed = labelings[labeling][candidate.labeling]
        targets = jax.vmap(lambda one, make=candidate.targets: make(one, num_classes))(imputed)
        chosen.append((imputed, targets))
    imputed, targets = jax.tree.map(lambda *parts: jnp.stack(parts), *chosen)

    def train_one(one: tuple[Imputed, Targets]) -> Trained:
        imputed, targets = one
        return Trained(
            num_trained_on(targets).astype(jnp.int32),
            imputed.noise_rate,
            imputed.expected_noise_rate_gtx,
            share_of_signal(targets, imputed.gtx_probs),
            trained_error(key_training, features, targets, config.head),
        )

    return jax.lax.map(lambda of: jax.lax.map(train_one, of), (imputed, targets))


def effective_number(points: pd.DataFrame, exponent: float = EXPONENT) -> "pd.Series[float]":
    """What `finetune.effective_number` says of every labelling."""
    return points["num_images"] * points["share_of_signal"] ** exponent


def compare(points: pd.DataFrame, exponent: float = EXPONENT) -> pd.DataFrame:
    """A line for each pair of candidates in each setting and run.

    Columns beside the setting: `first` and `second`, `difference` in balanced error, first less
    second, and by how much the first is ahead, on a scale where zero says nothing: `rule`, of the
    logarithms of effective numbers; `images`, of those of N; `noise`, of the expected noise rates;
    `gtx`, whether it is `gtx` itself.
    """
    points = points.assign(number=effective_number(points, exponent))
    wide = points.pivot_table(
        ["number", "num_images", "expected_noise_rate", "balanced_error"],
        [*SETTING, "run"],
        "method",
    )
    with np.errstate(divide="ignore"):
        logs = {name: np.log(wide[name]) for name in ("number", "num_images")}

    def ahead(log: pd.DataFrame, first: str, second: str) -> "pd.Series[float]":
        """Zero where the logarithms are equal, be it of zero: neither teaches anything."""
        is_equal = log[first] == log[second]
        return log[first].mask(is_equal, 0.0) - log[second].mask(is_equal, 0.0)

    tables = []
    present = [name for name in CANDIDATES if name in set(points["method"])]
    for first, second in itertools.combinations(present, 2):
        noise, error = wide["expected_noise_rate"], wide["balanced_error"]
        columns = {
            "difference": error[first] - error[second],
            "rule": ahead(logs["number"], first, second),
            "images": ahead(logs["num_images"], first, second),
            "noise": noise[second] - noise[first],
            "gtx": float(first == gtx.NAME) - float(second == gtx.NAME),
        }
        tables.append(pd.DataFrame(columns).assign(first=first, second=second).reset_index())
    return pd.concat(tables, ignore_index=True)


RULES = ("rule", "gtx", "images", "noise")
"""Predictors of the better labelling, columns of `compare`."""

LEVEL = 0.05
"""A pair is decided where a t-test of its runs rejects equal mean errors at this level."""


def accuracy_of_rules(study: Study, exponent: float = EXPONENT) -> list[Row]:
    """How often each rule names the labelling with the lower mean balanced error.

    A trial is a pair of candidates in a setting, all its runs taken together. Pairs whose labels
    never differed in effect are no trials. A rule that has no opinion is half right. The interval
    takes trials for independent; those of one setting share labels, and `setting_se` is the
    standard error from one setting to the next.

    Returns:
        Rows by `pairs` ("all", or those with `gtx` in them), `decided` (whether only pairs whose
        difference exceeds its noise count) and `rule`.
    """
    pairs = compare(study.points, exponent)
    by = [*SETTING, "first", "second"]
    grouped = pairs.groupby(by, sort=False)
    mean = grouped[["difference", *RULES]].mean().reset_index()
    spread = grouped["difference"].std(ddof=1).to_numpy() / np.sqrt(study.runs)
    limit = scipy.stats.t.ppf(1.0 - LEVEL / 2, study.runs - 1) if study.runs > 1 else np.inf
    mean = mean.assign(decided=np.abs(mean["difference"]) > limit * spread)
    trials = mean[mean["difference"] != 0.0]
    rows: list[Row] = []
    for scope, only_decided, rule in itertools.product(("all", gtx.NAME), (True, False), RULES):
        if rule == "gtx" and scope == "all":
            continue  # says nothing of most
        mine = trials[trials["decided"]] if only_decided else trials
        if scope == gtx.NAME:
            mine = mine[mine["gtx"] != 0.0]
        right = 0.5 * (1.0 - np.sign(mine[rule]) * np.sign(mine["difference"]))
        rows.append(
            {"pairs": scope, "decided": only_decided, "rule": rule} | _share(right, mine[SETTING])
        )
    return rows


def _share(right: "pd.Series[float]", setting: pd.DataFrame) -> Row:
    """Share of ones, with Wilson's 95 % confidence interval and its error between settings."""
    count = len(right)
    if count == 0:
        return {"num_pairs": 0, "right": None, "ci_low": None, "ci_high": None, "setting_se": None}
    share = float(right.mean())
    interval = scipy.stats.binomtest(round(float(right.sum())), count).proportion_ci(
        0.95, method="wilson"
    )
    left = (right - share).groupby([setting[name] for name in SETTING]).sum()
    return {
        "num_pairs": count,
        "right": share,
        "ci_low": float(interval.low),
        "ci_high": float(interval.high),
        "setting_se": float(np.sqrt(np.sum(left**2)) / count),
    }


def fit_slope(pairs: pd.DataFrame) -> float:
    """The slope of `finetune.effective_number.prob_better` that makes these pairs most likely.

    Args:
        pairs: as `compare` returns them; those of equal errors do not count.
    """
    ahead, is_better = _outcomes(pairs)
    signed = np.where(is_better, ahead, -ahead)
    found = scipy.optimize.minimize_scalar(
        lambda log_slope: float(np.logaddexp(0.0, -np.exp(log_slope) * signed).sum()),
        bounds=(-5.0, 5.0),
        method="bounded",
    )
    return float(np.exp(found.x))


_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def reliability(pairs: pd.DataFrame, slope: float = SLOPE) -> list[Row]:
    """Of pairs of trainings: how often the likelier one is the better one, by how likely it was.

    Args:
        pairs: as `compare` returns them; those of equal errors do not count.
        slope: of `prob_better`.
    """
    ahead, is_better = _outcomes(pairs)
    stated = 1.0 / (1.0 + np.exp(-slope * np.abs(ahead)))
    right = np.where(ahead == 0, 0.5, (ahead > 0) == is_better)
    place = np.clip(np.searchsorted(_EDGES, stated, side="right") - 1, 0, len(_EDGES) - 2)
    edges = np.array(_EDGES)
    columns = {"from": edges[place], "to": edges[place + 1], "stated": stated, "right": right}
    bins = pd.DataFrame(columns | {"num_pairs": 1}).groupby(["from", "to"], as_index=False)
    return records(bins.agg({"num_pairs": "sum", "stated": "mean", "right": "mean"}))


def _outcomes(
    pairs: pd.DataFrame,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """By how much the first is ahead, and whether it is better; pairs that differ."""
    differ = pairs[pairs["difference"] != 0.0]
    return differ["rule"].to_numpy(float), differ["difference"].to_numpy(float) < 0.0


def findings(study: Study) -> dict[str, list[Row]]:
    """How often the rules are right, whether the stated probability is, and what fits this run."""
    pairs = compare(study.points)
    return {
        "which labelling trains better": accuracy_of_rules(study),
        "pairs of trainings": reliability(pairs),
        "slope": [{"slope": SLOPE, "best here": fit_slope(pairs)}],
    }


@styled
def plot(study: Study) -> Figure:
    """Error against images, against effective numbers, and the stated probability."""
    drawn, (left, middle, right) = plt.subplots(1, 3, figsize=(13.0, 4.2))
    names = dict.fromkeys(row["method"] for row in study.rows)
    colours = plt.get_cmap("tab10")(np.arange(len(names)))
    for name, colour in zip(names, colours, strict=True):
        rows = study.where(method=name)
        error, _ = series(rows, "balanced_error", 100.0)
        for ax, figure in ((left, "num_images"), (middle, "effective_number")):
            x, _ = series(rows, figure)
            ax.plot(x, error, "o", color=colour, markersize=3.5, alpha=0.8, label=name)
    for ax, label in ((left, "images with a label"), (middle, "effective number")):
        ax.set_xscale("log")
        ax.set_xlim(left=1.0)
        ax.set(xlabel=label, ylabel="balanced error, %")
    left.legend(fontsize=7)
    bins = reliability(compare(study.points))
    stated, share = [row["stated"] for row in bins], [row["right"] for row in bins]
    right.plot([0.5, 1.0], [0.5, 1.0], color="#9aa5b1", linewidth=1)
    right.plot(stated, share, "o-", color="#1f4e79")
    look = {"textcoords": "offset points", "xytext": (0, -12), "ha": "center", "fontsize": 7}
    for x, y, row in zip(stated, share, bins, strict=True):
        right.annotate(f"{row['num_pairs']:,}", (x, y), **look)
    right.set(xlabel="stated probability of the likelier", ylabel="share in which it is better")
    return drawn
