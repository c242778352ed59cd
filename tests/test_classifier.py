"""Fine-tuning on what a crowd said: who is trained on, what is disputed, what is written."""

import dataclasses
import itertools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from gtx_bayes.aggregation.aggregate import aggregate
from gtx_bayes.classifier.fine_tune import Choice, HeadOrAll, fine_tune
from gtx_bayes.classifier.imputed import KNOWN, Imputed, has_labelers
from gtx_bayes.classifier.opinion import believed, form_opinion
from gtx_bayes.classifier.page import render
from gtx_bayes.classifier.parts import LEAST_GOLD, WANTED_GOLD, part_images
from gtx_bayes.classifier.result import write_result
from gtx_bayes.classifier.temperature import checked_temperature, has_copies
from gtx_bayes.columns import as_names
from gtx_bayes.crowd import Crowd
from gtx_bayes.diagnostics.report.page import Origin
from gtx_bayes.errors import InputError, WarningNote
from gtx_bayes.finetune.adamw import AdamW
from gtx_bayes.finetune.checkpoint import Checkpoint
from gtx_bayes.finetune.efficientnet import initial_network
from gtx_bayes.finetune.head import HeadConfig
from gtx_bayes.finetune.images import ImageSet
from gtx_bayes.finetune.predictions import (
    class_probs,
    fit_temperature,
    network_logits,
    score,
)
from gtx_bayes.finetune.targets import hard_targets
from gtx_bayes.finetune.weights import load
from gtx_bayes.labels import MISSING
from tests.networks import QUICK, TWO_BLOCKS
from tests.pages import HOSTILE, check_page

pytestmark = pytest.mark.end_to_end

SIDE = 16
FILES = {
    "report.html",
    "model.safetensors",
    "predictions.csv",
    "disagreements.csv",
    "training.csv",
    "epochs.csv",
}


def image_set(names, truth=None, group=None, split=None):
    """Noise with a bright patch in the lower half where the class is 1."""
    number = len(names)
    truth = np.zeros(number, int) if truth is None else truth
    pixels = np.random.default_rng(4).integers(0, 120, (number, SIDE, SIDE, 3)).astype(np.uint8)
    for image, low in zip(pixels, truth, strict=True):
        image[2 + 8 * low : 6 + 8 * low, 4:12] += 120
    return ImageSet(
        pixels=pixels,
        names=as_names(names),
        true_label=np.full(number, MISSING, np.int32),
        class_names=as_names(()),
        group=np.arange(number, dtype=np.int32) if group is None else group,
        split=split,
    )


def imputed_set(names, probs, is_known=None):
    probs = np.asarray(probs, float)
    return Imputed(
        "gtx-bayes",
        as_names(names),
        as_names(["no", "yes"]),
        probs,
        np.full_like(probs, 0.5),
        np.full(len(names), 3),
        np.zeros(len(names), bool) if is_known is None else np.asarray(is_known),
    )


def evens(number):
    """Two classes in turn, each 90 % sure."""
    return np.where(np.arange(number)[:, None] % 2 == [0, 1], 0.9, 0.1)


class TestParts:
    def test_names_with_or_without_endings(self, key):
        images = image_set(["a/x.jpg", "a/y.jpg", "z.v2.png", "only.png"])
        parts = part_images(key, images, imputed_set(["z.v2", "a/x.jpg", "a/y", "q"], evens(4)))
        np.testing.assert_array_equal(parts.task, [1, 2, 0, -1])
        np.testing.assert_array_equal(parts.trains, [True, True, True, False])
        assert parts.notes == (
            "1 task(s) have no image and are left out: 'q'.",
            "1 image(s) have no label: 'only.png'.",
        )

    @pytest.mark.parametrize(
        ("images", "tasks", "message"),
        [
            (
                ["x.jpg", "x.png"],
                ["x", "x.png"],
                r"'x' could be any of the images 'x.jpg', 'x.png'",
            ),
            (["x.jpg", "y.jpg"], ["x", "x.jpg"], "'x.jpg' and 'x.jpg' name one image"),
            (["x.jpg", "y.jpg"], ["1", "2"], r"tasks are called '1', '2', images 'x.jpg', 'y.jpg'"),
        ],
    )
    def test_names_that_do_not_fit(self, key, images, tasks, message):
        with pytest.raises(InputError, match=message) as error:
            part_images(key, image_set(images), imputed_set(tasks, evens(2)))
        assert error.value.hint

    def test_one_class(self, key):
        with pytest.raises(InputError, match="all 2 images to train on are labelled 'yes'"):
            part_images(key, image_set("ab"), imputed_set("ab", [[0.1, 0.9], [0.3, 0.7]]))

    def test_true_labels_are_held_out_with_their_groups(self, key):
        images = image_set("abcdefg", group=np.array([0, 0, 1, 1, 2, 2, 3], np.int32))
        truth = pd.DataFrame({"task": ["a", "g", "zz"], "label": ["yes", "no", "no"]})
        parts = part_images(key, images, imputed_set("abcdef", evens(6)), truth)
        assert list(parts.names()) == [
            *("evaluation", "unused"),
            *4 * ["training"],
            "evaluation",
        ]
        np.testing.assert_array_equal(parts.true_label, [1, *5 * [MISSING], 0])
        assert any("1 name(s) of no image" in note for note in parts.notes)
        assert any("1 image(s) are not trained on" in note for note in parts.notes)

    def test_labels_of_the_images_themselves(self, key):
        """They judge where nobody was asked; in the part called test where there are parts."""
        images = dataclasses.replace(
            image_set("abcdef"),
            true_label=np.array([0, 1, 0, 1, 0, MISSING], np.int32),
            class_names=as_names(["yes", "no"]),
        )
        imputed = imputed_set("abcd", evens(4))
        parts = part_images(key, images, imputed)
        assert list(parts.names()) == [*4 * ["training"], "evaluation", "unused"]
        assert parts.true_label[4] == 1, "their first class is the second imputed"
        split = as_names(["train", "train", "train", "test", "train", "test"])
        parts = part_images(key, dataclasses.replace(images, split=split), imputed)
        assert list(parts.names()) == [*3 * ["training"], "evaluation", "unused", "unused"]

    def test_true_classes_that_nobody_learns(self, key):
        truth = pd.DataFrame({"task": ["a"], "label": ["maybe"]})
        with pytest.raises(InputError, match="'maybe' is none of the classes"):
            part_images(key, image_set("abc"), imputed_set("abc", evens(3)), truth)
        truth = pd.DataFrame({"task": ["q"], "label": ["yes"]})
        with pytest.raises(InputError, match="no image has a true label"):
            part_images(key, image_set("abc"), imputed_set("abc", evens(3)), truth)

    def test_nothing_left(self, key):
        truth = pd.DataFrame({"task": list("ab"), "label": ["yes", "no"]})
        with pytest.raises(InputError, match="nothing is left to train on"):
            part_images(key, image_set("ab"), imputed_set("ab", evens(2)), truth)

    @pytest.mark.parametrize("num_gold", [2 * LEAST_GOLD - 1, 2 * LEAST_GOLD, 2 * WANTED_GOLD + 40])
    def test_gold_held_out(self, key, num_gold):
        """Nearly all there is, nothing where it is too little, never more than is wanted."""
        names = [str(at) for at in range(1000)]
        probs = evens(1000)
        is_gold = np.arange(1000) < num_gold
        probs[is_gold] = probs[is_gold].round()
        parts = part_images(key, image_set(names), imputed_set(names, probs, is_gold))
        held = np.bincount(parts.true_label[parts.assesses], minlength=2)
        if num_gold < 2 * LEAST_GOLD:
            assert held.sum() == 0
            assert any("No gold is held out" in note for note in parts.notes)
        else:
            np.testing.assert_array_equal(held, min(num_gold // 2, WANTED_GOLD))
        assert not (parts.assesses & ~is_gold).any()
        np.testing.assert_array_equal(parts.trains, ~parts.assesses)

    def test_gold_bars_its_group(self, key):
        """Each group of four has a gold image: a fifth of 800 is lost, 40 gold among them."""
        names = [str(at) for at in range(800)]
        group = np.arange(800, dtype=np.int32) // 4
        is_gold = np.arange(800) % 4 == group % 2
        probs = evens(800)
        probs[is_gold] = probs[is_gold].round()
        parts = part_images(key, image_set(names, group=group), imputed_set(names, probs, is_gold))
        assert int(parts.assesses.sum()) == 40
        assert int(parts.trains.sum()) == 640
        assert not set(group[parts.trains]) & set(group[parts.assesses])


class TestImputed:
    def test_of_a_crowd(self):
        answers = pd.DataFrame(
            {"task": list("aabb"), "worker": list("uvuv"), "label": ["yes", "yes", "no", "yes"]}
        )
        gold = pd.DataFrame({"task": ["b"], "label": ["no"]})
        result = aggregate(Crowd.from_frames(answers, gold), "majority-vote")
        imputed = Imputed.by(result)
        np.testing.assert_allclose(imputed.class_probs, [[0, 1], [1, 0]])
        np.testing.assert_array_equal(imputed.is_known, [False, True])
        np.testing.assert_array_equal(imputed.num_labels, [2, 2])
        assert imputed.default_targets() == "hard", "shares of votes are no probabilities"
        assert dataclasses.replace(imputed, method="gtx").default_targets() == "soft"

    def test_of_known_labels(self):
        frame = pd.DataFrame({"item": [3, 1, 3], "truth": ["b", "a", "b"]})
        assert not has_labelers(frame, {})
        imputed = Imputed.known(frame)
        assert (imputed.method, list(imputed.names)) == (KNOWN, [3, 1])
        np.testing.assert_array_equal(imputed.class_probs, [[0, 1], [1, 0]])
        assert imputed.is_known.all()
        assert "every label counts as known" in imputed.notes[0]

    @pytest.mark.parametrize(
        ("label", "classes", "message"),
        [
            (["a", "a"], None, "every label is 'a'"),
            (["a", "b"], ["a", "c"], "label 'b' is none of the classes"),
            (["a", "b"], None, None),
        ],
    )
    def test_known_labels_that_do_not_do(self, label, classes, message):
        frame = pd.DataFrame({"task": ["x", "y"], "label": label})
        if message is None:
            assert Imputed.known(frame, classes=classes).num_classes == 2
            return
        with pytest.raises(InputError, match=message):
            Imputed.known(frame, classes=classes)

    def test_who_answered_is_seen_by_the_columns(self):
        frame = pd.DataFrame({"task": [1], "Rater ": [2], "label": [3]})
        assert has_labelers(frame, {})
        assert has_labelers(frame[["task", "label"]], {"labeler": "who"})


class TestOpinion:
    def test_both_by_hand(self):
        opinion = np.array([[0.1, 0.9], [0.1, 0.9], [0.2, 0.8]])
        posterior = np.array([[0.8, 0.2], [0.8, 0.2], [1.0, 0.0]])
        prior = np.array([[0.5, 0.5], [0.9, 0.1], [0.5, 0.5]])
        wanted = np.array([[0.08, 0.18], [0.08 / 0.9, 0.18 / 0.1], [1.0, 0.0]])
        wanted /= wanted.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(believed(opinion, posterior, prior), wanted, atol=1e-12)

    def test_nobody_is_told_the_own_label(self, key):
        """Another label of one image changes what is thought of others, not of its own group."""
        features = np.asarray(jax.random.normal(key, (40, 3)), np.float32)
        group = np.arange(40) // 2
        probs = evens(40)
        towards = hard_targets(jnp.asarray(probs, float))
        lied = hard_targets(jnp.asarray(np.where(np.arange(40)[:, None] == 7, [1, 0], probs)))
        config = HeadConfig(num_epochs=3)
        first = form_opinion(key, features, towards, probs, group, config)
        second = form_opinion(key, features, lied, probs, group, config)

        def untempered(opinion):
            log_odds = np.log(opinion.class_probs[:, 1] / opinion.class_probs[:, 0])
            return log_odds * opinion.temperature

        same = np.isclose(untempered(first), untempered(second), rtol=1e-5, atol=1e-7)
        assert same[6]
        assert same[7]
        assert same.sum() == 8, "its part: 20 groups in five parts"

    def test_one_group_cannot_be_judged(self, key):
        towards = hard_targets(jnp.asarray(evens(4), float))
        with pytest.raises(ValueError, match="1 group"):
            form_opinion(key, np.zeros((4, 2)), towards, evens(4), np.zeros(4, int), HeadConfig())


@pytest.fixture(scope="module")
def network():
    return initial_network(jax.random.key(4), TWO_BLOCKS)


TRUTH = np.random.default_rng(1).integers(0, 2, 90)
FLIPPED = 11
NAMES = [f"img{at}.png" for at in range(90)]


@pytest.fixture(scope="module")
def parted():
    """Ninety images: 70 with labels 80 % sure, one of them wrong, 50 of them gold."""
    images = image_set(NAMES, TRUTH)
    label = TRUTH[:70].copy()
    label[FLIPPED] = 1 - label[FLIPPED]
    probs = np.where(np.arange(2) == label[:, None], 0.8, 0.2)
    is_gold = np.arange(70) >= 20
    probs[is_gold] = probs[is_gold].round()
    imputed = imputed_set(NAMES[:70], probs, is_gold)
    truth = pd.DataFrame({"task": NAMES[70:], "label": np.array(["no", "yes"])[TRUTH[70:]]})
    parts = part_images(jax.random.key(2), images, imputed, truth)
    return images, imputed, parts


@pytest.fixture(scope="module")
def tuned(network, parted):
    return fine_tune(jax.random.key(0), network, *parted, HeadConfig(optimiser=AdamW(1e-2)))


def test_the_wrong_label_is_disputed_first(tuned):
    """Its image says so: the least probable label, the image and the answers together."""
    first = tuned.disputes().iloc[0]
    assert first["task"] == NAMES[FLIPPED]
    assert first["model_label"] == ["no", "yes"][TRUTH[FLIPPED]] != first["label"]
    assert first["doubt"] > 0.5
    assert tuned.disputes()["doubt"].is_monotonic_decreasing
    known = tuned.disputes()[tuned.disputes()["is_known"]]
    assert (known["doubt"] == 0).all()


def test_scores_say_what_they_were_measured_on(tuned):
    assert set(tuned.scores()) == {"evaluation"}, "too little of the gold may be held out"
    judged = tuned.scores()["evaluation"]
    assert judged.true_label.size == 20
    assert tuned.model.temperature == 1.0
    assert "The confidence of the model was not checked." in tuned.notes
    right = judged.class_probs.argmax(axis=1) == TRUTH[70:]
    assert float(judged.plain["accuracy"].value) == pytest.approx(right.mean())


def test_files(tuned, tmp_path):
    """The model that is kept says what the predictions say."""
    summary = write_result(tuned, tmp_path, Origin("images", {}, 0.0))
    assert {path.name for path in tmp_path.iterdir()} == FILES
    kept = load(tmp_path / "model.safetensors")
    assert (kept.class_names, kept.temperature) == (("no", "yes"), 1.0)
    assert kept.network.config.resolution == SIDE
    probs = class_probs(network_logits(kept.network, tuned.images.pixels), kept.temperature)
    table = pd.read_csv(tmp_path / "predictions.csv")
    np.testing.assert_allclose(table[["prob_no", "prob_yes"]], probs, rtol=1e-3, atol=1e-5)
    assert list(table["is_trained_on"]) == 70 * [True] + 20 * [False]
    assert table["imputed_label"][70:].isna().all()
    assert summary["num_trained"] == 70
    assert summary["temperature"] is None
    assert len(pd.read_csv(tmp_path / "disagreements.csv")) == 70
    assert len(pd.read_csv(tmp_path / "training.csv")) == 0


def page_of(tuned, name="images"):
    text = render(tuned, tuned.disputes(), Origin(name, {"labels": "labels.csv"}, 0.0))
    pictures = re.findall(r'<img src="data:image/jpeg;base64,[\w+/=]+" alt="[^"]*">', text)
    for picture in pictures:
        text = text.replace(picture, "")
    page = check_page(text, {"predictions.csv", "disagreements.csv"})
    return " ".join("".join(page.text).split()), len(pictures)


def test_page(tuned):
    text, num_pictures = page_of(tuned)
    assert num_pictures == min(
        (tuned.disputes()["label"] != tuned.disputes()["model_label"]).sum(), 24
    )
    assert "The last layer of a network was trained" in text
    assert "on 70 images of 16 \u00d7 16 pixels" in text
    assert "On the evaluation: 20 images not trained on" in text
    assert "labelled no, 80 % sure, 3 answers" in text or "labelled yes, 80 % sure" in text
    assert "gtx-bayes next labels.csv --batch 20 --second-opinion disagreements.csv" in text
    assert "there are no curves to show" in text


@pytest.mark.parametrize("hostile", list(itertools.batched(HOSTILE, 3)))
def test_no_name_breaks_out_of_the_page(tuned, hostile):
    """Names of a task and of both classes, the source's name and a note."""
    task, *classes = hostile
    names = as_names([task if at == FLIPPED else name for at, name in enumerate(NAMES[:70])])
    imputed = dataclasses.replace(
        tuned.imputed, names=names, class_names=as_names(classes), notes=hostile
    )
    page_of(dataclasses.replace(tuned, imputed=imputed), " ".join(hostile))


def test_known_labels_are_disputed_by_the_image_alone(tuned):
    """Where every label counts as known none is doubted, and the surest dispute comes first."""
    probs = tuned.imputed.class_probs.round()
    known = dataclasses.replace(tuned.imputed, class_probs=probs, is_known=np.ones(70, bool))
    disputes = dataclasses.replace(tuned, imputed=known).disputes()
    assert (disputes["doubt"] == 0).all()
    assert disputes.iloc[0]["task"] == NAMES[FLIPPED]


@pytest.fixture(scope="module")
def with_gold_held_out(parted):
    images, imputed, parts = parted
    is_held = parts.trains & (np.arange(90) >= 50)
    true_label = np.where(is_held, TRUTH, parts.true_label)
    trains = parts.trains & ~is_held
    return images, imputed, parts._replace(assesses=is_held, trains=trains, true_label=true_label)


@pytest.mark.slow
def test_a_whole_network(network, with_gold_held_out, tmp_path):
    """Curves, a temperature from gold, and a checkpoint of another run that is refused."""
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    calls = []
    tuned = fine_tune(
        jax.random.key(0),
        network,
        *with_gold_held_out,
        QUICK,
        checkpoint=checkpoint,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (14, 14)
    assert set(tuned.scores()) == {"assessment", "evaluation"}
    assert tuned.model.temperature != 1.0
    text, _ = page_of(tuned)
    assert "A whole network was fine-tuned on 50 images" in text
    write_result(tuned, tmp_path, Origin("images", {}, 0.0))
    assert len(pd.read_csv(tmp_path / "epochs.csv")) == 2
    assert len(pd.read_csv(tmp_path / "training.csv")) == 14
    with pytest.raises(InputError, match=r"checkpoint: it is no checkpoint of this"):
        fine_tune(jax.random.key(1), network, *with_gold_held_out, QUICK, checkpoint=checkpoint)


@pytest.mark.slow
def test_gold_held_out_chooses_between_the_last_layer_and_all(network, with_gold_held_out):
    """What is kept has the lower of two losses, which is that of its own logits."""
    quick = HeadOrAll(HeadConfig(optimiser=AdamW(1e-2)), QUICK)
    tuned = fine_tune(jax.random.key(0), network, *with_gold_held_out, quick)
    is_held = tuned.parts.assesses
    logits, truth = tuned.logits[is_held], tuned.parts.true_label[is_held]
    loss = score(class_probs(logits, fit_temperature(logits, truth)), truth).log_loss
    assert loss == pytest.approx(min(tuned.choice), rel=1e-4)
    assert tuned.choice.head != tuned.choice.whole
    assert tuned.is_head_only == (tuned.choice.head < tuned.choice.whole)
    assert len(tuned.history.loss) == 14, "kept also if the last layer is better"
    text, _ = page_of(tuned)
    assert ("which was not kept" in text) == tuned.is_head_only
    assert "Training loss" in text


@pytest.mark.parametrize(
    ("losses", "is_whole", "text"),
    [
        ((0.5, 0.4), True, "all weights are kept"),
        ((0.4, 0.5), False, "the last layer alone is kept"),
        ((0.4, 0.4), False, "the last layer alone is kept"),
        ((None, None), False, "no gold held out can say"),
    ],
)
def test_ties_go_to_the_last_layer(losses, is_whole, text):
    choice = Choice(*losses)
    assert choice.is_whole == is_whole
    assert text in choice.note


def test_without_gold_held_out_the_last_layer_alone_is_trained(network, parted):
    tuned = fine_tune(jax.random.key(0), network, *parted)
    assert tuned.is_head_only
    assert tuned.history.loss == ()
    assert "Only the last layer was trained: no gold held out" in tuned.notes[-1]
    assert "label at least 20 images of each class" in page_of(tuned)[0]


class TestTemperature:
    NUMBER = 240  # a third each trains, assesses and evaluates

    @pytest.fixture
    def parts(self, parted):
        at = np.arange(self.NUMBER)
        third = at * 3 // self.NUMBER
        return parted[2]._replace(
            task=at,
            true_label=np.where(third > 0, at % 2, MISSING),
            trains=third == 0,
            assesses=third == 1,
            evaluates=third == 2,
        )

    def logits(self, share_wrong):
        """Log odds of 2 for the right class, but for a share of each part."""
        at = np.arange(self.NUMBER)
        is_right = (at % 80) >= np.repeat(80 * np.array(share_wrong), 80)
        toward = np.where(is_right, at % 2, 1 - at % 2)
        return 2.0 * np.eye(2)[toward]

    def check(self, parts, share_wrong, group=None, is_copied=False):
        group = np.arange(self.NUMBER) if group is None else group
        return checked_temperature(self.logits(share_wrong), parts, group, is_copied=is_copied)

    def test_stands_where_nothing_refutes_it(self, parts):
        """A tenth is wrong where log odds of 2 promise 12 %."""
        found = self.check(parts, (0.0, 0.1, 0.1))
        assert (found.value, found.notes) == (found.fitted, ())
        assert 0.8 < found.value < 1.0

    def test_of_easier_gold_is_refuted_by_what_evaluates(self, parts):
        """No gold is wrong, and a quarter of the images that evaluate."""
        found = self.check(parts, (0.0, 0.0, 0.25))
        assert found.fitted < 0.6
        assert found.value == 1.0
        (note,) = found.notes
        assert isinstance(note, WarningNote)
        assert "with it the log loss of the images that evaluate is" in note
        assert "column `group`" in note

    def test_a_few_groups_are_no_proof(self, parts):
        """The same images as ten groups, of which two are wrong altogether."""
        group = np.arange(self.NUMBER) // 8
        assert self.check(parts, (0.0, 0.0, 0.25), group).value < 0.6

    def test_of_copied_gold_is_never_below_one(self, parts):
        found = self.check(parts, (0.0, 0.0, 0.12), is_copied=True)
        assert (found.value, len(found.notes)) == (1.0, 1)
        assert "nearly copies of images trained on" in found.notes[0]
        high = self.check(parts, (0.0, 0.3, 0.3), is_copied=True)
        assert high.value == high.fitted > 1.0

    def test_copies_are_seen_where_groups_are_not_named(self, parts):
        """Every gold image beside one that is trained on, or drawn apart from them."""
        rng = np.random.default_rng(5)
        features = rng.normal(size=(self.NUMBER, 40))
        every = np.arange(self.NUMBER)
        assert not has_copies(features, parts, every)
        features[80:160] = features[:80] + rng.normal(0.0, 0.1, (80, 40))
        assert has_copies(features, parts, every)
        assert not has_copies(features, parts, every // 2), "groups are named"


def test_what_cannot_be(network, parted):
    images, imputed, parts = parted
    one = dataclasses.replace(images, group=np.zeros(90, np.int32))
    with pytest.raises(InputError, match="of one group"):
        fine_tune(jax.random.key(0), network, one, imputed, parts)
    with pytest.raises(InputError, match="there are no targets 'firm'"):
        fine_tune(jax.random.key(0), network, images, imputed, parts, targets="firm")
    with pytest.raises(InputError, match="not put down"):
        fine_tune(
            jax.random.key(0),
            network,
            images,
            imputed,
            parts,
            HeadConfig(),
            checkpoint=Checkpoint(Path("kept")),
        )
