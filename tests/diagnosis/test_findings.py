"""How findings are printed."""

from __future__ import annotations

import pytest

from cloudtf.diagnosis.findings import Sheet
from cloudtf.errors import UserError


@pytest.mark.parametrize("columns", [40, 80])
def test_lines_fit_the_terminal_and_keep_paths_whole(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    path = "/data/a-rather-long-folder/of-records"
    sheet = Sheet()
    sheet.wrong(f"The shard {path} is missing; run `cloudtf convert` again, and see what it says.")
    out = capsys.readouterr().out
    assert out.startswith("wrong The shard")
    assert path in out
    lines = out.splitlines()
    assert all(len(line) <= max(columns, len(path) + 6) for line in lines)
    assert all(line.startswith("      ") for line in lines[1:])
    assert len(lines) > 1


def test_findings_are_counted_by_level(capsys):
    sheet = Sheet()
    sheet.ok("a")
    sheet.note("b")
    sheet.wrong("c")
    sheet.wrong("d")
    assert (sheet.note_count, sheet.wrong_count) == (1, 2)
    assert capsys.readouterr().out == "ok    a\nnote  b\nwrong c\nwrong d\n"


def test_what_a_check_raises_for_the_user_is_wrong_and_the_rest_is_raised(capsys):
    def fails(error):
        raise error

    sheet = Sheet()
    assert sheet.attempt(lambda: 3) == 3
    assert sheet.attempt(lambda: fails(UserError("It is so."))) is None
    missing = ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    assert sheet.attempt(lambda: fails(missing)) is None
    assert sheet.wrong_count == 2
    out = capsys.readouterr().out
    assert "wrong It is so." in out and "TensorFlow is not installed" in out
    with pytest.raises(ModuleNotFoundError, match="other"):
        sheet.attempt(lambda: fails(ModuleNotFoundError("other", name="other")))
    with pytest.raises(ValueError):
        sheet.attempt(lambda: fails(ValueError()))
