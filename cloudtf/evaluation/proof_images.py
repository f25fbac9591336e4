"""On what an exported model is proven: records, photographs, or pictures drawn for it."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

import numpy as np
import simplejpeg

from cloudtf import files
from cloudtf.data import images, jpeg, png, stored
from cloudtf.data.aspect import fitted, resized
from cloudtf.errors import UserError, reason
from cloudtf.evaluation import photographs
from cloudtf.evaluation.evaluate import check_matches
from cloudtf.pipeline.dataset import ImageDataset, open_dataset
from cloudtf.synthetic import scenes, synthesize

_NUM_DRAWN = 8
# By so many images int8 finds its ranges.
_NUM_REPRESENTATIVE = 200
# Scales of n/8 at which TensorFlow decodes a JPEG, too.
_COMMON_SCALES = (1, 2, 4, 8)


@dataclasses.dataclass(frozen=True)
class Images:
    """N images of one kind.

    Attributes:
      what: says in a phrase which they are, such as `500 of 1,109 images of val in records`.
      pixels: uint8 [N, H, W, 3], as `predict` makes them.
      encoded: the bytes of the N files that they are from, each a JPEG or PNG; None where they are
        from records, or the files are of other kinds.
      labels: float32 [N, C], 0, 1 or -1 (unknown); None where they have none.
    """

    what: str
    pixels: np.ndarray
    encoded: Optional[tuple[bytes, ...]] = None
    labels: Optional[np.ndarray] = None


def of_records(data_dir: str, path: str, info: dict[str, Any], most: int) -> Images:
    """Images of the split that a model was validated on, of another one where that is not there.

    Args:
      data_dir: the folder of the records.
      path: the model's file, which a refusal names.
      info: what the model's file says of it: classes, image size, aspect, split.
      most: the number of images to take, spread evenly over the split, if it has more.

    Raises:
      UserError: the records are not those of the model, or damaged.
    """
    data = _open(data_dir, path, info)
    split = info.get("val_split", "val")
    split = split if split in data.splits else list(data.splits)[-1]
    numbers, pixels = _some(data, data_dir, split, most)
    total = data.manifest.split(split).num_examples
    labels = data.labels(split).numpy()[numbers] if data.classes else None
    return Images(f"{_of(len(numbers), total)} of {split} in {data_dir}", pixels, None, labels)


def representative(data_dir: str, path: str, info: dict[str, Any]) -> np.ndarray:
    """The images by which int8 finds its ranges, uint8 [N, H, W, 3]: of train, if it is there."""
    data = _open(data_dir, path, info)
    split = "train" if "train" in data.splits else next(iter(data.splits))
    return _some(data, data_dir, split, _NUM_REPRESENTATIVE)[1]


def _open(data_dir: str, path: str, info: dict[str, Any]) -> ImageDataset:
    data = open_dataset(data_dir, cache="none")
    check_matches(path, info, data_dir, data.manifest)
    return data


def _some(
    data: ImageDataset, data_dir: str, split: str, most: int
) -> tuple[np.ndarray, np.ndarray]:
    names = data.names(split)
    numbers = _spread(len(names), most)
    read = stored.by_name(data_dir, data.manifest.split(split).shards, names)
    wanted = [names[number] for number in numbers]
    found = read(wanted)
    return numbers, np.stack([found[name] for name in wanted])


def _spread(total: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, total - 1, min(most, total)).round().astype(int))


def _of(count: int, total: int) -> str:
    return f"{count:,} images" if count == total else f"{count:,} of {total:,} images"


def of_photographs(images_dir: str, info: dict[str, Any], most: int) -> list[Images]:
    """Photographs of a folder, by what a SavedModel makes of them.

    Those that it decodes alike, those at scales that TensorFlow's decoder lacks, of which it makes
    other pixels, and those that it does not read.

    Args:
      images_dir: the folder, or one photograph.
      info: the model's image size and aspect.
      most: the number of photographs to take, spread evenly over the folder, if it has more.

    Raises:
      UserError: there is no photograph, or one cannot be read.
    """
    found = photographs.find(images_dir, recursive=False, follow_links=False)
    paths = [found.paths[name] for name in found.paths]
    taken = [paths[number] for number in _spread(len(paths), most)] if paths else []
    groups: dict[str, list[tuple[bytes, np.ndarray]]] = {}
    for path in taken:
        data = files.read_bytes(path)
        try:
            pixels = images.load(data, info["image_height"], info["image_width"], info["aspect"])
        except ValueError as error:
            raise UserError(
                f"The image {path} cannot be read: {reason(error)}; replace or remove it."
            ) from error
        groups.setdefault(_kind(data, info), []).append((data, pixels))
    if not groups:
        raise UserError(f"There is no photograph in {images_dir} to prove the exported model on.")
    parts = []
    for kind, members in sorted(groups.items()):
        what = f"{_of(len(members), len(paths))} of {images_dir}{kind and f', {kind}'}"
        pixels = np.stack([pixels for _, pixels in members])
        encoded = None if kind == _OTHER else tuple(data for data, _ in members)
        parts.append(Images(what, pixels, encoded))
    return parts


_OTHER = "neither JPEG nor PNG"
_SCALED = "JPEGs that are decoded at 3/8, 5/8, 6/8 or 7/8"


def _kind(data: bytes, info: dict[str, Any]) -> str:
    """Which of the groups a photograph is of; the empty text for what both decode alike."""
    if data[:8] == png.SIGNATURE:
        return ""
    if data[:2] != b"\xff\xd8":
        return _OTHER
    header = jpeg.read_header(data)
    rows, columns = header.size[::-1] if header.orientation >= 5 else header.size
    size = (info["image_height"], info["image_width"])
    height, width = resized(rows, columns, *size, info["aspect"])
    scale = next(
        (n for n in range(1, 9) if -(-rows * n // 8) >= height and -(-columns * n // 8) >= width), 8
    )
    return "" if scale in _COMMON_SCALES else _SCALED


def at_size(image: np.ndarray, info: dict[str, Any]) -> np.ndarray:
    """An image that is decoded, uint8 [h, w, 3], at the size of a model, as `predict` makes it."""
    height, width = info["image_height"], info["image_width"]
    rows, columns = image.shape[:2]
    size = resized(rows, columns, height, width, info["aspect"])
    return fitted(images.resize(image, *size), height, width)


def drawn(info: dict[str, Any]) -> Images:
    """The same few pictures each time, JPEGs and a PNG: clouds, which any model gives scores for.

    Args:
      info: the model's image size and aspect.
    """
    import cv2

    height, width = info["image_height"], info["image_width"]
    encoded = []
    for number in range(_NUM_DRAWN):
        rng = np.random.default_rng(number)
        regions = scenes.draw_regions(rng, synthesize.draw_labels(rng))
        # JPEGs that are decoded at 1/2.
        picture = scenes.render(rng, regions, 2 * height, 3 * width)
        if number:
            encoded.append(simplejpeg.encode_jpeg(picture, quality=90))
        else:
            encoded.append(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())
    pixels = [images.load(data, height, width, info["aspect"]) for data in encoded]
    return Images(f"{_NUM_DRAWN} drawn pictures", np.stack(pixels), tuple(encoded))
