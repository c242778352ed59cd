"""Why does training all weights lose to a head on frozen features? One suspect after the other.

    python -m tests.benchmarks.whole_network DATA --log FILE [--only NAME ...] [--seeds N ...]
        [--size 112]

DATA holds images/magnetic_tile and weights. Trained on the true labels of the pool; a tenth of its
tiles assess, and the tiles withheld judge. Every seed draws which tiles assess, and the random keys
of the training; all ways to train share these. A line of FILE is one training, and trainings that
are in it already are not repeated. At the end it prints the table.
"""

import argparse
import dataclasses
import json
import resource
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.augment import NO_AUGMENTATION, Augmentation
from gtx_bayes.finetune.efficientnet import EfficientNetConfig, from_tensors, to_tensors
from gtx_bayes.finetune.head import cached_features, own_head, train_head, with_head
from gtx_bayes.finetune.images import read_folder
from gtx_bayes.finetune.predictions import class_probs, fit_temperature, map_batches, score
from gtx_bayes.finetune.split import given_split
from gtx_bayes.finetune.targets import known_targets
from gtx_bayes.finetune.train import TrainingConfig, train
from gtx_bayes.finetune.weights import load_backbone


class Way(NamedTuple):
    """One way to train; `epochs` of zero is the frozen head alone."""

    epochs: int = 3
    rate: float = 1e-3
    decay: float = 0.9
    kept: bool = False
    head_first: bool = False
    re_estimated: bool = False
    augmented: bool = True
    dropped: bool = True


HEAD = Way(epochs=0, head_first=True)
FORMER = Way()
NEW = Way(rate=1e-4, kept=True, head_first=True)
WAYS = {
    "head": HEAD,
    "head, re-estimated": HEAD._replace(re_estimated=True),
    "former default": FORMER,
    "former default, statistics kept": FORMER._replace(kept=True),
    "former default, re-estimated": FORMER._replace(re_estimated=True),
    "former default, head first": FORMER._replace(head_first=True),
    "former default, rate 1e-4": FORMER._replace(rate=1e-4),
    "former default, decay .7": FORMER._replace(decay=0.7),
    "former default, 9 epochs": FORMER._replace(epochs=9),
    "former default, no augmentation": FORMER._replace(augmented=False),
    "former default, nothing dropped": FORMER._replace(dropped=False),
    "new default": NEW,
    "new default, batch": NEW._replace(kept=False),
    "new default, rate 3e-4": NEW._replace(rate=3e-4),
    "new default, rate 1e-3, decay .7": NEW._replace(rate=1e-3, decay=0.7),
    "new default, 9 epochs": NEW._replace(epochs=9),
    "new default, 1 epoch": NEW._replace(epochs=1),
    "new default, decay .7": NEW._replace(decay=0.7),
    "new default, drawn head": NEW._replace(head_first=False),
    "new default, no augmentation": NEW._replace(augmented=False),
    "new default, re-estimated": NEW._replace(re_estimated=True),
    "new default, nothing dropped": NEW._replace(dropped=False),
}


def re_estimated(network, pixels):
    """The two norms behind the approximate layers with the statistics of these images."""
    last = f"blocks.{len(network.blocks) - 1}."

    def moments(images):
        axes = tuple(range(1, images.ndim - 1))
        return jnp.concatenate([images.mean(axis=axes), jnp.square(images).mean(axis=axes)], axis=1)

    def projected(network, images):
        block = network.blocks[-1]
        return moments(block.project(block.excited(network.stages(images)[-2])))

    def topped(network, images):
        return moments(network.top(network.stages(images)[-1]))

    for norm, function in ((f"{last}project_norm", projected), ("top_norm", topped)):
        mean, square = np.split(map_batches(function, network, pixels).mean(axis=0, dtype=float), 2)
        own = {f"{norm}.mean": mean, f"{norm}.var": square - mean**2}
        network = from_tensors(network.config, to_tensors(network) | own)
    return network


def run(images, weights, name, seed):
    way = WAYS[name]
    key_split, key_weights, key_head, key_train = jax.random.split(jax.random.key(seed), 4)
    split = given_split(key_split, images)
    config = EfficientNetConfig.of_size("b0", images.num_classes)
    if not way.dropped:
        config = dataclasses.replace(config, dropout=0.0, drop_path=0.0)
    network = load_backbone(key_weights, config, weights).network
    pixels = images.pixels[split.training]
    targets = known_targets(jnp.asarray(images.true_label[split.training]), images.num_classes)
    if way.re_estimated:
        network = re_estimated(network, pixels)
    if way.head_first:
        network = with_head(
            network, train_head(key_head, cached_features(network, pixels), targets)
        )
    losses = ()
    if way.epochs:
        rule = AdamW(way.rate)
        training = TrainingConfig(
            way.epochs,
            optimiser=rule,
            layer_decay=way.decay,
            statistics="kept" if way.kept else "batch",
            augmentation=Augmentation() if way.augmented else NO_AUGMENTATION,
        )
        start = network
        network, history = train(key_train, network, pixels, targets, training)
        losses = history.loss
    found = {}
    if way.epochs and way.head_first and way.kept:
        found["halfway"] = scores(images, split, halfway(start, network))
    if way.epochs:
        refitted = train_head(key_head, cached_features(network, pixels), targets)
        found["refitted"] = scores(images, split, with_head(network, refitted))
    return {**found, **scores(images, split, network), "loss": float(np.mean(losses[-57:] or 0.0))}


def halfway(one, other):
    """The network with the mean of the weights of two."""
    ends = (to_tensors(one), to_tensors(other))
    return from_tensors(one.config, {path: (ends[0][path] + ends[1][path]) / 2 for path in ends[0]})


def scores(images, split, network):
    found = {}
    for part in ("assessment", "evaluation"):
        at = getattr(split, part)
        logits = np.asarray(own_head(network).logits(cached_features(network, images.pixels[at])))
        found[part] = score(class_probs(logits), images.true_label[at])._asdict()
        if part == "assessment":
            found["temperature"] = fit_temperature(logits, images.true_label[at])
        tempered = score(class_probs(logits, found["temperature"]), images.true_label[at])
        found[part]["log_loss_tempered"] = tempered.log_loss
    return found


ENDS = {"": "as trained", "refitted": "last layer once more", "halfway": "halfway to the head"}
METRICS = {"log_loss": "log loss", "balanced_error": "balanced error", "auroc": "AUROC"}


def table(records):
    """Means over seeds; in brackets by how much more than the frozen head of the same seeds."""
    heads = {record["seed"]: record for record in records if record["way"] == "head"}
    rows = {}
    for record in records:
        for end in ENDS:
            found = record.get(end) if end else record
            if found:
                rows.setdefault((record["way"], end), {})[record["seed"]] = found
    lines = [
        f"| training | scored | seeds | assessment: log loss | {' | '.join(METRICS.values())} |",
        f"|{'---|' * (4 + len(METRICS))}",
    ]
    for (name, end), of in sorted(rows.items(), key=lambda row: list(WAYS).index(row[0][0])):

        def cell(part, metric, of=of):
            pairs = [
                (found[part][metric], heads[seed][part][metric])
                for seed, found in of.items()
                if metric in found[part]
            ]
            own, head = np.array(pairs).reshape(-1, 2).T
            change = own - head
            if not change.size or not change.any():
                return f"{own.mean():.3f}" if own.size else "-"
            error = f" ± {change.std(ddof=1) / change.size**0.5:.3f}" if change.size > 1 else ""
            return f"{own.mean():.3f} ({change.mean():+.3f}{error})"

        cells = [name, ENDS[end], str(len(of)), cell("assessment", "log_loss_tempered")]
        cells += [cell("evaluation", metric) for metric in METRICS]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=112)
    options = parser.parse_args()
    lines = options.log.read_text().splitlines() if options.log.exists() else []
    records = [json.loads(line) for line in lines]
    done = {(record["way"], record["seed"]) for record in records}
    wanted = [(name, seed) for seed in options.seeds for name in options.only]
    if wanted := [each for each in wanted if each not in done]:
        folder = options.data / "images" / "magnetic_tile"
        images = read_folder(folder / "img", folder / "labels.csv", size=options.size)
        weights = sorted((options.data / "weights").glob("efficientnet_b0_*.safetensors"))
    for name, seed in wanted:
        start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        found = run(images, weights, name, seed)
        seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - start
        records.append({"way": name, "seed": seed, **WAYS[name]._asdict(), **found, "cpu": seconds})
        with options.log.open("a") as log:
            log.write(json.dumps(records[-1]) + "\n")
        print(f"{name}, seed {seed}: {seconds:.0f} CPU s", flush=True)
    print("\n".join(table(records)))


if __name__ == "__main__":
    main()
