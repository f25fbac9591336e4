"""The short form of the soak: random kills, and nothing that differs in the end."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

SOAK = pathlib.Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.timeout(900)
def test_ten_random_kills_lose_nothing_and_change_nothing(records_dir, tmp_path):
    report = tmp_path / "soak.json"
    command = [
        sys.executable, str(SOAK), "--kills=10", "--max_minutes=13", f"--data_dir={records_dir}",
        f"--work_dir={tmp_path / 'work'}", f"--json={report}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=880)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert found["kills"] == 10
    assert set(found["kills_by_kind"]) == {"operation", "writing", "time"}
    assert (found["lost"], found["differences"]) == ([], [])
    assert not list((tmp_path / "work").iterdir()), "the runs are removed where all was well"
