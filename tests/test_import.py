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

with_keras_3 = pytest.mark.skipif(
    tuple(map(int, tf.__version__.split(".")[:2])) < (2, 16), reason="Keras 3 came later"
)


def run(code, **environment):
    """What a new process prints; it begins without a choice of Keras."""
    clean = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        check=True,
        timeout=120,
        capture_output=True,
        encoding="utf-8",
    ).stdout.strip()


def test_importing_takes_under_a_tenth_of_a_second_and_no_tensorflow():
    code = """
import sys, time
began = time.perf_counter()
import cloudtf
print(time.perf_counter() - began)
assert not {"tensorflow", "numpy", "keras", "tf_keras"} & set(sys.modules)
"""
    assert min(float(run(code)) for _ in range(3)) < 0.1


def test_the_keras_2_api_is_chosen():
    code = "import cloudtf, tensorflow as tf; print(tf.keras.layers.Dense.__module__)"
    package = "keras" if importlib.util.find_spec("tf_keras") is None else "tf_keras"
    assert run(code) == f"{package}.src.layers.core.dense"


def test_the_package_keras_stays_what_it_is():
    code = "import cloudtf; cloudtf.build_model; import keras; print(keras.__version__)"
    assert run(code) == importlib.metadata.version("keras")


def test_without_tensorflow_a_command_that_needs_it_names_the_extra(monkeypatch, capsys):
    def missing(config):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr("cloudtf.commands.preview.run", missing)
    assert app.main(["preview", "--data_dir=x", "--output=y"]) == 1
    error = capsys.readouterr().err
    assert 'TensorFlow is not installed; install it with: pip install "cloudtf[c' in error
    assert error.count("\n") == 1


def test_without_tensorflow_the_python_api_names_the_extra():
    code = """
import sys
sys.modules["tensorflow"] = None
import cloudtf
cloudtf.TrainConfig
try:
    cloudtf.build_model
except cloudtf.UserError as error:
    print(error)
"""
    assert "TensorFlow is not installed; install it with: pip install" in run(code)


def test_other_missing_modules_are_not_taken_for_tensorflow(monkeypatch):
    monkeypatch.setitem(cloudtf._PUBLIC, "nonsense", "cloudtf.no_such_module")
    with pytest.raises(ModuleNotFoundError, match="cloudtf.no_such_module"):
        cloudtf.nonsense  # noqa: B018


@with_keras_3
def test_keras_3_chosen_first_is_an_error_that_says_what_to_do():
    code = """
import tensorflow as tf
tf.keras.layers
import cloudtf
try:
    cloudtf.build_model
except cloudtf.UserError as error:
    print(error)
"""
    assert "import cloudtf before TensorFlow (in a notebook after a restart" in run(code)
    assert "import cloudtf before TensorFlow" in run(
        code.replace("tf.keras.layers", ""), TF_USE_LEGACY_KERAS="0"
    )


@with_keras_3
def test_tensorflow_may_come_first_if_its_keras_has_not_been_used():
    code = """
import tensorflow as tf
import cloudtf
cloudtf.build_model("efficientnetb0", 2, (32, 32))
print(tf.keras.layers.Dense.__module__)
"""
    assert run(code).startswith("tf_keras")


@with_keras_3
def test_keras_3_chosen_later_is_an_error_too():
    code = """
import tensorflow as tf
import cloudtf
cloudtf.build_model
import tensorflow.keras
try:
    cloudtf.build_model("tiny", 2, (32, 32))
except cloudtf.UserError as error:
    print(error)
"""
    assert "import cloudtf before TensorFlow" in run(code)


@with_keras_3
def test_tensorflow_without_tf_keras_is_an_error_that_says_what_to_install():
    code = """
import sys
sys.modules["tf_keras"] = None
import cloudtf
try:
    cloudtf.build_model
except cloudtf.UserError as error:
    print(error)
"""
    wanted = 'pip install "tf-keras==' + ".".join(tf.__version__.split(".")[:2]) + '.*".'
    assert wanted in run(code)
    assert wanted in run(code, TF_USE_LEGACY_KERAS="1")


def test_both_errors_are_one_sentence_on_any_stack(monkeypatch):
    keras_3 = types.SimpleNamespace(__version__="3.11.0")
    monkeypatch.setattr(keras2, "tf", types.SimpleNamespace(__version__="2.20.1", keras=keras_3))
    monkeypatch.setattr(keras2.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs the Keras 2 API.*"tf-keras==2.20.\*"\.$'):
        keras2.require()
    monkeypatch.setattr(keras2.importlib.util, "find_spec", lambda name: "found")
    with pytest.raises(UserError, match="Keras 3 was chosen as tf.keras .* import cloudtf before"):
        keras2.require()


# A package imports none of a later row.
ORDER = (
    ("data",), ("synthetic",), ("pipeline",), ("model",), ("evaluation", "submission"),
    ("training",), ("diagnosis",), ("commands",),
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
    for path in root.glob("*/*.py"):
        for name in imported(path):
            if rank.get(name, -1) > rank[path.parent.name]:
                against.add((f"{path.parent.name}/{path.name}", name))
    assert not against


def test_type_checkers_are_told_of_every_public_name():
    tree = ast.parse(pathlib.Path(cloudtf.__file__).read_text(encoding="utf-8"))
    told = {
        alias.asname: node.module
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert told == cloudtf._PUBLIC


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
