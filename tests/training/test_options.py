"""The options of optimisation all at once, through whole runs: in parts, and on replicas."""

from __future__ import annotations

import numpy as np
import pytest

from cloudtf.settings import to_flagfile
from cloudtf.training.config import TrainConfig
from tests import programs


@pytest.fixture(scope="module")
def found(records_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("options")
    return programs.answer("train_with_options", records_dir, folder)


def test_a_run_in_parts_ends_as_one_in_one_go_to_the_bit(found):
    assert found["parts"] == found["whole"]
    assert len(found["whole"]["history"]) == 3 and found["whole"]["said"]


def test_on_two_replicas_it_is_the_same_within_rounding(found):
    one, two = found["one"], found["two"]
    for row, other in zip(one["history"], two["history"]):
        assert row["learning_rate"] == other["learning_rate"]
        np.testing.assert_allclose(other["loss"], row["loss"], rtol=1e-3)
        np.testing.assert_allclose(other["val_loss"], row["val_loss"], rtol=2e-3)
    if one["best"]["epoch"] == two["best"]["epoch"]:
        for mine, its in zip(one["weights"], two["weights"]):
            np.testing.assert_allclose(its, mine, rtol=2e-2, atol=2e-3)


def test_the_default_rate_is_by_what_a_run_begins_with():
    def config(**given):
        return TrainConfig(data_dir="d", run_dir="r", **given)

    assert config().learning_rate == config(weights="a.keras").learning_rate == 3e-4
    assert config(weights="none").learning_rate == 4e-3
    assert config(weights="none", learning_rate=1e-3).learning_rate == 1e-3
    assert "--learning_rate=0.004\n" in to_flagfile(config(weights="none"))
