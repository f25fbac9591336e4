"""Whole training runs of a small network: what they write, repeat, refuse and survive."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import pathlib
import re
import subprocess

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cloudtf import files, machine, settings
from cloudtf.commands import app
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UsageError, UserError
from cloudtf.evaluation import history, scoring
from cloudtf.model import saving
from cloudtf.training import step as step_module
from cloudtf.training.config import TrainConfig
from cloudtf.training.stopping import Interrupted
from cloudtf.training.train import train
from cloudtf.training.trainer import Trainer
from cloudtf.training.workers import Workers
from tests import programs

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")


def config_of(data_dir, run_dir, **changes):
    given = {
        "data_dir": str(data_dir),
        "run_dir": str(run_dir),
        "model": "tiny",
        "weights": "none",
        "epochs": 1,
        "batch_size": 8,
        "learning_rate": 3e-4,
        "tensorboard": False,
        "train_metric_examples": 0,
    }
    return TrainConfig(**{**given, **changes})


def converted(photographs_dir, output_dir, **changes):
    """Records at 32x32 of the 60 photographs, or of those that a table of labels names."""
    settings = {
        "labels_csv": f"{photographs_dir}/labels.csv",
        "images_dir": f"{photographs_dir}/images",
        "output_dir": str(output_dir),
        "image_height": 32,
        "image_width": 32,
        "num_shards": 2,
    }
    convert(ConvertConfig(**{**settings, **changes}))
    return str(output_dir)


def labels_file(photographs_dir, path, change):
    """A copy of the label table with `change(row)` made to every row (a dict of ints)."""
    with open(f"{photographs_dir}/labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, [])
        for number, row in enumerate(rows):
            row = change(number, row)
            if not writer.fieldnames:
                writer.fieldnames = list(row)
                writer.writeheader()
            writer.writerow(row)
    return str(path)


# What a run writes.


def test_a_run_leaves_all_that_is_promised(trained_run, records_dir):
    assert set(os.listdir(trained_run)) == {
        ".lock", "best.json", "best.keras", "checkpoints", "flags.txt", "history.csv",
        "pr_auc_history.png", "tensorboard",
    }  # fmt: skip
    rows = history.read(f"{trained_run}/history.csv")
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    names = [*CLASSES, "mean"]
    for row in rows:
        assert row["stage"] == "whole"
        wanted = {"loss", "val_loss", "learning_rate", "images_per_second"}
        wanted |= {"judging_seconds", "saving_seconds"}
        wanted |= {f"{split}_pr_auc_{name}" for split in ("train", "val") for name in names}
        assert wanted <= set(row)
        assert all(math.isfinite(row[name]) for name in wanted)
    assert rows[-1]["loss"] < rows[0]["loss"]
    best = json.loads(pathlib.Path(trained_run, "best.json").read_text())
    assert best["pr_auc"]["mean"] == max(row["val_pr_auc_mean"] for row in rows)
    assert rows[best["epoch"] - 1]["val_pr_auc_mean"] == best["pr_auc"]["mean"]
    info = saving.read_info(f"{trained_run}/best.keras")
    assert info["classes"] == list(CLASSES)
    assert info["best"] == best


def test_the_written_flags_reproduce_the_run(trained_run):
    state = pathlib.Path(trained_run, "checkpoints").glob("*/state.json")
    used = json.loads(next(iter(state)).read_text())["settings"]
    config = app.parse(TrainConfig, [f"--flagfile={trained_run}/flags.txt"])
    assert json.loads(json.dumps(config.__dict__)) == used
    assert settings.to_flagfile(config) == pathlib.Path(trained_run, "flags.txt").read_text()


# Runs that repeat each other.


@pytest.fixture(scope="module")
def repeated(records_dir, tmp_path_factory):
    """Histories of runs that differ in one setting each, in one deterministic process."""
    folder = str(tmp_path_factory.mktemp("repeated"))
    return programs.answer("repeat_runs", records_dir, folder), folder


def test_the_same_seed_gives_the_same_history_to_the_bit(repeated):
    found, folder = repeated
    assert found["one"] == found["again"]
    texts = []
    for name in ("one", "again"):
        with open(f"{folder}/{name}/history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        texts.append([{k: v for k, v in row.items() if "second" not in k} for row in rows])
    assert texts[0] == texts[1]
    best = [pathlib.Path(folder, name, "best.json").read_bytes() for name in ("one", "again")]
    assert best[0] == best[1]


def test_another_seed_gives_another_history(repeated):
    found, _ = repeated
    assert all(one["loss"] != other["loss"] for one, other in zip(found["one"], found["seed"]))


@pytest.mark.parametrize("other", ["four", "device", "streamed"])
def test_where_and_how_steps_run_does_not_change_the_result(repeated, other):
    found, _ = repeated
    for one, row in zip(found["one"], found[other]):
        assert row["learning_rate"] == one["learning_rate"]
        np.testing.assert_allclose(row["loss"], one["loss"], rtol=1e-4)
        np.testing.assert_allclose(row["val_loss"], one["val_loss"], rtol=1e-3)


# Numbers that are not finite.


def poisoned(monkeypatch, *at):
    """Makes a weight NaN after those steps, counted over all that are run from now on.

    Returns:
      The list of how many steps each call has run.
    """
    call, init, seen = step_module.TrainStep.send, step_module.TrainStep.__init__, []

    def remembering(self, model, *positional, **named):
        self.kernel_for_test = model.get_layer("probabilities").kernel
        init(self, model, *positional, **named)

    def patched(self, iterator, count):
        values = call(self, iterator, count)
        seen.append(count)
        if sum(seen) in at:
            self.kernel_for_test.assign(self.kernel_for_test * math.nan)
        return values

    monkeypatch.setattr(step_module.TrainStep, "__init__", remembering)
    monkeypatch.setattr(step_module.TrainStep, "send", patched)
    return seen


def assert_all_that_was_kept_is_finite(run_dir):
    for folder in pathlib.Path(run_dir, "checkpoints").iterdir():
        reader = tf.train.load_checkpoint(str(folder / "weights"))
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if dtype.is_floating:
                assert np.isfinite(reader.get_tensor(name)).all(), name
    if files.exists(f"{run_dir}/best.keras"):
        for weight in saving.load_model(f"{run_dir}/best.keras").get_weights():
            assert np.isfinite(weight).all()


def test_a_loss_that_is_not_finite_stops_the_run_and_nothing_of_it_is_kept(
    records_dir, tmp_path, monkeypatch
):
    run_dir = tmp_path / "run"
    train(config_of(records_dir, run_dir))
    poisoned(monkeypatch, 3)
    changes = {"epochs": 2, "learning_rate": 3e-4, "checkpoint_every": "2"}
    with pytest.raises(UserError) as caught:
        train(config_of(records_dir, run_dir, **changes))
    assert str(caught.value) == (
        "The loss is nan at step 10 (learning rate 3.05e-05); nothing of it was saved; run the "
        "same command with on_nan='rewind' to go on at half the rate, or begin another run_dir "
        "with learning_rate=3e-05."
    )
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["step-000000008-active"]
    assert_all_that_was_kept_is_finite(run_dir)
    monkeypatch.undo()
    assert len(train(config_of(records_dir, run_dir, **changes)).history) == 2


@pytest.mark.parametrize("at", [4, 6])
def test_weights_that_are_not_finite_are_never_saved(records_dir, tmp_path, monkeypatch, at):
    """Spoilt by the last step before a checkpoint, or of an epoch: no loss has shown it yet."""
    poisoned(monkeypatch, at)
    with pytest.raises(UserError, match=rf"probabilities/kernel:0 is not finite at step {at} \("):
        train(config_of(records_dir, tmp_path / "run", checkpoint_every="2"))
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert names == [f"step-{at - 2:09d}-active"]
    assert not (tmp_path / "run" / "best.keras").exists()
    assert_all_that_was_kept_is_finite(tmp_path / "run")


REWINDING = {"head_epochs": 1, "epochs": 2, "checkpoint_every": "2", "on_nan": "rewind"}


def rewinds_of(run_dir):
    (folder,) = pathlib.Path(run_dir, "checkpoints").iterdir()
    return json.loads((folder / "state.json").read_text())["rewinds"]


def test_a_run_that_rewinds_goes_back_and_on_at_half_the_rate(
    records_dir, tmp_path, monkeypatch, capsys
):
    # Six steps an epoch. Steps 1, 2 (its loss shows it), back to 0; 1 to 4, back to 2; 3 to 8 (of
    # the whole network, found before the checkpoint), back to 6.
    seen = poisoned(monkeypatch, 1, 5, 12)
    result = train(config_of(records_dir, tmp_path / "run", tensorboard=True, **REWINDING))
    out = capsys.readouterr().out
    assert re.search(
        r"The loss is nan at step 2 \(learning rate 0\.0\d+\): back to step 0 at h", out
    )
    assert "The loss is nan at step 4 " in out
    assert "back to step 2 at half the rate (rewind 2 of 3)." in out
    assert "kernel:0 is not finite at step 8 " in out
    assert "back to step 6 at half the rate (rewind 3 of 3)." in out
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert sum(seen) == 18 + 2 + 2 + 2
    # A quarter of the head's rate and half of the whole network's, at the schedule's end.
    rates = [row["learning_rate"] for row in result.history]
    np.testing.assert_allclose(rates[0], 1e-3 / 4 * 0.01, rtol=1e-5)
    np.testing.assert_allclose(rates[2], 3e-4 / 2 * 0.01, rtol=1e-5)
    rewinds = rewinds_of(tmp_path / "run")
    assert [rewind["back_to_step"] for rewind in rewinds] == [0, 2, 6]
    folder = str(tmp_path / "run" / "tensorboard" / "train")
    losses = EventAccumulator(folder, {"tensors": 0}).Reload().Tensors("step_loss")
    assert [event.step for event in losses] == list(range(1, 19)), "each of what counts"
    means = np.reshape([tf.make_ndarray(event.tensor_proto) for event in losses], [3, 6])
    np.testing.assert_allclose(means.mean(axis=1), [row["loss"] for row in result.history], 1e-5)
    assert_all_that_was_kept_is_finite(tmp_path / "run")


def test_the_fourth_number_that_is_not_finite_ends_a_run_also_over_several_starts(
    records_dir, tmp_path, monkeypatch
):
    run_dir = tmp_path / "run"
    config = config_of(records_dir, run_dir, **REWINDING)
    poisoned(monkeypatch, 3)
    with pytest.raises(UserError, match="nan at step 4 .*on_nan='rewind'"):
        train(dataclasses.replace(config, on_nan="stop"))
    # Found as the run is told to stop: it goes back first, and what it saves is sane.
    monkeypatch.undo()
    poisoned(monkeypatch, 1)
    with pytest.raises(Interrupted):
        train(dataclasses.replace(config, max_minutes=0.0))
    assert [rewind["back_to_step"] for rewind in rewinds_of(run_dir)] == [2]
    monkeypatch.undo()
    poisoned(monkeypatch, *range(100))
    with pytest.raises(UserError) as caught:
        train(config)
    assert "the rate was halved 3 times already, so begin another run_dir with " in str(
        caught.value
    )
    assert "head_learning_rate=0.0001." in str(caught.value)
    assert [rewind["back_to_step"] for rewind in rewinds_of(run_dir)] == [2, 2, 2]
    assert_all_that_was_kept_is_finite(run_dir)


def test_workers_that_do_not_find_the_same_checkpoint_do_not_go_back(
    records_dir, tmp_path, monkeypatch
):
    """What another worker sees of a shared folder may be older."""
    poisoned(monkeypatch, 3)
    check_same, restore, asked = Workers.check_same, Trainer._restore, []

    def lagging(self, **values):
        check_same(self, **values)
        if "records" not in values:
            asked.append(values["checkpoints"]["total_steps"])
            raise UserError("Worker 1 has other checkpoints than worker 0")

    monkeypatch.setattr(Workers, "check_same", lagging)
    monkeypatch.setattr(Trainer, "_restore", lambda *_: asked.append("restored") or restore(*_))
    with pytest.raises(UserError, match="Worker 1 has other checkpoints than worker 0"):
        train(config_of(records_dir, tmp_path / "run", **REWINDING))
    assert asked == [2]


def test_a_model_whose_probabilities_are_not_finite_is_not_judged(
    records_dir, tmp_path, monkeypatch
):
    """Its weights and losses may still be: averages of batch norm can overflow in evaluation."""
    dataset = scoring.Scorer.dataset

    def overflown(self, batches):
        found = dataset(self, batches)
        return dataclasses.replace(found, scores=found.scores * np.nan)

    monkeypatch.setattr(scoring.Scorer, "dataset", overflown)
    with pytest.raises(UserError, match="A probability that the model gives is not finite"):
        train(config_of(records_dir, tmp_path / "run", checkpoint_every="2"))
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == [
        "step-000000004-active"
    ]
    assert not list((tmp_path / "run").glob("best*"))


# Data of all kinds.


def test_a_fold_is_held_out_and_the_others_are_trained_on(photographs_dir, tmp_path, capsys):
    data_dir = converted(photographs_dir, tmp_path / "records", folds=3)
    capsys.readouterr()
    train(config_of(data_dir, tmp_path / "run", fold=1, train_metric_examples=10))
    manifest = json.loads((tmp_path / "records" / "dataset.json").read_text())
    held_out = manifest["splits"]["fold1"]["num_examples"]
    assert f"{60 - held_out} training examples" in capsys.readouterr().out
    assert saving.read_info(str(tmp_path / "run" / "best.keras"))["val_split"] == "fold1"
    with pytest.raises(UserError, match="There is no split 'fold7'.*fold0, fold1, fold2"):
        train(config_of(data_dir, tmp_path / "other", fold=7))


def test_a_batch_may_be_larger_than_the_set(photographs_dir, tmp_path):
    data_dir = converted(photographs_dir, tmp_path / "records", max_examples=10)
    result = train(config_of(data_dir, tmp_path / "run", batch_size=32, epochs=2))
    assert len(result.history) == 2
    assert all(math.isfinite(row["loss"]) for row in result.history)


def test_a_set_of_one_class_is_trained_on(photographs_dir, tmp_path):
    table = labels_file(
        photographs_dir,
        tmp_path / "labels.csv",
        lambda n, row: {k: row[k] for k in ("Image", "Fish")},
    )
    data_dir = converted(photographs_dir, tmp_path / "records", labels_csv=table)
    result = train(config_of(data_dir, tmp_path / "run"))
    assert list(result.best["pr_auc"]) == ["Fish", "mean"]
    assert result.best["pr_auc"]["Fish"] == result.best["pr_auc"]["mean"]


def test_a_class_without_positives_is_left_out_and_stays_so_when_the_run_goes_on(
    photographs_dir, tmp_path, capsys
):
    table = labels_file(
        photographs_dir,
        tmp_path / "labels.csv",
        lambda number, row: {**row, "Sugar": 0, "part": "val" if number % 5 == 0 else "train"},
    )
    data_dir = converted(
        photographs_dir, tmp_path / "records", labels_csv=table, split_column="part",
        classes=CLASSES,
    )  # fmt: skip
    run_dir = tmp_path / "run"
    warning = (
        "Warning: no PR-AUC for Sugar, which all or none of the validation examples show; left "
        "out of the mean.\n"
    )
    capsys.readouterr()
    first = train(config_of(data_dir, run_dir))
    assert capsys.readouterr().out.count(warning) == 1
    assert math.isnan(first.best["pr_auc"]["Sugar"])
    others = [first.best["pr_auc"][name] for name in CLASSES[:3]]
    np.testing.assert_allclose(first.best["pr_auc"]["mean"], np.mean(others))
    assert json.loads((run_dir / "best.json").read_text())["pr_auc"]["Sugar"] is None
    # A finished run, read back from JSON, prints its table; and goes on.
    flags = ["train", f"--flagfile={run_dir}/flags.txt"]
    assert app.main(flags) == 0
    out = capsys.readouterr().out
    assert "is finished" in out and "Sugar      nan" in out
    assert app.main([*flags, "--epochs=2"]) == 0
    assert capsys.readouterr().out.count(warning) == 1
    rows = history.read(str(run_dir / "history.csv"))
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all("val_pr_auc_Sugar" not in row for row in rows), "empty cells"
    assert app.main(["evaluate", f"--run_dir={run_dir}", f"--data_dir={data_dir}"]) == 0
    assert (
        "no PR-AUC for Sugar, which all or none of the examples of val" in capsys.readouterr().out
    )
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["pr_auc"]["Sugar"] is None and metrics["pr_auc"]["mean"] is not None
    chosen = json.loads((run_dir / "thresholds.json").read_text())["classes"]
    assert chosen["Sugar"]["recall"]["threshold"] is None


def test_a_set_on_which_no_class_can_be_judged_is_refused_before_training(
    photographs_dir, tmp_path
):
    table = labels_file(
        photographs_dir,
        tmp_path / "labels.csv",
        lambda number, row: {"Image": row["Image"], "Fish": int(number >= 12),
                             "part": "val" if number < 12 else "train"},
    )  # fmt: skip
    data_dir = converted(
        photographs_dir, tmp_path / "records", labels_csv=table, split_column="part"
    )
    with pytest.raises(UserError, match="No class has both positives and negatives in the split"):
        train(config_of(data_dir, tmp_path / "run"))


def test_records_without_labels_are_refused(photographs_dir, tmp_path):
    data_dir = converted(photographs_dir, tmp_path / "records", labels_csv=None)
    with pytest.raises(UserError, match="have no labels; convert the photographs with"):
        train(config_of(data_dir, tmp_path / "run"))


def test_splits_that_are_not_there_or_the_same_are_refused(records_dir, tmp_path):
    with pytest.raises(UserError, match="There is no split 'dev'.*train, val"):
        train(config_of(records_dir, tmp_path / "run", val_split="dev"))
    with pytest.raises(UserError, match="train_split and val_split are the same"):
        train(config_of(records_dir, tmp_path / "run", val_split="train"))
    with pytest.raises(UserError, match=r"There is no dataset\.json in"):
        train(config_of(tmp_path, tmp_path / "run"))


@pytest.mark.parametrize("flag", ["learning_rate", "head_learning_rate"])
def test_a_rate_of_zero_is_a_usage_error(records_dir, tmp_path, capsys, flag):
    flags = [f"--data_dir={records_dir}", f"--run_dir={tmp_path}/run", f"--{flag}=0"]
    assert app.main(["train", *flags]) == 2
    assert f"--{flag}=0.0 must be at least 1e-12." in capsys.readouterr().err


def test_half_precision_is_refused_where_it_is_emulated(records_dir, tmp_path):
    with pytest.raises(UsageError, match="mixed_precision=True is for GPUs and TPUs"):
        train(config_of(records_dir, tmp_path / "run", mixed_precision=True, strategy="cpu"))


# Run folders that are not as they were left.


@pytest.fixture
def small(photographs_dir, tmp_path):
    """A finished run of one epoch on records of its own: (data_dir, run_dir)."""
    data_dir = converted(photographs_dir, tmp_path / "records", max_examples=16)
    run_dir = str(tmp_path / "run")
    train(config_of(data_dir, run_dir))
    return data_dir, run_dir


def test_a_damaged_checkpoint_is_one_sentence(small):
    data_dir, run_dir = small
    (folder,) = pathlib.Path(run_dir, "checkpoints").iterdir()
    weights, index = folder / "weights.data-00000-of-00001", folder / "weights.index"
    whole, whole_index = weights.read_bytes(), index.read_bytes()
    longer = config_of(data_dir, run_dir, epochs=2)
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 1
    for path, content in (
        (weights, whole[: len(whole) // 2]),
        (weights, bytes(flipped)),
        (index, whole_index[:100]),
        (weights, None),
    ):
        path.write_bytes(content) if content is not None else path.unlink()
        with pytest.raises(UserError, match=r"The checkpoint .*finished cannot be read .*copy"):
            train(longer)
        weights.write_bytes(whole)
        index.write_bytes(whole_index)
    state = folder / "state.json"
    said = state.read_text()
    for text, sentence in (
        ("{", "is not JSON"),
        ('{"steps": 3}', "state.json cannot be read .*missing or unknown"),
    ):
        state.write_text(text)
        with pytest.raises(UserError, match=sentence):
            train(longer)
    state.write_text(said)
    assert len(train(longer).history) == 2


def test_half_a_checkpoint_is_passed_over_and_leftovers_go(small):
    data_dir, run_dir = small
    checkpoints = pathlib.Path(run_dir, "checkpoints")
    for name in (".step-000000001-active.tmp", "step-000000999-active"):
        (checkpoints / name).mkdir()
        (checkpoints / name / "weights.index").write_text("half")
    pathlib.Path(run_dir, ".best.keras.4711.tmp.keras").write_text("half")
    assert len(train(config_of(data_dir, run_dir, epochs=2)).history) == 2
    assert len(list(checkpoints.iterdir())) == 1
    assert ".tmp" not in " ".join(os.listdir(run_dir))


def test_other_records_in_the_place_of_the_old_ones_are_refused(small, photographs_dir):
    data_dir, run_dir = small
    converted(photographs_dir, data_dir, max_examples=16, seed=1, overwrite=True)
    with pytest.raises(UserError, match="are not those that the run in .* began with"):
        train(config_of(data_dir, run_dir, epochs=2))


@pytest.mark.parametrize(
    ("began", "then", "sentence"),
    [
        ("none", "encoded", r"read its records from disk each epoch.*; give cache='none', or"),
        ("decoded", "none", r"kept its records in memory.*; give cache='encoded' or cache='deco"),
        ("decoded", "auto", r"kept its records in memory.*; give cache='encoded', which takes"),
    ],
)
def test_another_order_of_the_examples_is_refused(
    photographs_dir, tmp_path, monkeypatch, began, then, sentence
):
    data_dir = converted(photographs_dir, tmp_path / "records", max_examples=16)
    run_dir = tmp_path / "run"
    train(config_of(data_dir, run_dir, cache=began))
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    monkeypatch.setattr(machine, "free_bytes", lambda: 0)
    with pytest.raises(UserError, match=sentence):
        train(config_of(data_dir, run_dir, cache=then, epochs=2))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("began", ["none", "encoded"])
def test_auto_goes_on_in_the_order_that_the_run_began_with(
    photographs_dir, tmp_path, monkeypatch, capsys, began
):
    data_dir = converted(photographs_dir, tmp_path / "records", max_examples=16)
    train(config_of(data_dir, tmp_path / "run", cache=began))
    capsys.readouterr()
    monkeypatch.setattr(machine, "free_bytes", lambda: 1 << 40)
    train(config_of(data_dir, tmp_path / "run", cache="auto", epochs=2))
    words = {"none": "train read from disk each epoch", "encoded": "train kept in memory as pixels"}
    assert words[began] in capsys.readouterr().out


def test_the_lock_of_a_dead_process_is_not_in_the_way(small, tmp_path):
    data_dir, run_dir = small
    command = programs.command("die_with_a_lock", f"{run_dir}/.lock")
    assert subprocess.run(command).returncode == -9
    assert len(train(config_of(data_dir, run_dir, epochs=2)).history) == 2


def test_a_stage_may_be_added_to_a_finished_run_of_the_head(photographs_dir, tmp_path):
    data_dir = converted(photographs_dir, tmp_path / "records", max_examples=16)
    run_dir = tmp_path / "run"
    train(config_of(data_dir, run_dir, head_epochs=1, epochs=0))
    result = train(config_of(data_dir, run_dir, head_epochs=1, epochs=1))
    assert [row["stage"] for row in result.history] == ["head", "whole"]


def test_fewer_epochs_than_a_run_has_done_are_refused(photographs_dir, tmp_path):
    data_dir = converted(photographs_dir, tmp_path / "records", max_examples=16)
    run_dir = tmp_path / "run"

    def refused(epochs, needed):
        with pytest.raises(UserError) as caught:
            train(config_of(data_dir, run_dir, head_epochs=1, epochs=epochs))
        assert str(caught.value) == (
            f"epochs={epochs} is behind where the run in {run_dir} stands; give "
            f"epochs={needed} or more to go on, or another run_dir."
        )

    train(config_of(data_dir, run_dir, head_epochs=1, epochs=0))
    with pytest.raises(Interrupted):  # In the first epoch of the whole network.
        train(config_of(data_dir, run_dir, head_epochs=1, epochs=3, max_minutes=0.0))
    refused(0, needed=1)
    train(config_of(data_dir, run_dir, head_epochs=1, epochs=2))
    refused(0, needed=2)
    refused(1, needed=2)
    assert len(train(config_of(data_dir, run_dir, head_epochs=1, epochs=2)).history) == 3


def test_a_run_goes_on_with_records_that_were_moved(small, tmp_path):
    data_dir, run_dir = small
    moved = f"{tmp_path}/elsewhere"
    os.rename(data_dir, moved)
    assert len(train(config_of(f"{moved}/", run_dir, epochs=2)).history) == 2
    assert f"--data_dir={moved}/\n" in pathlib.Path(run_dir, "flags.txt").read_text()


def test_a_run_goes_on_without_the_weights_that_it_began_with(small, tmp_path):
    data_dir, run_dir = small
    weights, other = f"{tmp_path}/weights.keras", f"{tmp_path}/other"
    os.rename(f"{run_dir}/best.keras", weights)
    train(config_of(data_dir, other, weights=weights, head_epochs=0))
    os.remove(weights)
    longer = {"head_epochs": 0, "epochs": 2}
    for name in ("none", "imagenet"):
        sentence = f"weights={name!r} differs from the .*weights.keras that the run"
        with pytest.raises(UserError, match=sentence):
            train(config_of(data_dir, other, weights=name, **longer))
    # Where the file is, or whether, no longer matters.
    assert len(train(config_of(data_dir, other, weights="moved.keras", **longer)).history) == 2


def test_more_patience_goes_on_with_a_run_that_was_stopped_early(small):
    data_dir, run_dir = small
    # A rate of almost zero: the score stays, so that patience runs out.
    changes = {"learning_rate": 1e-9, "epochs": 6, "early_stopping_patience": 1}
    stopped = f"{run_dir}-stopped"
    first = train(config_of(data_dir, stopped, **changes))
    assert len(first.history) < 6
    assert len(train(config_of(data_dir, stopped, **changes)).history) == len(first.history)
    longer = {**changes, "early_stopping_patience": 2}
    assert len(train(config_of(data_dir, stopped, **longer)).history) > len(first.history)
