"""Model files: a damaged one is refused or is the model that was written, whatever was damaged."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import example, given

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.model import network, saving, vetting
from tests.fuzz.inputs import damaged, damaged_json, fuzz

INFO = {"classes": ["Fish", "Zucker ü"], "epoch": 3}
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return network.build_model("tiny", 2, (32, 32))


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "model.keras")
    saving.save_model(model, path, INFO)
    return files.read_bytes(path)


@pytest.fixture(scope="module")
def parts(whole):
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(parts, **changed):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in {**parts, **changed}.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parser("model files: what is known")
def test_what_is_known_of_a_model_is_what_was_written(trial, parts, tmp_path):
    path = str(tmp_path / "model.keras")
    # Without the weights, so that most of the damage is where it matters.
    small = packed({name: parts[name] for name in ("metadata.json", saving.INFO_NAME)})

    @fuzz(200)
    @given(damaged([small]))
    @example(b"")
    @example(small[:-1])
    @example(b"PK\x05\x06" + bytes(18))
    def property(content):
        files.write_bytes(path, content)
        info = trial.run(saving.read_info, path)
        assert info is None or info == INFO

    property()


@pytest.mark.parser("model files: whole")
def test_a_damaged_model_file_is_refused_or_the_same_model(trial, whole, model, tmp_path):
    path = str(tmp_path / "model.keras")

    @fuzz(20)
    @given(damaged([whole], most=3))
    def property(content):
        files.write_bytes(path, content)
        loaded = trial.run(saving.load_model, path)
        if loaded is not None:
            for ours, theirs in zip(model.get_weights(), loaded.get_weights()):
                np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(model(IMAGES), loaded(IMAGES))

    property()


def named(config):
    """All objects that a config names, anywhere."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for value in config.values():
            yield from named(value)
    elif isinstance(config, list):
        for value in config:
            yield from named(value)


@pytest.mark.parser("model files: config")
def test_a_config_that_passes_names_only_what_a_sound_one_names(trial, parts):
    sound = json.loads(parts["config.json"])
    modules = {one.get("module") for one in named(sound)}

    @fuzz(100)
    @given(damaged_json(sound))
    def property(content):
        try:
            config = json.loads(content)
        except ValueError:
            config = {"class_name": None}  # Refused like the others, to count it.
        accepted = trial.accepted
        trial.run(vetting.check_config, config, "model.keras")
        if trial.accepted > accepted:
            for one in named(config):
                custom = one["class_name"] in ("FixedDropout", "Functional", "LayerScale")
                assert custom or one["module"] in modules
                assert one.get("registered_name", one["class_name"]) == one["class_name"] or (
                    not custom
                )

    property()


@pytest.mark.parser("model files: config, built")
def test_a_config_that_is_damaged_is_built_or_refused(trial, parts, tmp_path):
    path = str(tmp_path / "model.keras")

    # Damage that asks for huge layers is left out: it only takes memory.
    small = damaged_json(json.loads(parts["config.json"])).filter(
        lambda content: not any(len(word) > 4 for word in content.split() if word.isdigit())
    )

    @fuzz(10, share=20)
    @given(small)
    def property(content):
        files.write_bytes(path, packed(parts, **{"config.json": content}))
        trial.run(saving.load_model, path)

    property()


@pytest.mark.parser("model files: weights")
def test_damaged_weights_are_refused_or_read_by_keras_without_harm(trial, parts, model, tmp_path):
    path = str(tmp_path / "model.weights.h5")
    kept = model.get_weights()

    def read():
        vetting.check_weights(path, "model.keras")
        try:
            model.load_weights(path)
        except Exception as error:  # load_model makes one sentence of it.
            raise UserError("The weights do not fit.") from error

    @fuzz(60)
    @given(damaged([parts["model.weights.h5"]]))
    def property(content):
        files.write_bytes(path, content)
        trial.run(read)

    try:
        property()
    finally:
        model.set_weights(kept)
