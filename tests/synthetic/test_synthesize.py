"""The synthetic set: its labels, masks, pictures and files."""

import concurrent.futures
import io
import json

import cloudtf  # Before TensorFlow: it chooses the Keras API

# isort: split
import cv2
import numpy as np
import pandas as pd
import pytest
import simplejpeg
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cloudtf.commands import app
from cloudtf.data import rle
from cloudtf.errors import UsageError, UserError
from cloudtf.locks import FolderLock
from cloudtf.synthetic import clouds, difficulty, scenes, synthesize
from cloudtf.synthetic.synthesize import KAGGLE_COUNTS, KAGGLE_IMAGES, SynthesizeConfig
from tests import programs

CLASSES = list(KAGGLE_COUNTS)
SMALL = {"num_images": 6, "num_test_images": 4, "image_height": 60, "image_width": 90}


def make(folder, **changes):
    config = SynthesizeConfig(output_dir=str(folder), **{**SMALL, **changes})
    synthesize.synthesize(config)
    return config


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "clouds"
    make(folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def pictures():
    """240 training images at 64 x 64, scaled by area, and their labels: uint8, bool."""
    config = SynthesizeConfig(output_dir="unused", image_height=300, image_width=450)

    def draw(index):
        jpeg, masks = synthesize.draw_image(config, 0, index)
        image = simplejpeg.decode_jpeg(jpeg)
        small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
        return small, [bool(masks[name]) for name in CLASSES]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        images, labels = zip(*pool.map(draw, range(240)))
    return np.array(images), np.array(labels)


def cross_validated_scores(features, labels):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return [
        cross_val_predict(model, features, labels[:, k], cv=5, method="decision_function")
        for k in range(labels.shape[1])
    ]


def texture(image):
    """Energies by scale and direction of the gray image, sorted over its 4 x 4 blocks."""
    gray = image.astype(np.float32).mean(axis=-1)
    gray /= gray.mean() + 1
    features = []
    for sigma in (0.7, 1.2, 2, 3.5, 6):
        blurred = cv2.GaussianBlur(gray, (0, 0), sigma)
        detail, gray = gray - blurred, blurred
        rows, columns = (np.gradient(blurred, axis=axis) ** 2 for axis in (0, 1))
        blocks = [
            cv2.resize(field, (4, 4), interpolation=cv2.INTER_AREA).ravel() + 1e-5
            for field in (detail**2, rows, columns)
        ]
        features += [*np.sort(np.log(blocks[0]))[::3]]
        features += [*np.sort(np.log(blocks[2] / blocks[1]))[::3]]
    return features


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(small_set, tmp_path):
    make(tmp_path / "again", workers=3)
    assert contents(tmp_path / "again") == contents(small_set)


def test_another_seed_gives_other_bytes_in_every_image_and_csv(small_set, tmp_path):
    make(tmp_path / "other", seed=1)
    shared = set(contents(tmp_path / "other").values()) & set(contents(small_set).values())
    assert not shared


def test_an_image_does_not_depend_on_how_many_there_are():
    few = SynthesizeConfig(output_dir="unused", **SMALL)
    many = SynthesizeConfig(output_dir="unused", **{**SMALL, "num_images": 1000})
    assert synthesize.draw_image(few, 0, 5) == synthesize.draw_image(many, 0, 5)


def test_the_same_scene_is_drawn_at_every_size():
    names = ["Flower", "Fish"]
    pair = []
    for height, width in ((300, 450), (900, 1350)):
        rng = np.random.default_rng(3)
        regions = scenes.draw_regions(rng, names)
        image = scenes.render(rng, regions, height, width)
        pair.append(cv2.resize(image, (90, 60), interpolation=cv2.INTER_AREA).astype(float))
    assert np.abs(pair[0] - pair[1]).mean() < 2


def test_class_rates_are_near_the_real_ones():
    rng = np.random.default_rng(9)
    labels = [synthesize.draw_labels(rng) for _ in range(6000)]
    assert all(labels)
    for name, count in KAGGLE_COUNTS.items():
        rate = sum(name in row for row in labels) / len(labels)
        assert rate == pytest.approx(count / KAGGLE_IMAGES, abs=0.02)


def test_the_folder_has_the_shape_of_kaggles(small_set):
    train = pd.read_csv(small_set / "train.csv")
    assert list(train.columns) == ["Image_Label", "EncodedPixels"]
    split = train["Image_Label"].str.rsplit("_", n=1, expand=True)
    assert split[0].str.fullmatch(r"[0-9a-f]{7}\.jpg").all()
    assert list(split[1]) == CLASSES * 6
    assert list(split[0][::4]) == sorted(
        path.name for path in (small_set / "train_images").iterdir()
    )
    assert split[0].nunique() == 6
    for name in ("sample_submission.csv", "test_labels.csv"):
        rows = pd.read_csv(small_set / name)["Image_Label"].str.rsplit("_", n=1, expand=True)
        tests = sorted(path.name for path in (small_set / "test_images").iterdir())
        assert list(rows[0]) == [test for test in tests for _ in CLASSES]
        assert not set(tests) & set(split[0])
    image = simplejpeg.decode_jpeg((small_set / "train_images" / split[0][0]).read_bytes())
    assert image.shape == (60, 90, 3)


def test_masks_in_the_csv_are_of_the_images_size_and_of_what_was_drawn(small_set):
    config = SynthesizeConfig(output_dir="unused", **SMALL)
    train = pd.read_csv(small_set / "train.csv", keep_default_na=False)
    names = list(dict.fromkeys(train["Image_Label"].str.rsplit("_", n=1).str[0]))
    table = dict(zip(train["Image_Label"], train["EncodedPixels"]))
    for index, name in enumerate(names):
        rng = np.random.default_rng([config.seed, 0, index])
        drawn = {r.name: r for r in scenes.draw_regions(rng, synthesize.draw_labels(rng))}
        for label in CLASSES:
            text = table[f"{name}_{label}"]
            assert bool(text) == (label in drawn)
            if text:
                expected = drawn[label].mask(60, 90)
                np.testing.assert_array_equal(rle.decode(text, 60, 90), expected)


@pytest.mark.parametrize("name", CLASSES)
def test_cloud_lies_where_the_mask_says(name):
    inside, outside = [], []
    for seed in range(12):
        rng = np.random.default_rng([5, seed])
        regions = scenes.draw_regions(rng, [name])
        thickness = scenes.draw_thickness(rng, regions)
        mask = regions[0].mask(*thickness.shape)
        assert 0.4 < mask.mean() < 0.97
        inside.append(thickness[mask].mean())
        outside.append(thickness[~mask].mean())
    assert min(inside) > 0.1
    assert np.mean(inside) > 6 * np.mean(outside)


def test_regions_of_one_scene_hardly_overlap():
    for seed in range(20):
        regions = scenes.draw_regions(np.random.default_rng(seed), CLASSES)
        assert sorted(region.name for region in regions) == CLASSES
        layers = sum(region.mask(200, 300).astype(int) for region in regions)
        assert (layers > 1).mean() < 0.05
        assert (layers > 0).mean() > 0.4


def test_patterns_differ_in_scale_and_direction():
    frequencies, directions = {}, {}
    for name in CLASSES:
        power = np.zeros((150, 225))
        for seed in range(4):
            field = clouds.DRAW[name](np.random.default_rng(seed), 600, 900, 1.0)
            field = cv2.resize(field, (225, 150), interpolation=cv2.INTER_AREA)
            power += np.abs(np.fft.fft2(field - field.mean())) ** 2
        down, along = np.meshgrid(np.fft.fftfreq(150), np.fft.fftfreq(225), indexing="ij")
        frequencies[name] = (power * np.hypot(down, along)).sum() / power.sum()
        coarse = power * (np.hypot(down, along) < 0.08)
        directions[name] = (coarse * np.abs(down)).sum() / (coarse * np.abs(along)).sum()
    assert frequencies["Sugar"] > 1.5 * frequencies["Gravel"]
    assert frequencies["Gravel"] > 1.5 * frequencies["Flower"]
    # Fish lie along the rows, so they vary most across them; the others have no direction.
    assert directions["Fish"] > 1.5
    assert all(0.75 < directions[name] < 1.3 for name in ("Flower", "Gravel", "Sugar"))


def test_mean_colour_tells_a_linear_model_next_to_nothing(pictures):
    images, labels = pictures
    scores = cross_validated_scores(images.reshape(len(images), -1, 3).mean(axis=1), labels)
    for k, score in enumerate(scores):
        assert roc_auc_score(labels[:, k], score) < 0.62


def test_texture_tells_the_classes_even_at_64_pixels(pictures):
    images, labels = pictures
    scores = cross_validated_scores(np.array([texture(image) for image in images]), labels)
    precisions = [average_precision_score(labels[:, k], score) for k, score in enumerate(scores)]
    assert min(precisions) > 0.85
    assert np.mean(precisions) > 0.9


def regions_of(difficulty, index):
    config = SynthesizeConfig(output_dir="unused", difficulty=difficulty, **SMALL)
    return synthesize._regions(config, 0, index)[1]


def test_without_difficulty_patterns_are_as_defined_and_marked_as_they_are():
    config = SynthesizeConfig(output_dir="unused", **SMALL)
    for index in range(3):
        rng = np.random.default_rng([config.seed, 0, index])
        regions = scenes.draw_regions(rng, synthesize.draw_labels(rng))
        assert all(region.look == scenes.Look() for region in regions)
        expected = scenes.render(rng, regions, 60, 90)
        jpeg, masks = synthesize.draw_image(config, 0, index)
        assert jpeg == simplejpeg.encode_jpeg(expected, quality=90, colorsubsampling="420")
        marked = {name: text for name, text in masks.items() if text}
        assert marked == {r.name: rle.encode(r.mask(60, 90)) for r in regions}


def test_difficulty_leaves_the_outlines_and_hides_what_is_in_them():
    contrasts = {}
    for level in (0.0, 0.5, 1.0):
        contrasts[level] = []
        for index in range(8):
            plain, regions = regions_of(0.0, index), regions_of(level, index)
            assert [r.name for r in plain] == [r.name for r in regions]
            for a, b in zip(plain, regions):
                np.testing.assert_array_equal(a.outline, b.outline)
            image = scenes.render(np.random.default_rng(index), regions, 100, 150, level)
            inside = np.any([region.mask(100, 150) for region in regions], axis=0)
            gray = image.mean(axis=-1)
            contrasts[level].append(gray[inside].mean() - gray[~inside].mean())
    means = [np.mean(contrasts[level]) for level in (0.0, 0.5, 1.0)]
    assert means[0] > 1.2 * means[1] > 1.2**2 * means[2] > 0


def test_the_harder_the_less_people_agree_on_half_at_most_difficult():
    agreement = []
    for level in (0.0, 0.5, 1.0):
        found = []
        for index in range(150):
            people = []
            for person in range(2):
                rng = np.random.default_rng([7, index, person])
                regions = difficulty.label(rng, regions_of(level, index), level)
                people.append({region.name: region.mask(60, 90) for region in regions})
                assert len(people[-1]) == len(regions)
            for name in {*people[0], *people[1]}:
                a, b = (person.get(name, np.zeros((60, 90), bool)) for person in people)
                found.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        agreement.append(np.mean(found))
    assert agreement[0] == 1
    assert 0.65 < agreement[1] < 0.9
    assert 0.45 < agreement[2] < 0.6  # Dice's coefficient.


def test_a_hard_set_is_finished_with_the_labels_that_it_was_begun_with():
    config = SynthesizeConfig(output_dir="unused", difficulty=1.0, **SMALL)
    differing = 0
    for index in range(20):
        masks = synthesize.draw_masks(config, 0, index)
        if index < 4:
            assert masks == synthesize.draw_image(config, 0, index)[1]
        differing += {n for n, t in masks.items() if t} != {r.name for r in regions_of(1.0, index)}
    assert 3 < differing < 17


@pytest.mark.slow
def test_features_of_imagenet_tell_the_hardest_clouds_apart_in_part_only():
    config = SynthesizeConfig(
        output_dir="unused", image_height=128, image_width=192, difficulty=1.0
    )

    def draw(index):
        jpeg, masks = synthesize.draw_image(config, 0, index)
        small = cv2.resize(simplejpeg.decode_jpeg(jpeg), (64, 64), interpolation=cv2.INTER_AREA)
        return small, [bool(masks[name]) for name in CLASSES]

    with concurrent.futures.ThreadPoolExecutor() as pool:
        images, labels = map(np.array, zip(*pool.map(draw, range(400))))
    model = cloudtf.build_model(
        "efficientnetlite0", num_classes=4, image_shape=(64, 64), weights="imagenet"
    )
    body = tf.keras.Model(model.inputs, model.layers[-1].input)
    scores = cross_validated_scores(body.predict(images, verbose=0), labels)
    precisions = [average_precision_score(labels[:, k], score) for k, score in enumerate(scores)]
    assert labels.mean() + 0.1 < np.mean(precisions) < 0.85


def test_submission_masks_are_350_by_525_with_false_and_missed_ones():
    config = SynthesizeConfig(output_dir="unused", **SMALL)
    false = missed = absent = present = 0
    for index in range(40):
        _, truth = synthesize.draw_image(config, 1, index)
        guesses = synthesize.guess_masks(config, index)
        assert list(guesses) == CLASSES
        for name, text in guesses.items():
            rle.check(text, 350 * 525)
            present += bool(truth[name])
            absent += not truth[name]
            false += bool(text) and not truth[name]
            missed += not text and bool(truth[name])
            if text and truth[name]:
                guess = rle.decode(text, 350, 525)
                true = cv2.resize(rle.decode(truth[name], 60, 90).astype(np.uint8), (525, 350)) > 0
                assert 2 * (guess & true).sum() / (guess.sum() + true.sum()) > 0.6
    assert 0.15 < false / absent < 0.45
    assert 0.03 < missed / present < 0.2


def test_the_set_says_that_it_is_synthetic_and_how_it_was_made(small_set):
    marker = json.loads((small_set / "synthetic.json").read_text())
    assert "no photographs" in marker["note"]
    assert marker["seed"] == 0 and marker["image_width"] == 90


def test_an_earlier_set_is_refused_unless_overwriting(tmp_path):
    make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="already holds a synthetic set.*overwrite=True"):
        make(tmp_path)
    assert contents(tmp_path) == before
    (tmp_path / "notes.txt").write_text("mine")
    make(tmp_path, overwrite=True, seed=2, num_images=2)
    assert len(list((tmp_path / "train_images").iterdir())) == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_set_of_real_photographs_is_never_overwritten(tmp_path):
    (tmp_path / "train_images").mkdir()
    photograph = tmp_path / "train_images" / "0011165.jpg"
    photograph.write_bytes(b"precious")
    with pytest.raises(UserError, match="train_images, which cloudtf did not make"):
        make(tmp_path, overwrite=True)
    assert photograph.read_bytes() == b"precious"


@pytest.fixture
def killed_set(tmp_path):
    """A folder as a process leaves it that is killed while it draws the fourth image."""
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    flags += [f"--output_dir={tmp_path}", "--workers=1"]
    programs.kill_when_ready("synthesize_slowly", 3, *flags)
    assert list(tmp_path.glob(".train.csv.*")) and not list(tmp_path.glob("[!.]*.csv"))
    return tmp_path


def test_what_a_killed_set_has_is_not_drawn_again(killed_set, small_set, monkeypatch):
    drawn, render = [], scenes.render
    monkeypatch.setattr(scenes, "render", lambda *given: drawn.append(1) or render(*given))
    before = len(list((killed_set / "train_images").glob("[!.]*")))
    make(killed_set)
    assert contents(killed_set) == contents(small_set)
    assert before == 3 and len(drawn) == SMALL["num_images"] + SMALL["num_test_images"] - before


def test_a_killed_set_is_not_finished_with_other_settings(killed_set):
    before = contents(killed_set / "train_images")
    with pytest.raises(UserError, match="holds a part of another set; .*overwrite=True"):
        make(killed_set, seed=1)
    assert contents(killed_set / "train_images") == before
    make(killed_set, seed=1, overwrite=True, num_images=2)
    assert len(list((killed_set / "train_images").iterdir())) == 2
    assert not list(killed_set.rglob("*.tmp*"))


@pytest.mark.parametrize("drawn", [0, 3, 8])
def test_a_killed_one_is_run_again_and_leaves_nothing(small_set, tmp_path, drawn):
    folder = tmp_path / "clouds"
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    flags += [f"--output_dir={folder}", "--workers=1"]
    programs.kill_when_ready("synthesize_slowly", drawn, *flags)
    assert any(".tmp." in path.name for path in folder.iterdir()), "half a CSV"
    assert app.main(["synthesize", *flags]) == 0
    assert contents(folder) == contents(small_set)


def test_two_do_not_draw_into_one_folder(tmp_path):
    with (
        FolderLock(str(tmp_path), "synthesis", "output_dir"),
        pytest.raises(UserError, match="Another synthesis is at work in .* another output_dir"),
    ):
        make(tmp_path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"image_height": 31}, "image_height=31 must be at least 32"),
        ({"image_width": 5001}, "image_width=5001 must be at most 5000"),
        ({"num_images": 0}, "num_images=0 must be at least 1"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"difficulty": 1.5}, "difficulty=1.5 must be at most 1"),
        ({"output_dir": None}, "output_dir is required"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        SynthesizeConfig(**{"output_dir": "unused", **changes})


def test_odd_sizes_are_drawn(tmp_path):
    make(tmp_path, num_images=2, num_test_images=0, image_height=777, image_width=33)
    image = simplejpeg.decode_jpeg(next((tmp_path / "train_images").iterdir()).read_bytes())
    assert image.shape == (777, 33, 3)
    assert (tmp_path / "sample_submission.csv").read_text() == "Image_Label,EncodedPixels\n"


def test_the_full_size_is_2100_by_1400_and_weighs_what_the_real_ones_do():
    config = SynthesizeConfig(output_dir="unused")
    sizes = []
    for index in range(4):
        jpeg, _ = synthesize.draw_image(config, 0, index)
        assert simplejpeg.decode_jpeg_header(jpeg)[:2] == (1400, 2100)
        sizes.append(len(jpeg))
    assert 250_000 < np.mean(sizes) < 650_000


def test_opencv_keeps_its_threads_afterwards(tmp_path):
    before = cv2.getNumThreads()
    make(tmp_path)
    assert cv2.getNumThreads() == before


def test_the_command_writes_a_set_and_counts_the_classes(tmp_path, capsys):
    flags = [f"--{name}={value}" for name, value in SMALL.items()]
    assert app.run_command("synthesize", [f"--output_dir={tmp_path}", *flags]) == 0
    train = pd.read_csv(io.StringIO((tmp_path / "train.csv").read_text()))
    fish = train[train["Image_Label"].str.endswith("_Fish")]["EncodedPixels"].notna().sum()
    out = capsys.readouterr().out
    assert f"  Fish    {fish:>7} {fish / 6:>7.1%}" in out.splitlines()
    assert app.run_command("synthesize", [f"--output_dir={tmp_path}"]) == 1
    assert "already holds a synthetic set" in capsys.readouterr().err
