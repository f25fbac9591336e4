"""Settings that are not used beside the others are named."""

from __future__ import annotations

import types

import pytest
import tensorflow as tf

from cloudtf.model import network
from cloudtf.training.config import TrainConfig
from cloudtf.training.own_parts import OwnParts
from cloudtf.training.stages import stages
from cloudtf.training.unused import unused_settings


@pytest.fixture(scope="module")
def models():
    """A network with a layer `body`, and one without."""
    layers = tf.keras.layers
    flat = tf.keras.Sequential([layers.Input((8, 8, 3)), layers.Flatten(), layers.Dense(2)])
    return {True: network.build_model("tiny", 2, (32, 32)), False: flat}


def make_own_model(num_classes, image_shape):
    raise AssertionError("it is not asked for")


@pytest.mark.parametrize(
    ("changes", "phrases"),
    [
        ({}, []),
        ({"dropout": 0.5, "ema": 0.9, "freeze_batch_norm": True}, []),
        ({"head_learning_rate": 0.01, "head_epochs": 2, "batch_norm_momentum": 0.9}, []),
        ({"weights": "none", "batch_norm_momentum": 0.9, "sync_batch_norm": True}, []),
        ({"freeze_batch_norm": False, "sync_batch_norm": True}, []),
        (
            {"head_learning_rate": 0.01},
            ["head_learning_rate=0.01: not used, since no epochs train the head alone."],
        ),
        (
            {"weights": "none", "head_learning_rate": 0.01},
            ["head_learning_rate=0.01: not used, since no epochs train the head alone."],
        ),
        (
            {"batch_norm_momentum": 0.9, "sync_batch_norm": True},
            [
                "batch_norm_momentum=0.9, sync_batch_norm=True: not used, since the batch norm of "
                "the body stays as it is."
            ],
        ),
        (
            {"epochs": 0, "ema": 0.9, "soup": "2", "learning_rate": 0.1},
            ["ema=0.9, soup='2': not used, since no epochs follow the fitted head."],
        ),
        (
            {"model": "convnexttiny", "sync_batch_norm": True, "freeze_batch_norm": True},
            [
                "sync_batch_norm=True, freeze_batch_norm=True: not used, since convnexttiny has no "
                "batch norm."
            ],
        ),
    ],
)
def test_settings_of_our_networks(models, changes, phrases):
    assert named(models[True], OwnParts(), changes) == phrases


@pytest.mark.parametrize("has_body", [True, False])
def test_settings_of_a_network_of_ones_own(models, has_body):
    changes = {"freeze_batch_norm": True, "dropout": 0.5}
    found = named(models[has_body], OwnParts(model_fn=make_own_model), changes)
    assert found[0] == "dropout=0.5: not used, since model_fn or loss_fn stands for it."
    assert found[1:] == (
        []
        if has_body
        else [
            f"freeze_batch_norm=True: not used, since {models[False].name} has no layer called "
            "'body'."
        ]
    )


def named(model, own, changes):
    config = TrainConfig(data_dir="records", run_dir="runs/a", **changes)
    of_run = stages(config, own.stage_epochs(config), own.fits_features(config))
    return unused_settings(types.SimpleNamespace(config=config, own=own, stages=of_run), model)
