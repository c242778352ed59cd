"""Files of weights: both namings, what is missing or wrong, the hub, models that are kept."""

import dataclasses
import hashlib
import importlib
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import gtx_bayes.finetune
from gtx_bayes.errors import InputError
from gtx_bayes.finetune.efficientnet import (
    EfficientNetConfig,
    initial_network,
    initial_tensors,
    to_tensors,
)
from gtx_bayes.finetune.weights import (
    EFFICIENTNET_PYTORCH,
    IMAGENET_B0,
    Published,
    download,
    load,
    load_backbone,
    load_network,
    names_in_files,
    save,
)
from tests.hub import serving
from tests.networks import TINY, recipe_file

STEM = "efficientnet.embeddings.convolution.weight"


@pytest.fixture
def file(tmp_path):
    return recipe_file(TINY, tmp_path / "model.safetensors")


def rewritten(file, change):
    """The file with its tensors changed."""
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return file


def test_both_namings_give_one_network(file, tmp_path):
    tensors, names = load_file(file), names_in_files(TINY)
    theirs = names_in_files(TINY, EFFICIENTNET_PYTORCH)
    save_file({theirs[at]: tensors[name] for at, name in names.items()}, tmp_path / "other")
    first = to_tensors(load_network(TINY, [file]))
    second = to_tensors(load_network(TINY, [tmp_path / "other"]))
    for path, tensor in first.items():
        np.testing.assert_array_equal(second[path], tensor)


def test_layouts_by_hand(file):
    """A file's convolutions are (out, in, row, column), ours (row, column, in, out)."""
    held = load_file(file)
    tensors = to_tensors(load_network(TINY, [file]))
    block = "efficientnet.encoder.blocks.2."
    assert tensors["stem.kernel"][0, 1, 2, 3] == held[STEM][3, 2, 0, 1]
    assert (
        tensors["blocks.2.depthwise.kernel"][0, 1, 2]
        == held[f"{block}depthwise_conv.depthwise_conv.weight"][2, 0, 0, 1]
    )
    assert (
        tensors["blocks.2.expand.kernel"][1, 2]
        == held[f"{block}expansion.expand_conv.weight"][2, 1, 0, 0]
    )
    assert tensors["classifier.kernel"][1, 2] == held["classifier.weight"][2, 1]


def test_names_of_b0_are_those_of_the_real_files(data_folder):
    held = {"_fc.weight"}  # the one tensor that neither file has
    for part in ("imagenet_exact_part", "head_convs_approx"):
        path = data_folder / "weights" / f"efficientnet_b0_{part}.safetensors"
        with safe_open(path, framework="numpy") as file:
            held |= set(file.keys())
    assert held == set(names_in_files(EfficientNetConfig(1000), EFFICIENTNET_PYTORCH).values())


def test_classifier_of_a_backbone_is_new(file, key):
    """Even where the file has one of the right shape."""
    for num_classes in (2, TINY.num_classes):
        config = dataclasses.replace(TINY, num_classes=num_classes)
        network, drawn = load_backbone(key, config, [file])
        assert drawn == ("classifier.bias", "classifier.kernel")
        tensors, initial = to_tensors(network), initial_tensors(key, config)
        np.testing.assert_array_equal(tensors["classifier.kernel"], initial["classifier.kernel"])
        np.testing.assert_array_equal(
            tensors["stem.kernel"][0, 0, 0], load_file(file)[STEM][:, 0, 0, 0]
        )


def test_parts_are_combined(file, tmp_path, key):
    stem = tmp_path / "stem"
    save_file({STEM: load_file(file)[STEM]}, stem)
    whole = to_tensors(load_network(TINY, [file]))
    rest = rewritten(file, lambda tensors: tensors.pop(STEM))
    combined = to_tensors(load_network(TINY, [rest, stem]))
    for path, tensor in whole.items():
        np.testing.assert_array_equal(combined[path], tensor)
    with pytest.raises(InputError, match=r"tensors are missing: stem\.kernel\..*allow_missing"):
        load_backbone(key, TINY, [rest])
    network, drawn = load_backbone(key, TINY, [rest], allow_missing=True)
    assert drawn == ("classifier.bias", "classifier.kernel", "stem.kernel")
    stem_kernel = initial_tensors(key, TINY)["stem.kernel"]
    np.testing.assert_array_equal(to_tensors(network)["stem.kernel"], stem_kernel)


def test_real_part_alone_is_refused(data_folder, key):
    exact = data_folder / "weights" / "efficientnet_b0_imagenet_exact_part.safetensors"
    with pytest.raises(InputError, match=r"missing: blocks\.15\.project\.kernel, top\.kernel\."):
        load_backbone(key, EfficientNetConfig(2), [exact])


def truncated(file):
    file.write_bytes(file.read_bytes()[:-100])
    return [file]


def pickled(file):
    file.write_bytes(pickle.dumps({"weight": 1}))
    return [file]


def with_nan(file):
    return [rewritten(file, lambda tensors: tensors[STEM].__setitem__(0, np.nan))]


def wrong_shape(file):
    return [rewritten(file, lambda tensors: tensors.update({STEM: tensors[STEM][:4]}))]


def foreign(file):
    save_file({"weight": np.zeros(1)}, file)
    return [file]


def of_a_larger_network(file):
    more = {"efficientnet.encoder.blocks.3.projection.project_bn.bias": np.zeros(8)}
    return [rewritten(file, lambda tensors: tensors.update(more))]


def absent(file):
    return [file.with_name("absent")]


@pytest.mark.parametrize(
    ("spoil", "what", "hint"),
    [
        (truncated, "not all of it", "anew"),
        (pickled, "no safetensors file", "pickles"),
        (with_nan, f"'{STEM}' holds values that are not finite", "anew"),
        (wrong_shape, rf"'{STEM}' has shape \(4, 3, 3, 3\), the network \(8, 3, 3, 3\)", "size"),
        (foreign, "holds no tensor of an EfficientNet", "_conv_stem"),
        (of_a_larger_network, "holds 'efficientnet.encoder.blocks.3", "size"),
        (absent, "absent.*cannot read it", "Name a safetensors file"),
        (lambda file: [file.parent], "cannot read it", "Name a safetensors file"),
        (lambda file: [file, file], "of another of the files", "Leave one"),
    ],
)
def test_spoilt_files(file, key, spoil, what, hint):
    files = spoil(file)
    with pytest.raises(InputError, match=what) as error:
        load_backbone(key, TINY, files)
    assert hint in error.value.hint
    assert error.value.where == str(files[-1])


def test_counters_of_steps_are_passed_over(file, key):
    counter = {"efficientnet.embeddings.batchnorm.num_batches_tracked": np.array(7)}
    load_backbone(key, TINY, [rewritten(file, lambda tensors: tensors.update(counter))])


@pytest.mark.parametrize(
    ("given", "kept"),
    [(list("abcdefghij"), "abcdefghij"), (np.arange(10), range(10))],
    ids=["text", "numbers of a crowd"],
)
def test_saved_models_come_back(key, tmp_path, given, kept):
    network = initial_network(key, dataclasses.replace(TINY, compute_dtype="bfloat16"))
    path = tmp_path / "new" / "model.safetensors"
    save(network, path, given, temperature=1.7)
    loaded = load(path)
    assert loaded.temperature == 1.7
    assert loaded.class_names == tuple(kept)
    assert loaded.network.config == network.config
    assert loaded.network.stem_norm.use_running_average
    tensors = to_tensors(network)
    for at, tensor in to_tensors(loaded.network).items():
        np.testing.assert_array_equal(tensor, tensors[at])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert STEM in load_file(path)


def test_models_that_cannot_be_saved(key, tmp_path):
    network, path = initial_network(key, TINY), tmp_path / "model"
    with pytest.raises(ValueError, match="2 names for 10 classes"):
        save(network, path, ["a", "b"])
    for temperature in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="the temperature is"):
            save(network, path, range(10), temperature=temperature)
    assert not path.exists()


def test_models_of_others_are_no_saved_models(file):
    with pytest.raises(InputError, match=r"no model saved by gtx_bayes.*load_backbone"):
        load(file)


def test_broken_records(key, tmp_path):
    path = tmp_path / "model"
    save(initial_network(key, TINY), path, range(10))
    with safe_open(path, "numpy") as file:
        record = json.loads(file.metadata()["gtx_bayes"])
    spoilt = [{"temperature": value} for value in (0, "warm", None, [1.0])]
    spoilt += [{"class_names": []}, {"config": {"stages": []}}]
    tensors = load_file(path)
    for text in ["[]", "{", *(json.dumps(record | more) for more in spoilt)]:
        save_file(tensors, path, {"gtx_bayes": text})
        with pytest.raises(InputError, match="record of the network is not understood"):
            load(path)


@pytest.fixture
def hub(file):
    with serving(**{"model.safetensors": file.read_bytes()}) as hub:
        yield hub


def test_download_once(hub, file, tmp_path):
    checksum = hashlib.sha256(file.read_bytes()).hexdigest()
    published = dataclasses.replace(IMAGENET_B0, sha256=checksum)
    path = download(published, cache=tmp_path / "cache", endpoint=hub.url)
    assert path.read_bytes() == file.read_bytes()
    address = "/google/efficientnet-b0/resolve/refs%2Fpr%2F1/model.safetensors"
    assert [path for command, path in hub.asked if command == "GET"] == [address]
    hub.asked.clear()
    assert download(published, cache=tmp_path / "cache", endpoint=hub.url) == path
    assert hub.asked == [], "found where it was put, without the hub"
    assert published.url.endswith(address)


def test_download_of_something_else(hub, tmp_path):
    with pytest.raises(InputError, match="sha256") as error:
        download(cache=tmp_path / "cache", endpoint=hub.url)
    assert "Delete it" in error.value.hint


def test_broken_transfer(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client tries six times
    hub.sent = 10
    with pytest.raises(InputError, match="not be downloaded") as error:
        download(cache=tmp_path / "cache", endpoint=hub.url)
    assert IMAGENET_B0.url in error.value.hint


def test_no_network(tmp_path, monkeypatch):
    """Said at once: the hub's client would wait between six tries."""
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waits {seconds} s"))
    published = Published("owner/name", "main", "model.safetensors", "0" * 64)
    with pytest.raises(InputError, match=r"not be downloaded.*refused") as error:
        download(published, cache=tmp_path, endpoint="http://127.0.0.1:9")
    assert published.url in error.value.hint
    assert "`load_backbone(key, config, [FILE])`" in error.value.hint


def test_absent_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flax", None)
    with pytest.raises(InputError, match=r"needs flax.*pip install 'gtx_bayes\[finetune\]'"):
        importlib.reload(gtx_bayes.finetune)


def test_nothing_else_needs_the_extra():
    code = "import sys, gtx_bayes.cli.app; print('flax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
