"""A synthetic set in the shape of Kaggle's "Understanding Clouds from Satellite Images".

Every picture is drawn (`scenes`), none is a photograph: the set shows that the whole chain works
and that a model learns something, and says nothing of accuracy on real clouds.

An image depends on the seed, its split and its number alone, so that neither the count of workers
nor their order changes a byte, and a set that was interrupted is finished by the same command.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
from typing import Callable, Iterator, Sequence

import numpy as np
import simplejpeg

from cloudtf import bars, files, machine, settings
from cloudtf.data import rle
from cloudtf.data.recipe import one_thread_an_image
from cloudtf.errors import UserError, param
from cloudtf.locks import FolderLock
from cloudtf.reporter import report
from cloudtf.settings import REQUIRED, Settings, setting
from cloudtf.synthetic import difficulty, scenes

# Images of each class among the 5,546 labelled ones of the Kaggle set, in Kaggle's order.
KAGGLE_COUNTS = {"Fish": 2781, "Flower": 2365, "Gravel": 2939, "Sugar": 3751}
KAGGLE_IMAGES = 5546
SUBMISSION_HEIGHT, SUBMISSION_WIDTH = 350, 525

MARKER = "synthetic.json"
CSV_HEADER = "Image_Label,EncodedPixels\n"
_JPEG_QUALITY = 90
# Streams of random numbers, apart from one another for one seed.
_TRAIN, _TEST, _GUESSES, _NAMES = range(4)
# Of one image, apart from its picture: how hard its patterns are to tell, and who marked them.
_LOOKS, _MARKS = range(2)
# In the order in which they are finished.
_MEMBERS = ("train_images", "train.csv", "test_images", "test_labels.csv", "sample_submission.csv")


@dataclasses.dataclass(frozen=True)
class SynthesizeConfig(Settings):
    """The settings of `synthesize`; each field's help is that of the flag of its name.

    >>> cloudtf.SynthesizeConfig(output_dir="clouds").num_images
    300
    >>> cloudtf.SynthesizeConfig(output_dir="clouds", num_images=0)
    Traceback (most recent call last):
    cloudtf.errors.UsageError: num_images=0 must be at least 1.
    """

    output_dir: str = setting(REQUIRED, "Folder for the images and CSV files.", may_change=True)
    num_images: int = setting(300, "Labelled training images.", minimum=1, maximum=1_000_000)
    num_test_images: int = setting(60, "Test images.", minimum=0, maximum=1_000_000)
    image_height: int = setting(1400, "Rows of an image.", minimum=32, maximum=5000)
    image_width: int = setting(2100, "Columns of an image.", minimum=32, maximum=5000)
    difficulty: float = setting(
        0.0,
        "How hard the patterns are to tell, from 0 to 1: thin, mixed, half covered, and marked by "
        "people who disagree. At 1 they agree on half, as on the real photographs.",
        minimum=0,
        maximum=1,
    )
    seed: int = setting(0, "Same seed and size, same bytes.", minimum=0)
    workers: int = setting(
        0, "Images drawn at once; 0: one a core.", minimum=0, maximum=1024, may_change=True
    )
    overwrite: bool = setting(
        False, "Replace an earlier synthetic set in the folder.", may_change=True
    )


def synthesize(config: SynthesizeConfig) -> None:
    """Draws a set of images with labels and masks, or finishes one that was interrupted.

    Writes `train_images/*.jpg` and `train.csv` (Kaggle's `Image_Label,EncodedPixels`, four rows an
    image, masks of the image's size), `test_images/*.jpg`, `test_labels.csv` (the same for the test
    images, which Kaggle does not give away), and `sample_submission.csv`: what a mediocre
    segmentation might hand in for the test images, 350 x 525 masks, some of classes that are not
    there. The CSV files come last, so that a set that has them is whole.

    >>> size = dict(num_images=4, num_test_images=2, image_height=60, image_width=90)
    >>> cloudtf.synthesize(cloudtf.SynthesizeConfig(output_dir="clouds", **size))
    clouds: 4 training images and
    2 test images, drawn (not photographed).
      Fish ...
    >>> print(open("clouds/train.csv").readline().strip())
    Image_Label,EncodedPixels

    Raises:
      UserError: the folder already holds a set or other images, or cannot be written, or another
        process is at work in it.
    """
    files.make_dirs(config.output_dir)
    with FolderLock(config.output_dir, "synthesis", "output_dir", keep=False):
        _prepare(config)
        counts = _draw(config)
    lines = [
        f"{config.output_dir}: {config.num_images} training images and",
        f"{config.num_test_images} test images, drawn (not photographed).",
    ]
    lines += [
        f"  {name:<8}{counts[name]:>7} {counts[name] / config.num_images:>7.1%}"
        for name in KAGGLE_COUNTS
    ]
    report("\n".join(lines))


def _draw(config: SynthesizeConfig) -> collections.Counter[str]:
    """Writes the images that are not in place yet, and the CSV files.

    Returns:
      The number of training images with each class.
    """
    names = _names(config)
    counts: collections.Counter[str] = collections.Counter()
    total = config.num_images + config.num_test_images
    workers = config.workers or machine.usable_cores()
    with contextlib.ExitStack() as stack:
        stack.enter_context(one_thread_an_image())
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(workers))
        bar = stack.enter_context(bars.bar("draw", total, "images"))
        training = names[: config.num_images], _TRAIN, "train_images", "train.csv"
        testing = names[config.num_images :], _TEST, "test_images", "test_labels.csv"
        for chosen, stream, folder, csv_name in (training, testing):
            files.make_dirs(files.join(config.output_dir, folder))

            def draw(index: int, chosen=chosen, stream=stream, folder=folder) -> dict[str, str]:
                path = files.join(config.output_dir, folder, chosen[index])
                if files.exists(path):  # Of an interrupted run; files come into place whole.
                    return draw_masks(config, stream, index)
                jpeg, masks = draw_image(config, stream, index)
                files.write_bytes(path, jpeg)
                return masks

            with _csv(config, csv_name) as write:
                drawn = machine.map_ahead(pool, draw, range(len(chosen)), 2 * workers)
                for name, masks in zip(chosen, drawn):
                    write(name, masks)
                    bar.update()
                    if stream == _TRAIN:
                        counts.update(label for label, text in masks.items() if text)
        with _csv(config, "sample_submission.csv") as write:
            indices = range(len(testing[0]))
            guesses = machine.map_ahead(
                pool, lambda i: guess_masks(config, i), indices, 2 * workers
            )
            for name, masks in zip(testing[0], guesses):
                write(name, masks)
    return counts


def draw_labels(rng: np.random.Generator) -> list[str]:
    """The classes of one image, at least one, as often as in the Kaggle set."""
    names = list(KAGGLE_COUNTS)
    chances = _presence_chances()
    while True:
        present = rng.random(len(names)) < chances
        if present.any():
            return [name for name, there in zip(names, present) if there]


def draw_image(config: SynthesizeConfig, stream: int, index: int) -> tuple[bytes, dict[str, str]]:
    """One image as a JPEG, and its masks by class, `""` where the class is absent."""
    rng, regions = _regions(config, stream, index)
    size = config.image_height, config.image_width
    image = scenes.render(rng, regions, *size, config.difficulty)
    jpeg = simplejpeg.encode_jpeg(
        image, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="420"
    )
    return jpeg, _masks(config, _marked(config, stream, index, regions))


def draw_masks(config: SynthesizeConfig, stream: int, index: int) -> dict[str, str]:
    """The masks that `draw_image` gives, without the image, which takes most of the time."""
    _, regions = _regions(config, stream, index)
    return _masks(config, _marked(config, stream, index, regions))


def _regions(
    config: SynthesizeConfig, stream: int, index: int
) -> tuple[np.random.Generator, list[scenes.Region]]:
    """The regions of one image, and the generator with which the image is drawn."""
    rng = np.random.default_rng([config.seed, stream, index])
    regions = scenes.draw_regions(rng, draw_labels(rng))
    if config.difficulty:
        looks = np.random.default_rng([config.seed, stream, index, _LOOKS])
        regions = difficulty.obscure(looks, regions, config.difficulty)
    return rng, regions


def _marked(
    config: SynthesizeConfig, stream: int, index: int, regions: list[scenes.Region]
) -> list[scenes.Region]:
    """What is marked in an image: all that is there, or what a person makes of it."""
    if not config.difficulty:
        return regions
    rng = np.random.default_rng([config.seed, stream, index, _MARKS])
    return difficulty.label(rng, regions, config.difficulty)


def _masks(config: SynthesizeConfig, regions: Sequence[scenes.Region]) -> dict[str, str]:
    masks = dict.fromkeys(KAGGLE_COUNTS, "")
    for region in regions:
        masks[region.name] = rle.encode(region.mask(config.image_height, config.image_width))
    return masks


def guess_masks(config: SynthesizeConfig, index: int) -> dict[str, str]:
    """Masks of one test image as a mediocre segmentation would have them, 350 x 525.

    Nine in ten of the true regions are found, coarsely; three in ten absent classes get a mask
    somewhere all the same.
    """
    regions = {region.name: region for region in _regions(config, _TEST, index)[1]}
    rng = np.random.default_rng([config.seed, _GUESSES, index])
    masks = {}
    for name in KAGGLE_COUNTS:
        chance = 0.9 if name in regions else 0.3
        true = regions.get(name)
        guess = scenes.blur_region(rng, true) if true else scenes.stray_region(rng, name)
        kept = rng.random() < chance
        masks[name] = rle.encode(guess.mask(SUBMISSION_HEIGHT, SUBMISSION_WIDTH)) if kept else ""
    return masks


def _presence_chances() -> np.ndarray:
    # Redrawing images without any class raises each rate by 1 / (1 - P(none)): asking for that
    # much less makes the rates right. The iteration converges to 4 decimals in a few rounds.
    rates = np.array(list(KAGGLE_COUNTS.values())) / KAGGLE_IMAGES
    chances = rates
    for _ in range(30):
        chances = rates * (1 - np.prod(1 - chances))
    return chances


def _names(config: SynthesizeConfig) -> list[str]:
    """Unique names as Kaggle's, seven hex digits: sorted training names, then sorted test names."""
    rng = np.random.default_rng([config.seed, _NAMES])
    total = config.num_images + config.num_test_images
    numbers: dict[int, None] = {}
    while len(numbers) < total:
        numbers.update(dict.fromkeys(rng.integers(16**7, size=total - len(numbers)).tolist()))
    ordered = list(numbers)
    halves = sorted(ordered[: config.num_images]), sorted(ordered[config.num_images :])
    return [f"{number:07x}.jpg" for number in itertools.chain(*halves)]


def _prepare(config: SynthesizeConfig) -> None:
    """Leaves the folder with nothing in it but images of this set from an interrupted run.

    The marker beside the images says what they are: without it nothing is ever removed.
    """
    folder = config.output_dir
    note = "Drawn by `cloudtf synthesize`; no photographs."
    marker, made = files.join(folder, MARKER), {"note": note, **settings.lasting(config)}
    present = [name for name in _MEMBERS if files.exists(files.join(folder, name))]
    if present and not files.exists(marker):
        raise UserError(
            f"The folder {folder} holds {present[0]}, which cloudtf did not make and will not "
            f"replace; choose another {param('output_dir')}."
        )
    if present and not config.overwrite:
        is_whole = files.exists(files.join(folder, _MEMBERS[-1]))
        if is_whole or files.read_json(marker) != made:
            which = "already holds a synthetic set" if is_whole else "holds a part of another set"
            raise UserError(
                f"The folder {folder} {which}; choose another {param('output_dir')} or give "
                f"{param(overwrite=True)}."
            )
    for name in reversed(present):
        path = files.join(folder, name)
        if not files.is_dir(path):
            files.remove(path)
        elif config.overwrite:
            files.remove_tree(path)
        else:
            files.remove_leftovers(path)
    files.remove_leftovers(folder)
    files.write_json(marker, made)


@contextlib.contextmanager
def _csv(config: SynthesizeConfig, name: str) -> Iterator[Callable[[str, dict[str, str]], None]]:
    """Gives a function that writes the four rows of an image."""
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(files.replacing(files.join(config.output_dir, name)))
        file = stack.enter_context(open(path, "w", encoding="utf-8", newline=""))
        file.write(CSV_HEADER)

        def write(image: str, masks: dict[str, str]) -> None:
            file.writelines(f"{image}_{label},{text}\n" for label, text in masks.items())

        yield write
