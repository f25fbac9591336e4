"""Labels by a model for photographs without any: what they say, and where they may go."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import cloudtf
from cloudtf import files
from cloudtf.commands import app
from cloudtf.data import masks, records, relabel, tfrecord
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.data.verify import verify
from cloudtf.errors import UserError
from cloudtf.evaluation.predict import PredictConfig, predict
from cloudtf.evaluation.pseudo_label import PseudoLabelConfig, pseudo_label
from cloudtf.model import network, saving
from cloudtf.pipeline.dataset import open_dataset
from cloudtf.submission import predictions
from cloudtf.training.config import TrainConfig
from cloudtf.training.splits import split_names

CLASSES = ["Fish", "Flower", "Gravel", "Sugar"]
SIZE = {"image_height": 32, "image_width": 32}


def save(path, seed, images, **info):
    """A network with random weights that is sure of some of the images, and not of others."""
    tf.keras.utils.set_random_seed(seed)
    model = network.build_model("tiny", 4, (32, 32))
    features = model.get_layer("body")(model.get_layer("normalise")(images)).numpy()
    kernel = np.random.default_rng(seed).normal(0, 1, (features.shape[1], 4))
    kernel *= 2.5 / np.std(features @ kernel, axis=0)
    model.get_layer("probabilities").set_weights([kernel, -np.mean(features @ kernel, axis=0)])
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    saving.save_model(model, str(path), {"classes": CLASSES, "model": "tiny", **SIZE, **info})


@pytest.fixture(scope="module")
def folder(photographs_dir, tmp_path_factory):
    """Labelled records with folds and with val, unlabelled ones, and models of both."""
    path = tmp_path_factory.mktemp("pseudo")
    images = f"{photographs_dir}/images"
    labelled = {"labels_csv": f"{photographs_dir}/labels.csv", "images_dir": images, **SIZE}
    convert(ConvertConfig(output_dir=str(path / "folds"), folds=2, **labelled))
    convert(ConvertConfig(output_dir=str(path / "whole"), **labelled))
    (path / "new").mkdir()
    for number in range(30):
        shutil.copy(f"{images}/photo_{number:02}.jpg", path / "new" / f"new_{number:02}.jpg")
    convert(ConvertConfig(output_dir=str(path / "test"), images_dir=str(path / "new"), **SIZE))
    images = next(iter(open_dataset(str(path / "test")).batches("test", 30)))[0]
    for fold in range(2):
        save(path / "run" / f"fold{fold}" / "best.keras", fold, images, val_split=f"fold{fold}")
    save(path / "one" / "best.keras", 5, images, val_split="val")
    return path


def config_of(folder, output, **changes):
    given = {
        "model": f"{folder}/run", "data_dir": f"{folder}/folds", "confident": 0.9,
        "unlabelled_dir": f"{folder}/test", "output_dir": str(output),
    }  # fmt: skip
    return PseudoLabelConfig(**{**given, **changes})


@pytest.fixture(scope="module")
def made(folder):
    pseudo_label(config_of(folder, folder / "made"))
    return str(folder / "made")


def examples(data_dir, split):
    """Of each record of a split: name -> the parsed example."""
    found = {}
    for shard in records.read_manifest(data_dir).split(split).shards:
        content = files.read_bytes(f"{data_dir}/{shard.name}")
        with open(f"{data_dir}/{shard.name}", "rb") as file:
            places = list(tfrecord.spans(file, len(content)))
        for start, end in places:
            example = tf.train.Example.FromString(tfrecord.content(content[start:end]))
            name = example.features.feature[records.FILENAME].bytes_list.value[0].decode()
            found[name] = example.features.feature
    return found


@pytest.mark.parametrize("fold", [0, 1])
def test_each_fold_has_the_labels_that_its_own_model_is_sure_of(folder, made, fold, tmp_path):
    table = str(tmp_path / "table.csv")
    model = f"{folder}/run/fold{fold}"
    predict(PredictConfig(model=model, output=table, data_dir=f"{folder}/test", split="test"))
    names, scores, _ = predictions.read(table)
    labels = np.where(scores >= 0.9, 1, np.where(scores <= 0.1, 0, -1))
    expected = {name: label for name, label in zip(names, labels) if (label >= 0).any()}
    found, before = examples(made, f"pseudo_fold{fold}"), examples(f"{folder}/test", "test")
    assert found.keys() == expected.keys() and len(found) > 5
    for name, features in found.items():
        assert list(features[records.LABEL].int64_list.value) == expected[name].tolist()
        for key in before[name]:
            assert features[key] == before[name][key], key
    values = np.array(list(expected.values()))
    assert set(values.ravel()) == {-1, 0, 1}
    split = records.read_manifest(made).split(f"pseudo_fold{fold}")
    assert list(split.class_counts.values()) == (values == 1).sum(axis=0).tolist()
    assert [split.unknown_counts.get(one, 0) for one in CLASSES] == (values == -1).sum(
        axis=0
    ).tolist()


def test_the_labelled_records_are_as_they_were_and_the_whole_set_is_sound(folder, made):
    before, after = (records.read_manifest(at) for at in (f"{folder}/folds", made))
    for name, split in before.splits.items():
        assert after.splits[name] == split
    assert list(after.splits) == ["fold0", "fold1", "pseudo_fold0", "pseudo_fold1"]
    verify(made)


def test_a_set_with_masks_says_of_such_classes_that_they_are_somewhere(folder, tmp_path):
    manifest = dataclasses.replace(records.read_manifest(f"{folder}/whole"), mask_side=28)
    source = records.read_manifest(f"{folder}/test").split("test")
    labels = {"new_03.jpg": np.array([1, -1, 1, 0])}
    split = relabel.write_split(f"{folder}/test", source, labels, str(tmp_path), "pseudo", manifest)
    records.write_manifest(str(tmp_path), dataclasses.replace(manifest, splits={"pseudo": split}))
    features = examples(str(tmp_path), "pseudo")["new_03.jpg"]
    (content,) = features[records.MASK].bytes_list.value
    assert not masks.decode(content, labels["new_03.jpg"]).any() and len(content) == 2 * 98
    verify(str(tmp_path))


@pytest.mark.parametrize(
    "known, expected", [({"8": 12}, {"8": 1}), ({"12": 12}, {"12": 1}), ({"8": 1, "16": 11}, {})]
)
def test_depths_are_those_of_the_shards_or_are_not_known(folder, tmp_path, known, expected):
    manifest = records.read_manifest(f"{folder}/whole")
    source = records.read_manifest(f"{folder}/test").split("test")
    source = dataclasses.replace(
        source, shards=tuple(dataclasses.replace(one, depths=known) for one in source.shards)
    )
    labels = {"new_03.jpg": np.array([1, -1, 1, 0])}
    split = relabel.write_split(f"{folder}/test", source, labels, str(tmp_path), "pseudo", manifest)
    assert split.depths == expected


def test_a_fold_trains_on_the_labels_by_its_own_model_and_is_judged_on_labelled_photographs(made):
    present = open_dataset(made).splits
    config = {"data_dir": made, "run_dir": "r", "weights": "none"}
    for fold, others in ((0, ("fold1", "pseudo_fold0")), (1, ("fold0", "pseudo_fold1"))):
        assert split_names(TrainConfig(fold=fold, **config), present) == (others, f"fold{fold}")
    whole = ["train", "val", "pseudo"]
    assert split_names(TrainConfig(**config), whole) == (("train", "pseudo"), "val")


def test_training_takes_the_set_as_any_other(folder, made, tmp_path, capsys):
    settings = {
        "model": "tiny", "weights": "none", "epochs": 1, "batch_size": 8, "tensorboard": False,
        "train_metric_examples": 0, "strategy": "cpu",
    }  # fmt: skip
    run_dir = str(tmp_path / "run")
    result = cloudtf.train(TrainConfig(data_dir=made, run_dir=run_dir, fold=0, **settings))
    assert np.isfinite(result.history[0]["loss"])
    count = records.read_manifest(made).split("pseudo_fold0").num_examples
    said = capsys.readouterr().out
    assert f"{30 + count} training examples" in said
    assert f"{count} of them have labels that a model gave (pseudo_fold0)" in said


def test_without_folds_there_is_one_split_and_the_command_says_what_is_in_it(
    folder, tmp_path, capsys
):
    output = str(tmp_path / "more")
    arguments = [f"--data_dir={folder}/whole", f"--unlabelled_dir={folder}/test"]
    arguments += [f"--model={folder}/one", f"--output_dir={output}", "--confident=0.8"]
    assert app.main(["pseudo-label", *arguments]) == 0
    manifest = records.read_manifest(output)
    assert list(manifest.splits) == ["train", "val", "pseudo"]
    split = manifest.splits["pseudo"]
    said = capsys.readouterr().out
    assert f"pseudo: {split.num_examples} photographs, in {output}" in said
    known = split.num_known("Fish")
    assert (
        f"Fish   {split.class_counts['Fish']} there, {known - split.class_counts['Fish']} not"
        in (said)
    )
    again = [*arguments[:3], f"--output_dir={tmp_path}/again", f"--data_dir={output}"]
    assert app.main(["pseudo-label", *again]) == 1
    assert "have labels by a model already (pseudo); give those from before" in (
        capsys.readouterr().err
    )


def test_ways_by_which_what_a_model_is_judged_on_would_come_to_it_are_refused(folder, tmp_path):
    images = next(iter(open_dataset(f"{folder}/test").batches("test", 30)))[0]
    save(tmp_path / "moved" / "fold0" / "best.keras", 7, images, val_split="fold1")
    save(tmp_path / "ranks" / "best.keras", 8, images, val_split="val", average="rank")
    save(tmp_path / "other" / "best.keras", 9, images, val_split="elsewhere")
    whole = {"data_dir": f"{folder}/whole"}
    for changes, sentence in (
        ({"model": f"{folder}/one"}, "have folds, and .*one is not a run of all of them: its lab"),
        (whole, "run has a model a fold, and the records in .*whole have no folds"),
        ({"model": str(tmp_path / "moved")}, "was validated on 'fold1', not on fold0; give the"),
        ({"model": str(tmp_path / "ranks"), **whole}, "gives averaged ranks, which are no probab"),
        ({"model": str(tmp_path / "other"), **whole}, "on 'elsewhere', not on train, val; give"),
        (
            {"unlabelled_dir": f"{folder}/folds", "split": "fold0"},
            r"30 photographs, such as 'photo",
        ),
        ({"data_dir": f"{folder}/test"}, "The records in .*test have no labels"),
        ({"confident": 1.0}, "is sure of no label .confident=1.0.; lower it"),
        ({"split": "val"}, "There is no split 'val' in this data set; it has test"),
    ):
        with pytest.raises(UserError, match=sentence):
            pseudo_label(config_of(folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="is there already; name a new folder"):
        pseudo_label(config_of(folder, folder / "run"))
