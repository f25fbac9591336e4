"""Completion in bash, asked as bash asks it."""

from __future__ import annotations

import importlib
import shutil
import subprocess

import pytest

from cloudtf.commands import app, completion

COMMANDS = ("convert", "train", "evaluate")
bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def script():
    return completion.script("bash", COMMANDS)


def completed(script, *words):
    """What is offered for the last word."""
    ask = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cloudtf; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\n{ask}", "bash", *words],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["cloudtf", "tr"], ["train"]),
        (["cloudtf", "--v"], ["--version"]),
        (["cloudtf", "train", "--mixed"], ["--mixed_precision"]),
        (["cloudtf", "train", "--nomixed"], ["--nomixed_precision"]),
        (["cloudtf", "train", "--early"], ["--early_stopping_patience="]),
        (["cloudtf", "train", "--optimizer", "=", "a"], ["adam", "adamw"]),
        (["cloudtf", "train", "--optimizer", "="], ["radam", "adam", "adamw"]),
        (["cloudtf", "train", "--optimizer=r"], ["--optimizer=radam"]),
        (["cloudtf", "evaluate", "--optim"], []),
        (["cloudtf", "convert", "--on_error", "=", ""], ["fail", "skip"]),
        (["cloudtf", "train", "--data_dir", "=", "x"], []),
        (["cloudtf", "nonsense", "--"], []),
    ],
)
def test_bash_offers(script, words, offered):
    assert completed(script, *words) == offered


@bash
def test_every_flag_of_a_command_is_offered(script):
    config = importlib.import_module("cloudtf.commands.train").CONFIG
    fields = {name for name, f in config.__dataclass_fields__.items() if "help" in f.metadata}
    assert fields <= {word[2:].rstrip("=") for word in completed(script, "cloudtf", "train", "--")}


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_command_prints_it_for_all_commands(shell, capsys):
    assert app.main([f"--completion={shell}"]) == 0
    text = capsys.readouterr().out
    assert text == completion.script(shell, list(app.COMMANDS)) + "\n"
    assert ("bashcompinit" in text) == (shell == "zsh")


def test_another_shell_is_one_line_and_status_2(capsys):
    assert app.main(["--completion=tcsh"]) == 2
    assert capsys.readouterr().err == "cloudtf: --completion is one of bash, zsh, not 'tcsh'.\n"
