"""`gtx-bayes finetune` and `predict` from outside: what they write, where, and what they refuse."""

import json

import jax
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from gtx_bayes.errors import InputError
from gtx_bayes.finetune.decoding import as_jpeg, resized
from gtx_bayes.finetune.efficientnet import EfficientNetConfig, initial_network
from gtx_bayes.finetune.sources import NUM_DRAWN, read_images
from gtx_bayes.finetune.synthetic_drilling import render
from gtx_bayes.finetune.weights import save
from tests.test_classifier import FILES
from tests.test_cli import call

NUM_IMAGES = 44
QUICK = ("--method", "majority-vote", "--train", "head", "--size", "32", "--epochs", "2")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Images, answers of three workers who are right, one gold label, and weights of b0."""
    folder = tmp_path_factory.mktemp("finetune")
    images = render(jax.random.key(1), NUM_IMAGES, size=32)
    (folder / "images").mkdir()
    for name, pixels in zip(images.names, images.pixels, strict=True):
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    truth = pd.DataFrame({"task": images.names, "label": images.class_names[images.true_label]})
    answers = pd.concat([truth[:30].assign(worker=worker) for worker in "uvw"])
    answers.to_csv(folder / "labels.csv", index=False)
    truth[:1].to_csv(folder / "gold.csv", index=False)
    truth[:30].to_csv(folder / "known.csv", index=False)
    truth[30:].to_csv(folder / "truth.csv", index=False)
    truth.rename(columns={"task": "file"}).to_csv(folder / "images.csv", index=False)
    network = initial_network(jax.random.key(0), EfficientNetConfig.of_size("b0", 2))
    save(network, folder / "b0.safetensors", ["a", "b"])
    return folder


def finetune(tables, output, *more, labels="labels.csv"):
    words = ("--images", tables / "images", "--labels", tables / labels, "--output", output)
    weights = () if "--weights" in more else ("--weights", tables / "b0.safetensors")
    return call("finetune", *words, *QUICK, *weights, *more)


@pytest.mark.end_to_end
def test_from_answers_to_predictions(tables, tmp_path):
    """What is written, what it says, and that the kept model says the same by itself."""
    run = finetune(tables, tmp_path / "out", "--truth", tables / "truth.csv", "--json")
    assert run.exit_code == 0, run.output
    record = json.loads(run.stdout)
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | {"summary.json"}
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert written.pop("files").keys() == FILES | {"summary.json"}
    assert {**written, "output": str(tmp_path / "out")} == record
    assert (record["num_trained"], record["num_evaluation"]) == (30, NUM_IMAGES - 30)
    assert (record["method"], record["targets"]) == ("majority-vote", "hard")
    assert record["scores"]["evaluation"]["num_examples"] == NUM_IMAGES - 30
    assert not any("no label" in note for note in record["notes"]), "that is what they are for"
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert str(tables) not in page
    words = ("predict", tmp_path / "out" / "model.safetensors", tables / "images")
    words += ("--output", tmp_path / "said.parquet", "--table", tables / "images.csv", "--json")
    run = call(*words)
    assert run.exit_code == 0, run.output
    said = pd.read_parquet(tmp_path / "said.parquet")
    assert list(said.columns) == ["task", "label", "confidence", "prob_NO", "prob_YES"]
    predictions = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(predictions["task"]) == [f"{name}.png" for name in said["task"]]
    np.testing.assert_allclose(
        said[["prob_NO", "prob_YES"]], predictions[["prob_NO", "prob_YES"]], rtol=1e-3, atol=1e-5
    )
    right = said["label"] == pd.read_csv(tables / "images.csv")["label"]
    assert json.loads(run.stdout)["scores"]["accuracy"] == pytest.approx(right.mean())
    (tmp_path / "out" / "mine.txt").write_text("mine")
    run = finetune(tables, tmp_path / "out")
    assert run.exit_code == 2
    assert "'mine.txt', which is no result of gtx-bayes finetune" in run.stderr


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gold", "absent.csv"], "there is no such file"),
        (["--checkpoint", "kept"], "not put down"),
        (["--average", "0.9"], "a last layer alone is not averaged"),
        (["--statistics", "batch"], "--statistics: norms keep their statistics"),
        (["--train", "some"], "'--train'"),
        (["--learning-rate", "0"], "the learning rate is 0"),
        (["--method", "none"], "there is no method 'none'"),
        (["--size", "8"], "'--size'"),
        (["--network", "b9"], "'--network'"),
    ],
)
def test_bad_requests(tables, tmp_path, options, message):
    run = finetune(tables, tmp_path / "out", *options)
    assert run.exit_code == 2
    assert message in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.end_to_end
def test_weights_of_another_network(tables, tmp_path):
    tensors = load_file(tables / "b0.safetensors")
    name = "efficientnet.embeddings.convolution.weight"
    save_file(tensors | {name: tensors[name][:8]}, tmp_path / "narrow.safetensors")
    run = finetune(tables, tmp_path / "out", "--weights", tmp_path / "narrow.safetensors")
    assert run.exit_code == 2
    assert f"its tensor '{name}' has shape (8, 3, 3, 3), the network (32, 3, 3, 3)" in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.end_to_end
def test_weights_that_lack_tensors(tables, tmp_path):
    """The hint names the option."""
    tensors = load_file(tables / "b0.safetensors")
    del tensors["efficientnet.embeddings.convolution.weight"]
    save_file(tensors, tmp_path / "part.safetensors")
    run = finetune(tables, tmp_path / "out", "--weights", tmp_path / "part.safetensors")
    assert run.exit_code == 2
    assert "tensors are missing: stem.kernel" in run.stderr
    assert "(`--allow-missing`)" in run.stderr


@pytest.mark.end_to_end
def test_no_network_for_the_hub(tables, tmp_path, monkeypatch):
    """The hint is to name a file."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    words = ("--images", tables / "images", "--labels", tables / "labels.csv", *QUICK)
    run = call("finetune", *words, "--output", tmp_path / "out")
    assert run.exit_code == 2
    assert "could not be downloaded" in run.stderr
    assert "give its path instead: `--weights FILE`." in run.stderr
    assert "load_backbone" not in run.stderr
    run = call("finetune", *words, "--output", tmp_path / "out", "--network", "b2")
    assert run.exit_code == 2
    assert "no published weights of b2 are known here" in run.stderr


@pytest.mark.end_to_end
def test_images_that_do_not_do(tables, tmp_path):
    """One cut short, one that a table names in vain, and names that match nothing."""
    (tmp_path / "images").mkdir()
    whole = (tables / "images" / "video000-frame0.png").read_bytes()
    (tmp_path / "images" / "video000-frame0.png").write_bytes(whole)
    words = ("--labels", tables / "labels.csv", "--output", tmp_path / "out", *QUICK)
    words += ("--images", tmp_path / "images", "--weights", tables / "b0.safetensors")
    run = call("finetune", *words, "--table", tables / "images.csv")
    assert run.exit_code == 2
    assert "43 of 44 images are not in" in run.stderr
    (tmp_path / "images" / "video000-frame1.png").write_bytes(whole[: len(whole) // 2])
    run = call("finetune", *words)
    assert run.exit_code == 2
    assert "1 of 2 images cannot be used" in run.stderr
    assert "or have them skipped (`--broken skip`)" in run.stderr
    assert "video000-frame1.png" in run.stderr
    run = call("finetune", *words, "--broken", "skip")
    assert run.exit_code == 2
    assert "all 1 images to train on are labelled" in run.stderr
    (tmp_path / "images" / "video000-frame1.png").unlink()
    (tmp_path / "images" / "video000-frame0.png").rename(tmp_path / "images" / "else.png")
    run = call("finetune", *words)
    assert run.exit_code == 2
    assert "no task has an image" in run.stderr
    assert "'video000-frame0'" in run.stderr
    assert "'else.png'" in run.stderr


@pytest.mark.end_to_end
def test_tables_without_workers(tables, tmp_path):
    run = finetune(tables, tmp_path / "out", "--gold", tables / "gold.csv", labels="known.csv")
    assert run.exit_code == 2
    assert "all its labels are known already" in run.stderr
    one = pd.read_csv(tables / "known.csv").assign(label="YES")
    one.to_csv(tmp_path / "one.csv", index=False)
    run = finetune(tables, tmp_path / "out", "--labels", tmp_path / "one.csv")
    assert run.exit_code == 2
    assert "every label is 'YES'" in run.stderr


@pytest.mark.end_to_end
def test_models_that_are_none(tables, tmp_path):
    (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
    save_file({"x": np.zeros(1, np.float32)}, tmp_path / "plain.safetensors")
    words = (tables / "images", "--output", tmp_path / "said.csv")
    run = call("predict", tmp_path / "model.pt", *words)
    assert run.exit_code == 2
    assert "pickles" in run.stderr
    run = call("predict", tmp_path / "plain.safetensors", *words)
    assert run.exit_code == 2
    assert "Give one that finetune wrote." in run.stderr
    run = call("predict", tables / "b0.safetensors", tables / "images", "-o", tmp_path / "a.txt")
    assert run.exit_code == 2
    assert "the ending '.txt' names no known format" in run.stderr


class TestSimulatedImages:
    """Tables and images from nowhere, as `finetune` reads them."""

    @pytest.mark.slow
    def test_are_what_finetune_takes(self, tables, tmp_path):
        """Groups are named, so that gold is held out by videos, and truth judges all it names."""
        words = ("--num-images", "200", "--accuracy", "1,1", "--labels-per-image", "2")
        run = call("simulate", "images", *words, "--output", tmp_path / "drawn", "--json")
        assert run.exit_code == 0, run.output
        record = json.loads(run.stdout)
        frames = {
            name: pd.read_csv(tmp_path / "drawn" / f"{name}.csv")
            for name in ("labels", "gold", "truth")
        }
        assert record["num_labels"] == len(frames["labels"]) == 2 * (200 - len(frames["truth"]))
        assert set(frames["truth"]["task"]).isdisjoint(frames["labels"]["task"])
        both = frames["labels"].merge(frames["gold"], on="task")
        assert len(both) == 2 * len(frames["gold"]) > 0
        assert (both["label_x"] == both["label_y"]).all(), "labelers who are always right"
        images = read_images(jax.random.key(1), [tmp_path / "drawn" / "images.parquet"], size=96)
        drawn = render(jax.random.key(0), 200)
        np.testing.assert_array_equal(images.pixels, drawn.pixels)
        np.testing.assert_array_equal(images.group, drawn.group)
        files = [tmp_path / "drawn" / f"{name}.csv" for name in ("labels", "gold", "truth")]
        options = ("--labels", files[0], "--gold", files[1], "--truth", files[2], *QUICK)
        options += ("--images", tmp_path / "drawn" / "images.parquet", "--json")
        weights = ("--weights", tables / "b0.safetensors", "--output", tmp_path / "out")
        run = call("finetune", *options, *weights)
        assert run.exit_code == 0, run.output
        record = json.loads(run.stdout)
        assert record["num_evaluation"] == len(frames["truth"])
        assert record["num_trained"] + record["num_assessment"] + len(frames["truth"]) <= 200
        assert record["trained"] == "head"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--accuracy", "1"], "'1' are no two accuracies"),
            (["--accuracy", "0.9,0.6"], "'0.9,0.6' are no two accuracies"),
            (["--num-labelers", "2"], "2 labelers cannot give 3 answers"),
        ],
    )
    def test_bad_requests(self, tmp_path, options, message):
        run = call("simulate", "images", "--output", tmp_path / "drawn", *options)
        assert run.exit_code == 2
        assert message in run.stderr
        assert list(tmp_path.iterdir()) == []


class TestSources:
    def test_drawn_scenes_are_the_same_at_every_size(self, key, monkeypatch):
        monkeypatch.setattr("gtx_bayes.finetune.sources.NUM_DRAWN", 10)
        small = read_images(key, ["synthetic-drilling"], size=16)
        large = read_images(key, ["synthetic-drilling"], size=96)
        assert NUM_DRAWN == 1050
        np.testing.assert_array_equal(small.true_label, large.true_label)
        assert small.pixels.shape == (10, 16, 16, 3)
        mean = [images.pixels.mean(axis=(1, 2)) for images in (small, large)]
        assert np.abs(mean[0] - mean[1]).max() < 2.0, "of 256 levels"

    @pytest.mark.parametrize(
        ("sources", "table", "message"),
        [
            (["a", "b"], None, "2 sources of images, not all of them Parquet"),
            (["paper"], "table.csv", "'paper' says itself"),
            (["x.parquet"], "table.csv", "says itself"),
            (["/nowhere"], None, "no such folder"),
        ],
    )
    def test_sources_that_do_not_do(self, key, sources, table, message):
        with pytest.raises(InputError, match=message):
            read_images(key, sources, table)

    def test_small_pictures(self):
        grey = np.full((1, 40, 40, 3), 128, np.uint8)
        assert (resized(grey, 20) == 128).all()
        assert as_jpeg(grey[0], 20)[:2] == b"\xff\xd8"
