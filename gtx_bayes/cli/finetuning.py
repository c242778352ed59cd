"""What studies of `gtx-bayes reproduce` that train start from: images, a network, settings."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gtx_bayes.errors import InputError

if TYPE_CHECKING:
    from gtx_bayes.experiments.features import AbstractFeatures
    from gtx_bayes.experiments.study import Study
    from gtx_bayes.finetune.efficientnet import EfficientNet
    from gtx_bayes.finetune.images import ImageSet

DRAWN = "synthetic-drilling"


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command that only studies with trainings take."""

    quick: Annotated[
        bool,
        typer.Option("--quick", help="figure4, figure5: fewer budgets and trainings, 3 runs."),
    ] = False
    images: Annotated[
        str | None,
        typer.Option(
            help="figure4, figure5, noise_surface, efficiency: a folder of images, a Parquet file, "
            "'paper' for the paper's from the hub, or 'synthetic-drilling'. [default: "
            "synthetic-drilling; for the last two features drawn without images]"
        ),
    ] = None
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="With --images: table of the images of a folder, with their classes.",
        ),
    ] = None
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --images: file of pretrained weights of EfficientNet-b0; repeat it for "
            "several. [default: fetched from the hub]"
        ),
    ] = None
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="With --weights: draw what they lack at random."),
    ] = False

    def refuse(self, study: str, *, is_of_features: bool) -> None:
        """Raise `InputError` for what a study takes that trains no network.

        Args:
            study: its name.
            is_of_features: whether it trains heads, on features of images if these are named.
        """
        has_images = is_of_features and self.images is not None
        taken = ("images", "table", "weights", "allow_missing") if has_images else ()
        for field in dataclasses.fields(self):
            if getattr(self, field.name) and field.name not in taken:
                raise InputError(
                    f"{study} takes no --{field.name.replace('_', '-')}.",
                    hint="Leave it out; it belongs to studies that train.",
                )

    @property
    def is_drawn(self) -> bool:
        """Whether the images are drawn here."""
        return self.images in (None, DRAWN)

    @property
    def is_taught_here(self) -> bool:
        """Whether the network learns from drawn images first, so that nothing is downloaded."""
        return self.quick and self.is_drawn and not self.weights

    def start(self, key_images: Any, key_network: Any) -> tuple["ImageSet", "EfficientNet", str]:
        """The images, the network that training starts from, and what to say of it.

        Raises:
            InputError: for options that do not go together, and anything wrong with what they name.
        """
        if self.allow_missing and not self.weights:
            raise InputError(
                "--allow-missing is about files of weights, and there are none.",
                hint="Give them by --weights, or leave it out.",
            )
        images = self._images(key_images)
        return images, *self._network(key_network, images)

    def _images(self, key: Any) -> "ImageSet":
        from gtx_bayes.experiments.taught_start import SIZE
        from gtx_bayes.finetune import synthetic_drilling
        from gtx_bayes.finetune.sources import NUM_DRAWN, read_images

        if not self.is_drawn:
            return read_images(key, [self.images or DRAWN], self.table)
        if self.table is not None:
            raise InputError(
                "--table says what is known of the images of a folder, and there is none.",
                hint="Name the folder by --images, or leave the table out.",
            )
        size = {"size": SIZE} if self.is_taught_here else {}
        return synthetic_drilling.render(key, NUM_DRAWN, **size)

    def _network(self, key: Any, images: "ImageSet") -> tuple["EfficientNet", str]:
        from gtx_bayes.experiments import taught_start
        from gtx_bayes.finetune.efficientnet import EfficientNetConfig
        from gtx_bayes.finetune.weights import IMAGENET_B0, download, load_backbone

        if self.is_taught_here:
            return taught_start.taught_network(key), taught_start.DESCRIBED
        config = EfficientNetConfig.of_size("b0", images.num_classes)
        files = self.weights or (download(),)
        found = load_backbone(key, config, files, allow_missing=self.allow_missing)
        drawn = [path for path in found.drawn if not path.startswith("classifier")]
        named = ", ".join(map(str, self.weights or ())) or IMAGENET_B0.repository
        missing = f" {len(drawn)} tensors that were missing are drawn at random." if drawn else ""
        return found.network, f"Network: EfficientNet-b0 with weights of {named}.{missing}"


def run(
    options: Options, seed: int, runs: int | None, log: Path, progress: Callable[[int, int], object]
) -> "Study":
    """The study behind both figures; an interrupt says where finished trainings are."""
    import jax

    from gtx_bayes.experiments import finetuning
    from gtx_bayes.experiments.taught_start import FINE_TUNING

    key_images, key_network, key_study = jax.random.split(jax.random.key(seed), 3)
    images, network, described = options.start(key_images, key_network)
    config = finetuning.Config()
    if options.quick:
        config = finetuning.Config.quick(FINE_TUNING if options.is_taught_here else None)
    if runs is not None:
        config = dataclasses.replace(config, num_seeds=runs)
    try:
        study = finetuning.run(key_study, config, images, network, log=log, progress=progress)
    except KeyboardInterrupt as stop:
        stop.args = (f"finished trainings are in {log}, and the same command goes on from there",)
        raise
    source = f"Images: {DRAWN if options.is_drawn else options.images}."
    return dataclasses.replace(study, notes=(source, described, *study.notes))


def features(options: Options, seed: int) -> "AbstractFeatures | None":
    """Frozen features of the images named; None where none are."""
    if options.images is None:
        return None
    import jax

    from gtx_bayes.experiments import features, finetuning
    from gtx_bayes.finetune.head import cached_features

    key_images, key_network, key_split = jax.random.split(jax.random.key(seed), 3)
    images, network, described = options.start(key_images, key_network)
    split = finetuning.split_for(key_split, finetuning.Config(), images)
    found = cached_features(network, images.pixels)
    name = f"{options.images}. {described}"
    return features.FrozenFeatures(found, images.true_label, split, images.num_classes, name)
