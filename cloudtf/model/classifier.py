"""A trained classifier from its file: the network, and what the file says of it.

What is said (class names, image size, best epoch) and the network itself are held against each
other here, once, for whoever uses a model. What the file does not say, such as the image size of a
model that was saved by a plain Keras program, is read from the network.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable

from cloudtf.data.aspect import ASPECTS
from cloudtf.data.labels import check_class, check_distinct
from cloudtf.errors import UserError
from cloudtf.model import saving
from cloudtf.model.choices import MODELS

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network that is ready to predict.

    Attributes:
      path: the file that it came from.
      model: uncompiled; takes images [B, image_height, image_width, 3], RGB from 0 to 255, and
        gives probabilities [B, C].
      info: what the file says of the model, checked. `classes` (C names in output order),
        `image_height` and `image_width` (in pixels) and `aspect` (how photographs get that ratio
        of sides, one of `ASPECTS`) are always there.
    """

    path: str
    model: tf.keras.Model
    info: dict[str, Any]


def read(path: str, in_float32: bool = False) -> Classifier:
    """Reads a `.keras` file with all that is known of its model.

    Args:
      path: the `.keras` file, local or remote.
      in_float32: compute in float32 what was trained in mixed precision.

    Raises:
      UserError: the file is missing or damaged, carries code, or was not saved by cloudtf; what it
        says of the model is of another kind than it must be, or contradicts the network.

    >>> classifier = read("runs/a/best.keras")
    >>> classifier.info["image_height"], classifier.model.input_shape
    (64, (None, 64, 64, 3))
    """
    info = saving.read_info(path)
    for name, (is_sound, wanted) in _KNOWN.items():
        if name in info and not is_sound(info[name]):
            raise _contradiction(
                path, f"has {_shown(info[name])} as {name!r}, which is not {wanted}"
            )
    if "classes" not in info:
        raise _contradiction(path, "does not say what its classes are")
    classes = info["classes"]
    _check_scores(path, info.get("best", {}), classes)
    model = saving.load_model(path, in_float32)
    if info.get("model") in MODELS and model.name in MODELS and info["model"] != model.name:
        raise _contradiction(path, f"calls {info['model']} what is {model.name}")
    outputs = model.output_shape
    if not isinstance(outputs, tuple) or len(outputs) != 2 or outputs[1] != len(classes):
        raise _contradiction(
            path, f"names {len(classes)} classes for the output {_shape(outputs)} of its network"
        )
    shape = model.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[3] != 3:
        raise _contradiction(path, f"takes {_shape(shape)}, not RGB images")
    sides = {"image_height": shape[1], "image_width": shape[2]}
    for name, pixels in sides.items():
        said = info.get(name, pixels)
        if said is None:
            raise _contradiction(path, f"takes images of any size and has no {name!r}")
        if pixels not in (None, said):
            raise _contradiction(path, f"has {said} as {name!r}, and its network takes {pixels}")
        sides[name] = said
    return Classifier(path, model, {"aspect": ASPECTS[0], **info, **sides})


def _contradiction(path: str, what: str) -> UserError:
    return UserError(
        f"The model {path} {what} ({saving.INFO_NAME} in it); use one that cloudtf has written."
    )


def _check_scores(path: str, best: dict[str, Any], classes: list[str]) -> None:
    """Holds the scores of the best epoch, where there are some, against the classes."""
    for metric in ("pr_auc", "average_precision"):
        if metric in best and set(best[metric]) != {*classes, "mean"}:
            raise _contradiction(path, f"has {metric!r} of other classes than its own")


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:56]} ..."


def _shape(shape: Any) -> str:
    return f"[{', '.join('B' if n is None else str(n) for n in shape)}]"


def _are_classes(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        return False
    try:
        for name in value:
            check_class(name)
        check_distinct(value)
    except ValueError:
        return False
    return len(set(value)) == len(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_side(value: Any) -> bool:
    return _is_count(value) and value < 65_536


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and 0 < len(value) <= 4096


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_scores(value: Any) -> bool:
    def is_score(score: Any) -> bool:
        number = isinstance(score, (int, float)) and not isinstance(score, bool)
        return score is None or (number and 0 <= score <= 1)  # NaN is neither.

    return isinstance(value, dict) and all(map(is_score, value.values()))


def _is_best(value: Any) -> bool:
    kinds: dict[str, Callable[[Any], bool]] = {
        "epoch": _is_count,
        "stage": _is_text,
        "pr_auc": _are_scores,
        "average_precision": _are_scores,
    }
    return isinstance(value, dict) and all(
        is_sound(value[name]) for name, is_sound in kinds.items() if name in value
    )


# What a file may say -> whether a value is sound, and what it must be. Other names mean nothing.
_KNOWN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "classes": (_are_classes, "a list of distinct class names"),
    "image_height": (_is_side, "a number of pixels"),
    "image_width": (_is_side, "a number of pixels"),
    "aspect": (lambda value: value in ASPECTS, f"one of {', '.join(ASPECTS)}"),
    "model": (_is_text, "the name of a network"),
    "val_split": (_is_text, "the name of a split"),
    "data_dir": (lambda value: isinstance(value, str), "the name of a folder"),
    "best": (_is_best, "an epoch and its scores"),
    "trained_on": (_are_names, "a list of splits"),
}
