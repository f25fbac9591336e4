"""Copies of photographs: found, told from photographs that look alike, kept in one split."""

import collections
import json
import os
import tracemalloc

import cv2
import numpy as np
import pytest
import simplejpeg
from skimage import data as pictures
from sklearn.datasets import load_digits, load_sample_image

from cloudtf.data import images, likeness, near_duplicates, progress
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.errors import UserError
from cloudtf.synthetic import synthesize

SIDE = 112


def small(image, quality=90):
    """As `convert` makes it from a JPEG of the picture."""
    coded = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality)
    return images.load(coded, SIDE, SIDE)


def grey(image):
    return np.repeat(image[..., np.newaxis], 3, axis=2)


@pytest.fixture(scope="module")
def photographs():
    """Parts of photographs and textures that do not overlap, and drawn clouds: uint8 RGB."""
    sources = [load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    for name in ("astronaut", "coffee", "chelsea", "rocket", "immunohistochemistry", "retina"):
        sources.append(getattr(pictures, name)()[..., :3])
    sources += [grey(getattr(pictures, name)()) for name in ("brick", "grass", "gravel", "coins")]
    found = []
    for source in sources:
        for top in range(0, source.shape[0] - 159, 160):
            for left in range(0, source.shape[1] - 199, 200):
                found.append(source[top : top + 160, left : left + 200])
    drawn = synthesize.SynthesizeConfig(output_dir="", image_height=210, image_width=315)
    clouds = (synthesize.draw_image(drawn, 0, index)[0] for index in range(20))
    found += [simplejpeg.decode_jpeg(cloud) for cloud in clouds]
    # An even part of the sky is like any other.
    return [one for one in found if one.std() > 12]


def cropped(image, share, where):
    """Without a share of its rows and columns; `where`: which of them, 0 to 1."""
    height, width = image.shape[:2]
    rows, columns = round(height * share), round(width * share)
    top, left = round(rows * where), round(columns * where)
    return image[top : height - rows + top, left : width - columns + left]


def resized(image, factor):
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


COPIES = {
    "encoded anew": lambda image: small(image, 60),
    "made smaller": lambda image: small(resized(image, 0.75)),
    "made larger": lambda image: small(resized(image, 1.5)),
    "cropped by 5% around": lambda image: small(cropped(image, 0.05, 0.5)),
    "cropped by 5% at an edge": lambda image: small(cropped(image, 0.05, 0.0)),
    "cropped by 5% of each side": lambda image: small(cropped(image, 0.1, 0.5)),
    "flipped": lambda image: small(image[:, ::-1], 75),
    "upside down": lambda image: small(image[::-1], 75),
    "turned by 90 degrees": lambda image: small(np.rot90(image), 75),
    "turned by 180 degrees": lambda image: small(np.rot90(image, 2), 75),
    "turned by 270 degrees": lambda image: small(np.rot90(image, 3), 75),
}


def found(pictures):
    sketches = np.stack([likeness.sketch(picture) for picture in pictures])
    return near_duplicates.find(sketches, lambda numbers: [pictures[n] for n in numbers])


def test_at_least_99_percent_of_planted_copies_are_found_and_nothing_else(photographs):
    originals = [small(photograph) for photograph in photographs]
    planted = missed = 0
    for turn in range(3):
        kinds = list(COPIES)
        copies = [
            COPIES[kinds[(number + 4 * turn) % len(kinds)]](photograph)
            for number, photograph in enumerate(photographs)
        ]
        groups = found(originals + copies)
        # Each group is a photograph and its copy: none larger, none of two photographs.
        count = len(photographs)
        assert all(len(group) == 2 and group[1] == group[0] + count for group in groups)
        planted, missed = planted + count, missed + count - len(groups)
    assert planted > 300
    assert missed <= 0.01 * planted


@pytest.mark.parametrize(
    ("top", "left", "where"), [(210, 30, 0.25), (210, 30, 0.75), (720, 1180, 0.75)]
)
def test_a_crop_is_found_where_its_original_looks_more_like_a_crop_of_it(top, left, where):
    """By the few cosines that candidates are chosen by."""
    photograph = pictures.retina()[top : top + 170, left : left + 230]
    assert found([small(photograph), small(cropped(photograph, 0.05, where))]) == [[0, 1]]


def cells(count):
    """Cells of one kind: a body and a nucleus, of other places, sizes and directions, mottled."""
    for number in range(count):
        random = np.random.default_rng(number)
        image = np.full((200, 200, 3), (225, 205, 220), np.float32)
        middle = [int(value) for value in random.integers(80, 120, 2)]
        cv2.circle(image, middle, int(random.integers(50, 75)), (190, 130, 175), -1)
        axes = tuple(float(value) for value in random.uniform(40, 70, 2))
        place = tuple(float(value) for value in random.uniform(80, 120, 2))
        cv2.ellipse(image, (place, axes, float(random.uniform(0, 180))), (100, 60, 140), -1)
        image += 12 * random.normal(0, 1, (200, 200, 1)).astype(np.float32)
        mottled = 9 * cv2.GaussianBlur(random.normal(0, 4, (200, 200)), (0, 0), 4)[..., None]
        image = cv2.GaussianBlur(image, (0, 0), 1) + mottled
        yield np.clip(image, 0, 255).astype(np.uint8)


def digits(count):
    for digit in load_digits().images[:count]:
        yield grey(cv2.resize((digit * 15.9).astype(np.uint8), (96, 96)))


def faces(count):
    for face in pictures.lfw_subset()[:count]:
        yield grey(cv2.resize((255 * face).astype(np.uint8), (75, 75)))


def skies(count):
    """From one blue to another, some with the noise of a camera."""
    for number in range(count):
        random = np.random.default_rng(number)
        top, bottom = random.uniform((40, 80, 150), (230, 240, 255), (2, 3))
        sky = top + (bottom - top) * np.linspace(0, 1, 150)[:, None, None] + np.zeros((150, 200, 1))
        noise = random.normal(0, random.uniform(0, 4), (150, 200, 1))
        yield np.clip(sky + noise, 0, 255).astype(np.uint8)


def plain(count):
    for number in range(count):
        # Some of the same colour, as empty scans are.
        colour = np.random.default_rng(number % 30).integers(0, 256, 3)
        yield np.full((60, 80, 3), colour, np.uint8)


def test_finding_them_takes_about_2_kb_a_photograph(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 32, 32)).astype(np.uint8)
    sketches = np.stack([cv2.GaussianBlur(one, (0, 0), 3) for one in noise])
    monkeypatch.setattr(near_duplicates, "_AT_ONCE", 16)
    monkeypatch.setattr(near_duplicates, "_VECTORS_AT_ONCE", 256)
    tracemalloc.start()
    try:
        assert near_duplicates.find(sketches, lambda numbers: []) == []
        assert tracemalloc.get_traced_memory()[1] / len(sketches) < 3500
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "kind, count", [(cells, 150), (digits, 500), (faces, 200), (skies, 150), (plain, 60)]
)
def test_photographs_that_look_alike_stay_apart(kind, count):
    assert found([small(image) for image in kind(count)]) == []


@pytest.fixture(scope="module")
def source(tmp_path_factory, photographs):
    """80 photographs, of which 8 are copies of others, and their labels."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "images").mkdir()
    chosen = photographs[:24] + photographs[-48:]
    makers = list(COPIES.values())
    files = {f"p{number:02}.jpg": photograph for number, photograph in enumerate(chosen)}
    for number in range(8):
        # Two of one, the others of one each.
        copy_of = chosen[0 if number == 7 else 5 * number]
        files[f"copy{number}.jpg"] = makers[number](copy_of)
    random = np.random.default_rng(0)
    rows = ["Image,Fish,Flower,scene,split"]
    for number, (name, image) in enumerate(files.items()):
        coded = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=90)
        (folder / "images" / name).write_bytes(coded)
        label = random.integers(0, 2, 2)
        where = "val" if name.startswith("copy") else "train"
        rows.append(f"{name},{label[0]},{label[1]},s{number // 3},{where}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


GROUPS = {("p00.jpg", "copy0.jpg", "copy7.jpg")} | {
    (f"p{5 * number:02}.jpg", f"copy{number}.jpg") for number in range(1, 7)
}


def run(source, output, **options):
    given = {"image_height": 64, "image_width": 64, "workers": 2, "val_fraction": 0.25}
    given.update(ignore_columns=("scene", "split"))
    for option in ("group_column", "split_column"):
        if option in options:
            given["ignore_columns"] = ("scene" if option == "split_column" else "split",)
    return convert(
        ConvertConfig(
            labels_csv=str(source / "labels.csv"),
            images_dir=str(source / "images"),
            output_dir=str(output),
            **{**given, **options},
        )
    )


def split_of(folder, manifest):
    """File -> split, from the records."""
    import tensorflow as tf

    from cloudtf.data import tfrecord

    names = {}
    for split in manifest.splits.values():
        for shard in split.shards:
            for record in tf.data.TFRecordDataset(str(folder / shard.name)).as_numpy_iterator():
                names[tfrecord.bytes_of(record, "image/filename").decode()] = split.name
    return names


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("options", [{}, {"folds": 4}, {"group_column": "scene"}])
def test_copies_are_listed_and_kept_in_one_split(source, tmp_path, capsys, options):
    manifest = run(source, tmp_path, **options)
    assert set(manifest.near_duplicates) == GROUPS
    said = capsys.readouterr().out
    assert "8 photographs are copies of others, such as 'copy0.jpg' of 'p00.jpg'" in said
    assert "dealt out again" in said
    splits = split_of(tmp_path, manifest)
    assert len(splits) == 80
    for group in GROUPS:
        assert len({splits[name] for name in group}) == 1
    if "group_column" not in options:
        sizes = {"train": 60, "val": 20} if not options else {f"fold{i}": 20 for i in range(4)}
        assert collections.Counter(splits.values()) == sizes
    for name in ("p01.jpg", "p02.jpg"):
        assert "group_column" not in options or splits[name] == splits["p00.jpg"]


def test_all_of_it_is_the_same_for_any_number_of_threads_and_once_more(source, tmp_path, capsys):
    run(source, tmp_path / "one", workers=1, verify=True)
    run(source, tmp_path / "two", workers=3)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    before = content(tmp_path / "one")
    run(source, tmp_path / "one")
    assert "is complete already" in capsys.readouterr().out
    # A shard that is gone comes back as it was, though the copies are not looked for again.
    (tmp_path / "one" / "val-00000-of-00002.tfrecord").unlink()
    run(source, tmp_path / "one")
    assert content(tmp_path / "one") == before


def test_one_killed_while_it_deals_out_again_ends_with_the_same_bytes(
    source, tmp_path, monkeypatch
):
    run(source, tmp_path / "whole")
    for file in ("move", "remove"):
        count = collections.Counter()

        do = getattr(progress.files, file)

        def dying(*paths, do=do, count=count):
            count["calls"] += "tfrecord" in paths[0] and ".tmp" not in paths[0]
            if count["calls"] == 3:
                raise KeyboardInterrupt
            do(*paths)

        output = tmp_path / file
        with monkeypatch.context() as patch:
            patch.setattr("cloudtf.data.copies.files." + file, dying)
            with pytest.raises(KeyboardInterrupt):
                run(source, output)
        assert not (output / "dataset.json").exists()
        run(source, output)
        assert content(output) == content(tmp_path / "whole")


def test_a_set_without_copies_is_the_same_whether_they_are_looked_for(source, tmp_path):
    lines = (source / "labels.csv").read_text().splitlines()
    own = tmp_path / "own"
    own.mkdir()
    os.symlink(source / "images", own / "images")
    (own / "labels.csv").write_text("\n".join(line for line in lines if line[:4] != "copy"))
    for kind in ("together", "report", "ignore"):
        run(own, tmp_path / kind, near_duplicates=kind)
    made = {kind: content(tmp_path / kind) for kind in ("together", "report", "ignore")}
    manifests = {kind: json.loads(files.pop("dataset.json")) for kind, files in made.items()}
    assert made["together"] == made["report"] == made["ignore"]
    assert "near_duplicates" not in manifests["together"]["settings"]
    assert manifests["ignore"]["settings"].pop("near_duplicates") == "ignore"
    assert manifests["together"] == manifests["ignore"]
    with pytest.raises(UserError, match="made with near_duplicates='ignore', not together"):
        run(own, tmp_path / "ignore")


def test_photographs_none_of_which_can_be_read_have_no_copies(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(2):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(b"no photograph")
    (tmp_path / "labels.csv").write_text("Image,Fish\n0.jpg,1\n1.jpg,0\n")
    with pytest.raises(UserError, match="No image of the split train can be used"):
        run(tmp_path, tmp_path / "records", on_error="skip", ignore_columns=())


def test_copies_may_be_only_reported_or_ignored(source, tmp_path, capsys):
    reported = run(source, tmp_path / "report", near_duplicates="report")
    assert set(reported.near_duplicates) == GROUPS
    said = capsys.readouterr().out
    assert "in another split" in said and "near_duplicates='together' keeps copies" in said
    assert run(source, tmp_path / "report", near_duplicates="report") == reported
    assert "is complete already" in capsys.readouterr().out
    ignored = run(source, tmp_path / "ignore", near_duplicates="ignore")
    assert ignored.near_duplicates == ()
    assert "copies" not in capsys.readouterr().out
    assert ignored.splits == reported.splits


def test_splits_that_a_column_decides_stay_and_their_copies_are_told(source, tmp_path, capsys):
    manifest = run(source, tmp_path, split_column="split")
    assert manifest.splits["val"].num_examples == 8
    said = capsys.readouterr().out
    assert "7 photographs have copies in another split: 'p00.jpg' in train and 'copy0.jpg'" in said


def test_the_doctor_tells_of_copies_in_another_split(source, tmp_path):
    from cloudtf.diagnosis import data as checks
    from cloudtf.diagnosis.findings import Sheet

    manifest = run(source, tmp_path, split_column="split", near_duplicates="ignore")
    sheet = Sheet()
    checks.check_copies(sheet, str(tmp_path), manifest, None)
    assert (sheet.wrong_count, sheet.note_count) == (0, 1)
    together = run(source, tmp_path / "together")
    sheet = Sheet()
    checks.check_copies(sheet, str(tmp_path / "together"), together, None)
    assert (sheet.wrong_count, sheet.note_count) == (0, 0)
