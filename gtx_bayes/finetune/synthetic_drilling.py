"""Drawn scenes of a drill press, in place of photographs where there are none.

The question is that of the paper's Figure 3: is the wooden block being drilled correctly? It must
touch the metal guide on its left, and the hand must hold it with the thumb and at least one other
finger. What the hand and the block do, and whether that is right, is known by construction.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import jax
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, Key, UInt8
from PIL import Image, ImageDraw, ImageFilter

from gtx_bayes.columns import as_names
from gtx_bayes.finetune.images import ImageSet

NAME: Final = "synthetic-drilling"

CLASS_NAMES: Final = ("NO", "YES")

FRAMES_PER_VIDEO: Final = 10
"""Consecutive images that show one scene in one light: a group."""

_STRETCH = 1.5  # frames, on average, until the operator does something else
_FINER = 3  # scenes are drawn at so many times the resolution and made smaller
_NUM_FINGERS = 3
_LEAST_GAP, _LARGEST_GAP = 0.02, 0.15
_TABLE = 0.74  # height of the table's top; the image is one high and one wide, y pointing down
_GUIDE_RIGHT = 0.34

_Point = tuple[float, float]
_Colour = npt.NDArray[np.float64]


class Pose(NamedTuple):
    """What the operator does in a frame.

    Attributes:
        gap: distance from the guide to the block in coordinates of the scene; zero if they touch.
        thumb_holds: whether the thumb lies on the block.
        fingers_hold: for each of the other fingers whether it lies on the block.
        lift: how far those are from it that do not.
    """

    gap: float
    thumb_holds: bool
    fingers_hold: tuple[bool, ...]
    lift: float

    @property
    def is_right(self) -> bool:
        """The answer to the question."""
        return self.gap == 0 and self.thumb_holds and any(self.fingers_hold)


class _Scene(NamedTuple):
    """What all frames of a video share."""

    wall: _Colour
    press: _Colour
    metal: _Colour
    wood: _Colour
    skin: _Colour
    sleeve: _Colour
    guide_height: float
    block_width: float
    block_height: float
    grain: npt.NDArray[np.float64]
    column_left: float
    shelf: float
    turn: float
    zoom: float
    centre: npt.NDArray[np.float64]
    light: _Colour
    slope: npt.NDArray[np.float64]
    blur: float
    noise: float


def render(key: Key[Array, ""], num_images: int, *, size: int = 96) -> ImageSet:
    """Images with their true labels, a group to each video of `FRAMES_PER_VIDEO` frames.

    Half of the images, on average, show the block held right. Of the others most fail in one of
    the three respects: a gap, no thumb, no other finger. Gaps are between 2 and 19 pixels at the
    default size, small ones as frequent as large ones on the scale of logarithms, so that some are
    hard to see. More images are the same images and others after them.

    Args:
        key: random key, which alone determines the images of a size.
        num_images: N.
        size: side in pixels.
    """
    if num_images < 1 or size < 1:
        raise ValueError(f"{num_images} images of {size} x {size} pixels")
    seed = np.asarray(jax.random.key_data(key))
    num_videos = -(-num_images // FRAMES_PER_VIDEO)
    with ThreadPoolExecutor() as pool:
        videos = list(pool.map(lambda video: _video(seed, video, size), range(num_videos)))
    pixels = np.concatenate([frames for frames, _ in videos])[:num_images]
    poses = [pose for _, poses in videos for pose in poses][:num_images]
    frame = np.arange(num_images)
    return ImageSet(
        pixels=pixels,
        names=as_names(
            f"video{at // FRAMES_PER_VIDEO:03d}-frame{at % FRAMES_PER_VIDEO}" for at in frame
        ),
        true_label=np.array([pose.is_right for pose in poses], np.int32),
        class_names=as_names(CLASS_NAMES),
        group=(frame // FRAMES_PER_VIDEO).astype(np.int32),
        notes=("The images are drawn, not photographed.",),
    )


def _video(
    seed: npt.NDArray[np.uint32], video: int, size: int
) -> tuple[UInt8[np.ndarray, "num_frames size size 3"], list[Pose]]:
    rng = np.random.default_rng([*seed, video])
    scene = _drawn_scene(rng)
    poses: list[Pose] = []
    frames = []
    drift = np.zeros(4)  # of hand and block, from frame to frame
    for _ in range(FRAMES_PER_VIDEO):
        if not poses or rng.random() < 1 / _STRETCH:
            pose = _drawn_pose(rng)
        drift = 0.8 * drift + rng.normal(0, 0.006, 4)
        frames.append(_frame(rng, scene, pose, drift, size))
        poses.append(pose)
    return np.stack(frames), poses


def _drawn_pose(rng: np.random.Generator) -> Pose:
    holding = [bool(holds) for holds in rng.random(_NUM_FINGERS) < 0.7]
    if not any(holding):
        holding[rng.integers(_NUM_FINGERS)] = True
    right = Pose(0.0, True, tuple(holding), _drawn_distance(rng))
    if rng.random() < 0.5:
        return right
    idle = (False,) * _NUM_FINGERS
    wrong = (
        right._replace(gap=_drawn_distance(rng)),
        right._replace(thumb_holds=False),
        right._replace(fingers_hold=idle),
        right._replace(gap=_drawn_distance(rng), thumb_holds=False),
        right._replace(thumb_holds=False, fingers_hold=idle, lift=_LARGEST_GAP),
    )
    return wrong[rng.choice(len(wrong), p=(0.3, 0.25, 0.25, 0.1, 0.1))]


def _drawn_distance(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(math.log(_LEAST_GAP), math.log(_LARGEST_GAP))))


def _drawn_scene(rng: np.random.Generator) -> _Scene:
    skins = np.array([(236, 188, 160), (214, 160, 128), (178, 122, 90), (120, 78, 56)], float)
    paints = np.array([(60, 90, 70), (60, 80, 120), (110, 110, 115), (130, 50, 45)], float)
    return _Scene(
        wall=rng.uniform(90, 200) + rng.normal(0, 12, 3),
        press=paints[rng.integers(len(paints))] + rng.normal(0, 8, 3),
        metal=np.full(3, rng.uniform(135, 190)),
        wood=np.array((196, 150, 96)) * rng.uniform(0.75, 1.1) + rng.normal(0, 6, 3),
        skin=skins[rng.integers(len(skins))] + rng.normal(0, 6, 3),
        sleeve=rng.uniform(30, 200, 3),
        guide_height=rng.uniform(0.2, 0.27),
        block_width=rng.uniform(0.24, 0.3),
        block_height=rng.uniform(0.15, 0.19),
        grain=rng.uniform(0.1, 0.9, 4),
        column_left=rng.uniform(0.68, 0.8),
        shelf=rng.uniform(0.1, 0.45),
        turn=rng.normal(0, 0.015),
        zoom=rng.uniform(1.2, 1.3),
        centre=np.array((0.5, 0.57)) + rng.uniform(-0.02, 0.02, 2),
        light=rng.uniform(0.7, 1.15) * (1 + rng.normal(0, 0.05, 3)),
        slope=rng.uniform(-0.25, 0.25, 2),
        blur=rng.uniform(0.0, 0.006),
        noise=rng.uniform(2, 7),
    )


class _Canvas:
    """Shapes in coordinates of the scene, on an image that the camera sees at an angle."""

    def __init__(self, scene: _Scene, size: int) -> None:
        self.side = size * _FINER
        self.image = Image.new("RGB", (self.side, self.side), _rgb(scene.wall))
        self.draw = ImageDraw.Draw(self.image)
        self.centre = scene.centre
        self.right = scene.zoom * self.side * math.cos(scene.turn)
        self.down = scene.zoom * self.side * math.sin(scene.turn)
        self.scale = math.hypot(self.right, self.down)

    def place(self, point: _Point) -> _Point:
        """A point of the scene in pixels."""
        x, y = point[0] - self.centre[0], point[1] - self.centre[1]
        middle = self.side / 2
        return middle + self.right * x - self.down * y, middle + self.down * x + self.right * y

    def polygon(self, points: Sequence[_Point], colour: _Colour) -> None:
        """A filled shape."""
        self.draw.polygon([self.place(point) for point in points], fill=_rgb(colour))

    def box(self, left: float, top: float, right: float, bottom: float, colour: _Colour) -> None:
        """A filled rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def line(self, points: Sequence[_Point], width: float, colour: _Colour) -> list[_Point]:
        """A stroke; returns its points in pixels."""
        places = [self.place(point) for point in points]
        self.draw.line(places, fill=_rgb(colour), width=max(1, round(width * self.scale)))
        return places

    def limb(self, points: Sequence[_Point], width: float, colour: _Colour) -> None:
        """A bent stroke with round ends and joints."""
        radius = width * self.scale / 2
        for x, y in self.line(points, width, colour):
            ends = (x - radius, y - radius, x + radius, y + radius)
            self.draw.ellipse(ends, fill=_rgb(colour))


def _frame(
    rng: np.random.Generator,
    scene: _Scene,
    pose: Pose,
    drift: Float[np.ndarray, "4"],
    size: int,
) -> UInt8[np.ndarray, "size size 3"]:
    canvas = _Canvas(scene, size)
    left, top = _GUIDE_RIGHT + pose.gap, _TABLE - scene.block_height
    right = left + scene.block_width
    _draw_press(canvas, scene, rng)
    canvas.box(-0.2, _TABLE, 1.2, 1.3, scene.metal * 0.62)
    canvas.box(-0.2, _TABLE, 1.2, _TABLE + 0.03, scene.metal * 0.85)
    _draw_fingers(canvas, scene, pose, drift, (right, top))
    _draw_block(canvas, scene, left, top)
    _draw_guide(canvas, scene)
    _draw_hand(canvas, scene, pose, drift, (right, top))
    for _ in range(rng.integers(12)):  # chips of wood
        x, y = rng.uniform(0.1, 0.95), _TABLE + rng.uniform(0.0, 0.06)
        canvas.limb([(x, y)], 0.01, scene.wood * rng.uniform(0.8, 1.2))
    return _photographed(rng, canvas.image, scene, size)


def _draw_press(canvas: _Canvas, scene: _Scene, rng: np.random.Generator) -> None:
    """Shelf, column, head, chuck and drill; the drill turns, so that its groove is anywhere."""
    canvas.box(-0.2, scene.shelf, 1.2, scene.shelf + 0.02, scene.wall * 0.75)
    at = scene.column_left
    canvas.box(at, -0.2, at + 0.12, _TABLE, scene.metal * 0.7)
    canvas.box(at + 0.02, -0.2, at + 0.045, _TABLE, scene.metal * 1.1)
    canvas.box(0.3, -0.2, at + 0.2, 0.2, scene.press)
    canvas.box(0.3, 0.16, at + 0.2, 0.2, scene.press * 0.7)
    middle = _GUIDE_RIGHT + scene.block_width / 2
    chuck = [(-0.05, 0.2), (0.05, 0.2), (0.028, 0.31), (-0.028, 0.31)]
    canvas.polygon([(middle + x, y) for x, y in chuck], scene.metal * 0.55)
    lowest = _TABLE - scene.block_height + 0.005
    canvas.box(middle - 0.012, 0.31, middle + 0.012, lowest, scene.metal * 0.9)
    for y in np.arange(0.31 + rng.uniform(0, 0.03), lowest - 0.02, 0.03):
        canvas.line([(middle - 0.012, y), (middle + 0.012, y + 0.018)], 0.006, scene.metal * 0.5)


def _draw_guide(canvas: _Canvas, scene: _Scene) -> None:
    """The metal guide on the left."""
    top = _TABLE - scene.guide_height
    canvas.box(0.08, top, _GUIDE_RIGHT, _TABLE, scene.metal)
    canvas.box(0.08, top, _GUIDE_RIGHT, top + 0.025, scene.metal * 1.25)
    canvas.box(_GUIDE_RIGHT - 0.012, top, _GUIDE_RIGHT, _TABLE, scene.metal * 0.75)
    for x in (0.14, 0.26):
        canvas.limb([(x, _TABLE - 0.05)], 0.03, scene.metal * 0.5)


def _draw_block(canvas: _Canvas, scene: _Scene, left: float, top: float) -> None:
    right = left + scene.block_width
    canvas.box(left, _TABLE - 0.004, right + 0.03, _TABLE + 0.012, scene.metal * 0.35)
    canvas.box(left, top, right, _TABLE, scene.wood)
    canvas.box(left, top, right, top + 0.022, scene.wood * 1.18)
    for share in scene.grain:
        y = top + 0.03 + share * (scene.block_height - 0.04)
        canvas.line([(left, y), (right, y + 0.01 * (share - 0.5))], 0.005, scene.wood * 0.82)


def _draw_fingers(
    canvas: _Canvas, scene: _Scene, pose: Pose, drift: Float[np.ndarray, "4"], corner: _Point
) -> None:
    """The fingers behind the block: those that hold it reach over its top edge."""
    right, top = corner
    back = [(right + 0.1 + drift[2], top + 0.03), (right + 0.055, top - 0.035)]
    canvas.limb(back, 0.085, scene.skin * 0.85)
    for finger, holds in enumerate(pose.fingers_hold):
        knuckle = (right + 0.05, top - 0.06 + 0.025 * finger)
        tip_x = right - 0.05 - 0.055 * (2 - finger) + drift[0]
        tip_y = top - (0.004 if holds else 0.03 + pose.lift) + drift[1] * (not holds)
        joint = (tip_x + 0.05, tip_y - 0.045)
        canvas.limb([knuckle, joint, (tip_x, tip_y)], 0.042, scene.skin * (0.82 + 0.05 * finger))


def _draw_hand(
    canvas: _Canvas, scene: _Scene, pose: Pose, drift: Float[np.ndarray, "4"], corner: _Point
) -> None:
    """Sleeve, arm, palm, and the thumb in front of the block or away from it."""
    right, top = corner
    palm = (right + 0.09 + drift[2], top + 0.045 + drift[3])
    elbow = (1.15, 0.62 + 4 * drift[3])
    wrist = (palm[0] + 0.13, palm[1] + 0.02)
    canvas.limb([wrist, elbow], 0.11, scene.skin * 0.9)
    canvas.limb([(palm[0] + 0.21, palm[1] + 0.03), elbow], 0.15, scene.sleeve)
    canvas.limb([palm, wrist], 0.12, scene.skin)
    base = (palm[0] - 0.02, palm[1] + 0.03)
    tip = (right + 0.02 + pose.lift / 2 + drift[0], top + 0.1 + pose.lift / 2)
    if pose.thumb_holds:
        tip = (right - 0.07 + drift[0], top + 0.085 + drift[1])
    middle = (base[0] + tip[0]) / 2
    canvas.limb([base, (middle, tip[1] + 0.012), tip], 0.05, scene.skin * 0.7)
    canvas.limb([base, (middle, tip[1]), tip], 0.046, scene.skin * 1.06)


def _photographed(
    rng: np.random.Generator, image: Image.Image, scene: _Scene, size: int
) -> UInt8[np.ndarray, "size size 3"]:
    """What a camera makes of it: out of focus, shaded, noisy."""
    blurred = image.reduce(_FINER).filter(ImageFilter.GaussianBlur(scene.blur * size))
    values = np.asarray(blurred, np.float32)
    across = np.linspace(-1, 1, size, dtype=np.float32)
    shading = 1 + scene.slope[0] * across[None, :, None] + scene.slope[1] * across[:, None, None]
    flicker = 1 + 0.02 * rng.standard_normal()
    noise = scene.noise * rng.standard_normal(values.shape, np.float32)
    return np.clip(values * shading * scene.light * flicker + noise, 0, 255).astype(np.uint8)


def _rgb(colour: _Colour) -> tuple[int, int, int]:
    red, green, blue = np.clip(colour, 0, 255).astype(int).tolist()
    return red, green, blue
