"""What a model file may hold: the parts of an image classifier, and numbers for them.

A `.keras` file is able to name any Python function to call (Lambda layers), modules to import and
files to read (look-up layers), and its HDF5 part to name any file of this machine as its own
(external storage) or more memory than there is. So nothing is allowed but what is listed here.
"""

from __future__ import annotations

import os
from typing import Any

from cloudtf.errors import UserError

_FUNCTIONS = ("swish",)
# Given to Keras as custom objects, so that their module is never imported.
_CUSTOM = ("FixedDropout", "Functional", "LayerScale")
_MODELS = ("Functional", "Model", "Sequential")
_LAYERS = frozenset(
    """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average
    AveragePooling2D BatchNormalization CenterCrop Concatenate Conv2D Conv2DTranspose Cropping2D
    Dense DepthwiseConv2D Dot Dropout ELU Embedding Flatten GaussianDropout GaussianNoise
    GlobalAveragePooling2D GlobalMaxPooling2D GroupNormalization Identity InputLayer
    LayerNormalization LeakyReLU MaxPooling2D Maximum Minimum MultiHeadAttention Multiply
    Normalization PReLU Permute RandomBrightness RandomContrast RandomCrop RandomFlip RandomHeight
    RandomRotation RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape
    Resizing SeparableConv2D Softmax SpatialDropout2D Subtract ThresholdedReLU UnitNormalization
    UpSampling2D ZeroPadding2D
    """.split()  # noqa: SIM905
)
# Their classes hold numbers alone.
_PLAIN_MODULES = ("keras.initializers", "keras.regularizers", "keras.constraints")
_PLAIN_CLASSES = frozenset(
    """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity L1 L1L2 L2 LecunNormal
    LecunUniform MaxNorm MinMaxNorm NonNeg Ones Orthogonal OrthogonalRegularizer RadialConstraint
    RandomNormal RandomUniform TruncatedNormal UnitNorm VarianceScaling Zeros
    """.split()  # noqa: SIM905
)
# Values written as objects.
_VALUES = ("__numpy__", "__tensor__")
_MAX_GROUPS = 100_000


def check_config(config: Any, path: str) -> None:
    """Checks what a model's config names, before Keras sees it.

    Args:
      config: the content of the model's `config.json`, as JSON was parsed.
      path: the model's file, which the refusal names.

    Raises:
      UserError: it names anything but Keras's layers for images and cloudtf's own.
    """
    culprit = foreign_part(config)
    if culprit:
        raise UserError(
            f"The model {path} is refused: it carries or names code to run ({culprit})."
        )


def foreign_part(config: Any) -> str:
    """The first thing in a model's config that would run code; empty if there is none."""
    # Not recursive: a file may nest as deep as it likes.
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
            culprit = _foreign(value) if "class_name" in value else ""
            if culprit:
                return culprit
    return ""


def _foreign(config: dict[str, Any]) -> str:
    """What one object of a model's config would run; empty if it is harmless."""
    name, module = config["class_name"], config.get("module")
    if not isinstance(name, str):
        return f"a class_name that is {str(name)[:60]!r}"
    if name == "function":
        function = config.get("config")
        return "" if function in _FUNCTIONS else f"the function {module}.{function}"[:200]
    # As HDF5 files have it: Keras looks the name up among its own classes and imports nothing.
    legacy = module is None and "registered_name" not in config
    known = (
        # Under another registered name, Keras would import the module after all.
        (name in _CUSTOM and config.get("registered_name", name) == name)
        or (name in _MODELS and module in ("keras", "keras.models"))
        or (name in _LAYERS and (legacy or module == "keras.layers"))
        or (name == "Policy" and (legacy or module == "keras.mixed_precision"))
        or (module in _PLAIN_MODULES and name.isidentifier() and name[0].isupper())
        or (name in _PLAIN_CLASSES and legacy)
        or (name in _VALUES and module is None)
    )
    return "" if known else f"the class {module}.{name}"[:200]


def check_weights(local: str, path: str) -> None:
    """Checks a weights file before Keras reads it.

    Args:
      local: path of the HDF5 file on this machine.
      path: the model's file, which the refusal names.

    Raises:
      UserError: it is damaged, refers to other files, or declares more numbers than it holds.
    """
    import h5py

    try:
        with h5py.File(local, "r") as file:
            reason = _wrong_with(file, os.path.getsize(local))
    except Exception as error:  # h5py raises any kind.
        raise UserError(
            f"The model {path} is damaged: its weights are not HDF5 as Keras writes it; make or "
            "copy it again."
        ) from error
    if reason:
        raise UserError(f"The model {path} is refused: its weights {reason}.")


def _wrong_with(file: Any, size: int) -> str:
    import h5py

    total = groups = 0
    waiting = [file]
    while waiting:
        group = waiting.pop()
        groups += 1
        if groups > _MAX_GROUPS:  # Or a group that contains itself.
            return "have groups without end"
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return f"take {name[:60]!r} from another file or place"
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append(item)
                continue
            if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
                return f"take {name[:60]!r} from another file or place"
            if item.dtype.kind not in "fiub":
                return f"hold {name[:60]!r}, which is not of numbers"
            total += item.nbytes
            # Keras does not compress, so whatever is declared is there.
            if total > size:
                return "declare more numbers than they hold"
    return ""
