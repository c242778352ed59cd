"""Classifiers beside a sparse crowd: `gtx-bayes` with and without, and cleanlab's CROWDLAB.

    python -m tests.benchmarks.opinions --peers PYTHON --output docs/opinions_table.md

Two answers an example from labelers of whom three in ten examples are hard: many fall for the same
other class. PYTHON is an interpreter with cleanlab, which this file is run by as well.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

NUM_EXAMPLES, NUM_LABELERS, NUM_GOLD = 800, 40, 40
PROPORTIONS = np.array([0.4, 0.3, 0.2, 0.1])
SETTINGS = {
    "honest": {},
    "boastful (logits times 4)": {"sharpness": 4.0},
    "timid (logits times 0.3)": {"sharpness": 0.3},
    "weak and boastful": {"signal": 0.3, "sharpness": 4.0},
    "useless and boastful": {"signal": 0.0, "sharpness": 4.0},
    "leaning to the rarest class": {"lean": 2.0},
    "errs where the crowd errs, boastful": {"sharpness": 4.0, "shared": 2.0},
}


def simulate(seed, signal=3.0, sharpness=1.0, lean=0.0, shared=0.0):
    """Answers as a dense table with -1 for none, the truth, and an opinion."""
    rng = np.random.default_rng(seed)
    num_classes = PROPORTIONS.size
    truth = rng.choice(num_classes, NUM_EXAMPLES, p=PROPORTIONS)
    decoy = (truth + rng.integers(1, num_classes, NUM_EXAMPLES)) % num_classes
    is_hard = rng.random(NUM_EXAMPLES) < 0.3
    skill = rng.uniform(0.6, 0.95, NUM_LABELERS)
    dense = np.full((NUM_EXAMPLES, NUM_LABELERS), -1)
    for i in range(NUM_EXAMPLES):
        who = rng.permutation(NUM_LABELERS)[:2]
        right = rng.random(2) < np.where(is_hard[i], 0.7 * skill[who], skill[who])
        other = (truth[i] + rng.integers(1, num_classes, 2)) % num_classes
        dense[i, who] = np.where(right, truth[i], np.where(is_hard[i], decoy[i], other))
    # Coordinates N(s, s) of the true class and N(0, s) of others: softmax is the exact posterior.
    logits = signal * np.eye(num_classes)[truth]
    logits = logits + np.sqrt(max(signal, 1.0)) * rng.standard_normal(logits.shape)
    logits = logits + np.log(PROPORTIONS) * (signal > 0.0)
    logits += shared * is_hard[:, None] * np.eye(num_classes)[decoy]
    logits[:, -1] += lean
    probs = np.exp(sharpness * (logits - logits.max(axis=1, keepdims=True)))
    return dense, truth, probs / probs.sum(axis=1, keepdims=True)


def crowdlab(folder):
    """What cleanlab says: written beside what it is given, by the interpreter that has it."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    for path in sorted(folder.glob("*.npz")):
        given = np.load(path)
        answers = pd.DataFrame(np.where(given["dense"] < 0, np.nan, given["dense"]))
        found = get_label_quality_multiannotator(answers, given["probs"], verbose=False)
        found["label_quality"][["consensus_label", "consensus_quality_score"]].to_csv(
            path.with_suffix(".csv"), index=False
        )


def figures(label, confidence, truth):
    """Error, and the Brier score of the confidence in the label."""
    right = np.asarray(label).astype(int) == truth
    return 1.0 - right.mean(), np.mean((np.asarray(confidence) - right) ** 2)


def ours(dense, truth, probs, num_gold):
    """Figures of open examples: by answers alone, with the opinion at its word, weighed."""
    from gtx_bayes import Crowd, aggregate

    example, labeler = np.nonzero(dense >= 0)
    answers = {"task": example, "worker": labeler, "label": dense[example, labeler]}
    gold = {str(task): truth[task] for task in range(num_gold)} if num_gold else None
    crowd = Crowd.from_frames(pd.DataFrame(answers), gold, classes=range(PROPORTIONS.size))
    table = pd.DataFrame(probs, columns=[f"prob_{name}" for name in range(PROPORTIONS.size)])
    order = [int(task) for task in crowd.example_names]
    given = (
        {},
        {"class_prior": probs[order]},
        {"opinions": {"net": table.assign(task=range(len(table)))}},
    )
    for more in given:
        result = aggregate(crowd, **more)
        label, confidence = result.label.copy(), result.probs.max(axis=1)
        label.index = confidence.index = order
        open_ones = range(NUM_GOLD, NUM_EXAMPLES)
        yield figures(label.loc[open_ones], confidence.loc[open_ones], truth[NUM_GOLD:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crowdlab", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peers", help="Python with cleanlab.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.crowdlab:
        crowdlab(options.crowdlab)
        return
    lines = [
        "| opinion | it errs | gold | answers alone | at its word | weighed | CROWDLAB |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        worlds = {
            (setting, seed): simulate(seed, **given)
            for setting, given in SETTINGS.items()
            for seed in range(options.runs)
        }
        for at, (dense, _, probs) in enumerate(worlds.values()):
            np.savez(folder / f"{at:03}.npz", dense=dense, probs=probs)
        subprocess.run([options.peers, __file__, "--crowdlab", folder], check=True)
        theirs = [pd.read_csv(path)[NUM_GOLD:] for path in sorted(folder.glob("*.csv"))]
    peers = dict(zip(worlds, theirs, strict=True))
    for setting in SETTINGS:
        own = {key: world for key, world in worlds.items() if key[0] == setting}
        errs = np.mean(
            [np.mean(p[NUM_GOLD:].argmax(axis=1) != t[NUM_GOLD:]) for _, t, p in own.values()]
        )
        crowdlabs = np.mean(
            [figures(*peers[key].to_numpy().T, world[1][NUM_GOLD:]) for key, world in own.items()],
            axis=0,
        )
        for num_gold in (0, NUM_GOLD):
            found = np.mean([list(ours(*world, num_gold)) for world in own.values()], axis=0)
            cells = [f"{error:.3f} ({brier:.3f})" for error, brier in (*found, crowdlabs)]
            lines.append(f"| {setting} | {errs:.3f} | {num_gold} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    text = (
        f"{NUM_EXAMPLES} examples, {PROPORTIONS.size} classes, {NUM_LABELERS} labelers, two "
        f"answers an example, {options.runs} seeds. Error on examples that are not gold, and in "
        "brackets the Brier score of the confidence in the label. CROWDLAB takes no gold.\n\n"
    )
    if options.output:
        options.output.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
