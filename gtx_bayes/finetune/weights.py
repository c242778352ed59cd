"""Weights of the network: pretrained ones from the hub or from files, fine-tuned ones kept.

Everything is in safetensors files, which hold numbers and names and nothing that could run. Two
namings are understood, found by what is in a file: that of transformers, in which fine-tuned
models are kept too, and that of lukemelas/EfficientNet-PyTorch.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import LocalEntryNotFoundError
from jaxtyping import Array, Key
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from gtx_bayes.errors import InputError
from gtx_bayes.finetune.efficientnet import (
    EfficientNet,
    EfficientNetConfig,
    Stage,
    from_tensors,
    initial_tensors,
    tensor_shapes,
    to_tensors,
)
from gtx_bayes.finetune.hub import fetched
from gtx_bayes.io.writers import whole_file

_Tensor = npt.NDArray[np.float32]

_RECORD = "gtx_bayes"  # key of our entry in a file's metadata
_LISTED = 12  # names that a message lists at most
_COUNTER = "num_batches_tracked"  # PyTorch's norms count their steps; nothing depends on it


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights on the Hugging Face hub.

    Attributes:
        repository: owner and name.
        revision: commit, branch or reference.
        filename: path in the repository.
        sha256: checksum of the file: what holds it fast, whatever becomes of the revision.
    """

    repository: str
    revision: str
    filename: str
    sha256: str

    @property
    def url(self) -> str:
        """Where a browser gets it."""
        revision = self.revision.replace("/", "%2F")
        return f"https://huggingface.co/{self.repository}/resolve/{revision}/{self.filename}"


IMAGENET_B0: Final = Published(
    "google/efficientnet-b0",
    "refs/pr/1",
    "model.safetensors",
    "bfa5d25d4b4fd41d518ac422ea2d1b4bb89951a70a5b887962b9a94bd585cf3c",
)
"""EfficientNet-b0 trained on ImageNet by its authors.

The main branch has had only a pickle, which can run code when read; the hub's converter offers the
same tensors as safetensors in pull request 1.
"""


class Backbone(NamedTuple):
    """A network on its way to be fine-tuned.

    Attributes:
        network: pretrained, but for what was drawn.
        drawn: paths of the tensors that were drawn at random: the classifier's, and those missing.
    """

    network: EfficientNet
    drawn: tuple[str, ...]


class FineTuned(NamedTuple):
    """A network with all that is needed to use it.

    Attributes:
        network: what `EfficientNet` says; its `config.resolution` is the side of the images it
            was trained on.
        class_names: name of each class, in the order of the logits.
        temperature: what the logits are divided by before they become probabilities.
    """

    network: EfficientNet
    class_names: tuple[str | int | float, ...]
    temperature: float = 1.0


def download(
    published: Published = IMAGENET_B0,
    *,
    cache: str | Path | None = None,
    endpoint: str | None = None,
) -> Path:
    """The file of published weights, fetched from the hub unless it was before.

    A copy fetched before is found without asking the hub. Otherwise the hub is asked once whether
    it can be reached: its client would try for half a minute.

    Args:
        published: which.
        cache: folder of downloads; the hub's own (`HF_HOME`) when absent.
        endpoint: address of a mirror; the hub's own (`HF_ENDPOINT`) when absent.

    Raises:
        InputError: if it cannot be had, or is not what was published.
    """
    by_hand = (
        f"Get {published.url} where there is a network, put it anywhere on this machine, and give "
        "its path instead: `load_backbone(key, config, [FILE])`."
    )
    file = (published.repository, published.filename)
    wanted: dict[str, Any] = {"revision": published.revision, "endpoint": endpoint}

    def found() -> str:
        try:
            return hf_hub_download(*file, **wanted, cache_dir=cache, local_files_only=True)
        except LocalEntryNotFoundError:
            get_hf_file_metadata(hf_hub_url(*file, **wanted))  # without retries
            return hf_hub_download(*file, **wanted, cache_dir=cache)

    path = fetched("the pretrained weights", "/".join(file), by_hand, found)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    if checksum != published.sha256:
        raise InputError(
            f"its sha256 is {checksum}, not the {published.sha256} that was published.",
            where=str(path),
            hint=f"Delete it and try again. {by_hand}",
        )
    return path


def load_backbone(
    key: Key[Array, ""],
    config: EfficientNetConfig,
    files: Sequence[str | Path],
    *,
    allow_missing: bool = False,
) -> Backbone:
    """A pretrained network under a new classifier, whatever classifier the files hold.

    Args:
        key: random key of what is drawn.
        config: the network wanted; its size must be that of the weights.
        files: safetensors files that have the tensors between them, each once, in either naming.
        allow_missing: draw at random what the files lack, rather than refuse them.

    Raises:
        InputError: for files that cannot be read, do not fit the network, or lack tensors of it.
    """
    initial = initial_tensors(key, config)
    wanted = [path for path in initial if not path.startswith("classifier")]
    found = _read_all(config, files, wanted, allow_missing)
    drawn = tuple(path for path in initial if path not in found)
    return Backbone(from_tensors(config, initial | found), drawn)


def load_network(config: EfficientNetConfig, files: Sequence[str | Path]) -> EfficientNet:
    """A network with all its weights from files, its classifier too.

    Args:
        config: the network; its size and number of classes must be those of the weights.
        files: as `load_backbone` takes them.

    Raises:
        InputError: for files that cannot be read, do not fit the network, or lack tensors of it.
    """
    return from_tensors(config, _read_all(config, files, list(tensor_shapes(config))))


def save(
    network: EfficientNet,
    path: str | Path,
    class_names: Sequence[str | int | float] | npt.NDArray[Any],
    *,
    temperature: float = 1.0,
) -> None:
    """Write a network with its config and the names of its classes; a whole file or none.

    Tensors have the names and layout of transformers.

    Args:
        network: what to write.
        path: the file.
        class_names: name of each class, in the order of the logits.
        temperature: what the logits are to be divided by.

    Raises:
        InputError: if there is no writing there.
        ValueError: if there is not one name for each class, or the temperature is not positive.
    """
    config = network.config
    plain = [name.item() if isinstance(name, np.generic) else name for name in class_names]
    _check_record(plain, temperature, config)
    record = {
        "config": dataclasses.asdict(config),
        "class_names": plain,
        "temperature": temperature,
    }
    names = names_in_files(config)
    tensors = {
        names[at]: np.ascontiguousarray(_to_file(at, tensor))
        for at, tensor in to_tensors(network).items()
    }
    metadata = {"format": "pt", _RECORD: json.dumps(record)}  # "pt": laid out as PyTorch does
    with whole_file(path) as partial:
        partial.write_bytes(to_bytes(tensors, metadata))  # save_file would hide it from others


def load(path: str | Path) -> FineTuned:
    """A network that `save` wrote, in eval mode.

    Raises:
        InputError: if it is another file, or broken.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
    if _RECORD not in metadata:
        raise InputError(
            "this is no model saved by gtx_bayes: it does not say what network it is.",
            where=str(path),
            hint="Pretrained weights are read by `load_backbone`.",
        )
    try:
        record = json.loads(metadata[_RECORD])
        stages = tuple(Stage(*stage) for stage in record["config"]["stages"])
        config = EfficientNetConfig(**{**record["config"], "stages": stages})
        class_names, temperature = tuple(record["class_names"]), float(record["temperature"])
        _check_record(class_names, temperature, config)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"its record of the network is not understood ({error}).",
            where=str(path),
            hint="Save it anew with this version of gtx_bayes.",
        ) from error
    return FineTuned(load_network(config, [path]), class_names, temperature)


TRANSFORMERS, EFFICIENTNET_PYTORCH = 0, 1
"""The libraries whose names of tensors are understood."""

_BLOCK = ("efficientnet.encoder.blocks.{}.", "_blocks.{}.")
_LAYERS = {
    "stem": ("efficientnet.embeddings.convolution", "_conv_stem"),
    "stem_norm": ("efficientnet.embeddings.batchnorm", "_bn0"),
    "expand": ("expansion.expand_conv", "_expand_conv"),
    "expand_norm": ("expansion.expand_bn", "_bn0"),
    "depthwise": ("depthwise_conv.depthwise_conv", "_depthwise_conv"),
    "depthwise_norm": ("depthwise_conv.depthwise_norm", "_bn1"),
    "squeeze": ("squeeze_excite.reduce", "_se_reduce"),
    "excite": ("squeeze_excite.expand", "_se_expand"),
    "project": ("projection.project_conv", "_project_conv"),
    "project_norm": ("projection.project_bn", "_bn2"),
    "top": ("efficientnet.encoder.top_conv", "_conv_head"),
    "top_norm": ("efficientnet.encoder.top_bn", "_bn1"),
    "classifier": ("classifier", "_fc"),
}
_FIELDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def names_in_files(config: EfficientNetConfig, library: int = TRANSFORMERS) -> dict[str, str]:
    """What a library calls each of our tensors."""
    names = {}
    for path in tensor_shapes(config):
        *block, layer, field = path.split(".")
        prefix = _BLOCK[library].format(block[1]) if block else ""
        names[path] = f"{prefix}{_LAYERS[layer][library]}.{_FIELDS[field]}"
    return names


def _to_file(path: str, tensor: _Tensor) -> _Tensor:
    """A tensor in the layout of files, where convolutions are (out, in, rows, columns)."""
    match tensor.ndim:
        case 4:
            return tensor.transpose(3, 2, 0, 1)
        case 3:  # depthwise
            return tensor.transpose(2, 0, 1)[:, None]
        case 2:
            return tensor.T if path.startswith("classifier") else tensor.T[:, :, None, None]
    return tensor


def _from_file(tensor: _Tensor, shape: tuple[int, ...]) -> _Tensor:
    """A tensor from the layout of files in the shape that is ours."""
    if len(shape) == 4:
        return tensor.transpose(2, 3, 1, 0)
    return np.moveaxis(tensor.reshape(shape[-1], *shape[:-1]), 0, -1)


def _read_all(
    config: EfficientNetConfig,
    files: Sequence[str | Path],
    wanted: Sequence[str],
    allow_missing: bool = False,
) -> dict[str, _Tensor]:
    """The wanted tensors, by our path, that files have between them, each checked."""
    found: dict[str, _Tensor] = {}
    shapes = tensor_shapes(config)
    for path in files:
        with _opened(path) as file:
            held = [name for name in file.keys() if not name.endswith(_COUNTER)]  # noqa: SIM118
            ours = _ours(config, path, held)
            for name in held:
                at = ours[name]
                if at in found:
                    raise InputError(
                        f"it holds the tensor '{at}' of another of the files.",
                        where=str(path),
                        hint="Leave one of them out.",
                    )
                if at in wanted:
                    layout = _to_file(at, np.broadcast_to(np.float32(0), shapes[at])).shape
                    found[at] = _from_file(_checked(file, path, name, layout), shapes[at])
    missing = [path for path in wanted if path not in found]
    if missing and not allow_missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise InputError(
            f"tensors are missing: {', '.join(missing[:_LISTED])}{more}.",
            where=", ".join(map(str, files)),
            hint="Give the other files that have them too, or allow them to be drawn at random "
            "(`allow_missing=True`).",
        )
    return found


def _ours(config: EfficientNetConfig, path: str | Path, held: Sequence[str]) -> dict[str, str]:
    """Our path of each name in a file, by the naming that fits."""
    namings = [
        {name: at for at, name in names_in_files(config, library).items()}
        for library in (TRANSFORMERS, EFFICIENTNET_PYTORCH)
    ]
    ours = max(namings, key=lambda names: len(names.keys() & set(held)))
    foreign = [name for name in held if name not in ours]
    if len(foreign) == len(held):
        first, second = (f"{name}.weight" for name in _LAYERS["stem"])
        raise InputError(
            "it holds no tensor of an EfficientNet under a name that is known here.",
            where=str(path),
            hint=f"Names are as in transformers ('{first}') or in EfficientNet-PyTorch "
            f"('{second}').",
        )
    if foreign:
        raise InputError(
            f"it holds '{foreign[0]}', which the network does not have.",
            where=str(path),
            hint="Ask for a network of the size that the file was made for.",
        )
    return ours


def _checked(file: Any, path: str | Path, name: str, shape: tuple[int, ...]) -> _Tensor:
    """A tensor of a file in float32, if it has the shape and only numbers."""
    held = tuple(file.get_slice(name).get_shape())
    if held != shape:
        raise InputError(
            f"its tensor '{name}' has shape {held}, the network {shape}.",
            where=str(path),
            hint="Ask for a network of the size and number of classes that the file was made for.",
        )
    tensor = np.asarray(file.get_tensor(name), np.float32)
    if not np.isfinite(tensor).all():
        raise InputError(
            f"its tensor '{name}' holds values that are not finite.",
            where=str(path),
            hint="Get the file anew.",
        )
    return tensor


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """A safetensors file open for reading."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise InputError(
            f"this is no safetensors file, or not all of it ({error}).",
            where=str(path),
            hint="Get it anew; pickles (.bin, .pt, .pth) can run code and are not read.",
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot read it: {error.strerror or error}.",
            where=str(path),
            hint="Name a safetensors file.",
        ) from error


def _check_record(
    class_names: Collection[object], temperature: float, config: EfficientNetConfig
) -> None:
    """Raise `ValueError` for what no saved model may say of itself."""
    if len(class_names) != config.num_classes:
        raise ValueError(f"{len(class_names)} names for {config.num_classes} classes")
    if not 0.0 < temperature < np.inf:
        raise ValueError(f"the temperature is {temperature}")
