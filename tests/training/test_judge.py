"""What judges an epoch: what it measures, keeps, lowers and writes."""

from __future__ import annotations

import contextlib
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

from cloudtf.errors import UserError
from cloudtf.model import saving
from cloudtf.model.optimizers import lower_learning_rate
from cloudtf.training.judge import Judge
from cloudtf.training.patience import Patience
from cloudtf.training.results import ResultFolder
from cloudtf.training.summaries import Summaries

CLASSES = ("Fish", "Flower")


def brightness_model(weight=1.0):
    """Scores sigmoid(weight x mean brightness) for both classes."""
    image = tf.keras.Input((4, 4, 3), dtype="uint8")
    x = tf.keras.layers.Rescaling(1 / 255)(image)
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    dense = tf.keras.layers.Dense(2, "sigmoid", name="probabilities", use_bias=False)
    model = tf.keras.Model(image, dense(x))
    dense.set_weights([np.full((3, 2), weight / 3, np.float32)])
    return model


@pytest.fixture
def examples():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (21, 4, 4, 3), dtype=np.uint8)
    labels = (generator.random((21, 2)) < 0.5).astype(np.float32)
    return images, labels


def masked_batches(images, labels, batch_size):
    """Evaluation batches as the pipeline gives them: the last one padded, with rows to ignore."""
    for start in range(0, len(images), batch_size):
        count = len(images[start : start + batch_size])
        pad = batch_size - count
        yield (
            np.concatenate([images[start : start + count], np.full((pad, 4, 4, 3), 255, np.uint8)]),
            np.concatenate([labels[start : start + count], np.ones((pad, 2), np.float32)]),
            np.concatenate([np.ones(count, np.float32), np.zeros(pad, np.float32)]),
        )


class Scripted(Judge):
    """Replaces what is measured by a script, so that only the decisions are under test."""

    def __init__(self, model, scores, run_dir=None, **settings):
        results = run_dir and ResultFolder(str(run_dir), CLASSES, tensorboard=False)
        super().__init__(model, [], CLASSES, Patience(), results=results, **settings)
        self.script = iter(scores)

    def measure(self, batches):
        value = next(self.script)
        figures = super().measure(
            [(np.zeros((2, 4, 4, 3), np.uint8), np.array([[0, 1], [1, 0]], np.float32))]
        )
        same = dict.fromkeys(CLASSES, value)
        return figures[0], type(figures[1])(pr_auc=same, average_precision=same)


def compiled(weight=1.0):
    model = brightness_model(weight)
    model.compile(tf.keras.optimizers.legacy.Adam(0.1))
    return model


def drive(judge, epochs, first=1):
    """The learning rate after each epoch, until it is told to stop."""
    rates, optimizer = [], judge._model.optimizer
    for number in range(first, first + epochs):
        decision = judge.judge(number, {"loss": 1.0})
        if decision.lower_rate and not decision.stop:
            lower_learning_rate(optimizer, 0.5)
        rates.append(float(optimizer.learning_rate))
        if decision.stop:
            break
    return rates


def test_the_intervals_of_the_best_model_are_drawn_by_groups(examples):
    images, labels = examples
    batches = list(masked_batches(images, labels, 8))
    batches = [(*b, np.stack([b[2], np.arange(8) + 8 * i], 1)) for i, b in enumerate(batches)]
    scored, found = compiled(), []
    for groups in (None, ["a", "b", "c"] * 7):
        judge = Judge(scored, batches, CLASSES, Patience(), groups=groups)
        drive(judge, 1)
        found.append(judge.best["intervals"]["pr_auc"])
        assert set(found[-1]) == {*CLASSES, "mean"}
        restored = Judge(scored, batches, CLASSES, Patience())
        restored.restore(json.loads(json.dumps(judge.state())))
        assert restored.best == judge.best
    assert found[0] != found[1]


@pytest.mark.parametrize("batch_size", [1, 4, 8, 21, 32])
def test_figures_equal_scikit_learn_whatever_the_batch_size_and_padding(examples, batch_size):
    images, labels = examples
    model = compiled()
    judge = Judge(model, list(masked_batches(images, labels, batch_size)), CLASSES, Patience())
    drive(judge, 1)
    scores = model.predict(images, verbose=0).astype(np.float64)
    row = judge.rows[0]
    for index, name in enumerate(CLASSES):
        precision, recall, _ = precision_recall_curve(labels[:, index], scores[:, index])
        assert row[f"val_pr_auc_{name}"] == pytest.approx(auc(recall, precision), abs=1e-12)
        assert row[f"val_average_precision_{name}"] == pytest.approx(
            average_precision_score(labels[:, index], scores[:, index]), abs=1e-12
        )
    mean = np.mean([row[f"val_pr_auc_{name}"] for name in CLASSES])
    assert row["val_pr_auc_mean"] == pytest.approx(mean, abs=1e-12)


def test_it_halves_the_rate_stops_and_keeps_the_best_on_a_scripted_run(tmp_path):
    judge = Scripted(compiled(), [0.5, 0.6, 0.55, 0.5, 0.5, 0.5, 0.5, 0.9], tmp_path)
    assert drive(judge, 8) == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05])
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["epoch"] == 2
    assert best["pr_auc"] == {"Fish": 0.6, "Flower": 0.6, "mean": 0.6}


def test_the_kept_model_is_that_of_the_best_epoch_and_says_so_inside(tmp_path):
    model = compiled()
    judge = Scripted(model, [0.6, 0.5], tmp_path, info={"image_height": 4})
    drive(judge, 1)
    model.get_layer("probabilities").set_weights([np.zeros((3, 2), np.float32)])
    drive(judge, 1, first=2)
    path = str(tmp_path / "best.keras")
    kept = saving.load_model(path).get_layer("probabilities").get_weights()[0]
    np.testing.assert_array_equal(kept, np.full((3, 2), 1 / 3, np.float32))
    info = saving.read_info(path)
    assert info["classes"] == list(CLASSES)
    assert info["image_height"] == 4
    assert info["best"] == json.loads((tmp_path / "best.json").read_text())


def test_a_crash_while_the_new_best_is_written_leaves_the_old_one_whole(tmp_path, monkeypatch):
    judge = Scripted(compiled(), [0.5, 0.6], tmp_path)
    drive(judge, 1)
    before = (tmp_path / "best.keras").read_bytes()

    def fail(self, path, **_):
        with open(path, "wb") as file:
            file.write(b"half a model")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tf.keras.Model, "save", fail)
    with pytest.raises(Exception, match="No space left"):
        drive(judge, 1, first=2)
    assert (tmp_path / "best.keras").read_bytes() == before
    assert json.loads((tmp_path / "best.json").read_text())["epoch"] == 1
    assert not [name for name in os.listdir(tmp_path) if "tmp" in name]


def test_a_class_without_positives_is_left_out_of_the_mean(examples):
    images, labels = examples
    labels = labels.copy()
    labels[:, 1] = 0
    judge = Judge(compiled(), [(images, labels)], CLASSES, Patience())
    drive(judge, 1)
    row = judge.rows[0]
    assert np.isnan(row["val_pr_auc_Flower"])
    assert row["val_pr_auc_mean"] == row["val_pr_auc_Fish"]


def test_its_state_goes_through_json_and_goes_on_as_if_never_stopped():
    scores = [0.5, 0.6, 0.5, 0.5, 0.5, 0.7, 0.6]
    whole = Scripted(compiled(), scores)
    drive(whole, len(scores))
    model = compiled()
    first = Scripted(model, scores[:4])
    drive(first, 4)
    second = Scripted(model, scores[4:])
    second.restore(json.loads(json.dumps(first.state())))
    drive(second, len(scores) - 4, first=5)
    assert second.best == whole.best
    keys = ("epoch", "val_pr_auc_mean", "learning_rate")
    assert [[row[k] for k in keys] for row in second.rows] == [
        [row[k] for k in keys] for row in whole.rows
    ]


def kept(run_dir):
    """The epoch of the best model, by itself and by `best.json`, and its weight."""
    info = saving.read_info(str(run_dir / "best.keras"))
    said = json.loads((run_dir / "best.json").read_text())
    weights = saving.load_model(str(run_dir / "best.keras")).get_layer("probabilities").weights
    return info["best"]["epoch"], said["epoch"], round(float(weights[0][0, 0]), 4)


def begun(run_dir, scores, weight, state=None):
    """What judges a run that goes on from a checkpoint."""
    judge = Scripted(compiled(weight), scores, run_dir, best_waits=True)
    if state is not None:
        judge.restore(json.loads(json.dumps(state)))
    judge._results.settle(judge.rows, judge.best)
    return judge


def reweighted(judge, weight):
    """The same, of a model that has been trained further."""
    judge._model.get_layer("probabilities").set_weights([np.full((3, 2), weight / 3, np.float32)])
    return judge


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_a_best_model_that_waits_is_placed_if_the_checkpoint_knows_its_epoch(tmp_path, known):
    """Else its epoch is done again, perhaps to a lower score: it may not replace the older one."""
    killed = begun(tmp_path, [0.5, 0.6], 3.0)
    drive(killed, 1)
    first = json.loads(json.dumps(killed.state()))
    assert not (tmp_path / "best.keras").exists()
    killed.publish()  # A checkpoint has the first epoch.
    assert kept(tmp_path) == (1, 1, 1.0)
    drive(reweighted(killed, 6.0), 1, first=2)
    second = killed.state()
    assert kept(tmp_path) == (1, 1, 1.0)
    # Killed here: before or after the second epoch's checkpoint.
    again = begun(tmp_path, [0.55], 9.0, second if known else first)
    assert not (tmp_path / "best.waiting.keras").exists()
    assert kept(tmp_path) == ((2, 2, 2.0) if known else (1, 1, 1.0))
    if not known:
        drive(again, 1, first=2)
        again.publish()
        assert kept(tmp_path) == (2, 2, 3.0)


def test_a_damaged_best_model_that_waits_is_dropped(tmp_path):
    killed = begun(tmp_path, [0.5], 3.0)
    drive(killed, 1)
    waiting = tmp_path / "best.waiting.keras"
    waiting.write_bytes(waiting.read_bytes()[:-100])
    begun(tmp_path, [], 3.0, killed.state())
    assert not waiting.exists() and not (tmp_path / "best.keras").exists()


def test_a_kill_between_the_best_model_and_its_figures_is_made_up_for(tmp_path):
    judge = Scripted(compiled(), [0.5], tmp_path)
    drive(judge, 1)
    (tmp_path / "best.json").unlink()
    judge._results.settle(judge.rows, judge.best)
    assert json.loads((tmp_path / "best.json").read_text())["epoch"] == 1


def test_a_history_that_was_removed_or_cut_is_written_again(tmp_path):
    judge = Scripted(compiled(), [0.5, 0.6], tmp_path)
    drive(judge, 2)
    path = tmp_path / "history.csv"
    whole = path.read_bytes()
    for content in (None, whole[:50]):
        path.unlink() if content is None else path.write_bytes(content)
        begun(tmp_path, [], 1.0, judge.state())
        assert path.read_bytes() == whole


@pytest.mark.parametrize("loss", ["gone", "cut"])
def test_the_model_after_a_lost_best_one_is_kept_whatever_its_score(tmp_path, loss, capsys):
    judge = Scripted(compiled(3.0), [0.9, 0.5, 0.6, 0.55], tmp_path)
    drive(judge, 1)
    path = tmp_path / "best.keras"
    assert not judge._results.has_lost_best()
    path.unlink() if loss == "gone" else path.write_bytes(path.read_bytes()[:-1])
    assert judge._results.has_lost_best()
    judge.forget_best()
    assert f"{path}, the model of epoch 1, is gone or damaged" in capsys.readouterr().out
    drive(reweighted(judge, 6.0), 1, first=2)
    assert kept(tmp_path) == (2, 2, 2.0)
    drive(reweighted(judge, 9.0), 1, first=3)
    assert not judge._results.has_lost_best()


def test_its_folder_is_made_before_the_first_epoch(tmp_path):
    folder = tmp_path / "runs" / "b"
    judge = Scripted(compiled(3.0), [0.5], folder)
    assert folder.is_dir()
    drive(judge, 1)
    assert kept(folder) == (1, 1, 1.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="The folder .*file/b cannot be made: Not a directory"):
        ResultFolder(str(tmp_path / "file" / "b"), CLASSES, tensorboard=False)


def test_each_epoch_comes_once_to_tensorboard_over_kills_and_starts(tmp_path):
    rows = [{"epoch": number, "loss": 1.0 / number} for number in (1, 2, 3, 4)]
    first = Summaries(str(tmp_path), CLASSES)
    first.write(rows[:2])
    # Killed while the third was written.
    folder = tmp_path / "tensorboard" / "train"
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    first.write(rows[:3])
    path.write_bytes(path.read_bytes()[:-20])
    assert len(whole) < path.stat().st_size
    for done in (2, 3, 4):
        Summaries(str(tmp_path), CLASSES).write(rows[:done])
    steps = [
        event.step
        for path in sorted(folder.iterdir())
        for event in _whole_events(path)
        for value in event.summary.value
        if value.tag == "loss"
    ]
    assert sorted(steps) == [1, 2, 3, 4]


def _whole_events(path):
    with contextlib.suppress(tf.errors.DataLossError):  # Cut off at the end.
        yield from tf.compat.v1.train.summary_iterator(str(path))
