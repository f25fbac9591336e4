"""`cloudtf doctor` as a command: its status, its lines, and what it leaves alone."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from cloudtf import files
from cloudtf.commands import app
from cloudtf.diagnosis import environment
from cloudtf.diagnosis.config import DoctorConfig
from cloudtf.training.config import TrainConfig

SMALL = ["--model=tiny", "--weights=none", "--strategy=cpu", "--batch_size=8", "--seconds=0.02"]


def doctor(capsys, *arguments):
    status = app.main(["doctor", *SMALL, *arguments])
    out, err = capsys.readouterr()
    # What is left of a progress bar is not part of it.
    said = [line for line in err.splitlines() if line.startswith("cloudtf")]
    return status, out, said


def test_a_sound_set_is_timed_and_nothing_is_written(records_dir, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    before = sorted(os.listdir(records_dir))
    run_dir = tmp_path / "run"
    status, out, err = doctor(capsys, f"--data_dir={records_dir}", f"--run_dir={run_dir}")
    assert status == 0 and not err
    for stage in ("read", "decode", "augment", "step"):
        assert re.search(rf"^  {stage} +[\d.]+ ms +[\d,]+ images/s$", out, re.M), out
    text = " ".join(out.split())
    assert re.search(
        r"images/s in all; the bottleneck is (read|decode|augment|step), with \d+% of an", text
    )
    assert "60 records agree with their checksums" in text
    assert "Nothing is wrong" in text
    # Only paths and the table of speeds may be wider.
    assert all(len(w) <= 40 for w in out.splitlines() if str(tmp_path) not in w), out
    assert not run_dir.exists()
    assert sorted(os.listdir(records_dir)) == before


def test_what_the_device_augments_is_not_timed_on_the_host(records_dir, capsys):
    status, out, _ = doctor(capsys, f"--data_dir={records_dir}", "--augment_on=device")
    assert status == 0
    assert "  step" in out and "  augment " not in out


def test_all_that_is_wrong_is_listed_with_status_1(records_dir, tmp_path, capsys):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    (folder / "train-00001-of-00004.tfrecord").unlink()
    status, out, err = doctor(
        capsys,
        f"--data_dir={folder}",
        "--weights=/no/such.h5",
        "--mixed_precision",
        f"--run_dir={tmp_path}",
    )
    assert status == 1
    text = " ".join(out.split())
    for sentence in (
        "wrong --mixed_precision is for GPUs",
        "wrong --weights=/no/such.h5 is neither",
        "train-00001-of-00004.tfrecord is missing",
    ):
        assert sentence in text
    assert "images/s" not in text
    assert err == ["cloudtf doctor: 3 things are wrong; see the lines that say so."]


def test_without_a_data_set_the_set_up_is_checked_all_the_same(tmp_path, capsys):
    status, out, _ = doctor(capsys, f"--data_dir={tmp_path}/none")
    assert status == 1
    text = " ".join(out.split())
    assert "ok Python" in text and "wrong There is no dataset.json" in text


def test_without_tensorflow_the_shards_are_checked_all_the_same(
    records_dir, tmp_path, capsys, monkeypatch
):
    folder = shutil.copytree(records_dir, tmp_path / "records")
    (folder / "val-00001-of-00004.tfrecord").write_bytes(b"")

    def check_software(sheet):
        sheet.wrong("TensorFlow is not installed.")
        return False

    monkeypatch.setattr(environment, "check_software", check_software)
    status, out, _ = doctor(capsys, f"--data_dir={folder}")
    assert status == 1
    assert "val-00001-of-00004.tfrecord has 0 bytes" in " ".join(out.split())
    assert "leaves out damaged records" not in out
    _, out, _ = doctor(capsys, f"--data_dir={folder}", "--on_bad_record=skip")
    assert "note --on_bad_record=skip leaves out damaged records" in " ".join(out.split())


def test_a_remote_set_is_checked_and_timed_too(records_dir, capsys):
    folder = "ram://doctor/records"
    files.make_dirs(folder)
    for name in os.listdir(records_dir):
        files.write_bytes(f"{folder}/{name}", files.read_bytes(f"{records_dir}/{name}"))
    status, out, err = doctor(capsys, f"--data_dir={folder}", "--run_dir=ram://doctor/run")
    assert status == 0 and not err
    assert "60 records agree" in " ".join(out.split()) and "  read" in out
    assert not files.exists("ram://doctor/run")
    files.remove(f"{folder}/val-00001-of-00004.tfrecord")
    status, out, _ = doctor(capsys, f"--data_dir={folder}")
    assert status == 1
    assert f"{folder}/val-00001-of-00004.tfrecord is missing" in out


def test_an_unlabelled_set_cannot_be_trained_on(unlabelled_dir, capsys):
    status, out, _ = doctor(capsys, f"--data_dir={unlabelled_dir}", "--notiming")
    assert status == 1 and "have no labels" in " ".join(out.split())


def test_every_flag_of_train_is_taken():
    for arguments in (["--fold=1", "--checkpoint_every=10m"], ["--flagfile=flags/tpu.flags"]):
        root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        arguments = [a.replace("flags/tpu", f"{root}/flags/tpu") for a in arguments]
        given = ["--data_dir=a", "--run_dir=b", *arguments]
        ours, theirs = app.parse(DoctorConfig, given), app.parse(TrainConfig, given)
        assert {k: v for k, v in vars(ours).items() if k in vars(theirs)} == vars(theirs)
    assert app.parse(DoctorConfig, ["--data_dir=a"]).run_dir is None


@pytest.mark.parametrize("flag", ["--check_shards=-1", "--seconds=0", "--epochs=-1"])
def test_flags_have_ranges(flag, capsys):
    assert app.main(["doctor", "--data_dir=a", flag]) == 2
    assert flag.split("=")[0] in capsys.readouterr().err


def test_what_a_data_service_makes_is_not_kept_in_memory_here(records_dir, capsys):
    flags = ["--cache=decoded", "--data_service=grpc://127.0.0.1:5050"]
    _, out, _ = doctor(capsys, f"--data_dir={records_dir}", *flags)
    text = " ".join(out.split())
    assert "val: kept in memory as pixels" in text and "train: kept" not in text
    assert "--cache=decoded keeps" not in text
