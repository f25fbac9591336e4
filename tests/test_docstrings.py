"""What the docstrings say: their examples run, their entries say something, and what users call has
an example.

An example finds itself in a folder of its own, as a user's would be: `photographs/images` with
`photographs/labels.csv`, their records in `records`, a trained run in `runs/a`. It need not import
`cloudtf`, numpy as `np` or TensorFlow as `tf`.
"""

import ast
import doctest
import importlib
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

import cloudtf

ROOT = pathlib.Path(cloudtf.__file__).parents[1]
MODULES = sorted((ROOT / "cloudtf").rglob("*.py"))
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def docstrings(path):
    """Qualified name and text of each docstring of a file."""

    def walk(node, name):
        if text := ast.get_docstring(node):
            yield name, text
        for child in ast.iter_child_nodes(node):
            if isinstance(child, DOCUMENTED):
                yield from walk(child, f"{name}.{child.name}")

    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for name, text in walk(ast.parse(path.read_text(encoding="utf-8")), module):
        yield module, name, text


EXAMPLES = [
    pytest.param(module, name, text, id=name)
    for path in MODULES
    for module, name, text in docstrings(path)
    if ">>>" in text
]


@pytest.fixture(scope="session")
def users_folder(tmp_path_factory, photographs_dir, records_dir, trained_run):
    folder = tmp_path_factory.mktemp("user") / "folder"
    shutil.copytree(photographs_dir, folder / "photographs")
    shutil.copytree(records_dir, folder / "records")
    shutil.copytree(trained_run, folder / "runs" / "a")
    return folder


@pytest.mark.parametrize("module, name, text", EXAMPLES)
def test_the_example_runs(module, name, text, users_folder, tmp_path, monkeypatch):
    here = tmp_path / "folder"
    shutil.copytree(users_folder, here)
    monkeypatch.chdir(here)
    names = {**vars(importlib.import_module(module)), "cloudtf": cloudtf, "np": np, "tf": tf}
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    report = []
    doctest.DocTestRunner(optionflags=flags).run(example, out=report.append)
    assert not report, "".join(report)


def public_docstrings(name):
    """The docstring of a public name, and those of the public methods of a class."""
    thing = getattr(cloudtf, name)
    parts = vars(thing).items() if isinstance(thing, type) else ()
    yield thing.__doc__ or ""
    yield from (part.__doc__ or "" for key, part in parts if not key.startswith("_"))


def test_what_users_call_has_an_example():
    lacking = {
        name
        for name in cloudtf.__all__
        if name != "__version__" and not any(">>>" in text for text in public_docstrings(name))
    }
    assert not lacking


ENTRY = re.compile(r"  (\*{0,2}\w+(?:, \w+)*): (.*)")
# An entry that begins so cannot be read without its name: `seed: of that.`
CARRY_ON = {
    "as", "at", "by", "for", "from", "gets", "has", "in", "is", "of", "on", "see", "takes", "that",
    "to", "what", "which", "with",
}  # fmt: skip


def entries(text):
    """Name and text of each entry of `Args:` and `Attributes:`."""
    section, found = "", []
    for line in text.splitlines():
        if line and not line.startswith(" "):
            section = line
        elif section in ("Args:", "Attributes:"):
            if entry := ENTRY.fullmatch(line):
                found.append(list(entry.groups()))
            elif found:
                found[-1][1] += " " + line.strip()
    return found


def says_nothing(text):
    """Whether an entry is a stub: a few words that name no shape, or the end of a sentence."""
    words = text.split()
    if words[0].rstrip(",.") in CARRY_ON:
        return len(words) < 8
    return len(words) < 4 and "[" not in text


@pytest.mark.parametrize(
    "text, stub",
    [
        ("of that.", True),
        ("to stop.", True),
        ("columns.", True),
        ("how many.", True),
        ("of the order and the augmentation.", True),
        ("float32 [B, C].", False),
        ("keys the random order of examples; any int64.", False),
        ("for training: how many examples of the endless stream to skip.", False),
    ],
)
def test_stubs_are_told_from_entries_that_say_something(text, stub):
    assert says_nothing(text) == stub


SOURCES = [*MODULES, *sorted(ROOT.glob("benchmarks/*.py")), *sorted(ROOT.glob("tools/*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_argument_and_attribute_says_what_it_is(path):
    stubs = [
        f"{name}: {argument}: {said}"
        for _, name, text in docstrings(path)
        for argument, said in entries(text)
        if says_nothing(said)
    ]
    assert not stubs, "\n".join(stubs)


def test_packages_of_many_modules_name_each_of_them_once():
    for package in ("cloudtf.data", "cloudtf.data.layouts", "cloudtf.pipeline"):
        listed = re.findall(r"^  (\w+)", importlib.import_module(package).__doc__, re.MULTILINE)
        folder = ROOT.joinpath(*package.split("."))
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        packages = {path.parent.name for path in folder.glob("*/__init__.py")}
        assert sorted(listed) == sorted(modules | packages)
