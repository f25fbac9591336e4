"""Satellite scenes of ocean and cloud: where each pattern lies, and the picture of it all.

A scene is painted on a canvas of 900 x 600 pixels and then scaled to the size asked for, so that
the same random numbers give the same picture at every size. What the labels do not decide (light,
haze, colour cast, how much cloud there is, gaps between swaths) is drawn from distributions that do
not depend on them: a model must tell patterns by their shape, not by their brightness.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Sequence

import cv2
import numpy as np

from cloudtf.synthetic import clouds

CANVAS_HEIGHT = 600
CANVAS_WIDTH = 900
_RIM = 40


@dataclasses.dataclass(frozen=True)
class Look:
    """How a region's cloud departs from its pattern; by default not at all.

    Attributes:
      amount: factor of how much cloud there is, from 0 to 1.
      stretch: factor of the pattern's lengths.
      other: the pattern that is mixed into it.
      share: how much of the cloud is of the other pattern, from 0 to 1.
      hidden: how much of the region is without cloud, from 0 to 1.
    """

    amount: float = 1.0
    stretch: float = 1.0
    other: str = ""
    share: float = 0.0
    hidden: float = 0.0


@dataclasses.dataclass(frozen=True)
class Region:
    """The part of a scene that shows one pattern.

    Attributes:
      name: the pattern's class name, a key of `clouds.DRAW`.
      outline: float64 [N, 2], the corners of a polygon as (x, y), from 0 (left, top) to 1.
      look: how far it shows the pattern.
    """

    name: str
    outline: np.ndarray
    look: Look = Look()

    def mask(self, height: int, width: int) -> np.ndarray:
        """The region as bool [height, width]."""
        corners = np.round(self.outline * (width, height) - 0.5).astype(np.int32)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [corners], 1)
        return mask.view(bool)


def draw_regions(rng: np.random.Generator, names: Sequence[str]) -> list[Region]:
    """One region for each class, side by side with rims that may overlap a little.

    However many there are, together they take about the same part of the scene, so that the amount
    of cloud tells nothing about the labels.
    """
    cells = _split(rng, (0.0, 0.0, 1.0, 1.0), len(names))
    order = [names[i] for i in rng.permutation(len(names))]
    if "Fish" in order:
        # Its bands need room along the rows to be bands.
        widths = [right - left for left, _, right, _ in cells]
        widest, now = int(np.argmax(widths)), order.index("Fish")
        order[widest], order[now] = order[now], order[widest]
    fill = rng.uniform(0.78, 1.0)
    return [_region(rng, name, cell, fill) for name, cell in zip(order, cells)]


def blur_region(rng: np.random.Generator, region: Region) -> Region:
    """A region as a coarse segmentation sees it: fewer corners, shifted, larger or smaller."""
    corners = region.outline[:: len(region.outline) // 12]
    centre = corners.mean(axis=0)
    sizes = rng.uniform(0.75, 1.1) * rng.uniform(0.92, 1.08, (len(corners), 1))
    moved = centre + (corners - centre) * sizes + rng.uniform(-0.03, 0.03, 2)
    return Region(region.name, np.clip(moved, 0, 1))


def stray_region(rng: np.random.Generator, name: str) -> Region:
    """A region anywhere in the scene, of a fifth to half its width and height."""
    size = rng.uniform(0.2, 0.5, 2)
    left, top = rng.uniform(0, 1 - size)
    return _region(rng, name, (left, top, left + size[0], top + size[1]), 1.0)


def draw_thickness(rng: np.random.Generator, regions: Sequence[Region]) -> np.ndarray:
    """The cloud of all regions: float32 [CANVAS_HEIGHT, CANVAS_WIDTH], 0 clear to 1 opaque."""
    total = _scattered(rng)
    scale = rng.uniform(0.85, 1.15)
    amount = rng.uniform(0.19, 0.28)
    for region in regions:
        inside = region.mask(CANVAS_HEIGHT, CANVAS_WIDTH).view(np.uint8)
        window = _window(inside)
        height, width = inside[window].shape
        weight = _ragged_rim(rng, inside[window])
        look, stretch = region.look, scale * rng.uniform(0.92, 1.08) * region.look.stretch
        field = clouds.DRAW[region.name](rng, height, width, stretch)
        if look.share:
            field = _mixed(rng, field, clouds.DRAW[look.other](rng, height, width, stretch), look)
        if look.hidden:
            weight = weight * _holes(rng, height, width, look.hidden)
        field *= weight
        field = _opacity(field, weight, amount * rng.uniform(0.9, 1.1) * look.amount)
        np.maximum(total[window], field, out=total[window])
    return _swirl(rng, total)


def render(
    rng: np.random.Generator,
    regions: Sequence[Region],
    height: int,
    width: int,
    difficulty: float = 0.0,
) -> np.ndarray:
    """The photograph of a scene: uint8 [height, width, 3], RGB.

    Args:
      rng: the generator of all that the regions do not say.
      regions: where which pattern is.
      height: rows of the photograph.
      width: columns of the photograph.
      difficulty: how much other cloud hides the patterns, from 0 to 1.
    """
    thickness = draw_thickness(rng, regions)
    if difficulty:
        thickness = _veiled(rng, thickness, difficulty)
    canvas = _photograph(rng, thickness)
    gaps = _swath_gap(rng)
    grain_level = rng.uniform(1.5, 3.0)
    # Everything above is drawn before the first draw that depends on the size.
    enlarge = height > CANVAS_HEIGHT
    how = cv2.INTER_CUBIC if enlarge else cv2.INTER_AREA
    image = cv2.resize(canvas, (width, height), interpolation=how)
    thick = cv2.resize(thickness, (width, height), interpolation=cv2.INTER_LINEAR)
    # Sensor noise everywhere, and in the clouds the detail that the canvas is too coarse for.
    grain = rng.standard_normal((height, width), dtype=np.float32) * np.float32(grain_level)
    if enlarge:
        detail = clouds.turbulence(rng, height, width, 6 * height / CANVAS_HEIGHT, 3, 0.75)
        grain += detail * thick * np.float32(10)
    image += grain[..., None]
    np.clip(image, 0, 255, out=image)
    result = np.round(image).astype(np.uint8)
    if gaps is not None:
        cv2.fillPoly(result, [np.round(gaps * (width, height)).astype(np.int32)], (0, 0, 0))
    return result


def _split(
    rng: np.random.Generator, cell: tuple[float, float, float, float], parts: int
) -> list[tuple[float, float, float, float]]:
    """Cuts a cell (left, top, right, bottom) into `parts` of like size."""
    if parts == 1:
        return [cell]
    left, top, right, bottom = cell
    first = parts // 2 if rng.random() < 0.5 else parts - parts // 2
    share = first / parts + rng.uniform(-0.06, 0.06)
    across = (right - left) * CANVAS_WIDTH > (bottom - top) * CANVAS_HEIGHT * rng.uniform(0.8, 1.2)
    if across:
        cut = left + share * (right - left)
        halves = (left, top, cut, bottom), (cut, top, right, bottom)
    else:
        cut = top + share * (bottom - top)
        halves = (left, top, right, cut), (left, cut, right, bottom)
    return _split(rng, halves[0], first) + _split(rng, halves[1], parts - first)


def _region(
    rng: np.random.Generator, name: str, cell: tuple[float, float, float, float], fill: float
) -> Region:
    """A superellipse with a wavering rim about the middle of a cell, inside the scene."""
    left, top, right, bottom = cell
    stretch = fill * rng.uniform(0.92, 1.06, 2)
    half = 0.5 * stretch * (right - left, bottom - top)
    centre = np.array([left + right, top + bottom]) / 2 + rng.uniform(-0.08, 0.08, 2) * half
    angles = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    squareness = rng.uniform(2.5, 8)
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    unit /= (np.abs(unit) ** squareness).sum(axis=1, keepdims=True) ** (1 / squareness)
    waver = 1 + sum(
        rng.uniform(0, 0.035) * np.sin(k * angles + rng.uniform(0, 2 * math.pi)) for k in (2, 3, 5)
    )
    return Region(name, np.clip(centre + unit * waver[:, None] * half, 0, 1))


def _window(inside: np.ndarray) -> tuple[slice, slice]:
    """The part of the canvas about a mask, with room for its soft rim."""
    x, y, width, height = cv2.boundingRect(inside)
    return (
        slice(max(0, y - _RIM), min(CANVAS_HEIGHT, y + height + _RIM)),
        slice(max(0, x - _RIM), min(CANVAS_WIDTH, x + width + _RIM)),
    )


def _ragged_rim(rng: np.random.Generator, inside: np.ndarray) -> np.ndarray:
    """A mask [H, W] with a soft rim that cloud noise moves: float32 in 0 to 1."""
    height, width = inside.shape
    # At a quarter of the size, since the result is smooth.
    small = cv2.resize(inside * np.float32(1), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), 6, borderType=cv2.BORDER_REPLICATE)
    rows, columns = small.shape
    small += np.float32(0.14) * clouds.turbulence(rng, rows, columns, 14, octaves=2, decay=0.7)
    return cv2.resize(clouds.ramp(small, 0.42, 0.8), (width, height))


def _scattered(rng: np.random.Generator) -> np.ndarray:
    """Stray small clouds of every size over the whole scene, whatever its labels."""
    field = clouds.turbulence(rng, CANVAS_HEIGHT, CANVAS_WIDTH, 50, octaves=4, decay=0.8)
    return clouds.ramp(field, rng.uniform(1.8, 2.5), 4) * np.float32(rng.uniform(0.3, 0.9))


def _mixed(
    rng: np.random.Generator, field: np.ndarray, other: np.ndarray, look: Look
) -> np.ndarray:
    """Two fields of optical depth, brought to the same mean, as one in which patches alternate."""
    height, width = field.shape
    patches = clouds.ramp(clouds.turbulence(rng, height, width, 130, octaves=2, decay=0.6), -1, 1)
    share = np.clip(patches + np.float32(2 * look.share - 1), 0, 1)
    field, other = (part / max(float(part.mean()), 1e-6) for part in (field, other))
    return field + share * (other - field)


def _holes(rng: np.random.Generator, height: int, width: int, hidden: float) -> np.ndarray:
    """Float32 [H, W], 0 in clearings that take about `hidden` of all, 1 elsewhere."""
    field = clouds.turbulence(rng, height, width, 150, octaves=3, decay=0.6)
    level = float(np.quantile(field[::4, ::4], hidden))
    return clouds.ramp(field, level - 0.15, level + 0.15)


def _veiled(rng: np.random.Generator, thickness: np.ndarray, difficulty: float) -> np.ndarray:
    """Streaks of high cloud over a scene, and shapeless cloud of all scales beside its patterns."""
    height, width = thickness.shape
    along, across = (8, 2) if rng.random() < 0.5 else (2, 8)
    streaks = clouds.turbulence(rng, height // along, width // across, 24, octaves=3, decay=0.6)
    streaks = cv2.resize(streaks, (width, height), interpolation=cv2.INTER_CUBIC)
    streaks = clouds.ramp(streaks, rng.uniform(-0.5, 1), 3)
    streaks *= np.float32(difficulty * rng.uniform(0, 0.5))
    shapeless = clouds.turbulence(rng, height, width, 90, octaves=5, decay=0.9)
    shapeless = clouds.ramp(shapeless, rng.uniform(0.8, 1.8), 3.5)
    shapeless *= np.float32(difficulty * rng.uniform(0, 0.6))
    return 1 - (1 - thickness) * (1 - streaks) * (1 - shapeless)


def _opacity(depth: np.ndarray, weight: np.ndarray, mean: float) -> np.ndarray:
    """Optical depth to opacity, 1 - exp(-depth), the depth scaled so that the mean is `mean`.

    The mean is over `weight`. So no pattern is brighter than another, yet thick cloud saturates as
    it does for a camera.
    """
    sample, wanted = depth[::4, ::4], mean * float(weight[::4, ::4].sum())
    factor = 1.0
    for _ in range(8):
        covered = float((1 - np.exp(-np.float32(factor) * sample)).sum())
        factor *= min(4.0, (wanted / max(covered, 1e-6)) ** 1.5)
    return 1 - np.exp(-np.float32(factor) * depth)


def _swirl(rng: np.random.Generator, field: np.ndarray) -> np.ndarray:
    """Displaces a field by a few pixels along smooth noise, as wind shear does."""
    height, width = field.shape
    x, y = (
        clouds.noise(rng, height, width, 45) * np.float32(5)
        + clouds.noise(rng, height, width, 15) * np.float32(1.5)
        for _ in range(2)
    )
    x += np.arange(width, dtype=np.float32)
    y += np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _photograph(rng: np.random.Generator, thickness: np.ndarray) -> np.ndarray:
    """Light and colour: float32 [CANVAS_HEIGHT, CANVAS_WIDTH, 3], about 0 to 255, RGB."""
    height, width = thickness.shape
    # The camera sees the sun's glint as a broad bright stripe along the flight path.
    columns = np.linspace(0, 1, width, dtype=np.float32)
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    middle, breadth = rng.uniform(-0.3, 1.3), rng.uniform(0.15, 0.4)
    leaning = columns + np.float32(rng.uniform(-0.3, 0.3)) * rows
    glint = np.exp(-(((leaning - np.float32(middle)) / np.float32(breadth)) ** 2))
    glint *= np.float32(rng.uniform(0, 22))
    # Haze is so smooth that an eighth of the size holds it.
    haze = clouds.turbulence(rng, height // 8, width // 8, 32, octaves=3, decay=0.45)
    haze = clouds.ramp(haze, rng.uniform(-1, 1), 3) * np.float32(rng.uniform(0, 0.4))
    veil = cv2.resize(haze, (width, height), interpolation=cv2.INTER_CUBIC)
    # Light falls off towards one side, and towards the rim of the picture.
    tilt = rng.uniform(-0.15, 0.15, 2)
    light = 1 + np.float32(tilt[0]) * (columns - 0.5) + np.float32(tilt[1]) * (rows - 0.5)
    rim = (columns - 0.5) ** 2 + (rows - 0.5) ** 2
    light = light - np.float32(rng.uniform(0, 0.25)) * rim
    light *= np.float32(math.exp(rng.normal(0, 0.12)))

    sea = np.array([24.0, 38.0, 60.0]) * np.exp(rng.normal(0, 0.15)) + rng.normal(0, 3, 3)
    cloud = np.array([222.0, 226.0, 230.0]) * rng.uniform(0.85, 1.0)
    cast = np.exp(rng.normal(0, 0.03, 3))
    cover = 1 - (1 - thickness) * (1 - veil)
    planes = []
    for channel in range(3):
        level = glint + np.float32(sea[channel])
        level += cover * (np.float32(cloud[channel]) - level)
        planes.append(level * light * np.float32(cast[channel]))
    return cv2.merge(planes)


def _swath_gap(rng: np.random.Generator) -> np.ndarray | None:
    """In some scenes, the black wedge between two passes of the satellite: [4, 2] as (x, y)."""
    if rng.random() > 0.2:
        return None
    middle, lean = rng.uniform(0, 1), rng.uniform(-0.15, 0.15)
    above, below = np.maximum(rng.uniform(-0.03, 0.08, 2), 0)
    return np.array(
        [
            (middle - above, 0),
            (middle + above, 0),
            (middle + lean + below, 1),
            (middle + lean - below, 1),
        ]
    )
