"""Other ways to feed a network, each as its own users write it; and the limits.

A function here is called in a process of its own, loads its library there, and returns what
measures it. All deliver batches of augmented or plain images of one size; the four augmentations
have the original notebook's parameters (probability 0.5 each, 20 degrees, 5 cells, 0.3).
"""

from __future__ import annotations

import os
import random
from typing import Callable, Iterator

import harness
import numpy as np


def keras_sequence(paths: list[str], batch_size: int, size: int) -> harness.Measure:
    """The original notebook's (docs/ORIGINAL.md): an image at a time, as floats of 64 bits."""
    import cv2
    import tensorflow as tf

    augmentation = _albumentations()

    class Images(tf.keras.utils.Sequence):
        def __init__(self) -> None:
            self.paths = random.Random(0).sample(paths, len(paths))

        def __len__(self) -> int:
            return len(self.paths) // batch_size

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            images = np.empty((batch_size, size, size, 3))
            labels = np.zeros((batch_size, 4))
            for i in range(batch_size):
                path = self.paths[(index * batch_size + i) % len(self.paths)]
                image = cv2.resize(cv2.imread(path), (size, size)).astype(np.float32)
                images[i] = augmentation(image=image)["image"] / 255.0
            return images, labels

    sequence = Images()

    def batches() -> Iterator:
        while True:
            for index in range(max(1, len(sequence))):
                yield sequence[index]

    return lambda images: harness.timed_batches(batches, batch_size, images)


def torch_loader(
    paths: list[str], batch_size: int, augmented: bool, as_float: bool, workers: int
) -> harness.Measure:
    """torch's DataLoader with worker processes, OpenCV and albumentations.

    Args:
      paths: JPEG files, each of the size that is delivered.
      batch_size: B, images a batch.
      augmented: whether images are flipped, rotated and distorted.
      as_float: float32 [B, 3, H, W] in [0, 1], as torchvision's ToTensor makes them and most
        training code wants them; else uint8 [B, H, W, 3], the least work.
      workers: the number of loader processes.
    """
    import cv2
    import torch

    augmentation = _albumentations() if augmented else None
    cv2.setNumThreads(0)
    torch.set_num_threads(1)

    class Images(torch.utils.data.Dataset):
        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> torch.Tensor:
            image = cv2.cvtColor(cv2.imread(paths[index % len(paths)]), cv2.COLOR_BGR2RGB)
            if augmentation is not None:
                image = augmentation(image=image)["image"]
            image = torch.from_numpy(np.ascontiguousarray(image))
            return image.permute(2, 0, 1).contiguous().float().div_(255) if as_float else image

    def measure(images: int) -> harness.Turn:
        # A little more than is taken: all workers are at work until the end.
        dataset = Images(images + 4 * workers * batch_size + 4 * batch_size)
        loader = torch.utils.data.DataLoader(
            dataset,
            batch_size,
            shuffle=True,
            num_workers=workers,
            drop_last=True,
            multiprocessing_context="fork",
        )
        return harness.timed_batches(lambda: iter(loader), batch_size, images)

    return measure


def per_image_tf_data(
    records_dir: str, batch_size: int, size: int, augmentation: str
) -> harness.Measure:
    """tf.data, each image decoded, augmented and made float by itself; autotuned.

    Args:
      records_dir: the folder of the TFRecords.
      batch_size: B, images a batch.
      size: rows and columns of the images.
      augmentation: `none`; `usual`: every op runs for every image, a coin chooses between its
        result and the input, and grid distortion looks up four corners; `careful`: ops that the
        coin rejects are not run, and grid distortion goes along rows, then columns.
    """
    import tensorflow as tf

    careful = augmentation == "careful"

    def stretched(steps: int = 5, limit: float = 0.3) -> tf.Tensor:
        stretch = tf.random.uniform([steps], 1 - limit, 1 + limit)
        edges = tf.concat([[0.0], tf.cumsum(stretch)], 0) * (size / steps)
        position = tf.range(size, dtype=tf.float32) * (steps / size)
        cell = tf.cast(position, tf.int32)
        part = position - tf.cast(cell, tf.float32)
        return tf.gather(edges, cell) * (1 - part) + tf.gather(edges, cell + 1) * part

    def folded(index: tf.Tensor) -> tf.Tensor:
        index = tf.math.floormod(index, 2 * size - 2)
        return tf.minimum(index, 2 * size - 2 - index)

    def along(image: tf.Tensor, axis: int) -> tf.Tensor:
        position = stretched()
        lower = tf.floor(position)
        part = tf.reshape(position - lower, [-1, 1, 1] if axis == 0 else [1, -1, 1])
        index = tf.cast(lower, tf.int32)
        first = tf.gather(image, folded(index), axis=axis)
        second = tf.gather(image, folded(index + 1), axis=axis)
        return first * (1 - part) + second * part

    def four_corners(image: tf.Tensor) -> tf.Tensor:
        x, y = tf.meshgrid(stretched(), stretched())
        x0, y0 = tf.floor(x), tf.floor(y)
        part_x, part_y = (x - x0)[..., None], (y - y0)[..., None]

        def at(right: int, below: int) -> tf.Tensor:
            rows = folded(tf.cast(y0, tf.int32) + below)
            columns = folded(tf.cast(x0, tf.int32) + right)
            return tf.gather_nd(image, tf.stack([rows, columns], axis=-1))

        top = at(0, 0) * (1 - part_x) + at(1, 0) * part_x
        bottom = at(0, 1) * (1 - part_x) + at(1, 1) * part_x
        return top * (1 - part_y) + bottom * part_y

    def distorted(image: tf.Tensor) -> tf.Tensor:
        return along(along(image, 0), 1) if careful else four_corners(image)

    def rotated(image: tf.Tensor) -> tf.Tensor:
        angle = tf.random.uniform([], -1.0, 1.0) * (20 * np.pi / 180)
        cos, sin, middle = tf.cos(angle), tf.sin(angle), (size - 1) / 2
        transform = [
            cos, -sin, middle - cos * middle + sin * middle,
            sin, cos, middle - sin * middle - cos * middle, 0.0, 0.0,
        ]  # fmt: skip
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=tf.stack(transform)[None],
            output_shape=[size, size],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )[0]

    def perhaps(image: tf.Tensor, op: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        coin = tf.random.uniform([]) < 0.5
        if careful:
            return tf.cond(coin, lambda: op(image), lambda: image)
        return tf.where(coin, op(image), image)

    def example(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = {
            "image/encoded": tf.io.FixedLenFeature([], tf.string),
            "image/class/label": tf.io.FixedLenFeature([4], tf.int64),
        }
        parsed = tf.io.parse_single_example(serialized, features)
        image = tf.io.decode_jpeg(parsed["image/encoded"], channels=3)
        image = tf.image.convert_image_dtype(image, tf.float32)
        image.set_shape([size, size, 3])
        if augmentation != "none":
            image = tf.image.random_flip_up_down(image)
            image = tf.image.random_flip_left_right(image)
            image = perhaps(perhaps(image, rotated), distorted)
        return image, parsed["image/class/label"]

    shards = sorted(tf.io.gfile.glob(os.path.join(records_dir, "*.tfrecord")))
    dataset = tf.data.TFRecordDataset(shards, num_parallel_reads=tf.data.AUTOTUNE)
    dataset = dataset.shuffle(1024).repeat()
    dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    return lambda images: harness.timed_batches(lambda: iter(dataset), batch_size, images)


def dali(paths: list[str], batch_size: int, augmented: bool, threads: int) -> harness.Measure:
    """DALI on the CPU: flips and rotation to uint8, or floats without augmentation."""
    import warnings

    warnings.filterwarnings("ignore")
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=batch_size, num_threads=threads, device_id=None, seed=0)
    def pipeline():  # noqa: ANN202 - a type of DALI's
        encoded, _ = fn.readers.file(files=paths, labels=[0] * len(paths), random_shuffle=True)
        image = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
        if not augmented:
            return fn.crop_mirror_normalize(
                image, dtype=types.FLOAT, output_layout="HWC", std=[255.0] * 3
            )
        coins = [fn.random.coin_flip(probability=0.5) for _ in range(3)]
        image = fn.flip(image, vertical=coins[0], horizontal=coins[1])
        angle = fn.random.uniform(range=(-20.0, 20.0)) * coins[2]
        return fn.rotate(image, angle=angle, keep_size=True, interp_type=types.INTERP_LINEAR)

    built = pipeline()
    built.build()

    def batches() -> Iterator:
        while True:
            yield built.run()

    return lambda images: harness.timed_batches(batches, batch_size, images)


def decode_jpeg(paths: list[str], batch_size: int, size: int, threads: int) -> harness.Measure:
    """`tf.io.decode_jpeg` on JPEGs in memory, to uint8 batches; with cloudtf's own tf.data options.

    An image a call, which is the usual way.
    """
    from cloudtf.diagnosis import cases

    return cases.decode_jpeg(_contents(paths), size, size, batch_size, threads).measure


def bare_decode(paths: list[str], batch_size: int, size: int, threads: int) -> harness.Measure:
    """libjpeg-turbo alone, into arrays that are used again: the limit."""
    from cloudtf.diagnosis import cases

    return cases.bare_decode(_contents(paths), size, size, batch_size, threads).measure


def _albumentations():  # noqa: ANN202 - a type of albumentations'
    import albumentations

    return albumentations.Compose(
        [
            albumentations.VerticalFlip(),
            albumentations.HorizontalFlip(),
            albumentations.Rotate(limit=20),
            albumentations.GridDistortion(),
        ],
        p=1,
    )


def _contents(paths: list[str]) -> list[bytes]:
    contents = []
    for path in paths:
        with open(path, "rb") as file:
            contents.append(file.read())
    return contents
