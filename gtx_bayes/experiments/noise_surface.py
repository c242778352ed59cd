"""Balanced error of a head against the number of images and the noise put into their labels.

Noise is put in directly: labels are flipped to another class at random. If one effective number
N q^gamma says it all (`finetune.effective_number`), the surface is one learning curve.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.optimize
from jaxtyping import Array, Float, Int, Key
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from gtx_bayes import metrics
from gtx_bayes.experiments.drawing import styled
from gtx_bayes.experiments.features import AbstractFeatures, DrawnFeatures, Features
from gtx_bayes.experiments.runs import Progress, silent
from gtx_bayes.experiments.study import Row, Study, summarise
from gtx_bayes.finetune.effective_number import EXPONENT
from gtx_bayes.finetune.head import HeadConfig, train_head
from gtx_bayes.finetune.targets import Targets, known_targets
from gtx_bayes.labels import MISSING

NAME = "noise_surface"
DEFAULT_RUNS = 12


@dataclasses.dataclass(frozen=True)
class Config:
    """What is tried.

    Attributes:
        num_images: values of N.
        noise_rates: shares of wrong labels.
        head: how heads are trained.
    """

    num_images: tuple[int, ...] = (50, 100, 200, 400, 800)
    noise_rates: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3)
    head: HeadConfig = dataclasses.field(default_factory=HeadConfig)


def run(
    key: Key[Array, ""],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Progress = silent,
    source: AbstractFeatures | None = None,
) -> Study:
    """Train heads on every number of images at every noise rate.

    Images, their order and the keys of training are the same for all N and rates of a run, and an
    image that is wrong at one rate is wrong at all higher ones.

    Args:
        key: random key.
        config: the settings.
        runs: pools drawn.
        progress: called with the number of pools done.
        source: of the features; drawn ones when absent. Values of N beyond it are left out.

    Returns:
        Rows with means over runs; a line in `points` for each training.

    Raises:
        ValueError: if no N is small enough.
    """
    config, source = config or Config(), source or DrawnFeatures()
    counts = source.within(config.num_images)
    size, rate = (grid.ravel() for grid in np.meshgrid(counts, config.noise_rates, indexing="ij"))
    tables = []
    for at in range(runs):
        key_draw, key_run = jax.random.split(jax.random.fold_in(key, at))
        features = source.draw(key_draw, max(counts))
        error = _measure(
            key_run, features, size, jnp.asarray(rate), config.head, source.num_classes
        )
        columns = {"run": at, "num_images": size, "noise_rate": rate}
        tables.append(pd.DataFrame(columns | {"balanced_error": np.asarray(error, np.float64)}))
        progress(at + 1, runs)
    points = pd.concat(tables, ignore_index=True).assign(num_classes=source.num_classes)
    rows = summarise(points, ("num_images", "noise_rate"), ("balanced_error",))
    notes = (source.described(), f"Heads are trained for {config.head.num_epochs} epochs.")
    return Study(NAME, runs, rows, points, notes)


@partial(jax.jit, static_argnames=("config", "num_classes"))
def _measure(
    key: Key[Array, ""],
    features: Features,
    size: Int[Array, " num_settings"],
    rate: Float[Array, " num_settings"],
    config: HeadConfig,
    num_classes: int,
) -> Float[Array, " num_settings"]:
    key_order, key_wrong, key_class, key_training = jax.random.split(key, 4)
    truth = features.pool_label
    place = jax.random.permutation(key_order, truth.shape[0])
    uniform = jax.random.uniform(key_wrong, truth.shape)
    other = (truth + jax.random.randint(key_class, truth.shape, 1, num_classes)) % num_classes

    def one(setting: tuple[Int[Array, ""], Float[Array, ""]]) -> Float[Array, ""]:
        count, noise = setting
        label = jnp.where(place < count, jnp.where(uniform < noise, other, truth), MISSING)
        return trained_error(key_training, features, known_targets(label, num_classes), config)

    return jax.lax.map(one, (size, rate))


def trained_error(
    key: Key[Array, ""], features: Features, targets: Targets, config: HeadConfig
) -> Float[Array, ""]:
    """Balanced error on the images withheld of a head trained on the pool."""
    head = train_head(key, features.pool, targets, config)
    probs = jax.nn.softmax(head.logits(features.evaluation))
    return metrics.balanced_error(probs, features.evaluation_label).value


class LearningCurve(NamedTuple):
    r"""Balanced error as a function of one effective number n of images.

    .. math:: e(n) = e_\infty + \frac{e_0 - e_\infty}{1 + (n / n_0)^r}

    with :math:`e_0 = 1 - 1/K`, that of guessing.

    Attributes:
        floor: the error that no number of images gets below.
        half: the number of images half-way.
        rate: r.
    """

    floor: float
    half: float
    rate: float

    def error(self, number: npt.ArrayLike, num_classes: int = 2) -> npt.NDArray[np.float64]:
        """Balanced error at these effective numbers."""
        guessing = 1.0 - 1.0 / num_classes
        ratio = np.asarray(number, np.float64) / self.half
        return self.floor + (guessing - self.floor) / (1.0 + ratio**self.rate)


class SurfaceFit(NamedTuple):
    r"""The learning curve that a surface of N and noise is nearest to, at :math:`n = N q^\gamma`.

    Attributes:
        exponent: gamma.
        exponent_se: its standard error over runs, by leaving out one at a time; NaN if not fitted.
        curve: the error at each effective number.
        residual: root mean square of what the curve leaves of the means over runs.
        noise: what of it chance accounts for, by the spread between runs.
        explained: share of the variance of the means that the curve accounts for.
    """

    exponent: float
    exponent_se: float
    curve: LearningCurve
    residual: float
    noise: float
    explained: float


def fit(points: pd.DataFrame, *, exponent: float | None = None) -> SurfaceFit:
    """The curve that the surface is nearest to, in least squares over all N and rates.

    Args:
        points: those of the study.
        exponent: gamma; the best when absent.
    """
    num_classes = int(points["num_classes"].iloc[0])
    table = points.pivot_table("balanced_error", ["num_images", "noise_rate"], "run")
    values = table.to_numpy(float)
    size, rate = (table.index.get_level_values(at).to_numpy(float) for at in (0, 1))
    share = 1.0 - rate * num_classes / (num_classes - 1)
    mean, num_runs = values.mean(axis=1), values.shape[1]
    guessing = 1.0 - 1.0 / num_classes

    def nearest(error: npt.NDArray[np.float64]) -> tuple[float, LearningCurve]:
        """Exponent and curve; where the exponent is known, of the curve alone."""
        # On logarithms, so that nothing falls below zero, within limits wide enough to matter only
        # where errors hardly depend on the labels.
        start = [np.log(min(error.min(), 0.9 * guessing)), np.log(np.median(size)), 0.0, EXPONENT]
        low, high = [-12.0, -2.0, -3.0, 0.0], [np.log(guessing), 14.0, 2.0, 20.0]
        count = 4 if exponent is None else 3

        def unpack(values: npt.NDArray[np.float64]) -> tuple[float, LearningCurve]:
            gamma = float(values[3]) if exponent is None else exponent
            return gamma, LearningCurve(*(float(value) for value in np.exp(values[:3])))

        def left(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            gamma, curve = unpack(values)
            return error - curve.error(size * share**gamma, num_classes)

        limits = (low[:count], high[:count])
        return unpack(scipy.optimize.least_squares(left, start[:count], bounds=limits).x)

    gamma, curve = nearest(mean)
    without = [np.nan]
    if exponent is None and num_runs > 2:
        without = [nearest(np.delete(values, at, 1).mean(axis=1))[0] for at in range(num_runs)]
    left = mean - curve.error(size * share**gamma, num_classes)
    chance = values.var(axis=1, ddof=1) / num_runs if num_runs > 1 else np.nan
    return SurfaceFit(
        gamma,
        float(np.std(without) * np.sqrt(num_runs - 1)),
        curve,
        float(np.sqrt(np.mean(left**2))),
        float(np.sqrt(np.mean(chance))),
        float(1.0 - np.mean(left**2) / np.var(mean)),
    )


def findings(study: Study) -> dict[str, list[Row]]:
    """How well one effective number says it all: at the best exponent, at ours, and at 2."""
    rows: list[Row] = []
    for exponent in (None, EXPONENT, 2.0):
        row = fit(study.points, exponent=exponent)._asdict()
        row |= row.pop("curve")._asdict()
        rows.append({name: None if np.isnan(value) else value for name, value in row.items()})
    return {"one effective number": rows}


@styled
def plot(study: Study) -> Figure:
    """Error against the number of images, and against the effective number of the best fit."""
    found = fit(study.points)
    num_classes = int(study.points["num_classes"].iloc[0])
    mean = 100 * study.points.pivot_table("balanced_error", "num_images", "noise_rate")
    drawn, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9), sharey=True)
    colours = plt.get_cmap("viridis")(np.linspace(0.0, 0.9, mean.shape[1]))
    for (noise, error), colour in zip(mean.items(), colours, strict=True):
        rate = float(str(noise))
        share = 1.0 - rate * num_classes / (num_classes - 1)
        number = mean.index.to_numpy(float) * share**found.exponent
        left.plot(mean.index, error, "o-", color=colour, markersize=4, label=f"{rate:.0%}")
        right.plot(number, error, "o", color=colour, markersize=4)
    low, high = right.get_xlim()
    number = np.geomspace(max(low, 1.0), high, 200)
    right.plot(number, 100 * found.curve.error(number, num_classes), color="black", linewidth=1)
    left.set(xlabel="images N", ylabel="balanced error, %")
    right.set_xlabel(rf"$N q^\gamma$, $\gamma$ = {found.exponent:.1f}")
    left.legend(title="wrong labels")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    return drawn
