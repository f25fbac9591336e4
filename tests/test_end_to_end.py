"""The whole job, from photographs to a cleaned submission: on `ram://` paths, and by the command.

Nothing on a `ram://` path exists outside TensorFlow's file system layer, so whatever bypassed
`cloudtf.files` would find nothing there.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cloudtf import files
from cloudtf.commands import app

CLASSES = ("Fish", "Flower", "Gravel", "Sugar")
IN_RUN = (
    "best.json",
    "best.keras",
    "checkpoints",
    "flags.txt",
    "history.csv",
    "metrics.json",
    "pr_auc_history.png",
    "predictions_val.csv",
    "report.html",
    "thresholds.json",
    *(f"pr_curve_{name}.png" for name in CLASSES),
)


def commands(folder):
    """The seven commands on one folder, as words."""
    return [
        f"synthesize --output_dir={folder}/photographs --num_images=40 --num_test_images=6 "
        "--image_height=64 --image_width=96",
        f"convert --labels_csv={folder}/photographs/train.csv "
        f"--images_dir={folder}/photographs/train_images --output_dir={folder}/records "
        "--image_height=32 --image_width=32 --num_shards=2 --verify",
        f"preview --data_dir={folder}/records --output={folder}/preview.png --num_images=2 "
        "--versions=2",
        f"train --data_dir={folder}/records --run_dir={folder}/run --model=tiny --weights=none "
        "--epochs=2 --batch_size=8 --checkpoint_every=2",
        f"evaluate --run_dir={folder}/run --data_dir={folder}/records",
        f"predict --model={folder}/run --images_dir={folder}/photographs/test_images "
        f"--output={folder}/predictions.csv",
        f"postprocess --submission={folder}/photographs/sample_submission.csv "
        f"--predictions={folder}/predictions.csv --thresholds={folder}/run/thresholds.json "
        f"--output={folder}/submission.csv",
    ]


def check(folder):
    assert set(IN_RUN) <= set(files.list_dir(files.join(folder, "run")))
    assert files.list_dir(files.join(folder, "run", "tensorboard"))
    submission = files.read_text(files.join(folder, "submission.csv")).splitlines()
    given = files.read_text(files.join(folder, "photographs", "sample_submission.csv")).splitlines()
    assert [row.split(",")[0] for row in submission] == [row.split(",")[0] for row in given]
    assert len(submission) == 1 + 6 * len(CLASSES)
    for before, after in zip(given, submission):
        assert after in (before, before.split(",")[0] + ",")
    predicted = files.read_text(files.join(folder, "predictions.csv")).splitlines()
    assert predicted[0] == "Image," + ",".join(CLASSES)
    names = files.list_dir(files.join(folder, "photographs", "test_images"))
    assert [row.split(",")[0] for row in predicted[1:]] == names


def test_the_whole_job_runs_on_paths_that_only_tensorflow_knows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in commands("ram://job"):
        assert app.main(line.split()) == 0, line
    check("ram://job")
    assert files.read_bytes("ram://job/preview.png").startswith(b"\x89PNG")
    # Run again, it finds what it made: the checkpoint is read from there too.
    assert app.main(commands("ram://job")[3].split()) == 0
    more = commands("ram://job")[3] + " --epochs=3"
    assert app.main(more.split()) == 0
    names = files.list_dir("ram://job/run/checkpoints")
    assert len(names) == 1 and names[0].endswith("-finished")
    assert len(files.read_text("ram://job/run/history.csv").splitlines()) == 1 + 3
    assert os.listdir(tmp_path) == [], "nothing was written beside it"


@pytest.mark.slow
def test_the_console_command_goes_the_whole_way_on_local_paths(tmp_path):
    command = os.path.join(os.path.dirname(sys.executable), "cloudtf")
    if not os.path.exists(command):
        pytest.skip("cloudtf is not installed in this environment")
    for line in commands("job"):
        if line.startswith("preview"):
            continue  # To save the start of TensorFlow; it was drawn above.
        done = subprocess.run(
            [command, *line.split()], cwd=tmp_path, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "WARNING" not in done.stdout
    check(str(tmp_path / "job"))
    assert sorted(os.listdir(tmp_path)) == ["job"]
