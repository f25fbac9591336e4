"""Flags, help and errors of every command."""

from __future__ import annotations

import dataclasses
import glob
import importlib
import importlib.metadata
import os
import pathlib
import re
import resource
import subprocess
import sys

import pytest

from cloudtf import settings
from cloudtf.commands import app
from cloudtf.errors import UsageError
from cloudtf.training.config import TrainConfig
from tests import programs

ROOT = pathlib.Path(__file__).parents[2]

# What scripts rely on.
PROMISED = {
    "synthesize": "output_dir num_images image_height image_width seed",
    "convert": "labels_csv images_dir output_dir image_height image_width jpeg_quality num_shards "
    "val_fraction folds split_column group_column keep_columns max_examples seed workers "
    "label_format classes on_error verify overwrite",
    "train": "data_dir run_dir model weights strategy batch_size head_epochs epochs learning_rate "
    "head_learning_rate optimizer loss augment_on augmentations cache mixed_precision jit_compile "
    "steps_per_execution early_stopping_patience plateau_patience plateau_factor seed "
    "deterministic resume checkpoint_every max_minutes steps_per_epoch fold profile",
    "launch": "workers",
    "evaluate": "run_dir model data_dir split output_dir recall_target precision_target "
    "confidence beta costs tta",
    "predict": "model data_dir split images_dir output calibrated",
    "compare": "runs data_dir measure plot json seed",
    "ensemble": "runs output_dir average",
    "pseudo-label": "model data_dir unlabelled_dir output_dir confident",
    "postprocess": "submission predictions thresholds output dry_run present_at calibrated",
    "preview": "data_dir output",
    "doctor": "data_dir run_dir model weights strategy batch_size cache augment_on mixed_precision "
    "check_shards timing seconds",
    "bench": "data_dir model strategy batch_size json images_dir step rounds seconds",
    "export": "model format output thresholds present_at calibrated precision any_size prove "
    "tolerance data_dir images_dir prove_images",
}
DEFAULTS = {
    "convert": {"image_height": 224, "image_width": 224, "jpeg_quality": 95, "val_fraction": 0.2,
                "seed": 2019, "label_format": "auto", "on_error": "fail"},
    "train": {"model": "efficientnetb2", "weights": "imagenet", "strategy": "auto",
              "optimizer": "radam", "loss": "bce", "augment_on": "auto", "cache": "auto",
              "early_stopping_patience": 5, "plateau_patience": 3, "plateau_factor": 0.5,
              "resume": "auto", "checkpoint_every": "500"},
    "evaluate": {"recall_target": 0.94, "precision_target": 0.90, "confidence": 0.95},
    "postprocess": {"present_at": "recall"},
}  # fmt: skip


def config_of(command):
    return importlib.import_module(f"cloudtf.commands.{command.replace('-', '_')}").CONFIG


@pytest.mark.parametrize("command", PROMISED)
def test_the_promised_flags_are_there_with_help(command):
    fields = {field.name: field for field in dataclasses.fields(config_of(command))}
    assert set(PROMISED[command].split()) <= set(fields)
    for field in fields.values():
        assert len(field.metadata["help"]) > 4 and field.metadata["help"].endswith("."), field.name
    for name, default in DEFAULTS.get(command, {}).items():
        assert fields[name].default == default


def test_every_promised_command_is_listed():
    assert set(PROMISED) <= set(app.COMMANDS)


@pytest.fixture(scope="module")
def help_pages():
    """`--help` of each command in a process: its text, processor seconds, and what it imported."""
    environment = {**os.environ, "COLUMNS": "80"}
    pages = {}
    for command in PROMISED:
        output = programs.run("show_help", command, environment=environment).stdout
        statuses, seconds, modules, _ = programs.result(output)
        pages[command] = (output[: output.rindex("\n[") + 1], *statuses, seconds, modules)
    return pages


@pytest.mark.parametrize("command", PROMISED)
def test_help_is_quick_and_names_every_flag(help_pages, command):
    text, status, seconds, loaded = help_pages[command]
    assert status == 0
    assert seconds < 1.0
    assert "tensorflow" not in loaded
    for field in dataclasses.fields(config_of(command)):
        assert re.search(rf"^  --{field.name}\b", text, re.M), field.name
    assert "--flagfile=FILE" in text
    headings = [line for line in text.splitlines() if re.fullmatch(r"[a-z]+:", line)]
    assert headings[0] == "main:"
    # The lines that name the choices of a flag cannot be broken.
    assert max(len(line) for line in text.splitlines() if not line.startswith("  --")) <= 80


def test_importing_the_package_is_quick_and_leaves_tensorflow_alone():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, modules = programs.answer("importing", "cloudtf_alone")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "tensorflow" not in modules
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.8


@pytest.mark.parametrize("start", [["-m", "cloudtf"], [str(ROOT / "tools/make_tfrecords.py")]])
def test_the_ways_to_start_it_give_the_same_sentences_and_status(start):
    words = ["--nonsense"] if "tools" in start[0] else ["convert", "--nonsense"]
    done = subprocess.run([sys.executable, *start, *words], capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "cloudtf convert: Unknown command line flag 'nonsense'.\n"


def test_the_console_command_is_installed():
    installed = importlib.metadata.distribution("cloudtf").entry_points
    (command,) = [e for e in installed if e.group == "console_scripts" and e.name == "cloudtf"]
    assert command.load() is importlib.import_module("cloudtf.__main__").main


def test_without_a_command_the_commands_are_listed(capsys):
    assert app.main([]) == 2
    assert app.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in PROMISED)
    assert app.main(["--version"]) == 0
    assert re.fullmatch(r"cloudtf \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["trian"], "'trian'"),
        (["train", "--data_dir=a", "--run_dir=b", "--epoch_count=3"], "epoch_count"),
        (["train", "--data_dir=a", "--run_dir=b", "--epochs=many"], "--epochs"),
        (["train", "--data_dir=a", "--run_dir=b", "--epochs=-1"], "--epochs=-1"),
        (["train", "--data_dir=a", "--run_dir=b", "--learning_rate=nan"], "--learning_rate=nan"),
        (["train", "--data_dir=a", "--run_dir=b", "--seed=99999999999"], "--seed=99999999999"),
        (["train", "--data_dir=a", "--run_dir=b", "--mixed_precision=maybe"], "mixed_precision"),
        (["train", "--data_dir=a", "--run_dir=b", "--loss=hinge"], "--loss=hinge"),
        (["train", "--data_dir=a", "--run_dir=b", "--augmentations=melt"], "--augmentations=melt"),
        (["train", "--data_dir=a", "--run_dir=b", "--checkpoint_every=0"], "--checkpoint_every=0"),
        (["train", "--data_dir=a", "--run_dir=b", "--checkpoint_every=1h"], "--checkpoint_every"),
        (["train", "--data_dir=a", "--run_dir=b", "--head_epochs=0", "--epochs=0"], "--epochs"),
        (["train", "--data_dir=a", "--run_dir=b", "--profile=9"], "--profile=9"),
        (["train", "--data_dir=a", "--run_dir=b", "quickly"], "'quickly'"),
        (["train", "--run_dir=b"], "--data_dir"),
        (["train", "--flagfile=no/such.flags"], "no/such.flags"),
        (["evaluate", "--data_dir=a"], "--run_dir or --model"),
        (["evaluate", "--data_dir=a", "--run_dir=b", "--model=c"], "--run_dir or --model"),
        (["evaluate", "--data_dir=a", "--run_dir=b", "--recall_target=2"], "--recall_target=2"),
        (["predict", "--model=a", "--output=b"], "--data_dir or --images_dir"),
        (["preview", "--data_dir=a", "--output=b", "--versions=0"], "--versions=0"),
        (["convert", "--output_dir=a", "--jpeg_quality=0"], "--jpeg_quality=0"),
        (["synthesize"], "--output_dir"),
        (["postprocess", "--submission=a"], "--predictions"),
    ],
)
def test_wrong_usage_is_one_line_that_names_it_and_status_2(arguments, named, capsys):
    assert app.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("cloudtf") and named in err and "Traceback" not in err


def test_bad_input_is_one_line_and_status_1(tmp_path, capsys):
    for arguments, named in (
        (["train", f"--data_dir={tmp_path}/x", f"--run_dir={tmp_path}/r"], f"{tmp_path}/x"),
        (["evaluate", f"--data_dir={tmp_path}", f"--run_dir={tmp_path}/r"], "r/best.keras"),
        (["predict", f"--model={tmp_path}/m.keras", "--images_dir=.", "--output=o"], "m.keras"),
        (["preview", f"--data_dir={tmp_path}/x", "--output=o.png"], f"{tmp_path}/x"),
        (["postprocess", "--submission=a", "--predictions=b", "--thresholds=c", "--output=d"], "b"),
    ):
        assert app.main(arguments) == 1
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1 and named in err and "Traceback" not in err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("word", ["h", "help"])
def test_a_value_is_not_taken_for_a_call_for_help(word, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert app.main(["preview", "--data_dir", word, "--output=o.png"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and f"There is no dataset.json in {word};" in err
    for flag in (f"-{word}", f"--{word}"):
        assert app.main(["preview", "--data_dir=a", flag]) == 0
        assert "--data_dir=TEXT" in capsys.readouterr().out


def test_an_interrupt_is_status_130(monkeypatch, capsys):
    from cloudtf.commands import preview

    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(preview, "run", interrupted)
    assert app.main(["preview", "--data_dir=a", "--output=b"]) == 130
    assert capsys.readouterr().err == "cloudtf preview: stopped.\n"


@pytest.mark.parametrize("path", sorted(glob.glob(str(ROOT / "flags" / "*.flags"))))
def test_every_flagfile_is_commented_and_understood(path):
    lines = pathlib.Path(path).read_text().splitlines()
    assert lines[0].startswith("# ")
    command = "synthesize" if path.endswith("demo_synthesize.flags") else "train"
    required = {
        "synthesize": ["--output_dir=a"],
        "train": ["--data_dir=a", "--run_dir=b"],
    }[command]
    config = app.parse(config_of(command), [f"--flagfile={path}", *required])
    written = settings.to_flagfile(config).splitlines()
    for line in lines:
        if line.startswith("--"):
            name, _, value = line[2:].partition("=")
            text = getattr(config, name)
            text = ",".join(text) if isinstance(text, tuple) else text
            assert str(text) == (value or "True") or float(text) == float(value), line
            assert any(w.startswith(f"--{name}=") for w in written)


def test_the_promised_flagfiles_are_there():
    names = {os.path.basename(path) for path in glob.glob(str(ROOT / "flags" / "*.flags"))}
    wanted = {
        "demo",
        "demo_features",
        "finetune",
        "cpu",
        "gpu_mirrored",
        "multi_worker",
        "tpu",
        "notebook",
    }
    assert {f"{name}.flags" for name in wanted} <= names


def test_a_later_flag_overrides_the_flagfile(tmp_path):
    (tmp_path / "a.flags").write_text("# mine\n\n--epochs=7\n--mixed_precision\n--seed=3\n")
    config = app.parse(
        TrainConfig,
        ["--data_dir=a", "--run_dir=b", f"--flagfile={tmp_path}/a.flags", "--seed=4",
         "--nomixed_precision"],
    )  # fmt: skip
    assert (config.epochs, config.seed, config.mixed_precision) == (7, 4, False)


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(data_dir="a", run_dir="b"),
        TrainConfig(
            data_dir="gs://bucket/my records",
            run_dir="b=c",
            fold=0,
            augmentations=(),
            learning_rate=1 / 3,
            max_minutes=0.1,
            deterministic=True,
            tensorboard=False,
            checkpoint_every="10m",
            head_epochs=0,
        ),
        TrainConfig(data_dir="#a", run_dir="ü", augmentations=("brightness", "rotation")),
        TrainConfig(data_dir="two\nlines\r\n", run_dir=" outer spaces\t"),
        TrainConfig(data_dir="\n", run_dir="$'quoted\\'", weights="a\u2028b\x0b\x85\udcff.h5"),
        TrainConfig(data_dir="$'", run_dir="back\\slash 'and' \"quotes\"", weights="\\n$'x'"),
        TrainConfig(data_dir="[a] *b? {c}", run_dir="//a", weights="--seed=3"),
    ],
)
def test_a_written_flagfile_reproduces_the_settings(config, tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text(settings.to_flagfile(config), encoding="utf-8")
    assert app.parse(TrainConfig, [f"--flagfile={path}"]) == config


def test_ordinary_values_are_written_as_they_are():
    config = TrainConfig(data_dir="C:\\records 'new'", run_dir="a=b $x")
    lines = settings.to_flagfile(config).splitlines()
    assert (
        lines[-2:] != [] and "--data_dir=C:\\records 'new'" in lines and "--run_dir=a=b $x" in lines
    )


def test_flagfiles_may_name_others_but_not_themselves(tmp_path, capsys):
    (tmp_path / "a.flags").write_text(f"--seed=1\n--flagfile={tmp_path}/b.flags\n--epochs=2\n")
    (tmp_path / "b.flags").write_text("  // none of mine\n--seed=5\n--epochs=9\n--run_dir=b\n")
    config = app.parse(TrainConfig, ["--data_dir=a", "--flagfile", f"{tmp_path}/a.flags"])
    assert (config.seed, config.epochs, config.run_dir) == (5, 2, "b")
    (tmp_path / "b.flags").write_text(f"--flagfile={tmp_path}/a.flags\n")
    with pytest.raises(UsageError, match="names itself"):
        app.parse(TrainConfig, ["--data_dir=a", f"--flagfile={tmp_path}/a.flags"])
    (tmp_path / "b.flags").write_bytes(b"--seed=\xff\n")
    with pytest.raises(UsageError, match="--flagfile=.*b.flags.*is not UTF-8 text"):
        app.parse(TrainConfig, [f"--flagfile={tmp_path}/b.flags"])


def test_words_of_a_list_may_have_spaces_around_them():
    given = ["--data_dir=a", "--run_dir=b", "--augmentations=rotation , brightness"]
    assert app.parse(TrainConfig, given).augmentations == ("rotation", "brightness")


def test_a_stray_word_is_a_usage_error():
    with pytest.raises(UsageError, match="'x' is not a flag"):
        app.parse(TrainConfig, ["--data_dir=a", "--run_dir=b", "--", "x"])
