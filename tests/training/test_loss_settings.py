"""Settings of losses that mean nothing beside the others are refused."""

import pytest

from cloudtf.errors import UsageError
from cloudtf.training.config import TrainConfig


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"focal_gamma": 1.0}, "focal_gamma=1.0 is of loss='focal' only."),
        (
            {"asymmetric_clip": 0.1, "loss": "focal"},
            "asymmetric_clip=0.1 is of loss='asymmetric' only.",
        ),
        (
            {"effective_beta": 0.9, "positive_weights": "inverse"},
            "effective_beta=0.9 is of positive_weights='effective' only.",
        ),
        (
            {"positive_weights": "inverse", "loss": "dice"},
            "positive_weights='inverse' is not for loss='dice'; it is for bce, focal, asymmetric, "
            "bce_dice.",
        ),
        (
            {"label_smoothing": 0.1, "loss": "categorical_crossentropy"},
            "label_smoothing=0.1 is not for loss='categorical_crossentropy'; it is for bce, focal, "
            "asymmetric, bce_dice.",
        ),
    ],
)
def test_a_setting_of_another_loss_is_refused(settings, sentence):
    with pytest.raises(UsageError) as raised:
        TrainConfig(data_dir="a", run_dir="b", **settings)
    assert str(raised.value) == sentence


def test_what_belongs_together_is_taken():
    config = TrainConfig(
        data_dir="a", run_dir="b", loss="asymmetric", asymmetric_gamma_pos=1.0, asymmetric_clip=0.0,
        positive_weights="effective", effective_beta=0.99, label_smoothing=0.1,
    )  # fmt: skip
    assert config.loss == "asymmetric"
