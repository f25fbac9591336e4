"""Checks of the set-up, with machines that are made up."""

from __future__ import annotations

import contextlib
import http.server
import importlib.metadata
import importlib.util
import os
import threading

import pytest
import tensorflow as tf

from cloudtf import machine
from cloudtf.diagnosis import environment
from cloudtf.diagnosis.config import DoctorConfig
from cloudtf.diagnosis.findings import Sheet
from cloudtf.model import keras2
from cloudtf.model import weights as weight_files


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def config(**changes):
    return DoctorConfig(**{"data_dir": "d", "model": "tiny", "weights": "none", **changes})


def hardware(capsys, variables=None, **changes):
    sheet = Sheet()
    strategy = environment.check_hardware(sheet, config(**changes), variables or {})
    return sheet, strategy, " ".join(capsys.readouterr().out.split())


def test_the_software_is_named(capsys):
    sheet = Sheet()
    assert environment.check_software(sheet)
    text = " ".join(capsys.readouterr().out.split())
    stack = "classic" if tf.__version__.startswith("2.15") else "current"
    assert f"TensorFlow {tf.__version__}, stack {stack}" in text
    assert sheet.wrong_count == 0


@pytest.mark.parametrize(
    ("version", "has_pkg_resources", "said"),
    [("2.15.2", False, True), ("2.20.0", False, True), ("2.20.0", True, False),
     ("2.21.0", False, False)],
)  # fmt: skip
def test_a_tensorboard_that_cannot_start_is_noted(
    monkeypatch, capsys, version, has_pkg_resources, said
):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: has_pkg_resources or None if name == "pkg_resources" else find(name),
    )
    sheet = Sheet()
    assert environment.check_software(sheet)
    assert ('pip install "setuptools<81"' in capsys.readouterr().out) == said
    assert sheet.note_count == said


def test_keras_3_in_place_of_2_is_wrong(monkeypatch, capsys):
    def wrong():
        from cloudtf.errors import UserError

        raise UserError("Keras 3 was chosen.")

    monkeypatch.setattr(keras2, "require", wrong)
    sheet = Sheet()
    assert not environment.check_software(sheet)
    assert "wrong Keras 3 was chosen." in capsys.readouterr().out


def test_hardware_that_is_not_there_is_wrong(capsys):
    sheet, strategy, text = hardware(capsys, strategy="gpu")
    assert strategy is None and sheet.wrong_count == 1
    assert "wrong strategy='gpu': TensorFlow sees no GPU here" in text


def test_half_precision_on_a_cpu_is_wrong(capsys):
    sheet, strategy, text = hardware(capsys, strategy="cpu", mixed_precision=True)
    assert strategy is None and "wrong mixed_precision=True is for GPUs" in text


def test_a_gpu_that_tensorflow_does_not_see_is_wrong_unless_the_cpu_is_wanted(
    monkeypatch, tmp_path, capsys
):
    device = tmp_path / "nvidia0"
    device.touch()
    monkeypatch.setattr(environment, "_NVIDIA_DEVICE", str(device))
    sheet, _, text = hardware(capsys)
    assert sheet.wrong_count == 1 and "has an NVIDIA GPU that TensorFlow does not see" in text
    sheet, _, text = hardware(capsys, {"CUDA_VISIBLE_DEVICES": "-1"})
    assert sheet.wrong_count == 0 and "note CUDA_VISIBLE_DEVICES hides all GPUs" in text
    sheet, _, text = hardware(capsys, strategy="cpu")
    assert sheet.wrong_count == 0 and "NVIDIA" not in text


def test_numbers_of_threads_that_were_set_are_noted(capsys):
    sheet, _, text = hardware(capsys, {"TF_NUM_INTRAOP_THREADS": "77"}, strategy="cpu")
    assert "note TF_NUM_INTRAOP_THREADS=77 is set" in text
    usable = str(len(os.sched_getaffinity(0)))
    _, _, text = hardware(capsys, {"TF_NUM_INTRAOP_THREADS": usable}, strategy="cpu")
    assert "TF_NUM_INTRAOP_THREADS" not in text


def test_a_containers_share_of_the_cores_is_noted(monkeypatch, capsys):
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.5)
    _, _, text = hardware(capsys, strategy="cpu")
    assert "note The container or job allows 0.5 cores' worth" in text


def test_several_workers_are_not_waited_for(capsys):
    sheet, strategy, text = hardware(capsys, strategy="multi_worker")
    assert strategy is not None
    assert "note Several workers: only this machine is looked at" in text


def weights(capsys, **changes):
    sheet = Sheet()
    found = environment.check_weights(sheet, config(**{"model": "efficientnetb0", **changes}))
    return sheet, found, " ".join(capsys.readouterr().out.split())


def test_a_weights_file_is_there_or_it_is_wrong(tmp_path, capsys):
    path = tmp_path / "w.h5"
    sheet, found, text = weights(capsys, weights=str(path))
    assert sheet.wrong_count == 1 and found is None and "nor a file that exists" in text
    path.touch()
    sheet, found, text = weights(capsys, weights=str(path))
    assert sheet.wrong_count == 0 and found == str(path)


def test_published_weights_are_in_the_cache(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(weight_files, "cached", lambda name, kind: str(tmp_path / "b0.h5"))
    sheet, found, text = weights(capsys, weights="imagenet")
    assert found == str(tmp_path / "b0.h5") and "ok The imagenet weights" in text


def test_weights_that_a_package_brings_are_found_in_it(capsys):
    sheet, found, text = weights(capsys, model="efficientnetlite0", weights="imagenet")
    assert sheet.wrong_count == 0 and found == weight_files.fetch("efficientnetlite0", "imagenet")


class _Server(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):  # noqa: N802 - the name that http.server calls
        self.send_response(200)
        self.send_header("Content-Length", "16000000")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/w.h5"
    finally:
        server.shutdown()
        server.server_close()


def test_published_weights_can_be_reached_or_it_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr(weight_files, "cached", lambda name, kind: None)
    with served() as url:
        monkeypatch.setattr(weight_files, "source", lambda name, kind: (url, "0"))
        sheet, found, text = weights(capsys, weights="imagenet")
        assert sheet.wrong_count == 0 and found is None
        assert "will be downloaded, 16 MB" in text
    sheet, found, text = weights(capsys, weights="imagenet")
    assert sheet.wrong_count == 1
    assert "cannot be reached (" in text and f"download {url} yourself" in text


def test_weights_that_nobody_published_are_wrong(capsys):
    sheet, _, text = weights(capsys, model="tiny", weights="imagenet")
    assert sheet.wrong_count == 1 and "There are no imagenet weights for tiny" in text


def run_folder(capsys, path, parameters=1000):
    sheet = Sheet()
    environment.check_run_folder(sheet, str(path), parameters)
    return sheet.wrong_count, " ".join(capsys.readouterr().out.split())


def test_the_run_folder_has_room_or_it_is_wrong(tmp_path, capsys):
    wrong, text = run_folder(capsys, tmp_path / "a" / "b")
    assert wrong == 0 and "takes up to 0.1 GB" in text
    assert not (tmp_path / "a").exists()
    # 32 bytes a parameter: a petabyte.
    wrong, text = run_folder(capsys, tmp_path, parameters=10**15 // 32)
    assert wrong == 1 and "make room, or give another run_dir" in text


def test_a_run_folder_below_a_file_is_wrong(tmp_path, capsys):
    (tmp_path / "file").touch()
    wrong, text = run_folder(capsys, tmp_path / "file" / "run")
    assert wrong == 1 and f"The folder {tmp_path}/file cannot be written to" in text


def test_a_remote_run_folder_is_left_alone(capsys):
    assert run_folder(capsys, "gs://bucket/run") == (0, "")
