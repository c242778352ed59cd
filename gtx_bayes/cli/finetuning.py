"""What studies of `gtx-bayes reproduce` that train start from: images, a network, settings."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    from gtx_bayes.experiments.features import AbstractFeatures
    from gtx_bayes.experiments.finetuning import Config
    from gtx_bayes.experiments.study import Study
    from gtx_bayes.finetune.efficientnet import EfficientNet
    from gtx_bayes.finetune.images import ImageSet

DRAWN = "synthetic-drilling"
PAPER = "paper"

NUM_DRAWN = 1050
"""Images drawn where there are none: as many as the paper has."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command that only studies with trainings take.

    Attributes:
        quick: the small version.
        images: source of images; drawn ones when absent.
        table: what is known of the images of a folder.
        weights: files of pretrained weights.
        allow_missing: whether tensors may be missing there.
    """

    quick: bool
    images: str | None
    table: Path | None
    weights: tuple[Path, ...]
    allow_missing: bool

    def refuse(self, study: str) -> None:
        """Raise `InputError` if any was given to a study that takes none."""
        for field in dataclasses.fields(self):
            if getattr(self, field.name):
                raise InputError(
                    f"{study} takes no --{field.name.replace('_', '-')}.",
                    mend="Leave it out; it belongs to studies that train.",
                )

    def refuse_for_features(self, study: str) -> None:
        """Raise `InputError` if a study of heads was given options that it does not take."""
        if self.images is None:
            self.refuse(study)
        dataclasses.replace(self, images=None, table=None, weights=(), allow_missing=False).refuse(
            study
        )

    def check_weights(self) -> None:
        """Raise `InputError` for what is said of weights that there are not."""
        if self.allow_missing and not self.weights:
            raise InputError(
                "--allow-missing is about files of weights, and there are none.",
                mend="Give them by --weights, or leave it out.",
            )

    @property
    def is_drawn(self) -> bool:
        """Whether the images are drawn here."""
        return self.images in (None, DRAWN)


def run(
    options: Options, seed: int, runs: int | None, log: Path, progress: Callable[[int, int], object]
) -> "Study":
    """The study behind both figures; an interrupt says where finished trainings are.

    Raises:
        InputError: for options that do not go together, and anything wrong with what they name.
    """
    import jax

    from gtx_bayes.experiments import finetuning

    options.check_weights()
    key_images, key_network, key_study = jax.random.split(jax.random.key(seed), 3)
    images = _images(key_images, options)
    network, told = _network(key_network, options, images)
    config = _config(options, runs)
    try:
        study = finetuning.run(key_study, config, images, network, log=log, progress=progress)
    except KeyboardInterrupt as stop:
        stop.args = (f"finished trainings are in {log}, and the same command goes on from there",)
        raise
    source = f"Images: {DRAWN if options.is_drawn else options.images}."
    return dataclasses.replace(study, notes=(source, told, *study.notes))


def features(options: Options, seed: int) -> "AbstractFeatures | None":
    """Frozen features of the images named; None where none are.

    Raises:
        InputError: for anything wrong with what the options name.
    """
    if options.images is None:
        return None
    options.check_weights()
    import jax

    from gtx_bayes.experiments import features, finetuning
    from gtx_bayes.finetune.head import cached_features

    key_images, key_network, key_split = jax.random.split(jax.random.key(seed), 3)
    images = _images(key_images, options)
    network, told = _network(key_network, options, images)
    split = finetuning.split_for(key_split, finetuning.Config(), images)
    found = cached_features(network, images.pixels)
    name = f"{options.images}. {told}"
    return features.FrozenFeatures(found, images.true_label, split, images.num_classes, name)


def significance(study: "Study") -> list[dict[str, Any]]:
    """The tests of the study's methods against each other."""
    from gtx_bayes.experiments import finetuning

    return finetuning.significance(study)


def _images(key: Any, options: Options) -> "ImageSet":
    from gtx_bayes.experiments.taught_start import SIZE
    from gtx_bayes.finetune import synthetic_drilling
    from gtx_bayes.finetune.images import read_folder, read_paper_set, read_parquet

    source = Path(options.images or DRAWN).expanduser()
    is_folder = not options.is_drawn and options.images != PAPER and source.is_dir()
    if options.table is not None and not is_folder:
        raise InputError(
            "--table says what is known of the images of a folder, and there is none.",
            mend="Name the folder by --images, or leave the table out.",
        )
    if options.is_drawn:
        if _is_taught_here(options):
            return synthetic_drilling.render(key, NUM_DRAWN, size=SIZE)
        return synthetic_drilling.render(key, NUM_DRAWN)
    if options.images == PAPER:
        return read_paper_set()
    if is_folder:
        return read_folder(source, options.table)
    if source.suffix.lower() == ".parquet":
        return read_parquet(source)
    raise InputError(
        f"'{options.images}' is no folder, no Parquet file and no name of a set.",
        where="--images",
        mend=f"Name a folder, a file ending in .parquet, '{PAPER}' or '{DRAWN}'.",
    )


def _network(key: Any, options: Options, images: "ImageSet") -> tuple["EfficientNet", str]:
    """Where training starts, and what to say of it."""
    from gtx_bayes.experiments import taught_start
    from gtx_bayes.finetune.efficientnet import EfficientNetConfig
    from gtx_bayes.finetune.weights import IMAGENET_B0, download, load_backbone

    if _is_taught_here(options):
        return taught_start.taught_network(key), taught_start.DESCRIBED
    files = options.weights or (download(),)
    config = EfficientNetConfig.of_size("b0", images.num_classes)
    found = load_backbone(key, config, files, allow_missing=options.allow_missing)
    drawn = [path for path in found.drawn if not path.startswith("classifier")]
    named = ", ".join(str(file) for file in options.weights) or IMAGENET_B0.repository
    missing = f" {len(drawn)} tensors that were missing are drawn at random." if drawn else ""
    return found.network, f"Network: EfficientNet-b0 with weights of {named}.{missing}"


def _config(options: Options, runs: int | None) -> "Config":
    from gtx_bayes.experiments.finetuning import Config
    from gtx_bayes.experiments.taught_start import FINE_TUNING

    config = Config()
    if options.quick:
        config = Config.quick(FINE_TUNING if _is_taught_here(options) else None)
    return config if runs is None else dataclasses.replace(config, num_seeds=runs)


def _is_taught_here(options: Options) -> bool:
    """Whether the network learns from drawn images first, so that nothing need be downloaded."""
    return options.quick and options.is_drawn and not options.weights
