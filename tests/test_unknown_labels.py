"""Labels that are unknown (-1) from the table to the report: left out, and nothing else is."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

import cloudtf
from cloudtf.data import records, splits, tfrecord
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.verify import verify
from cloudtf.errors import UserError
from cloudtf.evaluation import thresholds
from cloudtf.model import head
from cloudtf.model.logistic import RidgeLogistic
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.training.config import TrainConfig
from cloudtf.training.train import train

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
SHARD = "train-00000-of-00002.tfrecord"


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def said(row, column, cell):
    """What the table says of an image and class: nothing, -1, or what is in `cell`."""
    if (7 * row + 3 * column) % 5 == 0:
        return ""
    return "-1" if (row + 2 * column) % 11 == 3 else cell


@pytest.fixture(scope="module")
def made(photographs_dir, tmp_path_factory):
    """A folder with `labels.csv`, `records`, and `account.txt`, what the converter has said."""
    folder = tmp_path_factory.mktemp("unknown")
    rows = rows_of(f"{photographs_dir}/labels.csv")
    for number, row in enumerate(rows[1:]):
        row[1:] = [said(number, column, cell) for column, cell in enumerate(row[1:])]
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    lines: list[str] = []
    with cloudtf.reporting_to(lines.append):
        convert(config_of(photographs_dir, folder, blank="unknown", uncertain="unknown"))
    (folder / "account.txt").write_text("\n".join(lines))
    return folder


def config_of(photographs_dir, folder, **options):
    return ConvertConfig(
        labels_csv=f"{folder}/labels.csv",
        images_dir=f"{photographs_dir}/images",
        output_dir=f"{folder}/records",
        image_height=64,
        image_width=64,
        num_shards=2,
        val_fraction=0.4,
        workers=2,
        **options,
    )


def table_of(folder):
    """Image -> its label as the table has it."""
    rows = rows_of(folder / "labels.csv")
    return {name: [int(cell or -1) for cell in cells] for name, *cells in rows[1:]}


@pytest.fixture(scope="module")
def trained(made):
    """A run on the set, and its evaluation."""
    run_dir = str(made / "run")
    train(
        TrainConfig(
            data_dir=f"{made}/records", run_dir=run_dir, model="tiny", weights="none", epochs=3,
            batch_size=8, learning_rate=0.02, batch_norm_momentum=0.8, tensorboard=False,
        )
    )  # fmt: skip
    return run_dir, cloudtf.evaluate(
        cloudtf.EvaluateConfig(run_dir=run_dir, data_dir=f"{made}/records")
    )


def test_records_have_minus_one_just_where_the_table_has_a_blank_or_minus_one(made):
    data, wanted = open_dataset(f"{made}/records"), table_of(made)
    for split in data.splits:
        for name, label in zip(data.names(split), data.labels(split).numpy()):
            assert label.tolist() == wanted.pop(name)
    assert not wanted


def test_positives_and_unknown_labels_are_counted_apart(made):
    manifest, wanted = verify(f"{made}/records"), table_of(made)
    data = open_dataset(f"{made}/records")
    for name, split in manifest.splits.items():
        labels = np.array([wanted[image] for image in data.names(name)])
        for index, one in enumerate(CLASSES):
            assert split.class_counts[one] == (labels[:, index] == 1).sum()
            assert split.unknown_counts[one] == (labels[:, index] == -1).sum() > 0
            assert split.num_known(one) == (labels[:, index] >= 0).sum()
        assert sum(split.combination_counts.values()) == len(labels)
    whole = manifest.joined(["train", "val"])
    assert whole.unknown_counts["Fish"] == sum(label[0] == -1 for label in wanted.values())
    shown = (made / "account.txt").read_text()
    assert "48 blank cells count as unknown." in shown
    assert "17 uncertain cells count as unknown." in shown
    assert "photo_00.jpg: (none); unknown: Fish\n" in shown
    assert "unknown       train      val\nFish" in shown


def test_a_set_without_unknown_labels_says_nothing_of_them(records_dir):
    raw = json.loads(pathlib.Path(records_dir, "dataset.json").read_text())
    assert not any("unknown_counts" in split for split in raw["splits"].values())
    assert not records.read_manifest(records_dir).has_unknown


def test_unknown_labels_are_shared_out_among_splits_and_folds_too(made, photographs_dir, tmp_path):
    shutil.copy(made / "labels.csv", tmp_path)
    options = {"blank": "unknown", "uncertain": "unknown"}
    config = config_of(photographs_dir, tmp_path, folds=3, **options)
    for split in convert(config).splits.values():
        for name in CLASSES:
            assert 3 <= split.unknown_counts[name] <= 8


def rewritten(made, folder, value):
    """A copy of the set in which one label of SHARD, well recorded, is `value`."""
    folder = pathlib.Path(shutil.copytree(made / "records", folder / "records"))
    found = [r.numpy() for r in tf.data.TFRecordDataset(str(folder / SHARD))]
    example = tf.train.Example.FromString(found[1])
    example.features.feature[records.LABEL].int64_list.value[2] = value
    found[1] = example.SerializeToString()
    content = b"".join(tfrecord.frame(record) for record in found)
    (folder / SHARD).write_bytes(content)
    path = folder / "dataset.json"
    raw = json.loads(path.read_text())
    shard = raw["splits"]["train"]["shards"][0]
    shard.update(num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    del shard["edge_crcs"]
    path.write_text(json.dumps(raw))
    return str(folder)


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
@pytest.mark.parametrize("value", [7, -2])
def test_another_number_is_refused_in_a_set_with_unknown_labels_too(made, tmp_path, cache, value):
    folder = rewritten(made, tmp_path, value)
    with pytest.raises(UserError, match=f"neither 0 nor 1, nor -1, in record 1 .*{value}"):
        data = open_dataset(folder, cache=cache)
        with data.naming_damage("train"):
            list(data.batches("train", 16))
    with pytest.raises(UserError, match="is not 4 times 0, 1 or -1"):
        verify(folder)


@pytest.mark.parametrize("cache", ["none", "encoded", "decoded"])
def test_batches_have_minus_one_and_those_for_training_say_so(made, cache):
    data = open_dataset(f"{made}/records", cache=cache)
    labels = np.concatenate([labels for _, labels, _ in data.batches("val", 7)])
    np.testing.assert_array_equal(labels, data.labels("val"))
    with pytest.warns(UserWarning, match=r"labels of train are unknown \(-1\), which Keras's"):
        batches = data.batches("train", 16, training=True)
    assert (next(iter(batches))[1].numpy() == -1).any()


def test_batches_made_elsewhere_have_minus_one_too(made):
    data = open_dataset(f"{made}/records", cache="encoded")
    ops = TrainConfig(data_dir="d", run_dir="r")
    maker = data.batch_maker("train", 16, "device", ops, seed=3)
    here = next(iter(data.training_batches("train", 16, "device", ops, seed=3)))
    labels = maker.function()(tf.constant(0, tf.int64)).labels
    np.testing.assert_array_equal(labels, here.labels)
    assert (labels.numpy() == -1).any()


def test_scores_and_thresholds_are_those_of_the_known_labels_class_by_class(made, trained):
    run_dir, metrics = trained
    frame = cloudtf.predictions_frame(run_dir)
    truth = table_of(made)
    chosen = json.loads(pathlib.Path(run_dir, "thresholds.json").read_text())["classes"]
    for index, name in enumerate(CLASSES):
        known = frame[[truth[image][index] >= 0 for image in frame.index]]
        labels = np.array([truth[image][index] for image in known.index])
        scores = known[name].to_numpy()
        assert len(known) < len(frame)
        precision, recall, _ = precision_recall_curve(labels, scores)
        assert metrics["pr_auc"][name] == pytest.approx(auc(recall, precision), abs=1e-12)
        wanted = average_precision_score(labels, scores)
        assert metrics["average_precision"][name] == pytest.approx(wanted, abs=1e-12)
        alone = thresholds.choose_thresholds(labels[:, None], scores[:, None])[0]
        for kind in ("recall", "precision"):
            for key in ("threshold", "precision", "recall"):
                assert chosen[name][kind][key] == alone[kind][key]
        assert metrics["unknown"][name] == len(frame) - len(known)


def test_the_truth_of_an_unknown_label_is_blank_in_the_table_of_predictions(made, trained):
    run_dir, _ = trained
    truth = table_of(made)
    header, *cells = rows_of(f"{run_dir}/predictions_val.csv")
    rows = [dict(zip(header, each)) for each in cells]
    for row in rows:
        cells = [row[f"truth:{name}"] for name in CLASSES]
        assert cells == [{1: "1", 0: "0", -1: ""}[value] for value in truth[row["Image"]]]
    frame = cloudtf.predictions_frame(run_dir)
    assert frame["truth:Fish"].isna().sum() == sum(row["truth:Fish"] == "" for row in rows) > 0
    page = pathlib.Path(run_dir, "report.html").read_text()
    assert "Examples left out of a class, since its label is unknown: Fish " in page


def test_the_validation_loss_is_the_mean_over_the_known_labels_of_each_example(made, trained):
    run_dir, _ = trained
    best = json.loads(pathlib.Path(run_dir, "best.json").read_text())["epoch"]
    row = cloudtf.history_frame(run_dir).set_index("epoch").loc[best]
    frame, truth = cloudtf.predictions_frame(run_dir), table_of(made)
    scores = frame[list(CLASSES)].to_numpy()
    labels = np.array([truth[image] for image in frame.index])
    pairs = -np.where(labels == 1, np.log(scores), np.log(1 - scores))
    known = labels >= 0
    wanted = np.mean((pairs * known).sum(axis=1) / np.maximum(known.sum(axis=1), 1))
    assert row["val_loss"] == pytest.approx(wanted, rel=1e-5)
    assert math.isfinite(row["loss"])


def test_weights_of_classes_follow_from_the_known_labels_of_the_training_split(made, tmp_path):
    lines: list[str] = []
    config = TrainConfig(
        data_dir=f"{made}/records", run_dir=str(tmp_path), model="tiny", weights="none", epochs=1,
        batch_size=8, tensorboard=False, loss="focal", positive_weights="inverse",
        label_smoothing=0.1, train_metric_examples=0,
    )  # fmt: skip
    with cloudtf.reporting_to(lines.append):
        result = train(config)
    labels = open_dataset(f"{made}/records").labels("train").numpy()
    weights = (labels == 0).sum(axis=0) / (labels == 1).sum(axis=0)
    shown = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(CLASSES, weights))
    assert f"Where a class is present its loss is multiplied: {shown}" in lines
    assert math.isfinite(result.history[0]["val_loss"])


def test_damaged_records_are_left_out_and_unknown_labels_counted_again(made, tmp_path):
    folder = pathlib.Path(shutil.copytree(made / "records", tmp_path / "records"))
    content = bytearray((folder / SHARD).read_bytes())
    content[60] ^= 1
    (folder / SHARD).write_bytes(content)
    split = open_dataset(str(folder), on_bad_record="skip").splits["train"]
    labels = open_dataset(f"{made}/records").labels("train").numpy()[1:]
    assert split.num_examples == len(labels)
    assert split.unknown_counts == {n: int(c) for n, c in zip(CLASSES, (labels == -1).sum(axis=0))}


def small_model(num_classes, image_shape):
    return tf.keras.Sequential(
        [
            tf.keras.Input((*image_shape, 3), dtype="uint8"),
            tf.keras.layers.Rescaling(1 / 255),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(num_classes, activation="sigmoid"),
        ],
        name="small",
    )


def test_a_loss_of_ones_own_must_leave_unknown_labels_out(made, tmp_path):
    config = TrainConfig(
        data_dir=f"{made}/records", run_dir=str(tmp_path), epochs=1, batch_size=8, tensorboard=False
    )
    focal = tf.keras.losses.BinaryFocalCrossentropy()
    for loss in (focal, "binary_crossentropy"):
        with pytest.raises(UserError, match=r"give cloudtf.masked\(loss_fn\)"):
            train(config, model_fn=small_model, loss_fn=loss)
    result = train(config, model_fn=small_model, loss_fn=cloudtf.masked(focal))
    assert 0 < result.history[0]["val_loss"] < 1


def test_a_fit_with_keras_loss_is_refused_by_the_callback_and_goes_on_with_a_masked_one(made):
    data = open_dataset(f"{made}/records")
    model = small_model(4, (64, 64))
    judge = cloudtf.PrAucCallback(data.batches("val", 8), data.classes)
    with pytest.warns(UserWarning, match="are unknown"):
        batches = data.batches("train", 8, training=True)
    model.compile("adam", "binary_crossentropy")
    with pytest.raises(UserError, match=r"would learn from; compile it with cloudtf.masked"):
        model.fit(batches, steps_per_epoch=2, callbacks=[judge], verbose=0)
    for loss in (cloudtf.masked("binary_crossentropy"), cloudtf.get_loss("bce")):
        model.compile("adam", loss)
        model.fit(batches, steps_per_epoch=2, callbacks=[judge], verbose=0)
        assert len(judge.rows) == 1


def test_the_head_on_features_leaves_them_out(made, trained_run, tmp_path):
    weights, run_dir = f"{trained_run}/best.keras", f"{tmp_path}/run"
    settings = {"model": "tiny", "weights": weights, "epochs": 0, "tensorboard": False}
    result = train(TrainConfig(data_dir=f"{made}/records", run_dir=run_dir, **settings))
    data = open_dataset(f"{made}/records")
    images, labels, _ = next(iter(data.batches("train", data.num_examples("train"))))
    assert (labels.numpy() == -1).any()
    body = head.feature_model(cloudtf.load_model(weights))
    regressions = RidgeLogistic(body.predict(images, verbose=0), labels.numpy())
    folds = splits.stratified_folds(labels.numpy(), 4, 0)
    wanted = regressions.fit(regressions.choose(folds))
    kernel = cloudtf.load_model(f"{run_dir}/best.keras").get_weights()[-2]
    np.testing.assert_allclose(kernel, wanted.kernel, rtol=1e-3, atol=1e-3)
    assert 0 < result.history[0]["loss"] < 1
