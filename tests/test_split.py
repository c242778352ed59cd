"""Parts of a set of images: disjoint, whole groups, classes in their shares."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtx_bayes.errors import InputError
from gtx_bayes.finetune.images import ImageSet
from gtx_bayes.finetune.split import given_split, split_images
from gtx_bayes.labels import MISSING

PARTS = ("evaluation", "assessment", "training")  # in the order in which they are drawn


def image_set(label, group=None, split=None, num_classes=None):
    label = np.asarray(label, np.int32)
    num_classes = int(label.max()) + 1 if num_classes is None else num_classes
    return ImageSet(
        pixels=np.zeros((label.size, 1, 1, 3), np.uint8),
        names=np.array([f"image{at}" for at in range(label.size)], object),
        true_label=label,
        class_names=np.array([f"class{at}" for at in range(num_classes)], object),
        group=np.arange(label.size) if group is None else np.asarray(group),
        split=None if split is None else np.array(split, object),
    )


def pure(sizes):
    """Groups of these sizes, each of one class."""
    label = np.concatenate([np.repeat(at, sum(of_class)) for at, of_class in enumerate(sizes)])
    flat = [size for of_class in sizes for size in of_class]
    return image_set(label, np.repeat(np.arange(len(flat)), flat))


def assert_parts(images, split):
    """Every image is in one part, with its group."""
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(images.num_images))
    groups = [set(images.group[index]) for index in split]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for index in split:
        assert (np.diff(index) > 0).all()


def test_single_images_in_exact_shares(key):
    """A hundred and forty images, two classes: a tenth of each, no more and no less."""
    images = image_set([0] * 100 + [1] * 40)
    split = split_images(key, images, assessment=0.1, evaluation=0.2)
    for index, counts in zip(split, [(70, 28), (10, 4), (20, 8)], strict=True):
        np.testing.assert_array_equal(np.bincount(images.true_label[index]), counts)


def test_the_key_decides_and_nothing_else(key):
    images = image_set([0, 1] * 50)
    first, second = split_images(key, images), split_images(key, images)
    other = split_images(jax.random.fold_in(key, 1), images)
    for index, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(index, again)
    assert set(other.evaluation) != set(first.evaluation)


def test_every_image_evaluates_at_times(key):
    """One of the five of a class evaluates; 70 keys miss an image with probability 0.8 ** 70."""
    images = image_set([0] * 5 + [1] * 5)
    seen = {
        int(at)
        for number in range(70)  # 10 * 0.8 ** 70 < 2e-6
        for at in split_images(jax.random.fold_in(key, number), images).evaluation
    }
    assert seen == set(range(10))


sizes = st.lists(st.integers(1, 8), min_size=1, max_size=12)
shares = st.floats(0.05, 0.45)


@given(st.lists(sizes, min_size=1, max_size=4), shares, shares, st.integers(0, 9))
def test_groups_of_one_class(sizes, assessment, evaluation, seed):
    images = pure(sizes)
    key = jax.random.key(seed)
    if min(map(len, sizes)) < 3:
        with pytest.raises(InputError, match=r"no image of class .* is left for"):
            split_images(key, images, assessment=assessment, evaluation=evaluation)
        return
    split = split_images(key, images, assessment=assessment, evaluation=evaluation)
    assert_parts(images, split)
    for at, of_class in enumerate(sizes):
        held = {name: np.flatnonzero(images.true_label == at) for name in PARTS}
        held = {name: np.intersect1d(held[name], getattr(split, name)) for name in PARTS}
        num_groups = {name: len(set(images.group[held[name]])) for name in PARTS}
        assert min(num_groups.values()) > 0
        left = len(of_class)
        for name, share, reserve in (("evaluation", evaluation, 2), ("assessment", assessment, 1)):
            left -= num_groups[name]
            wanted = max(1.0, share * sum(of_class))
            if left > reserve and num_groups[name] > 1:  # neither rule need have spoken
                assert abs(held[name].size - wanted) <= max(of_class) / 2 + 1e-9
            if left > reserve:
                assert held[name].size >= min(wanted - max(of_class) / 2, 1) - 1e-9


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 14)), min_size=30, max_size=60),
    st.integers(0, 9),
)
def test_mixed_groups(pairs, seed):
    """No group that trains would bring the evaluation images nearer to the shares wanted."""
    label, group = np.array(pairs).T
    images = image_set(label, group, num_classes=3)
    try:
        split = split_images(jax.random.key(seed), images, assessment=0.0, evaluation=0.3)
    except InputError as error:
        assert "is left for" in error.what  # noqa: PT017
        return
    assert_parts(images, split)
    assert split.assessment.size == 0
    number = np.bincount(label, minlength=3)
    present = number > 0
    wanted = np.maximum(0.3 * number, 1)[present]

    def counts(index):
        return np.bincount(label[index], minlength=3)[present]

    def distance(counts):
        return (np.abs(counts - wanted) / number[present]).sum()

    held = counts(split.evaluation)
    for one in set(group[split.training]):
        more = counts(np.flatnonzero(group == one))
        others = [set(group[split.training][label[split.training] == at]) for at in range(3)]
        is_last = any(others[at] == {one} for at in range(3))
        assert is_last or distance(held + more) >= distance(held) - 1e-9


def test_unlabelled_images_train_with_their_groups(key):
    label = [0, 1] * 20 + [MISSING] * 10
    group = [*range(40), *range(10)]
    images = image_set(label, group)
    split = split_images(key, images)
    assert_parts(images, split)
    assert set(range(10)) | set(range(40, 50)) <= set(split.training)
    assert split.evaluation.size == split.assessment.size == 4


def test_what_cannot_be_split(key):
    with pytest.raises(InputError, match=r"class 'class1' is left for training: .* 2 images"):
        split_images(key, image_set([0] * 30 + [1] * 2))
    with pytest.raises(InputError, match=r"30 images of it, in 1 group"):
        split_images(key, image_set([0] * 30 + [1] * 30, [*range(30)] + [30] * 30))
    with pytest.raises(InputError, match="no image has a label"):
        split_images(key, image_set([MISSING] * 3, num_classes=0))
    for shares in ((0.5, 0.5), (-0.1, 0.1), (0.1, np.nan)):
        with pytest.raises(ValueError, match="negative or leave nothing"):
            split_images(key, image_set([0, 1]), assessment=shares[0], evaluation=shares[1])


class TestGiven:
    LABEL = (0, 1) * 30
    SPLIT = ("train",) * 40 + ("val",) * 10 + ("test",) * 10

    def test_evaluation_is_what_the_table_says(self, key):
        images = image_set(self.LABEL, np.arange(60) // 2, self.SPLIT)
        split = given_split(key, images, assessment=0.2)
        assert_parts(images, split)
        np.testing.assert_array_equal(split.evaluation, np.arange(50, 60))
        assert np.bincount(images.true_label[split.assessment]).tolist() == [5, 5]  # a fifth of 25
        other = given_split(key, images, evaluation="val", assessment=0.0)
        np.testing.assert_array_equal(other.evaluation, np.arange(40, 50))
        assert other.assessment.size == 0

    def test_refused(self, key):
        images = image_set(self.LABEL, None, self.SPLIT)
        with pytest.raises(InputError, match=r"called 'dev'.*'test', 'train', 'val'"):
            given_split(key, images, evaluation="dev")
        with pytest.raises(InputError, match="the images are not split"):
            given_split(key, image_set(self.LABEL))
        with pytest.raises(InputError, match="in 'test' and out of it: 'image49'"):
            given_split(
                key, image_set(self.LABEL, [*range(49), 49, 49, *range(51, 60)], self.SPLIT)
            )
        unlabelled = [*self.LABEL[:-1], MISSING]
        with pytest.raises(InputError, match="1 images of 'test' have no label: 'image59'"):
            given_split(key, image_set(unlabelled, None, self.SPLIT))

    def test_real_photographs_keep_their_tiles_together(self, key, data_folder):
        rows = np.genfromtxt(
            data_folder / "images" / "magnetic_tile" / "labels.csv",
            delimiter=",", skip_header=1, usecols=(1, 3, 4), dtype=None, encoding="utf-8",
        )  # fmt: skip
        images = image_set(rows["f0"], rows["f1"], rows["f2"])
        split = given_split(key, images)
        assert_parts(images, split)
        assert split.evaluation.size == 338
        assert_parts(images, split_images(key, images))
