"""What reaches standard error of a command: what it says, not what libraries in C++ say."""

import os
import subprocess
import sys

import pytest

from tests import programs

# With TensorFlow's own choice of what it logs.
CLEAN = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def written(**environment):
    done = subprocess.run(
        programs.command("write_noise", "größe"),
        stderr=subprocess.PIPE, env={**CLEAN, "PYTHONIOENCODING": "utf-8", **environment},
    )  # fmt: skip
    assert done.returncode == -6
    return done.stderr.decode("utf-8")


def test_only_log_lines_are_kept_out_and_a_crash_says_why():
    assert written() == (
        "größe\nI am no log line.\nE1234 neither\na prompt without an end and the rest\n"
        "F0000 00:00:1795890352.39 4522 x.cc:1] Check failed: a == b\n"
    )


@pytest.mark.parametrize("level", ["0", "2"])
def test_who_asks_for_logs_gets_them_all(level):
    text = written(TF_CPP_MIN_LOG_LEVEL=level)
    for word in ("absl::", "XLA!", "stream.h", "heartbeat", "2023-12-04", "libpng", "F0000"):
        assert word in text


def test_a_training_command_writes_whole_lines_of_80_columns_and_nothing_else(
    records_dir, tmp_path
):
    done = subprocess.run(
        [
            sys.executable, "-m", "cloudtf", "train", f"--data_dir={records_dir}",
            f"--run_dir={tmp_path}/run", "--model=tiny", "--weights=none", "--head_epochs=1",
            "--epochs=1", "--batch_size=8", "--train_metric_examples=0", "--notensorboard",
        ],
        capture_output=True, encoding="utf-8", env=CLEAN,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\r" not in done.stdout
    epochs = [line for line in done.stdout.splitlines() if line.startswith("epoch ")]
    assert [line[:14] for line in epochs] == ["epoch 1 of 2  ", "epoch 2 of 2  "]
    assert epochs[0].endswith(" left") and not epochs[1].endswith(" left")
    assert max(map(len, epochs)) <= 80
