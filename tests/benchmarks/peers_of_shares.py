"""Intervals of shares by other packages: run by `estimates` with an interpreter that has them.

    PYTHON tests/benchmarks/peers_of_shares.py FOLDER

FOLDER holds what was drawn, NAME.npz: the true class of every example (`truth`), class
probabilities by proxies that have seen no gold (`votes`, `posterior`), and which examples are gold
in each draw (`example`). Written beside each is NAME_peers.npz: for every package and proxy the
limits, of shape (draws, 2, classes); what is there already is kept. ppi-python, truescore and
cje-eval are needed. Each has its weight tuned, class by class; all answer for an infinite
population. cje-eval takes a hundred times as long as the others: it has the first draws alone, of
60 gold labels from crowds with two classes.
"""

import argparse
import logging
import time
import warnings
from pathlib import Path

import numpy as np
from cje import calibrated_mean_ci
from ppi_py import ppi_mean_ci
from truescore import ppi_estimate

ALPHA = 0.05
NUM_DRAWS_OF_CJE, GOLD_OF_CJE = 100, 60


def by_ppi_python(is_true, proxy, example):
    others = np.ones(len(proxy), bool)
    others[example] = False
    return ppi_mean_ci(
        is_true[example], proxy[example], proxy[others], alpha=ALPHA, lam_optim_mode="element"
    )


def by_truescore(is_true, proxy, example):
    found = [
        ppi_estimate(own, known, example, alpha=ALPHA)
        for own, known in zip(proxy.T, is_true[example].T, strict=True)
    ]
    return [each.low for each in found], [each.high for each in found]


def by_cje_eval(is_true, proxy, example):
    """Of the second class; the first is the rest."""
    known = np.full(len(proxy), np.nan)
    known[example] = is_true[example, 1]
    low, high = calibrated_mean_ci(proxy[:, 1], known, alpha=ALPHA, correction_weight="tuned").ci
    return (1.0 - high, low), (1.0 - low, high)


def limits(path):
    """Of every package that answers, with every proxy."""
    given = np.load(path)
    is_true, example = np.eye(given["votes"].shape[1])[given["truth"]], given["example"]
    ways = [("ppi-python", by_ppi_python, example), ("truescore", by_truescore, example)]
    if (is_true.shape[1], example.shape[1]) == (2, GOLD_OF_CJE):
        ways.append(("cje-eval", by_cje_eval, example[:NUM_DRAWS_OF_CJE]))
    return {
        f"{name}, {proxy}": np.array([way(is_true, given[proxy], each) for each in drawn])
        for name, way, drawn in ways
        for proxy in (("posterior",) if name == "cje-eval" else ("votes", "posterior"))
    }


def main():
    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for path in sorted(parser.parse_args().folder.glob("*.npz")):
        target = path.with_name(f"{path.stem}_peers.npz")
        if path.stem.endswith("_peers") or target.exists():
            continue
        start = time.perf_counter()
        np.savez(target, **limits(path))
        print(f"{path.stem}: {time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
