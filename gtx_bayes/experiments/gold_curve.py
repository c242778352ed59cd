"""What gold gains on real crowds: the same fit from no gold to half of all there is.

Half of a crowd's gold is scored and never seen; of the other half a method sees the first n in a
random order, and in the end all. A larger set contains the smaller ones, so that every point of a
curve is of the same examples.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Array, Key
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from gtx_bayes.aggregation import bwa, gtx, joint_method, majority_vote
from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.crowd import Crowd
from gtx_bayes.errors import InputError
from gtx_bayes.evaluation import as_record, evaluate
from gtx_bayes.experiments.drawing import MARKED_LOOKS, number_axis, styled
from gtx_bayes.experiments.runs import silent
from gtx_bayes.experiments.study import Row, Study, figure, summarise
from gtx_bayes.io.readers import read_table

NAME = "gold_curve"
DEFAULT_RUNS = 3

DAWID_SKENE = "dawid-skene"
FIGURES = ("accuracy", "log_loss", "ece")

_LOOKS = {
    **MARKED_LOOKS,
    DAWID_SKENE: {"color": "#6c3483", "linestyle": ":", "marker": "x"},
    bwa.NAME: {"color": "#2e7d4f", "linestyle": "-.", "marker": "d"},
}
_TABLES = ("labels.csv", "gold.csv")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compared.

    Attributes:
        num_gold: how many gold labels are seen; beyond half of a crowd's gold, that half.
        methods: names of the methods.
    """

    num_gold: tuple[int, ...] = (0, 5, 10, 20, 50)
    methods: tuple[str, ...] = (
        majority_vote.NAME,
        bwa.NAME,
        gtx.NAME,
        DAWID_SKENE,
        joint_method.NAME,
    )


def find_crowds(folder: str | Path) -> list[Path]:
    """The folders in a folder that hold labels.csv and gold.csv, in the order of their names.

    Raises:
        InputError: if there is none.
    """
    folder = Path(folder)
    found = sorted(
        each for each in folder.glob("*") if all((each / name).is_file() for name in _TABLES)
    )
    if not found:
        raise InputError(
            f"{folder} holds no crowd.",
            hint=f"Give a folder with a folder for each crowd, {' and '.join(_TABLES)} in it.",
        )
    return found


def run(
    key: Key[Array, ""],
    crowds: Sequence[Path],
    config: Config | None = None,
    *,
    runs: int = DEFAULT_RUNS,
    progress: Callable[[int, int], None] = silent,
) -> Study:
    """Every method on every crowd with every number of gold labels.

    Args:
        key: random key of the gold drawn.
        crowds: folders of crowds, see `find_crowds`.
        config: what is compared.
        runs: how often gold is drawn.
        progress: called with how many crowds and draws are done, and of how many.
    """
    config = config or Config()
    points: list[Row] = []
    for at, folder in enumerate(crowds):
        labels, gold = (read_table(folder / name).frame for name in _TABLES)
        for draw in range(runs):
            data = jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, at), draw))
            order = np.random.default_rng(np.asarray(data)).permutation(len(gold))
            for point in _curve(labels, gold.iloc[order], config):
                points.append({"cohort": folder.name, "draw": draw, **point})
            progress(at * runs + draw + 1, len(crowds) * runs)
        jax.clear_caches()  # programs are of a crowd's size
    table = pd.DataFrame(points)
    rows = summarise(table, ("cohort", "method", "gold"), (*FIGURES, "num_gold"))
    return Study(NAME, runs, rows, table)


def _curve(labels: pd.DataFrame, gold: pd.DataFrame, config: Config) -> list[Row]:
    """The points of all methods; `gold` in the order in which it is seen, then scored."""
    half = len(gold) // 2
    scored = gold.iloc[half:]
    sizes = {str(n): n for n in config.num_gold if n < half} | {"half of all": half}
    points = []
    for name, size in sizes.items():
        seen = gold.iloc[:size] if size else None
        crowd = Crowd.from_frames(labels, seen, duplicates="first")
        for method in config.methods:
            if method == gtx.NAME and not size:  # which takes accuracies from gold
                continue
            found = as_record(evaluate(aggregate(crowd, method).in_pandas.examples(), scored))
            figures = {of: found[of] for of in FIGURES}
            points.append({"method": method, "gold": name, "num_gold": size, **figures})
    return points


def findings(study: Study) -> dict[str, list[Row]]:
    """Means over the crowds, method by method."""
    table = study.points.groupby(["method", "gold", "cohort"], sort=False).mean(numeric_only=True)
    rows: list[Row] = []
    for (method, gold), of_crowds in table.groupby(["method", "gold"], sort=False):
        cells: Row = {of: f"{figure(of_crowds[of])['mean']:.3f}" for of in FIGURES}
        rows.append({"method": method, "gold": gold, "crowds": len(of_crowds), **cells})
    return {"mean over the crowds": sorted(rows, key=lambda row: row["method"])}


@styled
def plot(study: Study) -> Figure:
    """Accuracy and log loss against the number of gold labels, means over the crowds.

    The last points are of half of each crowd's gold, drawn at the mean of their numbers.
    """
    by_crowd = study.points.groupby(["method", "gold", "cohort"], sort=False)
    mean = by_crowd.mean(numeric_only=True).groupby(["method", "gold"], sort=False).mean()
    drawn, axes = plt.subplots(1, 2, figsize=(10.0, 3.8))
    titles: dict[str, Any] = {"accuracy": "Accuracy", "log_loss": "Log loss, nats"}
    for ax, (of, title) in zip(axes, titles.items(), strict=True):
        for method in mean.index.unique("method"):
            of_method = mean.loc[method]
            ax.plot(
                of_method["num_gold"] + 1.0, of_method[of], label=method, **_LOOKS.get(method, {})
            )
        ticks = mean["num_gold"].unique()
        ax.set_xscale("log")
        ax.set_xticks(ticks + 1.0, [f"{n:.0f}" for n in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_minor_formatter(NullFormatter())
        number = study.points["cohort"].nunique()
        ax.set(title=f"{title}; mean of {number} crowds", xlabel="gold labels")
    axes[1].set_yscale("log")
    number_axis(axes[1].yaxis, 0.1, 0.2, 0.3, 0.4, 0.6, 1, 2, 4, 8)
    axes[0].legend()
    return drawn
