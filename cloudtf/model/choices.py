"""The names that settings may choose from; free of TensorFlow, so that `--help` stays fast."""

from __future__ import annotations

# Networks of `tf.keras.applications` -> their names there.
KERAS_MODELS = {
    **{
        f"efficientnetv2{size.lower()}": f"EfficientNetV2{size}"
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
    },
    **{f"convnext{size.lower()}": f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base")},
}

# These have layer normalisation.
WITHOUT_BATCH_NORM = tuple(name for name in KERAS_MODELS if name.startswith("convnext"))

# `tiny` is for tests and quick starts: about 9,000 parameters, of no use on real photographs.
MODELS = (
    *(f"efficientnetb{i}" for i in range(8)),
    *(f"efficientnetlite{i}" for i in range(5)),
    *KERAS_MODELS,
    "tiny",
)

DEFAULT_MODEL = "efficientnetb2"

# Any other value of `--weights` is the path of a file.
WEIGHTS = ("imagenet", "noisy-student", "none")

LOSSES = ("bce", "focal", "asymmetric", "dice", "bce_dice", "categorical_crossentropy")
# Those of which each class has a term for its presence: it can be weighted, its label smoothed.
CROSS_ENTROPIES = ("bce", "focal", "asymmetric", "bce_dice")
# Lin et al. 2017 and Ridnik et al. 2021.
FOCAL_GAMMA, FOCAL_ALPHA = 2.0, 0.25
ASYMMETRIC_GAMMA_NEG, ASYMMETRIC_GAMMA_POS, ASYMMETRIC_CLIP = 4.0, 0.0, 0.05
# How much more what is present weighs; see `model.class_weights`.
POSITIVE_WEIGHTS = ("none", "inverse", "effective")
EFFECTIVE_BETA = 0.999

# The shortest side of images that the networks take, in pixels.
MINIMUM_SIZE = 32

# How the head is trained before the whole network.
HEADS = ("features", "epochs")

OPTIMIZERS = ("radam", "adam", "adamw")
# Of adamw, as in timm and in the papers of ConvNeXt and ViT.
WEIGHT_DECAY = 0.05
SCHEDULES = ("linear", "cosine")
# Share of a stage's steps in which the learning rate rises, as in tensorflow-addons.
WARMUP_PROPORTION = 0.1
