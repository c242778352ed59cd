"""How often a fall of accuracy over time is found, and how often one is where there is none.

Eight labelers with accuracies of .85, or between .75 and .95, so many of whom, at random, answer
each example; the examples come in the order of time. In some crowds one labeler falls by .15 after
half of them. In some the examples are harder for everybody in the second half, by .12, or of a
difficulty by batch. 50 gold labels. Prints shares of crowds with standard errors.
"""

import argparse

import jax
import numpy as np
import pandas as pd

from gtx_bayes import Crowd, aggregate
from tests.crowds import over_time

NUM_LABELERS, NUM_GOLD = 8, 50
SETTINGS = {
    "stationary": {},
    "stationary, accuracies .75 to .95": {"spread": 0.1},
    "stationary, four classes": {"num_classes": 4},
    "ten batches, accuracies .70 to .97": {"num_examples": 300, "each": 8, "batches": True},
    "second half harder by .12": {"num_examples": 300, "each": 8, "harder": 0.12},
    "second half harder by .12, three answers": {"harder": 0.12},
    "the same, accuracies .77 to .93": {"harder": 0.12, "spread": 0.08},
    "four of eight fall by .15, five answers": {"fall": 0.15, "each": 5, "num_who": 4},
    "a fall of .15, three answers": {"fall": 0.15},
    "a fall of .15, five answers": {"fall": 0.15, "each": 5},
    "a fall of .15, three answers, 3,000 examples": {"fall": 0.15, "num_examples": 3000},
}


def crowd_of(
    rng,
    num_examples=1500,
    each=3,
    num_classes=2,
    fall=0.0,
    num_who=1,
    spread=0.0,
    batches=False,
    harder=0.0,
):
    """A crowd with a covariate of time; the first labelers are those who fall."""
    accuracy = np.full((num_examples, NUM_LABELERS), 0.85)
    accuracy += rng.uniform(-spread, spread, NUM_LABELERS)
    if batches:
        accuracy += np.repeat(rng.uniform(-0.15, 0.12, 10), num_examples // 10)[:, None]
    accuracy[num_examples // 2 :] -= harder
    accuracy[num_examples // 2 :, :num_who] -= fall
    labels, truth = over_time(rng, accuracy, each=each, num_classes=num_classes)
    gold = np.sort(rng.permutation(num_examples)[:NUM_GOLD])
    known = pd.DataFrame({"task": gold, "label": truth[gold]})
    return Crowd.from_frames(labels, known, covariates=["when"])


def main() -> None:
    """Every setting in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    for name, setting in SETTINGS.items():
        found = []
        for seed in range(runs):
            crowd = crowd_of(np.random.default_rng([seed, 7]), **setting)
            named = set(aggregate(crowd, finds_blocs=False).over_time.falls["worker"])
            who = set(range(setting.get("num_who", 1))) if "fall" in setting else set()
            found.append((len(named & who) / max(len(who), 1), bool(named - who)))
        hit, false = np.mean(found, axis=0)
        se = np.sqrt(np.array([hit, false]) * (1 - np.array([hit, false])) / runs)
        print(f"{name}: found {hit:.3f} ± {se[0]:.3f}, false {false:.3f} ± {se[1]:.3f}", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
