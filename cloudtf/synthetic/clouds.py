"""The four cloud patterns of the trades, drawn as fields of optical depth.

The patterns are those that Stevens et al. named ("Sugar, gravel, fish and flowers: Mesoscale cloud
patterns in the trade winds", 2020): Sugar is a fine dusting of tiny clouds without order; Gravel is
grains along arcs and rings, the fronts of outflows; Flower is large rounded stratiform clumps with
clear sky between; Fish is a long skeleton, a spine with ribs.

Lengths are pixels of the canvas on which `scenes` paints (600 rows). `scale` stretches a pattern by
a few tens of percent, as the height of the cloud layer does.
"""

from __future__ import annotations

import math
from typing import Callable

import cv2
import numpy as np

# Drawing positions in sixteenths of a pixel, so that small grains are not snapped to pixels.
_SHIFT = 4
_ONE = 1 << _SHIFT


def noise(rng: np.random.Generator, height: int, width: int, pitch: float) -> np.ndarray:
    """Smooth noise of one scale: float32 [H, W], mean about 0, deviation about 1.

    Args:
      rng: the generator from which the values are drawn.
      height: H, the field's rows, at least 1.
      width: W, the field's columns, at least 1.
      pitch: pixels between independent values, over 0.
    """
    # A spare cell on every side, since the resize flattens towards the border.
    rows, columns = math.ceil(height / pitch) + 2, math.ceil(width / pitch) + 2
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    coarse *= np.float32(1.3)
    size = (math.ceil(columns * pitch), math.ceil(rows * pitch))
    top = left = math.floor(pitch)
    field = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return field[top : top + height, left : left + width]


def turbulence(
    rng: np.random.Generator, height: int, width: int, pitch: float, octaves: int, decay: float
) -> np.ndarray:
    """Noise summed over octaves, each at half the pitch and `decay` times the strength."""
    total = np.zeros((height, width), np.float32)
    weight, power = 1.0, 0.0
    for octave in range(octaves):
        total += np.float32(weight) * noise(rng, height, width, pitch / 2**octave)
        power += weight**2
        weight *= decay
    return total * np.float32(1 / math.sqrt(power))


def ramp(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """`field` stretched so that `low` becomes 0 and `high` 1, and clipped there."""
    return np.clip((field - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)


def sugar(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Sugar: tiny clouds strewn without order, a little denser here than there."""
    fine = noise(rng, height, width, 4.2 * scale)
    fine += np.float32(0.8) * noise(rng, height, width, 7.5 * scale)
    fine += np.float32(0.35) * noise(rng, height, width, 60 * scale)
    fine -= np.float32(0.75)
    return np.maximum(fine, 0, out=fine)


def gravel(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Gravel: grains of middling size along the rims of cells, the cells themselves clear."""
    field = np.zeros((height, width), np.uint8)
    spacing = rng.uniform(105, 130) * scale
    for x, y in _lattice(rng, height, width, spacing, jitter=0.22):
        radius = spacing * rng.uniform(0.38, 0.52)
        squash, tilt = rng.uniform(0.75, 1.0), rng.uniform(0, math.pi)
        arc, first = rng.uniform(0.6, 1.0) * 2 * math.pi, rng.uniform(0, 2 * math.pi)
        count = max(5, round(arc * radius / (17 * scale)))
        angles = first + arc * (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count
        distances = radius * rng.uniform(0.88, 1.12, count)
        along, across = distances * np.cos(angles), distances * np.sin(angles) * squash
        xs = x + along * math.cos(tilt) - across * math.sin(tilt)
        ys = y + along * math.sin(tilt) + across * math.cos(tilt)
        # Grains are largest in the middle of a front and fade to its ends.
        taper = 0.55 + 0.45 * np.sin(np.pi * (np.arange(count) + 0.5) / count)
        sizes = 10.5 * scale * taper * rng.uniform(0.7, 1.3, count)
        shades = rng.uniform(150, 255, count)
        for grain in zip(xs, ys, sizes, shades):
            _disc(field, *grain)
    return _ragged(rng, field, blur=2.5, pitch=16, roughness=0.5)


def flower(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Flower: large, bright, rounded clumps with ragged rims, far apart under clear sky."""
    field = np.zeros((height, width), np.uint8)
    spacing = rng.uniform(185, 225) * scale
    for x, y in _lattice(rng, height, width, spacing, jitter=0.16):
        radius = spacing * rng.uniform(0.27, 0.37)
        _disc(field, x, y, 0.8 * radius, 235)
        for _ in range(9):
            angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.45, 0.8) * radius
            _disc(
                field,
                x + 1.2 * reach * math.cos(angle),
                y + reach * math.sin(angle),
                rng.uniform(0.25, 0.45) * radius,
                rng.uniform(190, 255),
            )
    return _ragged(rng, field, blur=9, pitch=40, roughness=0.45)


def fish(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """Fish: long bands, mostly along the rows, each a curved spine with ribs on both sides."""
    field = np.zeros((height, width), np.uint8)
    spacing = rng.uniform(165, 200) * scale
    slope = math.tan(rng.normal(0, 0.2))
    rise = abs(slope) * width
    count = max(1, round((height + rise) / spacing))
    offset = rng.uniform(0.35, 0.65)
    for index in range(count):
        middle = (index + offset) * (height + rise) / count - rise / 2
        length = width * rng.uniform(0.8, 1.15)
        start = (width - length) / 2 + rng.uniform(-0.1, 0.1) * width
        _skeleton(rng, field, start, middle, length, slope, scale)
    return _ragged(rng, field, blur=4, pitch=26, roughness=0.5)


# The patterns by class name, in Kaggle's order. Each gives float32 [height, width], 0 where clear;
# only ratios matter, since the scene sets how much cloud there is.
DRAW: dict[str, Callable[[np.random.Generator, int, int, float], np.ndarray]] = {
    "Fish": fish,
    "Flower": flower,
    "Gravel": gravel,
    "Sugar": sugar,
}


def _skeleton(
    rng: np.random.Generator,
    field: np.ndarray,
    start: float,
    middle: float,
    length: float,
    slope: float,
    scale: float,
) -> None:
    steps = max(8, round(length / (12 * scale)))
    along = np.linspace(0, 1, steps)
    bend, phase = rng.uniform(15, 30) * scale, rng.uniform(0, 2 * math.pi)
    xs = start + along * length
    ys = middle + slope * (xs - field.shape[1] / 2)
    ys = ys + bend * np.sin(phase + along * length / (95 * scale))
    body = np.sin(math.pi * np.clip(along * 0.9 + 0.05, 0, 1)) ** 0.5
    thickness = 17 * scale * body * rng.uniform(0.75, 1.25, steps)
    for disc in zip(xs, ys, thickness, rng.uniform(200, 255, steps)):
        _disc(field, *disc)
    gap = max(2, round(rng.uniform(36, 48) / 12))
    lean = rng.uniform(0.5, 1.0) * rng.choice([-1, 1])
    for joint in range(1, steps - 1, gap):
        for side in (-1, 1):
            if rng.random() < 0.2:
                continue
            reach = rng.uniform(38, 72) * scale * body[joint]
            tip = (xs[joint] + lean * reach, ys[joint] + side * reach)
            shade = rng.uniform(150, 235)
            _line(field, (xs[joint], ys[joint]), tip, 9 * scale, shade)


def _lattice(
    rng: np.random.Generator, height: int, width: int, spacing: float, jitter: float
) -> np.ndarray:
    """Points about `spacing` apart, jittered off a hexagonal grid: float64 [N, 2] as (x, y)."""
    rows, columns = round(height / (0.87 * spacing)) or 1, round(width / spacing) or 1
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    x += np.where(y % 2 == 1, 0.75, 0.25)
    points = np.stack([x * width / columns, (y + 0.5) * height / rows], axis=-1).reshape(-1, 2)
    return points + rng.uniform(-jitter, jitter, points.shape) * spacing


def _ragged(
    rng: np.random.Generator, field: np.ndarray, blur: float, pitch: float, roughness: float
) -> np.ndarray:
    """Softens drawn shapes and lets noise gnaw at their rims and mottle their tops."""
    height, width = field.shape
    soft = cv2.GaussianBlur(field, (0, 0), blur).astype(np.float32) * np.float32(1 / 255)
    rough = turbulence(rng, height, width, pitch, octaves=4, decay=0.75)
    grown = soft * (1 + np.float32(roughness) * rough) + np.float32(0.12 * roughness) * rough
    grown -= np.float32(0.15)
    return np.maximum(grown, 0, out=grown)


def _disc(field: np.ndarray, x: float, y: float, radius: float, shade: float) -> None:
    centre = (int(x * _ONE), int(y * _ONE))
    cv2.circle(field, centre, int(radius * _ONE), int(shade), -1, cv2.LINE_8, _SHIFT)


def _line(
    field: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    thickness: float,
    shade: float,
) -> None:
    ends = [(int(x * _ONE), int(y * _ONE)) for x, y in (start, end)]
    cv2.line(field, *ends, int(shade), max(1, round(thickness)), cv2.LINE_8, _SHIFT)
