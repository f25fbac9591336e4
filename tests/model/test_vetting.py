"""Model files made to harm: none runs code, reads other files or takes all memory."""

import json
import sys
import zipfile

import h5py
import numpy as np
import pytest

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.model import network, saving, vetting


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "model.keras")
    saving.save_model(network.build_model("tiny", 2, (32, 32)), path, {"classes": ["A", "B"]})
    return path


@pytest.fixture
def parts(whole, tmp_path):
    """The parts of a model file, and what writes them to a new file and gives its path."""
    with zipfile.ZipFile(whole) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}

    def write(method=zipfile.ZIP_STORED, **changed):
        path = str(tmp_path / "model.keras")
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in {**found, **changed}.items():
                archive.writestr(name, content)
        return path

    return found, write


def planted(parts, evil):
    """The path of a model that has `evil` as the activation of its first convolution."""
    config = json.loads(parts[0]["config.json"])
    body = next(x for x in config["config"]["layers"] if x["name"] == "body")
    convolution = next(x for x in body["config"]["layers"] if x["name"] == "stem_conv")
    convolution["config"]["activation"] = evil
    return parts[1](**{"config.json": json.dumps(config)})


@pytest.mark.parametrize(
    "evil",
    [
        {"class_name": "Sequential", "module": "evil", "config": {}},
        {"class_name": "Sequential", "module": "evil", "registered_name": None, "config": {}},
        {"class_name": "Functional", "module": "evil", "registered_name": None, "config": {}},
        {"class_name": "FixedDropout", "module": "evil", "registered_name": "x", "config": {}},
        {"class_name": "Model", "module": "evil", "config": {}},
        {"class_name": "Dense", "module": "evil", "config": {}},
        {"class_name": "Dense", "registered_name": "evil>Dense", "config": {}},
        {"class_name": "Lambda", "config": {}},
        {"class_name": "get", "config": {}},
        {"class_name": "Dense", "module": "keras.layers.evil", "config": {}},
        {"class_name": ["Dense"], "module": "evil", "config": {}},
        {"class_name": "Layer.evil", "module": "keras.initializers", "config": {}},
        {"class_name": "deserialize", "module": "keras.initializers", "config": {}},
        {"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/x"}},
        {"class_name": "TextVectorization", "module": "keras.layers", "config": {}},
        {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "/x"}},
        {"class_name": "InstanceMethod", "config": {}},
        {"class_name": "__typespec__", "module": "evil", "spec_name": "evil", "config": {}},
    ],
)
def test_what_would_import_a_module_or_read_a_file_is_refused(parts, evil, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="model.keras is refused: it carries or names code to run"):
        saving.load_model(planted(parts, evil))
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "name, registered",
    [
        ("Sequential", {}),
        ("Sequential", {"registered_name": None}),
        ("Functional", {"registered_name": None}),
    ],
)
def test_a_model_of_another_module_does_not_make_keras_import_it(
    parts, tmp_path, monkeypatch, name, registered
):
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = {"class_name": name, "module": "evil", "config": {"layers": []}, **registered}
    with pytest.raises(UserError, match="model.keras is refused: it carries or names code to run"):
        saving.load_model(parts[1](**{"config.json": json.dumps(model)}))


def test_a_config_may_nest_as_deep_as_it_likes(parts):
    evil = {"class_name": "Lambda"}
    for _ in range(5000):
        evil = [evil]
    with pytest.raises(UserError, match="is refused"):
        vetting.check_config({"layers": evil}, "model.keras")
    for depth in (800, 3000, 200_000):
        nested = parts[1](**{"config.json": '{"config":' + "[" * depth + "]" * depth + "}"})
        with pytest.raises(UserError, match="model.keras (is damaged|cannot be loaded)"):
            saving.load_model(nested)


def tied(parts, place, source):
    """The path of a model whose named layer takes its input from `source`."""
    config = json.loads(parts[0]["config.json"])
    for layers in (config["config"]["layers"], config["config"]["layers"][2]["config"]["layers"]):
        for layer in layers:
            if layer["name"] == place:
                layer["inbound_nodes"][0][0] = source
    return parts[1](**{"config.json": json.dumps(config)})


@pytest.mark.parametrize(
    "place, source",
    [
        ("probabilities", ["body", 0, 0, {}]),  # Its own input to output, which is not written.
        ("probabilities", ["body", 2, 0, {}]),
        ("down_bn", ["down_conv", 1, 0, {}]),
        ("down_conv", ["block_add", 0, 0, {}]),
        ("block_bn", ["block_bn", 0, 0, {}]),
        ("down_bn", ["down_conv", 0, 0, {"training": ["block_add", 0, 0]}]),
    ],
)
def test_layers_that_wait_for_each_other_are_refused(parts, place, source):
    """Keras goes through such a network without end."""
    with pytest.raises(UserError, match="wait for an input that no layer makes"):
        saving.load_model(tied(parts, place, source))


def test_layers_in_any_order_that_keras_writes_load(tmp_path):
    """Shared layers, called in turns, take Keras more than one turn."""
    import tensorflow as tf

    images = tf.keras.Input([4, 4, 3])
    a, b = tf.keras.layers.Conv2D(3, 1, name="a"), tf.keras.layers.Conv2D(3, 1, name="b")
    x = images
    for layer in (b, a, a, b, a, b, b, a):
        x = layer(x)
    model = tf.keras.Model(images, x)
    path = str(tmp_path / "model.keras")
    saving.save_model(model, path, {})
    pixels = np.random.default_rng(0).random([2, 4, 4, 3], np.float32)
    np.testing.assert_array_equal(saving.load_model(path)(pixels), model(pixels))


def rewritten(parts, change):
    """The path of the model after `change` of its open HDF5 file."""
    path = parts[1]()
    weights = path.replace("model.keras", "weights.h5")
    files.write_bytes(weights, parts[0]["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        change(file)
    return parts[1](**{"model.weights.h5": files.read_bytes(weights)})


def first_dataset(file):
    found = []
    file.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    return found[0]


def external_storage(file):
    name = first_dataset(file)
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])


def external_link(file):
    name = first_dataset(file)
    del file[name]
    file[name] = h5py.ExternalLink("/etc/other.h5", "/x")


def soft_link(file):
    name = first_dataset(file)
    del file[name]
    file[name] = h5py.SoftLink("/x")


def virtual(file):
    name = first_dataset(file)
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/other.h5", "x", shape)
    file.create_virtual_dataset(name, layout)


def huge(file):
    name = first_dataset(file)
    del file[name]
    file.create_dataset(name, (10**6, 10**6), "f4", chunks=(1000, 1000))


def bomb(file):
    name = first_dataset(file)
    del file[name]
    file.create_dataset(name, data=np.zeros((1000, 1000), "f4"), compression="gzip")


def circle(file):
    file["layers"]["again"] = file["/"]


def words(file):
    name = first_dataset(file)
    del file[name]
    file[name] = "text"


@pytest.mark.parametrize(
    "change, message",
    [
        (external_storage, "take '.*' from another file"),
        (external_link, "take '.*' from another file"),
        (soft_link, "take '.*' from another file or place"),
        (virtual, "take '.*' from another file"),
        (huge, "declare more numbers than they hold"),
        (bomb, "declare more numbers than they hold"),
        (circle, "have groups without end|declare more"),
        (words, "hold .*, which is not of numbers"),
    ],
)
def test_weights_come_from_the_file_itself_and_no_more_of_them_than_it_holds(
    parts, change, message
):
    with pytest.raises(UserError, match=f"model.keras is refused: its weights {message}"):
        saving.load_model(rewritten(parts, change))


def test_weights_that_are_no_hdf5_are_damaged(parts):
    for content in (b"", b"text", parts[0]["model.weights.h5"][:5000]):
        with pytest.raises(UserError, match="model.keras is damaged: its weights are not HDF5"):
            saving.load_model(parts[1](**{"model.weights.h5": content}))


@pytest.mark.parametrize("name", ["config.json", "cloudtf.json", "model.weights.h5"])
def test_a_part_that_unpacks_to_far_more_than_the_file_is_refused(parts, name):
    path = parts[1](zipfile.ZIP_DEFLATED, **{name: b" " * 100_000_000})
    read = saving.read_info if name == "cloudtf.json" else saving.load_model
    with pytest.raises(UserError, match="model.keras is damaged .*unpack to far more"):
        read(path)


def test_a_compressed_model_loads(parts):
    assert saving.load_model(parts[1](zipfile.ZIP_DEFLATED)).output_shape == (None, 2)


def test_a_layer_that_is_no_model_is_refused(parts):
    layer = {"class_name": "Dense", "module": "keras.layers", "config": {"units": 1}}
    with pytest.raises(UserError, match="it is a Dense, not a model"):
        saving.load_model(parts[1](**{"config.json": json.dumps(layer)}))
