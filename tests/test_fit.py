"""`cloudtf fit`: one command from photographs to an exported model."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pandas as pd
import pytest

import cloudtf
from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.evaluation import evaluate, exporting
from cloudtf.fitting import fit as fitting
from cloudtf.fitting import plan as plans
from cloudtf.fitting.config import FitConfig, part
from cloudtf.model.thresholds import Thresholds
from cloudtf.training.config import TrainConfig

SMALL = {"model": "tiny", "weights": "none", "image_height": 64, "image_width": 64}
FLAGS = [f"--{name}={value}" for name, value in SMALL.items()]


@pytest.fixture(scope="module")
def folders(photographs_dir, tmp_path_factory):
    """Photographs in a folder for each class; those of several classes in each of theirs."""
    top = tmp_path_factory.mktemp("folders") / "photographs"
    labels = pd.read_csv(f"{photographs_dir}/labels.csv")
    for _, row in labels.iterrows():
        for name in labels.columns[1:]:
            if row[name]:
                (top / name).mkdir(parents=True, exist_ok=True)
                shutil.copy(f"{photographs_dir}/images/{row['Image']}", top / name)
    return top


@pytest.fixture(scope="module")
def fitted(folders, tmp_path_factory):
    """Lite0's weights, and no flag but that of the output."""
    output = tmp_path_factory.mktemp("fitted") / "out"
    done = subprocess.run(
        [sys.executable, "-m", "cloudtf", "fit", str(folders), f"--output_dir={output}",
         "--minutes=1.5"],
        capture_output=True, encoding="utf-8", timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return output, done.stdout


def test_without_a_flag_folders_become_a_judged_and_exported_model(fitted, folders):
    output, said = fitted
    assert "Fish" in said and "photographs (train 45, val 11)" in " ".join(said.split())
    assert "efficientnetlite0 from imagenet weights" in " ".join(said.split())
    report = output / "run" / "report.html"
    assert said.splitlines()[-1] == f"Open {report}" and report.stat().st_size > 10_000
    metrics = json.loads((output / "run" / "metrics.json").read_text())
    assert metrics["pr_auc"]["mean"] > 0.7
    assert "how surely each keeps its target on new images" in " ".join(said.split())
    import tensorflow as tf

    assert json.loads((output / "exported" / "proof.json").read_text())["passed"]
    served = tf.saved_model.load(str(output / "exported")).signatures["jpeg"]
    photograph = next((folders / "Fish").iterdir())
    outputs = served(jpeg=tf.constant([photograph.read_bytes()]))
    table = output / "all.csv"
    cloudtf.predict(
        cloudtf.PredictConfig(
            model=str(output / "run"), images_dir=str(photograph), output=str(table)
        )
    )
    expected = pd.read_csv(table).to_numpy()[0, 1:].astype(float)
    np.testing.assert_allclose(outputs["probabilities"][0], expected, atol=2e-3)


def test_a_first_score_comes_before_the_whole_network_is_trained(fitted):
    rows = cloudtf.history_frame(str(fitted[0] / "run"))
    assert rows["stage"].tolist()[0] == "features"
    assert "--optimizer=adamw\n" in (fitted[0] / "run" / "flags.txt").read_text()


def test_it_keeps_to_the_time(fitted):
    plan = json.loads((fitted[0] / "fit.json").read_text())
    assert plan["seconds"] <= 90 * 1.2  # Judging and exporting are estimated only.


def test_again_it_trains_nothing_and_ends_with_the_same(fitted, folders, capfd):
    output, said = fitted
    before = (output / "run" / "best.keras").read_bytes()
    history = (output / "run" / "history.csv").read_text()
    assert app.main(["fit", str(folders), f"--output_dir={output}", "--minutes=1.5"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == said.splitlines()[-1]
    assert (output / "run" / "best.keras").read_bytes() == before
    assert (output / "run" / "history.csv").read_text() == history


@pytest.fixture(scope="module")
def command(photographs_dir):
    return [
        sys.executable, "-m", "cloudtf", "fit", f"{photographs_dir}/images",
        f"{photographs_dir}/labels.csv", *FLAGS, "--epochs=2", "--deterministic",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """The output of a job that nobody has killed."""
    output = tmp_path_factory.mktemp("whole") / "out"
    subprocess.run([*command, f"--output_dir={output}"], check=True, capture_output=True)
    return output


@pytest.mark.parametrize(
    "part_made",
    [
        pytest.param("records/.convert_progress.json", marks=pytest.mark.slow),
        "run/checkpoints",
        pytest.param("run/best.json", marks=pytest.mark.slow),
        pytest.param("run/metrics.json", marks=pytest.mark.slow),
    ],
)
def test_killed_in_any_part_it_goes_on_to_the_same_numbers(command, whole, part_made, tmp_path):
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [*command, f"--output_dir={killed}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with process:
        while process.poll() is None and not (killed / part_made).exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    subprocess.run([*command, f"--output_dir={killed}"], check=True, capture_output=True)
    for name in ("best.json", "metrics.json", "predictions_val.csv"):
        found = (killed / "run" / name).read_text().replace(str(killed), str(whole))
        assert found == (whole / "run" / name).read_text(), name


def test_the_time_of_a_start_that_is_killed_counts(photographs_dir, tmp_path, monkeypatch):
    path, counted = tmp_path / "out" / "fit.json", []

    def seconds():
        return json.loads(path.read_text())["seconds"]

    def converted(job):
        before, end = seconds(), time.monotonic() + 30
        while seconds() <= before + 0.1 and time.monotonic() < end:
            time.sleep(0.01)
        counted.append(seconds() - before)
        raise UserError("here the job is killed")

    monkeypatch.setattr(fitting, "_SECONDS_BETWEEN_COUNTS", 0.02)
    monkeypatch.setattr(fitting._Job, "_converted", converted)
    with pytest.raises(UserError, match="here the job is killed"):
        cloudtf.fit(f"{photographs_dir}/images", output_dir=str(tmp_path / "out"), **SMALL)
    assert counted[0] > 0.1


def test_a_data_frame_has_the_labels(photographs_dir, tmp_path):
    labels = pd.read_csv(f"{photographs_dir}/labels.csv")[["Image", "Sugar", "Fish"]]
    found = cloudtf.fit(
        f"{photographs_dir}/images", labels, output_dir=str(tmp_path / "out"), epochs=1, **SMALL
    )
    assert sorted(found.metrics["pr_auc"]) == ["Fish", "Sugar", "mean"]


def test_it_says_what_becomes_of_the_pictures_and_which_class_a_split_lacks(
    photographs_dir, tmp_path, monkeypatch, capsys
):
    def trained(job, manifest):
        raise UserError("here training begins")

    monkeypatch.setattr(fitting._Job, "_trained", trained)
    labels = pd.read_csv(f"{photographs_dir}/labels.csv")
    labels["Rare"] = [1] + [0] * (len(labels) - 1)
    wide = {**SMALL, "image_width": 128, "output_dir": str(tmp_path / "out")}
    with pytest.raises(UserError, match="here training begins"):
        cloudtf.fit(f"{photographs_dir}/images", labels, **wide)
    said = " ".join(capsys.readouterr().out.split())
    assert "Photographs of 96 x 96 pixels become 128 x 64, which squeezes them to 0.50" in said
    assert "shows Rare (1 in all): nothing can be said of it there" in said


def test_it_says_which_photographs_are_copies_and_which_have_more_bits(
    photographs_dir, tmp_path, monkeypatch, capsys
):
    def trained(job, manifest):
        raise UserError("here training begins")

    monkeypatch.setattr(fitting._Job, "_trained", trained)
    for number in range(8):
        folder = tmp_path / "photographs" / ("one", "other")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = cv2.imread(f"{photographs_dir}/images/photo_{number:02}.jpg")
        if number == 0:
            cv2.imwrite(str(folder / "deep.png"), pixels.astype(np.uint16) * 257 + 1)
        cv2.imwrite(str(folder / f"{number}.jpg"), pixels)
    cv2.imwrite(str(folder / "again.png"), cv2.imread(str(folder / "7.jpg")))
    with pytest.raises(UserError, match="here training begins"):
        cloudtf.fit(str(tmp_path / "photographs"), output_dir=str(tmp_path / "out"), **SMALL)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 photographs are copies of others, such as 'one/deep.png' of 'one/0.jpg'" in said
    assert "1 photograph has values of 16 bits, of which the records have the upper 8." in said


def test_refusals_name_what_was_given_to_fit(photographs_dir, tmp_path, whole, command, capsys):
    photographs, labels = f"{photographs_dir}/images", f"{photographs_dir}/labels.csv"
    output = f"--output_dir={tmp_path}/out"

    def refused(*words):
        assert app.main(["fit", *words]) in (1, 2)
        return capsys.readouterr().err

    parts = tmp_path / "parts"
    for name in ("images", "masks"):
        shutil.copytree(photographs, parts / name)
    assert "of the photographs as PHOTOS, and what says their classes as LABELS.csv." in refused(
        str(parts), output
    )
    assert "--label_format=folders takes no LABELS.csv." in refused(
        photographs, labels, output, "--label_format=folders"
    )
    started = refused(*command[4:], f"--output_dir={whole}", "--optimizer=adam")
    assert "or another --output_dir." in started and "--run_dir" not in started
    with pytest.raises(UserError, match="give the path of a CSV as labels.$"):
        cloudtf.fit(photographs, [1], output_dir=str(tmp_path / "out"))


def test_the_one_table_beside_the_photographs_has_the_labels(photographs_dir, tmp_path):
    assert plans.find_labels(f"{photographs_dir}/images") == f"{photographs_dir}/labels.csv"
    (tmp_path / "photographs").mkdir()
    with pytest.raises(UserError, match="Nothing says what the photographs in .* show; give a"):
        plans.find_labels(str(tmp_path / "photographs"))
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("Image,Fish\n")
    with pytest.raises(UserError, match="has a.csv, b.csv; say which of them has the labels"):
        plans.find_labels(str(tmp_path / "photographs"))


def test_every_flag_of_convert_and_train_is_taken_and_one_seed_is_for_both():
    config = app.parse(
        FitConfig, ["--output_dir=out", "--seed=7", "--val_fraction=0.3", "--optimizer=adam"]
    )
    training = part(TrainConfig, config, data_dir="records", run_dir="run")
    assert (training.seed, training.optimizer) == (7, "adam")
    converting = part(cloudtf.ConvertConfig, config, images_dir="photographs", output_dir="records")
    assert (converting.seed, converting.val_fraction) == (7, 0.3)
    plain = part(cloudtf.ConvertConfig, FitConfig(output_dir="out"), images_dir="p", output_dir="r")
    assert plain.seed == cloudtf.ConvertConfig(images_dir="p", output_dir="r").seed == 2019


@pytest.mark.parametrize(
    "given, weights, expected",
    [
        ({}, "imagenet", ("adamw", "cosine", 1e-4)),
        ({}, "none", ("adamw", "cosine", 3e-3)),
        ({"learning_rate": 1e-3}, "imagenet", ("adamw", "cosine", 1e-3)),
        # As `cloudtf train` has them for this optimizer.
        ({"optimizer": "radam"}, "none", ("radam", "linear", 4e-3)),
    ],
)
def test_the_optimizer_is_that_of_the_measured_recipe_unless_one_is_given(given, weights, expected):
    config = FitConfig(output_dir="out", **given)
    chosen = plans.optimization(config, weights)
    training = part(TrainConfig, config, data_dir="d", run_dir="r", weights=weights, **chosen)
    assert (training.optimizer, training.schedule, training.learning_rate) == expected


def test_on_an_accelerator_it_takes_b2_and_else_the_weights_that_are_installed(monkeypatch):
    def fetch(name, weights, cache_dir=None):
        if name not in installed:
            raise UserError(f"The {weights} weights of {name} cannot be downloaded.")

    monkeypatch.setattr("cloudtf.model.weights.fetch", fetch)
    installed, config = ["efficientnetb2", "efficientnetlite0"], FitConfig(output_dir="out")
    plan, _ = plans.choose(config, has_accelerator=True)
    assert (plan.model, plan.weights, plan.size) == ("efficientnetb2", "imagenet", 224)
    installed.remove("efficientnetb2")
    plan, note = plans.choose(config, has_accelerator=True)
    assert (plan.model, plan.size, note) == ("efficientnetlite0", 128, None)


def test_without_pretrained_weights_it_says_so_and_begins_with_random_ones(monkeypatch):
    def fetch(name, weights, cache_dir=None):
        raise UserError(f"The {weights} weights of {name} are not installed.")

    monkeypatch.setattr("cloudtf.model.weights.fetch", fetch)
    plan, note = plans.choose(FitConfig(output_dir="out"), has_accelerator=False)
    assert (plan.weights, plan.size) == ("none", 64)
    assert "efficientnetlite0 are not installed" in note


@pytest.mark.parametrize("words", [[], ["a", "b", "c"]])
def test_wrong_words_are_one_sentence(words, tmp_path, capsys):
    assert app.main(["fit", *words, f"--output_dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert (
        error.startswith("cloudtf fit: give the folder of the photographs")
        and error.count("\n") == 1
    )


@pytest.mark.parametrize("flag", ["--folds=5", "--fold=all", "--fold=1", "--find_rate"])
def test_folds_and_rates_are_for_the_single_commands(flag, photographs_dir, tmp_path, capsys):
    assert app.main(["fit", photographs_dir, f"--output_dir={tmp_path}/out", flag]) == 2
    assert f"{flag}: this makes one model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_more_minutes_let_a_finished_job_go_on(folders, tmp_path, capfd):
    """In the least time only the head is fitted; with more the whole network is trained too."""
    command = ["fit", str(folders), f"--output_dir={tmp_path}/out", "--image_height=64",
               "--image_width=64", "--early_stopping_patience=1"]  # fmt: skip
    assert app.main([*command, "--minutes=0.6"]) == 0
    run = str(tmp_path / "out" / "run")
    assert cloudtf.history_frame(run)["stage"].tolist() == ["features"]
    assert app.main([*command, "--minutes=2.5"]) == 0
    assert cloudtf.history_frame(run)["stage"].tolist()[:2] == ["features", "whole"]


@pytest.mark.parametrize("stage", ["whole", "soup"])
def test_an_average_of_epochs_replaces_the_exported_epoch_of_its_number(
    stage, tmp_path, monkeypatch
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.keras").touch()
    (tmp_path / "run" / "best.json").write_text(json.dumps({"epoch": 3, "stage": stage}))
    (tmp_path / "exported" / "assets.extra").mkdir(parents=True)
    (tmp_path / "exported" / "assets.extra" / "cloudtf.json").write_text(
        json.dumps({"best": {"epoch": 3, "stage": "whole"}})
    )
    plan = plans.Plan("tiny", "none", 64, epochs=3, minutes=20.0, exported=3)
    (tmp_path / "fit.json").write_text(json.dumps(dataclasses.asdict(plan)))
    written = []
    monkeypatch.setattr(exporting, "export", written.append)
    judged = evaluate.Evaluation({}, Thresholds({}), "")
    monkeypatch.setattr(evaluate, "judge", lambda config: judged)
    fitting._Job("photographs", None, FitConfig(output_dir=str(tmp_path)))._finished()
    assert len(written) == (stage == "soup")


def test_epochs_are_planned_from_what_the_last_one_took():
    def row(stage, speed):
        return {"stage": stage, "images_per_second": speed}

    features, whole = row("features", 200.0), row("whole", 50.0)
    assert plans.epochs_within(600, 2000, [features]) == 10  # A step takes four passes.
    assert plans.epochs_within(600, 2000, [whole]) == 1 + 10
    assert plans.epochs_within(600, 2000, [features, whole, whole]) == 2 + 10
    assert plans.epochs_within(600, 2000, [row("head", 200.0)] * 3) == 10
    assert plans.epochs_within(1, 2000, [features, whole, whole]) == 2
    assert plans.epochs_within(-5, 2000, [features]) == 0
    assert plans.epochs_within(1e9, 2000, [features]) == 30


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"model": 3}', "null", *(
        json.dumps({"model": "tiny", "weights": "none", "size": 64, "epochs": None, "minutes": 0,
                    "seconds": 0, "exported": None, **wrong})
        for wrong in ({"model": "big"}, {"size": "big"}, {"epochs": -1}, {"seconds": None},
                      {"minutes": True}, {"exported": 1.5}, {"weights": 0})
    )],
)  # fmt: skip
def test_a_damaged_plan_is_one_sentence(content, tmp_path):
    path = tmp_path / "fit.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"fit.json is damaged \([^()]*\); remove it, and what it"):
        plans.read(str(path))
