"""Several trained networks as one: they stand side by side, take the same images, and are averaged.

    image uint8 [B, H, W, 3] -> member0, member1, ... -> (ranks) -> mean: `probabilities` [B, C]

So whatever takes one network takes them all. Of plain scores the mean is a probability as far as
theirs are. Networks whose scores lie on different scales are better averaged by rank: a score
counts as the share of photographs not trained on that have a lower one by the same network. That
is a rising function, known by points that each member brings, and linear between them; it is made
of plain layers:

    rank(s) = mean over i of min(max((s - knot_i) / (knot_i+1 - knot_i), 0), 1)
"""

from __future__ import annotations

from typing import Optional, Sequence

import numpy as np
import tensorflow as tf

from cloudtf.model import keras2
from cloudtf.model.weights import HEAD

NAME = "ensemble"
_MEMBER = "member"

# So many points of a distribution say where a score lies to within half a percent.
_MOST_POINTS = 100
# Knots are at least about so far apart: scores that are closer are not told apart elsewhere either.
_GAP = 1e-5


def rank_knots(scores: np.ndarray) -> np.ndarray:
    """Where the ranks of a member rise by equal steps: float32 [C, K], rising, over 0 to 1.

    Args:
      scores: [N, C], the member's probabilities of photographs that it was not trained on; at least
        one photograph.
    """
    points = min(len(scores), _MOST_POINTS)
    levels = (np.arange(points) + 0.5) / points
    inner = np.quantile(np.asarray(scores, np.float64), levels, axis=0).T
    return np.stack([_set_apart(row) for row in inner]).astype(np.float32)


def _set_apart(points: np.ndarray) -> np.ndarray:
    """Knots [K + 2] at points [K] that do not fall, between ends that hold 0 and 1.

    Points that are equal, or nearly, would leave no width for ranks to rise in. They are moved to
    the nearest places that are `_GAP` apart, so that a score there has the middle of their ranks.
    """
    from sklearn.isotonic import isotonic_regression

    steps = _GAP * np.arange(len(points))
    knots = isotonic_regression(points - steps) + steps
    return np.array([min(0.0, knots[0] - _GAP), *knots, max(1.0, knots[-1] + _GAP)])


def ranks(scores: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """What the ranks in the network are of scores [N, C]: float64 [N, C], 0 to 1.

    Args:
      scores: probabilities of any photographs, by the member that the knots are of.
      knots: float32 [C, K], made by `rank_knots`.
    """
    levels = np.linspace(0, 1, knots.shape[1])
    columns = [np.interp(column, row, levels) for column, row in zip(np.transpose(scores), knots)]
    return np.stack(columns, axis=1)


@keras2.channels_last()
def average(
    members: Sequence[tf.keras.Model], knots: Optional[Sequence[np.ndarray]] = None
) -> tf.keras.Model:
    """One network whose output is the mean of those of several.

    Args:
      members: from images [B, H, W, 3], all of one size, to probabilities [B, C]; at least two.
      knots: of each member, as `rank_knots` gives them, to average ranks; None for the mean of the
        scores themselves.
    """
    image = tf.keras.Input(members[0].input_shape[1:], dtype="uint8", name="image")
    outputs = []
    for number, member in enumerate(members):
        named = tf.keras.Model(member.inputs, member.outputs, name=f"{_MEMBER}{number}")
        output = named(image)
        if knots is not None:
            output = _rank_layers(knots[number], f"ranks{number}")(output)
        outputs.append(output)
    mean = tf.keras.layers.Average(dtype="float32", name=HEAD)(outputs)
    return tf.keras.Model(image, mean, name=NAME)


def members(model: tf.keras.Model) -> list[tf.keras.Model]:
    """The networks that one made by `average` holds; of any other, it alone."""
    found = [
        layer
        for layer in model.layers
        if isinstance(layer, tf.keras.Model) and layer.name.startswith(_MEMBER)
    ]
    # Another program's may have the name, too.
    return found if model.name == NAME and found else [model]


def _rank_layers(knots: np.ndarray, name: str) -> tf.keras.Model:
    """`ranks` as layers: [B, C] to [B, C]."""
    layers, dtype = tf.keras.layers, "float32"
    classes, steps = knots.shape[0], knots.shape[1] - 1
    scores = tf.keras.Input([classes], dtype=dtype)
    over = layers.DepthwiseConv2D(1, depth_multiplier=steps, dtype=dtype, name="over_knots")
    scaled = layers.DepthwiseConv2D(1, use_bias=False, dtype=dtype, name="scaled")
    x = over(layers.Reshape([1, 1, classes], dtype=dtype)(scores))
    x = layers.ReLU(max_value=1.0, dtype=dtype)(scaled(x))
    x = layers.Permute([2, 1], dtype=dtype)(layers.Reshape([classes, steps], dtype=dtype)(x))
    x = layers.Reshape([steps, 1, classes], dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    # The difference first: of close numbers it is exact.
    over.set_weights([np.ones([1, 1, classes, steps]), -knots[:, :-1].reshape(-1)])
    scaled.set_weights([1 / np.diff(knots).reshape([1, 1, -1, 1])])
    return tf.keras.Model(scores, x, name=name)
