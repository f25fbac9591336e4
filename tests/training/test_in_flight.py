"""Steps are sent before the losses of earlier ones are known."""

import numpy as np
import pytest
import tensorflow as tf

from cloudtf.training.config import TrainConfig
from cloudtf.training.in_flight import MOST_CALLS, StepsInFlight
from cloudtf.training.progress import Progress
from cloudtf.training.sanity import NotFinite
from cloudtf.training.step import Sent
from cloudtf.training.train import train
from tests import programs


class Values:
    """Losses that note when they are fetched."""

    def __init__(self, fetched, *losses):
        self._fetched, self._losses = fetched, np.array(losses, np.float32)

    def numpy(self):
        self._fetched.append(self._losses[0])
        return self._losses


def test_while_the_device_computes_a_step_the_host_sends_the_next(records_dir, tmp_path):
    """Each step of the program waits until that has happened, so that none of them could end."""
    found = programs.answer("train_in_flight", records_dir, tmp_path / "run")
    assert len(found["overlapped"]) == 9 and all(found["overlapped"])
    # The numbers are those of steps that were waited for one by one.
    config = TrainConfig(
        data_dir=records_dir, run_dir=str(tmp_path / "waited"), model="tiny", weights="none",
        epochs=2, batch_size=8, steps_per_epoch=6, strategy="cpu", tensorboard=False,
        train_metric_examples=0, deterministic=True,
    )  # fmt: skip
    loss = tf.keras.losses.BinaryCrossentropy()
    losses = [row["loss"] for row in train(config, loss_fn=loss).history]
    np.testing.assert_array_equal(losses, found["losses"])


def test_a_loss_is_fetched_when_more_calls_are_on_their_way():
    progress, fetched = Progress(), []
    flight = StepsInFlight(progress)
    for number in range(5):
        flight.add(Sent(Values(fetched, number, number), "A step"), 2)
    assert progress.step == progress.total_steps == 10
    assert fetched == list(range(5 - MOST_CALLS))
    assert flight.mean_loss == np.mean(fetched)
    flight.settle()
    assert fetched == [0, 1, 2, 3, 4]
    assert flight.mean_loss == progress.mean_loss == 2


def test_a_loss_that_is_not_finite_is_named_by_its_own_step():
    progress = Progress(total_steps=100)
    flight = StepsInFlight(progress)
    flight.add(Sent(Values([], 1.0, 2.0), "A step"), 2)
    flight.add(Sent(Values([], 1.0, np.nan), "A step"), 2)
    flight.add(Sent(Values([], 1.0), "A step"), 1)
    with pytest.raises(NotFinite, match="The loss is nan at step 104;"):
        flight.settle()
    assert progress.loss_sum == 3.0
