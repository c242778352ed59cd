"""Drawn scenes: the key decides, labels say what is drawn, frames of a video are alike."""

import jax
import numpy as np
import pytest
import scipy.stats

from gtx_bayes.finetune import synthetic_drilling
from gtx_bayes.finetune.images import check_classes
from gtx_bayes.finetune.synthetic_drilling import FRAMES_PER_VIDEO, Pose, render

RIGHT = Pose(gap=0.0, thumb_holds=True, fingers_hold=(True, False, True), lift=0.1)


@pytest.mark.parametrize(
    ("pose", "is_right"),
    [
        (RIGHT, True),
        (RIGHT._replace(fingers_hold=(False, False, True)), True),
        (RIGHT._replace(gap=0.01), False),
        (RIGHT._replace(thumb_holds=False), False),
        (RIGHT._replace(fingers_hold=(False,) * 3), False),
    ],
)
def test_the_question(pose, is_right):
    """Touching the guide, held by the thumb and one finger more: Figure 3."""
    assert pose.is_right == is_right


def test_what_a_set_is(key):
    images = render(key, 25, size=24)
    assert images.pixels.shape == (25, 24, 24, 3)
    assert images.pixels.dtype == np.uint8
    assert list(images.class_names) == ["NO", "YES"]
    assert len(set(images.names)) == 25
    np.testing.assert_array_equal(images.group, np.arange(25) // FRAMES_PER_VIDEO)
    check_classes(images)
    with pytest.raises(ValueError, match="0 images"):
        render(key, 0)


def test_the_key_decides(key):
    images = render(key, 15, size=24)
    more = render(key, 35, size=24).take(np.arange(15))
    np.testing.assert_array_equal(images.pixels, more.pixels)
    np.testing.assert_array_equal(images.true_label, more.true_label)
    other = render(jax.random.fold_in(key, 1), 15, size=24)
    assert (images.pixels != other.pixels).mean() > 0.5


def test_half_are_right():
    """Poses are drawn one by one; a video's frames share them."""
    rng = np.random.default_rng(0)
    right = [synthetic_drilling._drawn_pose(rng).is_right for _ in range(2000)]
    low, high = scipy.stats.binom.interval(1 - 1e-6, 2000, 0.5)
    assert low <= sum(right) <= high


def test_labels_are_in_the_pixels(key):
    """Frames of one scene differ in the respect in which the poses do, and there alone.

    Without noise, and with chips drawn from the same numbers, a gap changes the guide's edge, the
    thumb the block's front, a finger what is above it; the drill's head never changes.
    """
    rng = np.random.default_rng(0)
    scene = synthetic_drilling._drawn_scene(rng)._replace(noise=0.0, turn=0.0, blur=0.0)

    def drawn(pose):
        fresh = np.random.default_rng(1)
        frame = synthetic_drilling._frame(fresh, scene, pose, np.zeros(4), 96)
        return frame.astype(int)

    canvas = synthetic_drilling._Canvas(scene, 96)

    def region(left, top, right, bottom):
        corners = [canvas.place(point) for point in ((left, top), (right, bottom))]
        (x0, y0), (x1, y1) = (np.array(corner) / synthetic_drilling._FINER for corner in corners)
        return np.s_[round(y0) : round(y1), round(x0) : round(x1)]

    base = drawn(RIGHT)
    edge = synthetic_drilling._GUIDE_RIGHT
    table = synthetic_drilling._TABLE
    right, top = edge + scene.block_width, table - scene.block_height
    at_edge = region(edge, top + 0.03, edge + 0.08, table - 0.02)
    in_front = region(right - 0.08, top + 0.06, right - 0.01, top + 0.11)
    above = region(edge + 0.05, top - 0.2, right, top - 0.05)

    def changes(pose, where):
        return np.abs(drawn(pose) - base)[where].max() > 20

    gap = RIGHT._replace(gap=0.08)
    no_thumb = RIGHT._replace(thumb_holds=False)
    no_finger = RIGHT._replace(fingers_hold=(False,) * 3)
    assert changes(gap, at_edge)
    assert changes(no_thumb, in_front)
    assert not changes(no_thumb, at_edge)
    assert not changes(no_thumb, above)
    assert changes(no_finger, above)
    assert not changes(no_finger, at_edge)
    assert not changes(no_finger, in_front)


def test_frames_of_a_video_are_alike(key):
    """Closer to each other, in their mean colours, than videos are: so groups must not part."""
    images = render(key, 60, size=24)
    colour = images.pixels.mean(axis=(1, 2)).reshape(6, FRAMES_PER_VIDEO, 3)
    within = colour.var(axis=1).mean()
    between = colour.mean(axis=1).var(axis=0).mean()
    assert between > 10 * within
