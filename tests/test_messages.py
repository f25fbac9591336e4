"""What the library says: through the reporter, and with parameters' names, not flags."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import io
import pathlib
import re
import subprocess
import sys

import pytest
from tqdm import tqdm

import cloudtf
from cloudtf import errors
from cloudtf.commands import app
from cloudtf.errors import UserError, param
from cloudtf.reporter import report
from tests import programs

LIBRARY = pathlib.Path(cloudtf.__file__).parent

# They write flags by trade, for `param` and for flags.txt; the launcher says on stderr, beside what
# its workers say there, that they start again.
WRITERS = {"errors.py", "settings.py", "training/launch.py"}


def flags_of_commands():
    for command in app.COMMANDS:
        module = importlib.import_module(f"cloudtf.commands.{command.replace('-', '_')}")
        yield from (field.name for field in dataclasses.fields(module.CONFIG))


def texts(node):
    """Each string in the source as (line, text): an f-string whole, `{}` for what it fills in."""
    if isinstance(node, ast.JoinedStr):
        parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        yield node.lineno, "".join(parts)
        inside = [v.value for v in node.values if isinstance(v, ast.FormattedValue)]
    else:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        inside = list(ast.iter_child_nodes(node))
    for child in inside:
        yield from texts(child)


def printing(node):
    """Whether a call writes to the terminal by itself."""
    words = ast.unparse(node.func)
    return words in ("print", "sys.stdout.write", "sys.stderr.write", "tqdm.write")


def offences(path):
    """What a module of the library prints, and its strings that name flags outside a command."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and printing(node):
            yield f"{node.lineno}: prints"
    flag = re.compile(rf"--((no)?({'|'.join(sorted(set(flags_of_commands())))})\b|\{{\}})")
    for line, text in texts(tree):
        found = flag.search(re.sub(r"`cloudtf [^`]*`", "", text))
        if found:
            yield f"{line}: {found.group()}"


def test_the_library_neither_prints_nor_speaks_of_flags():
    wrong = {}
    for path in LIBRARY.rglob("*.py"):
        name = path.relative_to(LIBRARY).as_posix()
        if not name.startswith("commands/") and name not in WRITERS | {"reporter.py"}:
            wrong[name] = list(offences(path))
    assert {name: lines for name, lines in wrong.items() if lines} == {}


def test_what_prints_or_names_a_flag_is_seen(tmp_path):
    source = '''
"""Goes on without damaged records: `--on_bad_record=skip`."""
print("done")
raise UserError(f"--{name}={value} is wrong: {[f'--seed={s}' for s in seeds]}")
raise UserError("give a smaller --batch_size; see `cloudtf convert --verify`")
report("train with --notensorboard")
report("run `cloudtf convert --verify`; --ink is CSS, --helping is nothing")
'''
    (tmp_path / "made.py").write_text(source)
    found = [line.partition(": ")[2] for line in offences(tmp_path / "made.py")]
    assert found == [
        "prints", "--on_bad_record", "--{}", "--seed", "--batch_size", "--notensorboard",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("named", "parameter", "flag"),
    [
        (lambda: param("batch_size"), "batch_size", "--batch_size"),
        (lambda: param(batch_size=0), "batch_size=0", "--batch_size=0"),
        (lambda: param(rate=1e-05), "rate=1e-05", "--rate=1e-05"),
        (lambda: param(cache="none"), "cache='none'", "--cache=none"),
        (lambda: param(run_dir="my run"), "run_dir='my run'", "--run_dir='my run'"),
        (lambda: param(classes=("A", "B c")), "classes=('A', 'B c')", "--classes='A,B c'"),
        (lambda: param(verify=True), "verify=True", "--verify"),
        (lambda: param(tensorboard=False), "tensorboard=False", "--notensorboard"),
        (lambda: param(name="x"), "name='x'", "--name=x"),
    ],
)
def test_a_setting_is_named_as_the_reader_knows_it(named, parameter, flag):
    assert named() == parameter
    with errors.naming_flags():
        assert named() == flag
    assert named() == parameter


def test_a_hostile_value_is_shown_and_not_obeyed():
    for shown in (lambda: param(model="a\nb\x1b[2J\u202e"), lambda: param(model=["x" * 10**6])):
        with errors.naming_flags():
            in_command = str(UserError(f"{shown()} is wrong."))
        for text in (str(UserError(f"{shown()} is wrong.")), in_command):
            assert text.isprintable() and len(text) < 500


def test_python_reads_parameters_and_a_command_flags(capsys):
    with pytest.raises(UserError, match=r"^batch_size=0 must be at least 1\.$"):
        cloudtf.TrainConfig(data_dir="a", run_dir="b", batch_size=0)
    with pytest.raises(UserError, match=r"^cache='disk' is not one of auto, none,"):
        cloudtf.TrainConfig(data_dir="a", run_dir="b", cache="disk")
    assert app.main(["train", "--data_dir=a", "--run_dir=b", "--batch_size=0"]) == 2
    assert capsys.readouterr().err == "cloudtf train: --batch_size=0 must be at least 1.\n"
    # A command that has failed leaves the next message as it was.
    with pytest.raises(UserError, match=r"^data_dir is required: "):
        cloudtf.TrainConfig()


def test_messages_are_printed_unless_a_caller_takes_them(capsys):
    report("one\ntwo")
    said = []
    with cloudtf.reporting_to(said.append):
        report("three")
        with cloudtf.reporting_to(None):
            report("four")
    before = cloudtf.set_reporter(said.append)
    report("five")
    cloudtf.set_reporter(before)
    report("six")
    assert said == ["three", "five"]
    assert capsys.readouterr() == ("one\ntwo\nsix\n", "")


def test_a_reporter_that_fails_is_taken_down_with_its_block(capsys):
    def broken(text):
        raise ValueError(text)

    with pytest.raises(ValueError, match="one"), cloudtf.reporting_to(broken):
        report("one")
    report("two")
    assert capsys.readouterr().out == "two\n"


def test_a_message_beside_a_progress_bar_has_its_own_line(capsys, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal)
    with tqdm(total=2, file=terminal, mininterval=0) as bar:
        bar.update()
        report("said")
    assert capsys.readouterr().out == "said\n"
    assert re.search(r"\r +\r", terminal.getvalue()), "the bar is cleared first"


def test_a_message_comes_before_what_is_printed_after_it_wherever_it_goes(tmp_path):
    with open(tmp_path / "log", "wb") as log:
        subprocess.run(programs.command("report_and_echo"), stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "first\nthen\n"
