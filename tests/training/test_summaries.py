"""What TensorBoard shows of a run."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from cloudtf.evaluation.scoring import Scores
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.training.checkpoints import CheckpointFolder
from cloudtf.training.config import TrainConfig
from cloudtf.training.stopping import Interrupted
from cloudtf.training.summaries import Summaries
from cloudtf.training.train import train
from tests.small_records import records_of

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")


class Killed(BaseException):
    pass


def dying(save, epoch, before):
    """The way a checkpoint is saved, with a kill before or after that of an epoch."""

    def saving_or_dying(self, checkpoint, progress):
        if before and progress.total_epochs == epoch:
            raise Killed
        save(self, checkpoint, progress)
        if not before and progress.total_epochs == epoch:
            raise Killed

    return saving_or_dying


def of(folder):
    """The events of one of TensorBoard's runs: all of them, by tag."""
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return found, {tag: found.Tensors(tag) for tag in found.Tags()["tensors"]}


def numbers(events, tag):
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events[tag]]


@pytest.fixture(scope="module")
def run(photographs_dir, tmp_path_factory):
    """The folder and the history of a run that was killed before and after the checkpoint of an
    epoch, and stopped by the time limit; then each of its event files was cut."""
    folder = tmp_path_factory.mktemp("board")
    data_dir = records_of(photographs_dir, folder / "records", 32, num_shards=1, max_examples=16)

    def config(**changes):
        return TrainConfig(
            data_dir=data_dir, run_dir=f"{folder}/run", model="tiny", weights="none", epochs=4,
            batch_size=8, early_stopping_patience=9, **changes,
        )  # fmt: skip

    save = CheckpointFolder.save
    for epoch, before in ((2, True), (3, False)):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(CheckpointFolder, "save", dying(save, epoch, before))
            train(config())
        for path in (folder / "run" / "tensorboard").rglob("*tfevents*"):
            with path.open("ab") as file:  # As a process leaves it that is killed as it writes.
                file.write(path.read_bytes()[:20])
    with pytest.raises(Interrupted):
        train(config(max_minutes=0.0))
    return folder / "run", train(config()).history


def test_each_epoch_is_there_once_in_both_runs_under_the_same_tags(run):
    run_dir, history = run
    for name, column in (("train", "train_"), ("validation", "val_")):
        _, events = of(run_dir / "tensorboard" / name)
        for measure in ("pr_auc", "average_precision"):
            for word in (*CLASSES, "mean"):
                expected = [(r["epoch"], r[f"{column}{measure}_{word}"]) for r in history]
                np.testing.assert_allclose(numbers(events, f"{measure}/{word}"), expected, 1e-6)
        loss = {"train": "loss", "validation": "val_loss"}[name]
        expected = [(row["epoch"], row[loss]) for row in history]
        np.testing.assert_allclose(numbers(events, "loss"), expected, 1e-6)
        for word in CLASSES:
            curves = events[f"pr_curve/{word}/pr_curves"]
            assert [event.step for event in curves] == [1, 2, 3, 4]
            assert tf.make_ndarray(curves[0].tensor_proto).shape == (6, 201)


def test_the_rate_and_the_speed_are_those_of_train(run):
    run_dir, history = run
    _, events = of(run_dir / "tensorboard" / "train")
    for name in ("learning_rate", "images_per_second"):
        expected = [(row["epoch"], row[name]) for row in history]
        np.testing.assert_allclose(numbers(events, name), expected, 1e-6)


def test_each_step_is_there_once_with_its_loss(run):
    run_dir, history = run
    _, events = of(run_dir / "tensorboard" / "train")
    steps = numbers(events, "step_loss")
    assert [step for step, _ in steps] == list(range(1, 9))
    means = np.reshape([loss for _, loss in steps], [4, 2]).mean(axis=1)
    np.testing.assert_allclose(means, [row["loss"] for row in history], 1e-6)


def test_settings_graph_and_images_are_there_once(run):
    run_dir, _ = run
    data = open_dataset(str(run_dir.parent / "records"))
    content = of(run_dir / "tensorboard")[0].SummaryMetadata("_hparams_/session_start_info")
    info = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
    settings = info.session_start_info.hparams
    assert settings["model"].string_value == "tiny" and settings["epochs"].number_value == 4
    train_events, train_tensors = of(run_dir / "tensorboard" / "train")
    inputs = {node.name: list(node.input) for node in train_events.Graph().node}
    assert inputs["probabilities"] == ["body/avg_pool"] and inputs["normalise"] == ["image"]
    written, tensors_of_validation = of(run_dir / "tensorboard" / "validation")
    for split, tensors in (("train", train_tensors), ("val", tensors_of_validation)):
        (event,) = tensors["images"]
        width, height, *images = event.tensor_proto.string_val
        assert width == height == b"32" and len(images) == min(8, data.num_examples(split))
    (image,), (label,), _ = next(iter(data.batches("val", 1)))
    np.testing.assert_array_equal(tf.io.decode_png(images[0]), image)
    description = written.SummaryMetadata("images").summary_description
    shown = [name for name, there in zip(CLASSES, label.numpy()) if there]
    assert description.splitlines()[0] == f"1. {', '.join(shown) or 'no class'}"


def test_of_many_classes_the_curves_of_the_most_frequent_are_written(tmp_path):
    labels = np.tri(40, 30, dtype=np.float32)
    labels[:, 5] = -1  # Not known.
    names = [f"c{number}" for number in range(30)]
    summaries = Summaries(str(tmp_path), names)
    summaries.keep_curves(1, {"train": Scores(np.arange(40), labels, labels / 2)})
    summaries.write([])
    _, events = of(tmp_path / "tensorboard" / "train")
    kept = [n for i, n in enumerate(names) if i != 5][:24]
    assert set(events) == {f"pr_curve/{name}/pr_curves" for name in kept}


def test_steps_that_a_run_goes_back_behind_are_not_there(tmp_path):
    summaries = Summaries(str(tmp_path), CLASSES)
    summaries.keep_losses(0, np.array([1, 2], np.float32))
    summaries.write_kept()
    summaries.keep_losses(2, np.array([30, 40], np.float32))
    summaries.forget_kept()
    summaries.keep_losses(2, np.array([3], np.float32))
    summaries.write_kept()
    _, events = of(tmp_path / "tensorboard" / "train")
    assert numbers(events, "step_loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
