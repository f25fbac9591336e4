import ast
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest
import tensorflow as tf

import cloudtf
from cloudtf.commands import app
from cloudtf.errors import UserError
from cloudtf.model import keras2
from tests import programs

with_keras_3 = pytest.mark.skipif(
    tuple(map(int, tf.__version__.split(".")[:2])) < (2, 16), reason="Keras 3 came later"
)


def imported_in_new_process(how, **environment):
    """What tests/programs/importing.py answers; it begins without a choice of Keras."""
    clean = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return programs.answer("importing", how, timeout=120, environment={**clean, **environment})


def test_importing_takes_under_a_tenth_of_a_second_and_no_tensorflow():
    seconds = []
    for _ in range(3):
        took, modules = imported_in_new_process("cloudtf_alone")
        seconds.append(took)
        assert not {"tensorflow", "numpy", "keras", "tf_keras"} & set(modules)
    assert min(seconds) < 0.1


def test_the_keras_2_api_is_chosen():
    package = "keras" if importlib.util.find_spec("tf_keras") is None else "tf_keras"
    found = imported_in_new_process("keras_of_tensorflow")
    assert found == f"{package}.src.layers.core.dense"


def test_a_command_imports_tensorflow_without_the_garbage_collector():
    collections, *found, frozen, collects = imported_in_new_process("tensorflow_quickly")
    assert found == [True, "SourceFileLoader", 0]
    assert collections == 0
    assert frozen > 100_000
    assert collects


def test_the_package_keras_stays_what_it_is():
    assert imported_in_new_process("package_keras") == importlib.metadata.version("keras")


def test_without_tensorflow_a_command_that_needs_it_names_the_extra(monkeypatch, capsys):
    def missing(config):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr("cloudtf.commands.preview.run", missing)
    assert app.main(["preview", "--data_dir=x", "--output=y"]) == 1
    error = capsys.readouterr().err
    assert 'TensorFlow is not installed; install it with: pip install "cloudtf[c' in error
    assert error.count("\n") == 1


def test_without_tensorflow_the_python_api_names_the_extra():
    found = imported_in_new_process("without_tensorflow")
    assert "TensorFlow is not installed; install it with: pip install" in found


def test_other_missing_modules_are_not_taken_for_tensorflow(monkeypatch):
    monkeypatch.setitem(cloudtf._PUBLIC, "nonsense", "cloudtf.no_such_module")
    with pytest.raises(ModuleNotFoundError, match="cloudtf.no_such_module"):
        cloudtf.nonsense  # noqa: B018


@with_keras_3
def test_keras_3_chosen_first_is_an_error_that_says_what_to_do():
    found = imported_in_new_process("keras_3_used_first")
    assert "import cloudtf before TensorFlow (in a notebook after a restart" in found
    found = imported_in_new_process("tensorflow_first", TF_USE_LEGACY_KERAS="0")
    assert "import cloudtf before TensorFlow" in found


@with_keras_3
def test_tensorflow_may_come_first_if_its_keras_has_not_been_used():
    assert imported_in_new_process("keras_2_after_tensorflow").startswith("tf_keras")


@with_keras_3
def test_keras_3_chosen_later_is_an_error_too():
    found = imported_in_new_process("keras_3_imported_later")
    assert "import cloudtf before TensorFlow" in found


@with_keras_3
def test_tensorflow_without_tf_keras_is_an_error_that_says_what_to_install():
    wanted = 'pip install "tf-keras==' + ".".join(tf.__version__.split(".")[:2]) + '.*".'
    assert wanted in imported_in_new_process("without_tf_keras")
    assert wanted in imported_in_new_process("without_tf_keras", TF_USE_LEGACY_KERAS="1")


def test_both_errors_are_one_sentence_on_any_stack(monkeypatch):
    keras_3 = types.SimpleNamespace(__version__="3.11.0")
    monkeypatch.setattr(keras2, "tf", types.SimpleNamespace(__version__="2.20.1", keras=keras_3))
    monkeypatch.setattr(keras2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs the Keras 2 API.*"tf-keras==2.20.\*"\.$'):
        keras2.require()
    monkeypatch.setattr(keras2.importlib.util, "find_spec", lambda name: "found")
    with pytest.raises(UserError, match="Keras 3 was chosen as tf.keras .* import cloudtf before"):
        keras2.require()


# A package imports none of a later row. Modules beside the packages come before all of them, but
# for these two, which are the way in.
ENTRANCES = {"__init__", "__main__"}
ORDER = (
    ("data",), ("synthetic",), ("pipeline",), ("model",), ("evaluation", "submission"),
    ("training",), ("diagnosis",), ("fitting",), ("commands",),
)  # fmt: skip


def imported(path):
    """The packages of cloudtf that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("cloudtf."))


def test_a_package_imports_none_that_comes_after_it():
    rank = {name: number for number, names in enumerate(ORDER) for name in names}
    root = pathlib.Path(cloudtf.__file__).parent
    assert set(rank) == {path.parent.name for path in root.glob("*/__init__.py")}
    against = set()
    for path in root.rglob("*.py"):
        package = path.relative_to(root).with_suffix("").parts[0]
        for name in imported(path) if package not in ENTRANCES else ():
            if rank.get(name, -1) > rank.get(package, -1):
                against.add((str(path.relative_to(root)), name))
    assert not against


def test_type_checkers_see_every_public_name():
    tree = ast.parse(pathlib.Path(cloudtf.__file__).read_text(encoding="utf-8"))
    named = {
        alias.asname: node.module
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert named == cloudtf._PUBLIC


def test_type_checkers_see_the_types_of_public_names(tmp_path):
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(
        "import cloudtf\n"
        "reveal_type(cloudtf.train(cloudtf.TrainConfig(data_dir='a', run_dir='b')))\n"
        "cloudtf.TrainConfig(data_dir='a', run_dir='b', epochz=3)\n"
        "cloudtf.EvaluateConfig(data_dir=1)\n"
        "cloudtf.trian\n"
    )
    root = pathlib.Path(cloudtf.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", root / "setup.cfg", program],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
        timeout=240,
    )
    for line, sentence in (
        (2, 'Revealed type is "cloudtf.training.train.TrainResult"'),
        (3, 'Unexpected keyword argument "epochz" for "TrainConfig"'),
        (4, 'Argument "data_dir" to "EvaluateConfig" has incompatible type "int"'),
        (5, 'Module has no attribute "trian"'),
    ):
        assert re.search(rf"program\.py:{line}: .*{re.escape(sentence)}", done.stdout), done.stdout
