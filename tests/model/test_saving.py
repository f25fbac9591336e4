import json
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.model import network, saving
from cloudtf.model.random_layers import FixedDropout
from tests import programs

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
INFO = {"classes": ["Fish", "Zucker ü"], "epoch": 3, "pr_auc": {"mean": 0.1 + 0.2, "Fish": None}}

# https://github.com/python/cpython/issues/127847: zipfile's seek, which Keras's own loader needs.
needs_zip_seeks = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2),
    reason="Keras cannot read .keras files with this release of Python",
)


@pytest.fixture(scope="module")
def b0(with_random_state):
    return with_random_state(network.build_model("efficientnetb0", 2, (32, 32), dropout=0.2))


@pytest.fixture(scope="module")
def tiny(with_random_state):
    return with_random_state(network.build_model("tiny", 2, (32, 32), dropout=0.2))


@pytest.fixture
def saved(tiny, tmp_path):
    path = str(tmp_path / "model.keras")
    saving.save_model(tiny, path, INFO)
    return path


def rewrite(path, change):
    """Passes the config of a model file through `change` and writes the file again."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    change(config)
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_a_model_comes_back_with_equal_weights_and_predictions(saved, tiny):
    loaded = saving.load_model(saved)
    for ours, theirs in zip(tiny.get_weights(), loaded.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(tiny(IMAGES), loaded(IMAGES))
    assert loaded.get_layer("body").get_layer("block_drop").rate == 0.2


def config_of(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


@pytest.mark.parametrize("kind", ["tiny", "within"])
def test_a_model_saved_as_hdf5_before_is_written_and_read_as_ever(kind, tmp_path):
    """Keras leaves a mark in nested models, which would go into the file."""
    model = network.build_model("tiny", 2, (32, 32))
    if kind == "within":  # Deeper, and in a Sequential, which keeps the mark too.
        outer = tf.keras.Input((32, 32, 3), dtype="uint8")
        model = tf.keras.Model(outer, tf.keras.Sequential([model])(outer), name="tiny")
    before, after = str(tmp_path / "before.keras"), str(tmp_path / "after.keras")
    saving.save_model(model, before, INFO)
    model.save(tmp_path / "checkpoint.h5")
    saving.save_model(model, after, INFO)
    assert config_of(after) == config_of(before)
    np.testing.assert_array_equal(saving.load_model(after)(IMAGES), model(IMAGES))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_file_written_with_that_mark_is_read_too(policy, tmp_path):
    tf.keras.mixed_precision.set_global_policy(policy)
    try:
        model = network.build_model("tiny", 2, (32, 32), dropout=0.2)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    path = str(tmp_path / "model.keras")
    model.save(tmp_path / "checkpoint.h5")
    model.save(path)
    body = next(x for x in config_of(path)["config"]["layers"] if x["name"] == "body")
    assert not any("module" in layer for layer in body["config"]["layers"])
    np.testing.assert_array_equal(saving.load_model(path)(IMAGES), model(IMAGES))
    assert saving.load_model(path, in_float32=True).get_layer("body").compute_dtype == "float32"


@pytest.mark.parametrize("loader", ["cloudtf", pytest.param("keras", marks=needs_zip_seeks)])
def test_a_new_process_predicts_the_same_to_the_bit_with_and_without_cloudtf(b0, loader, tmp_path):
    path = str(tmp_path / "b0.keras")
    saving.save_model(b0, path, INFO)
    np.save(tmp_path / "images.npy", IMAGES)
    predictions = tmp_path / "found.npy"
    programs.run("predict_saved_model", loader, path, tmp_path / "images.npy", predictions)
    np.testing.assert_array_equal(np.load(predictions), b0(IMAGES))


def test_layers_that_other_packages_register_by_the_same_names_are_not_taken(
    saved, tiny, monkeypatch
):
    registered = tf.keras.utils.get_custom_objects()
    monkeypatch.setitem(registered, "FixedDropout", type("FixedDropout", (_Halves,), {}))
    monkeypatch.setitem(registered, "swish", tf.nn.relu)
    read = saving.load_model(saved)
    dropouts = [of for of in read._flatten_layers() if type(of).__name__ == "FixedDropout"]
    assert dropouts and all(isinstance(of, FixedDropout) for of in dropouts)
    images = np.full((1, *tiny.input_shape[1:]), 100, np.uint8)
    np.testing.assert_array_equal(read(images), tiny(images))
    assert registered["swish"] is tf.nn.relu  # It stays registered.


class _Halves(tf.keras.layers.Dropout):
    def call(self, inputs, training=None):
        return inputs / 2


@needs_zip_seeks
def test_plain_keras_loads_the_tiny_network_too(saved, tiny):
    import efficientnet.tfkeras  # noqa: F401

    loaded = tf.keras.models.load_model(saved, compile=False)
    np.testing.assert_array_equal(tiny(IMAGES), loaded(IMAGES))


def test_a_model_of_the_other_stack_loads(saved, tiny, tmp_path):
    # What tells a file of TensorFlow 2.15 from one of tf-keras 2.21.
    def others(config):
        if isinstance(config, list):
            return [others(value) for value in config]
        if not isinstance(config, dict):
            return config
        config = {key: others(value) for key, value in config.items()}
        if config.get("class_name") == "Functional":
            config["module"] = "no_such_keras.src.engine.functional"
        elif "batch_input_shape" in config:
            config.pop("optional", None)
            config |= {} if tf.__version__.startswith("2.2") else {"optional": False}
        return config

    with zipfile.ZipFile(saved) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = others(json.loads(entries["config.json"]))
    assert "no_such_keras" in json.dumps(config)
    path = str(tmp_path / "other.keras")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**entries, "config.json": json.dumps(config)}.items():
            archive.writestr(name, content)
    np.testing.assert_array_equal(tiny(IMAGES), saving.load_model(path)(IMAGES))


def test_what_is_known_of_a_model_is_read_without_tensorflow(saved):
    info, tensorflow_was_imported = programs.answer("read_model_info", saved)
    assert info == INFO == saving.read_info(saved)
    assert not tensorflow_was_imported


def test_numbers_that_are_not_finite_become_null(tiny, tmp_path):
    path = str(tmp_path / "model.keras")
    saving.save_model(tiny, path, {"a": [float("nan"), float("inf"), 0.5], "b": {"c": -np.inf}})
    assert saving.read_info(path) == {"a": [None, None, 0.5], "b": {"c": None}}


def test_the_optimizer_is_not_saved(tmp_path):
    model = network.build_model("tiny", 2, (32, 32))
    model.compile("adam", "binary_crossentropy")
    model.fit(IMAGES, np.zeros([3, 2]), verbose=0)
    path = str(tmp_path / "model.keras")
    saving.save_model(model, path, INFO)
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    assert "compile_config" not in config
    assert saving.load_model(path).optimizer is None
    assert model.optimizer is not None


def test_a_failed_save_leaves_the_old_model(saved, tiny, monkeypatch):
    before = files.read_bytes(saved)
    monkeypatch.setattr(
        zipfile.ZipFile, "writestr", lambda *args: (_ for _ in ()).throw(OSError(28))
    )
    with pytest.raises(UserError, match="cannot be written"):
        saving.save_model(tiny, saved, INFO)
    monkeypatch.undo()
    assert files.read_bytes(saved) == before
    assert files.list_dir(files.dirname(saved)) == ["model.keras"]


def test_remote_paths_work(tiny):
    path = "ram://saving/model.keras"
    files.make_dirs("ram://saving")
    saving.save_model(tiny, path, INFO)
    np.testing.assert_array_equal(saving.load_model(path)(IMAGES), tiny(IMAGES))
    assert saving.read_info(path) == INFO
    assert files.list_dir("ram://saving") == ["model.keras"]


def test_a_model_is_meant_by_its_file_or_its_run_folder(saved, tmp_path):
    assert saving.find_model(saved) == saved
    assert saving.find_model(str(tmp_path)) == str(tmp_path / "best.keras")
    picture = str(tmp_path / "picture.png")
    files.write_bytes(picture, b"PNG")
    with pytest.raises(UserError, match="picture.png must be a .keras file"):
        saving.load_model(saving.find_model(picture))


@pytest.mark.parametrize("read", [saving.load_model, saving.read_info])
def test_missing_and_truncated_files_are_named(read, saved):
    with pytest.raises(UserError, match="nothing.keras cannot be read"):
        read("nothing.keras")
    with pytest.raises(UserError, match="model.h5 must be a .keras file"):
        read("model.h5")
    content = files.read_bytes(saved)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        files.write_bytes(saved, content[:length])
        with pytest.raises(UserError, match="model.keras is damaged or not a .keras file"):
            read(saved)


def test_a_flipped_byte_anywhere_in_the_weights_is_found(saved):
    content = bytearray(files.read_bytes(saved))
    with zipfile.ZipFile(saved) as archive:
        weights = archive.getinfo("model.weights.h5")
    for position in np.linspace(100, weights.file_size - 1, 5).astype(int):
        damaged = content.copy()
        damaged[weights.header_offset + int(position)] ^= 1
        files.write_bytes(saved, bytes(damaged))
        with pytest.raises(UserError, match="model.keras is damaged"):
            saving.load_model(saved)


def test_a_keras_model_of_another_program_has_no_info(tmp_path):
    path = str(tmp_path / "other.keras")
    inputs = tf.keras.Input((3,))
    tf.keras.Model(inputs, tf.keras.layers.Dense(2)(inputs)).save(path)
    with pytest.raises(UserError, match="other.keras was not saved by cloudtf"):
        saving.read_info(path)
    assert saving.load_model(path)(np.zeros([1, 3])).shape == (1, 2)


def test_lambda_layers_are_refused(tmp_path):
    path = str(tmp_path / "evil.keras")
    inputs = tf.keras.Input((3,))
    tf.keras.Model(inputs, tf.keras.layers.Lambda(lambda x: x + 1)(inputs)).save(path)
    with pytest.raises(UserError, match="evil.keras is refused: it carries .* code .*Lambda"):
        saving.load_model(path)


def test_operations_of_tensorflow_as_layers_are_refused(tmp_path):
    path = str(tmp_path / "evil.keras")
    inputs = tf.keras.Input((3,))
    tf.keras.Model(inputs, tf.math.sin(inputs)).save(path)
    with pytest.raises(UserError, match="evil.keras is refused"):
        saving.load_model(path)


@pytest.mark.parametrize(
    "evil",
    [
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "exec"},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": "true"}},
        {"module": "keras.utils", "class_name": "get_file", "config": {}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "f"}},
        {"class_name": "Lambda", "config": {"function": "f"}},
        {"module": "cloudtf.files", "class_name": "remove_tree", "config": {"path": "/x"}},
    ],
)
def test_whatever_else_names_code_is_refused_before_keras_sees_it(saved, evil, monkeypatch):
    def plant(config):
        body = next(x for x in config["config"]["layers"] if x["name"] == "body")
        convolution = next(x for x in body["config"]["layers"] if x["name"] == "stem_conv")
        convolution["config"]["activation"] = evil

    rewrite(saved, plant)
    monkeypatch.setattr(tf.keras.models, "load_model", lambda *_, **__: pytest.fail("was loaded"))
    with pytest.raises(UserError, match="model.keras is refused: it carries or names code to run"):
        saving.load_model(saved)


def test_pickled_weights_are_refused(saved):
    with zipfile.ZipFile(saved) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["model.weights.npz"] = entries.pop("model.weights.h5")
    with zipfile.ZipFile(saved, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="lacks config.json or model.weights.h5"):
        saving.load_model(saved)


@pytest.mark.parametrize("name", ["config.json", "cloudtf.json"])
def test_entries_that_are_not_json_are_named(saved, name):
    with zipfile.ZipFile(saved) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    entries[name] = b"\xff["
    with zipfile.ZipFile(saved, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    read = saving.load_model if name == "config.json" else saving.read_info
    with pytest.raises(UserError, match=f"model.keras is damaged: {name} is not JSON"):
        read(saved)


def test_the_name_must_end_in_keras(tiny, tmp_path):
    with pytest.raises(UserError, match="model.h5 must end in .keras"):
        saving.save_model(tiny, str(tmp_path / "model.h5"), INFO)
