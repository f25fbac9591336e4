import hashlib

import numpy as np
import pytest
from efficientnet import weights as published

from cloudtf import files
from cloudtf.errors import UserError
from cloudtf.model import network, saving, weights

NOTOP = "efficientnet-b0_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5"
NOISY = "efficientnet-b0_noisy-student_notop.h5"


def randomise(model, seed):
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(0.1, 0.5, w.shape) for w in model.get_weights()])


def assert_equal(layer, values):
    assert len(layer.get_weights()) == len(values)
    for ours, theirs in zip(layer.get_weights(), values):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def published_b0(tmp_path_factory):
    """A body as the package itself builds and saves it, with weights of our own."""
    import efficientnet.tfkeras

    body = efficientnet.tfkeras.EfficientNetB0(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    randomise(body, 5)
    path = tmp_path_factory.mktemp("published") / NOTOP
    body.save_weights(str(path))
    return path, body.get_weights()


@pytest.fixture(scope="module")
def b0():
    return network.build_model("efficientnetb0", 2, (32, 32))


@pytest.fixture
def tiny():
    return network.build_model("tiny", 2, (32, 32))


@pytest.fixture
def server(loopback, monkeypatch):
    """A loopback server to which the package's URLs point."""
    monkeypatch.setattr(published, "IMAGENET_WEIGHTS_PATH", loopback.url)
    monkeypatch.setattr(published, "NS_WEIGHTS_PATH", loopback.url)
    return loopback


def publish(monkeypatch, table, content, algorithm):
    hashes = {"efficientnet-b0": ("", hashlib.new(algorithm, content).hexdigest())}
    monkeypatch.setattr(published, table, hashes)


def test_imagenet_weights_are_fetched_checked_kept_and_loaded(
    b0, published_b0, server, tmp_path, monkeypatch
):
    path, values = published_b0
    content = path.read_bytes()
    (server.folder / NOTOP).write_bytes(content)
    publish(monkeypatch, "IMAGENET_WEIGHTS_HASHES", content, "sha256")
    cache = str(tmp_path / "cache")
    for _ in range(2):
        randomise(b0, 0)
        assert weights.load(b0, "efficientnetb0", "imagenet", cache) == ["body"]
        assert_equal(b0.get_layer("body"), values)
    assert len(server.requests) == 1
    assert files.list_dir(cache) == [NOTOP]


def test_noisy_student_weights_are_checked_by_their_md5(server, tmp_path, monkeypatch):
    (server.folder / NOISY).write_bytes(b"weights")
    publish(monkeypatch, "NS_WEIGHTS_HASHES", b"weights", "md5")
    path = weights.fetch("efficientnetb0", "noisy-student", str(tmp_path / "cache"))
    assert files.read_bytes(path) == b"weights"
    assert files.basename(path) == NOISY


def test_a_damaged_cached_file_is_fetched_again(server, tmp_path, monkeypatch):
    (server.folder / NOTOP).write_bytes(b"weights")
    publish(monkeypatch, "IMAGENET_WEIGHTS_HASHES", b"weights", "sha256")
    (tmp_path / NOTOP).write_bytes(b"half")
    path = weights.fetch("efficientnetb0", "imagenet", str(tmp_path))
    assert files.read_bytes(path) == b"weights"


def test_a_wrong_hash_is_refused_and_nothing_is_kept(server, tmp_path, monkeypatch):
    (server.folder / NOTOP).write_bytes(b"something else")
    publish(monkeypatch, "IMAGENET_WEIGHTS_HASHES", b"weights", "sha256")
    cache = str(tmp_path / "cache")
    with pytest.raises(UserError, match="127.0.0.1.*does not have the published hash"):
        weights.fetch("efficientnetb0", "imagenet", cache)
    assert files.list_dir(cache) == []


def test_without_a_network_it_says_what_to_download(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(published, "IMAGENET_WEIGHTS_PATH", "http://127.0.0.1:1/")
    cache = str(tmp_path / "cache")
    with pytest.raises(UserError, match=f"download http://127.0.0.1:1/{NOTOP} yourself and pass"):
        weights.fetch("efficientnetb0", "imagenet", cache)
    assert files.list_dir(cache) == []


def test_a_file_the_server_lacks_is_named(server, tmp_path):
    with pytest.raises(UserError, match="cannot be downloaded .*[Nn]ot found"):
        weights.fetch("efficientnetb0", "noisy-student", str(tmp_path))


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize(("name", "digits"), [("imagenet", 64), ("noisy-student", 32)])
def test_every_network_has_published_weights_with_a_hash(number, name, digits):
    url, expected = weights.source(f"efficientnetb{number}", name)
    assert url.startswith("https://github.com/")
    assert f"efficientnet-b{number}_" in url
    assert url.endswith("_notop.h5")
    assert len(expected) == digits


def test_a_local_file_as_the_package_publishes_it_is_loaded(published_b0):
    path, values = published_b0
    model = network.build_model("efficientnetb0", 2, (32, 32), weights=str(path))
    assert_equal(model.get_layer("body"), values)


def test_a_remote_file_is_loaded(tiny, tmp_path):
    body = tiny.get_layer("body")
    randomise(body, 1)
    values = body.get_weights()
    body.save_weights(str(tmp_path / "tiny.h5"))
    files.make_dirs("ram://weights")
    files.write_bytes("ram://weights/tiny.h5", (tmp_path / "tiny.h5").read_bytes())
    model = network.build_model("tiny", 2, (32, 32), weights="ram://weights/tiny.h5")
    assert_equal(model.get_layer("body"), values)


def test_keras_weight_files_of_the_body_are_loaded(tiny, tmp_path):
    body = tiny.get_layer("body")
    randomise(body, 2)
    values = body.get_weights()
    path = str(tmp_path / "tiny.weights.h5")
    body.save_weights(path)
    model = network.build_model("tiny", 2, (32, 32), weights=path)
    assert_equal(model.get_layer("body"), values)


def test_a_cloudtf_model_gives_its_body_and_its_head_if_the_classes_are_as_many(tiny, tmp_path):
    randomise(tiny, 3)
    path = str(tmp_path / "model.keras")
    saving.save_model(tiny, path, {"classes": ["a", "b"]})
    same = network.build_model("tiny", 2, (64, 64))
    assert weights.load(same, "tiny", path) == ["body", "probabilities"]
    assert_equal(same, tiny.get_weights())
    other = network.build_model("tiny", 3, (32, 32))
    head = other.get_layer("probabilities").get_weights()
    assert weights.load(other, "tiny", path) == ["body"]
    assert_equal(other.get_layer("body"), tiny.get_layer("body").get_weights())
    assert_equal(other.get_layer("probabilities"), head)


def test_an_efficientnet_trained_by_cloudtf_gives_its_body(b0, tmp_path):
    path = str(tmp_path / "b0.keras")
    saving.save_model(b0, path, {"classes": ["a", "b"]})
    model = network.build_model("efficientnetb0", 2, (64, 64), weights=path)
    assert_equal(model, b0.get_weights())


@pytest.mark.parametrize("kind", ["tiny.h5", "tiny.weights.h5"])
def test_weights_of_another_network_are_refused(b0, tiny, tmp_path, kind):
    path = str(tmp_path / kind)
    tiny.get_layer("body").save_weights(path)
    with pytest.raises(UserError, match=f"{kind} are damaged or not those of efficientnetb0"):
        weights.load(b0, "efficientnetb0", path)


def test_weights_of_another_shape_are_refused_and_change_nothing(tiny, tmp_path):
    grey = network.build_model("tiny", 2, (32, 32), num_channels=1)
    path = str(tmp_path / "grey.h5")
    grey.get_layer("body").save_weights(path)
    before = tiny.get_weights()
    with pytest.raises(UserError, match=r"grey.h5 are damaged or not those of tiny .*shape"):
        weights.load(tiny, "tiny", path)
    assert_equal(tiny, before)
    path = str(tmp_path / "grey.keras")
    saving.save_model(grey, path, {"classes": ["a", "b"]})
    with pytest.raises(UserError, match="grey.keras .tiny. has another body than tiny"):
        weights.load(tiny, "tiny", path)


def test_damaged_files_are_named(tiny, tmp_path):
    path = str(tmp_path / "body.h5")
    tiny.get_layer("body").save_weights(path)
    content = files.read_bytes(path)
    for damaged in (b"", b"text", content[: len(content) // 2]):
        files.write_bytes(path, damaged)
        with pytest.raises(UserError, match="body.h5 are damaged or not those of tiny"):
            weights.load(tiny, "tiny", path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("imagent", "weights='imagent' is neither imagenet, noisy-student, none nor a file"),
        ("nothing.h5", "weights='nothing.h5' is neither"),
        ("imagenet", "no imagenet weights for tiny; use weights='none'"),
        (__file__, "must be an .h5, a .pth or a .keras file"),
    ],
)
def test_weights_that_cannot_be_had_are_named(value, message):
    with pytest.raises(UserError, match=message):
        network.build_model("tiny", 2, (32, 32), weights=value)
