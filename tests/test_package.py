"""The package: what it ships, that it installs everywhere, and that its files agree."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.metadata
import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import cloudtf
from cloudtf.commands import app
from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
UV = shutil.which("uv", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("uv")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def read_setup():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements(text):
    """Names and ranges of a list in setup.cfg, without markers: {"numpy": ">=1.23"}."""
    found = {}
    for line in text.splitlines():
        line = line.split(";")[0].strip()
        if line and not line.startswith("#"):
            name, rest = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?(.*)", line).groups()
            found[re.sub("[-_.]+", "-", name).lower()] = rest
    return found


# What is installed is looked at, not a checkout that the tests were given the path of.
OUTSIDE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*words, **more):
    words = [str(w) for w in words]
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", timeout=1200, env=OUTSIDE, **more
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_extras_are_those_that_are_promised_and_the_core_names_no_tensorflow():
    setup = read_setup()
    extras = setup["options.extras_require"]
    promised = "classic classic-gpu current current-gpu current-tpu benchmarks dev"
    assert set(promised.split()) <= set(extras)
    core = requirements(setup["options"]["install_requires"])
    assert not [name for name in core if "tensorflow" in name or "keras" in name]


@pytest.mark.parametrize("stack", ["classic", "current"])
def test_each_lock_pins_all_that_setup_cfg_asks_for(stack):
    setup = read_setup()
    pinned = {}
    for line in (ROOT / "requirements" / f"{stack}.txt").read_text().splitlines():
        found = re.match(r"([a-z0-9-]+)==([^ ;]+)", line)
        if found:
            pinned.setdefault(found[1], set()).add(found[2])
    extras = setup["options.extras_require"]
    asked = {}
    for text in (setup["options"]["install_requires"], extras[stack], extras["dev"]):
        asked.update(requirements(text))
    assert set(asked) <= set(pinned)
    for name, wanted in asked.items():
        if wanted.startswith("=="):
            assert pinned[name] == {wanted[2:]}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.stem
)
def test_setuptools_has_what_the_pinned_tensorboard_imports(path):
    pins = re.findall(r"^(tensorboard|setuptools)==(\d+)\.(\d+)", path.read_text(), re.M)
    oldest = min((int(major), int(minor)) for name, major, minor in pins if name == "tensorboard")
    newest = max(int(major) for name, major, _ in pins if name == "setuptools")
    # TensorBoard up to 2.20 imports pkg_resources, which setuptools has up to 80.
    assert oldest >= (2, 21) or newest <= 80


def test_tensorboard_starts():
    done = subprocess.run(
        [sys.executable, "-m", "tensorboard.main", "--version"],
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [importlib.metadata.version("tensorboard")]


def test_the_version_is_said_once_and_in_the_changelog():
    assert read_setup()["metadata"]["version"] == "attr: cloudtf.__version__"
    assert f"## {cloudtf.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {cloudtf.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_what_contributors_are_told_to_run_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    told = re.findall(r"make ([a-z]+(?:-[a-z]+)*)", (ROOT / "CONTRIBUTING.md").read_text())
    assert set(told) <= targets and {"setup", "test", "coverage"} <= set(told)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    tools = re.findall(r"entry: \.venv/bin/([a-z]+)", hooks)
    assert tools == ["ruff", "ruff", "mypy"]
    assert set(tools) <= set(requirements(read_setup()["options.extras_require"]["dev"]))
    assert "repo: local" in hooks and "http" not in hooks


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_environment_of_another_python_is_not_used_for_the_one_that_was_asked_for(tmp_path):
    has = tmp_path / "venv" / "bin" / "python"
    has.parent.mkdir(parents=True)
    # The tests may run under make; this one is not to be part of it.
    outside = {k: v for k, v in OUTSIDE.items() if not k.startswith(("MAKE", "MFLAGS"))}

    def setup(version, *words):
        has.write_text(f"#!/bin/sh\necho {version}\n")
        has.chmod(0o755)
        (tmp_path / "venv" / ".installed").touch()
        command = ["make", "--no-print-directory", "setup", f"VENV={tmp_path}/venv", *words]
        return subprocess.run(command, capture_output=True, encoding="utf-8", cwd=ROOT, env=outside)

    mine = ".".join(map(str, sys.version_info[:2]))
    assert setup("3.8").returncode == 0
    assert setup(mine, f"PYTHON={sys.executable}").returncode == 0
    done = setup("3.8", f"PYTHON={sys.executable}")
    assert done.returncode
    assert (
        f"venv has Python 3.8, not the {mine} of PYTHON={sys.executable}; remove it" in done.stdout
    )


@pytest.mark.parametrize("stack", ["classic", "current"])
def test_the_container_installs_an_extra_that_exists_from_files_that_are_sent(stack):
    recipe = (ROOT / "Dockerfile").read_text()
    assert 'pip install ".[${STACK}-gpu]"' in recipe
    extras = read_setup()["options.extras_require"]
    assert "[and-cuda]" in extras[f"{stack}-gpu"]
    python = re.search(r"^FROM python:3\.(\d+)", recipe, re.M)[1]
    assert int(python) in {"classic": range(9, 12), "current": range(10, 14)}[stack]
    copied = {w for line in re.findall(r"^COPY (.*) \S+$", recipe, re.M) for w in line.split()}
    sent = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.M))
    assert copied == sent and all((ROOT / name).exists() for name in copied)


TOP = {"cloudtf", "tests", "benchmarks", "tools", "docs", "flags", "notebooks", "requirements"}
TOP |= {path.name for path in (ROOT / "tests").iterdir()}
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_documents_are_understood(path):
    for command, given in documented(path.read_text(encoding="utf-8")):
        module = importlib.import_module(f"cloudtf.commands.{command.replace('-', '_')}")
        fields = module.CONFIG.__dataclass_fields__
        words = [word for word in given if not word.startswith("-") and word != "..."]
        assert not words or hasattr(module, "WORDS"), f"{path.name}: cloudtf {command}: {words}"
        for word in (word for word in given if word.startswith("-")):
            found = re.fullmatch(r"--(\w+)(?:=(.*))?", word)
            assert found, f"{path.name}: cloudtf {command}: {word}"
            name, value = found.groups()
            if name == "flagfile":
                assert (ROOT / "flags" / pathlib.Path(value).name).exists(), word
                continue
            off = name[2:] if name.startswith("no") and name not in fields else name
            assert off in fields, f"{path.name}: cloudtf {command}: {word}"
            rules = fields[off].metadata
            if value and rules["choices"] and "|" not in value:
                assert set(value.split(",")) <= set(rules["choices"]), word


def test_python_in_the_documents_calls_what_there_is():
    count = 0
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
            for node in ast.walk(ast.parse(block)):
                name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if name.startswith("cloudtf."):
                    called = getattr(cloudtf, name.partition(".")[2])
                    given = {word.arg: word.value for word in node.keywords}
                    inspect.signature(called).bind(*node.args, **given)
                    count += 1
    assert count > 20


def test_files_that_the_documents_name_are_there():
    others = ("CONTRIBUTING.md", "RELIABILITY.md", "tests/README.md")
    count = 0
    for path in (*DOCUMENTS, *map(ROOT.joinpath, others)):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
        named = re.findall(r"`((?:\w+/)+(?:\w+\.(?:py|md|flags|ipynb))?)`", text)
        linked = re.findall(r"\]\(([^)#:]+)\)", text)
        for name in (*named, *linked):
            folders = [folder for folder in (ROOT, path.parent) if (folder / name).exists()]
            outside = name in named and name.split("/")[0] not in TOP
            assert folders or outside, f"{path.name}: {name}"
            count += bool(folders)
    assert count > 100


def documented(text):
    """Commands in code blocks of Markdown: the name and the flags, `-- ...` and comments apart."""
    for block in re.findall(r"```\w*\n(.*?)```", text, re.S):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            words = re.sub(r"\s#.*", "", line.strip()).split()
            for start, command in ((["!cloudtf"], None), (["cloudtf"], None),
                                   (["python", "tools/make_tfrecords.py"], "convert")):  # fmt: skip
                if words[: len(start)] == start:
                    rest = words[len(start) :]
                    if command is None and rest:
                        command, *rest = rest
                    if command in app.COMMANDS:
                        yield command, rest[: rest.index("--")] if "--" in rest else rest


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The wheel and the sdist, built from a copy of the files that git knows."""
    folder = tmp_path_factory.mktemp("package")
    names = run("git", "ls-files", cwd=ROOT).splitlines()
    for name in names:
        if (ROOT / name).exists():
            (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "checkout" / name)
    builder = [UV, "build"] if UV else [sys.executable, "-m", "build"]
    run(*builder, "--out-dir" if UV else "--outdir", folder / "dist", cwd=folder / "checkout")
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    return wheel, sdist, folder / "checkout"


@pytest.mark.slow
def test_wheel_and_sdist_hold_every_module_and_the_mark_of_types(distributions):
    wheel, sdist, checkout = distributions
    modules = {str(p.relative_to(checkout)) for p in checkout.glob("cloudtf/**/*.py")}
    wanted = modules | {"cloudtf/py.typed"}
    with zipfile.ZipFile(wheel) as archive:
        assert {n for n in archive.namelist() if ".dist-info" not in n} == wanted
        assert any(n.endswith("LICENSE") for n in archive.namelist())
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert wanted | {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= held


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("python", PYTHONS)
def test_it_installs_into_an_empty_environment(python, distributions, tmp_path):
    if UV is None:
        pytest.skip("uv is not installed")
    interpreter = find_python(python)
    if interpreter is None:
        pytest.skip(f"Python {python} is not on this machine")
    wheel, sdist, checkout = distributions
    run(UV, "venv", "--seed", "--no-python-downloads", "-p", interpreter, tmp_path / "venv")
    commands = tmp_path / "venv" / "bin"
    run(UV, "pip", "install", "--python", commands / "python", wheel)
    check_installed(commands, tmp_path)
    for source in (sdist, checkout):
        pip = (commands / "python", "-m", "pip", "--disable-pip-version-check")
        run(*pip, "uninstall", "--yes", "cloudtf")
        run(*pip, "install", "--no-deps", source)
        check_installed(commands, tmp_path)


def find_python(version):
    """An interpreter on the path, or one that pyenv has and does not show."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}")
    for candidate in (on_path, *sorted(root.glob(f"versions/{version}.*/bin/python"))):
        if candidate and not subprocess.run([candidate, "-c", ""], capture_output=True).returncode:
            return candidate
    return None


def check_installed(commands, folder):
    """Help of all commands, and what they say without TensorFlow."""
    overview = run(commands / "cloudtf", "--help", cwd=folder)
    assert re.findall(r"^  ([a-z-]+) ", overview, re.M) == list(app.COMMANDS)
    output = run(commands / "python", programs.FOLDER / "show_help.py", cwd=folder)
    statuses, _, modules, package = programs.result(output)
    assert not any(statuses) and "tensorflow" not in modules
    assert "\nmain:\n  --data_dir=TEXT" in output
    assert package.startswith(str(folder / "venv"))
    done = subprocess.run(
        [commands / "cloudtf", "train", "--data_dir=a", "--run_dir=b"],
        capture_output=True, encoding="utf-8", cwd=folder, timeout=120, env=OUTSIDE,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'install it with: pip install "cloudtf[c' in done.stderr
    assert len(done.stderr.splitlines()) == 1


# Python -> the TensorFlow that is there. Up to 2.17 NumPy 2 breaks it.
BESIDE = {
    "3.9": ["tensorflow-cpu==2.15.1"],
    "3.10": ["tensorflow==2.17.1", "tf-keras==2.17.0"],
    "3.11": ["tensorflow-cpu==2.15.1"],
    "3.12": ["tensorflow==2.19.0", "tf-keras==2.19.0"],
    "3.13": ["tensorflow==2.21.0", "tf-keras==2.21.0"],
}
SMALL_JOB = """
synthesize --output_dir=photographs --num_images=16 --image_height=64 --image_width=96
convert --labels_csv=photographs/train.csv --images_dir=photographs/train_images
  --output_dir=records --image_height=32 --image_width=32 --num_shards=1
train --data_dir=records --run_dir=run --model=tiny --weights=none --head_epochs=0 --epochs=1
  --batch_size=4 --strategy=cpu
evaluate --run_dir=run --data_dir=records
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("python", BESIDE)
def test_an_installed_tensorflow_stays_and_works(python, distributions, tmp_path):
    interpreter = find_python(python)
    if UV is None or interpreter is None:
        pytest.skip(f"uv or Python {python} is not on this machine")
    run(UV, "venv", "--seed", "--no-python-downloads", "-p", interpreter, tmp_path / "venv")
    commands = tmp_path / "venv" / "bin"
    run(UV, "pip", "install", "--python", commands / "python", *BESIDE[python])
    before = versions(commands)
    pip = (commands / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", distributions[0])
    assert before.items() <= versions(commands).items()
    run(*pip, "check")
    for words in SMALL_JOB.strip().replace("\n  ", " ").splitlines():
        run(commands / "cloudtf", *words.split(), cwd=tmp_path)


def versions(commands):
    """Package -> version of what is installed."""
    lines = run(UV, "pip", "freeze", "--python", commands / "python").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)
