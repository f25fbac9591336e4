"""A folder of records as a data set: what users open, and what its batches are asked of.

Which example comes when is decided in `order.py`, what is kept in memory in `cache.py`; batches are
made in `batching.py`.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import warnings
import weakref
from typing import Iterator, Optional, Sequence, Union

import tensorflow as tf

from cloudtf import machine
from cloudtf.data import photograph_table, records, salvage
from cloudtf.errors import UsageError, UserError, param
from cloudtf.pipeline import batching, damage, order
from cloudtf.pipeline.augmentations import Augmentations
from cloudtf.pipeline.cache import CACHES, Cache, room_for
from cloudtf.pipeline.changes import Changes
from cloudtf.pipeline.service.batch_maker import BatchMaker
from cloudtf.reporter import report

SplitNames = Union[str, Sequence[str]]
AUGMENT_ON = ("host", "device")


def open_dataset(
    data_dir: str,
    cache: str = CACHES[0],
    on_bad_record: str = records.ON_BAD_RECORD[0],
    sharers: int = 1,
) -> ImageDataset:
    """Opens a folder of records made by `cloudtf convert`.

    >>> data = cloudtf.open_dataset("records", cache="encoded")
    >>> data.classes, data.image_shape
    (('Fish', 'Flower', 'Gravel', 'Sugar'), (64, 64))
    >>> {name: split.num_examples for name, split in data.splits.items()}
    {'train': 48, 'val': 12}

    Args:
      data_dir: the folder that holds `dataset.json`.
      cache: `none` reads records from disk each epoch, `encoded` keeps them in memory, `decoded`
        keeps the images in memory, `auto` takes the fastest that fits in a share of free memory.
      on_bad_record: `fail`, or `skip` to read every shard once now and leave out what is damaged,
        up to 1% of a split, saying so.
      sharers: the number of processes, this one included, that share this machine's free memory.

    Raises:
      UserError: there is no manifest, or a shard is missing or has another length than it says.
    """
    _check_choice("cache", cache, CACHES)
    _check_choice("on_bad_record", on_bad_record, records.ON_BAD_RECORD)
    manifest = records.read_manifest(data_dir)
    if on_bad_record == "fail":
        records.check_shards(data_dir, manifest, tuple(manifest.splits))
        return ImageDataset(data_dir, manifest, cache, sharers)
    folder = tempfile.TemporaryDirectory(prefix="cloudtf-")
    manifest, notes = salvage.without_bad_records(data_dir, manifest, folder.name)
    for note in notes:
        report(note)
    data = ImageDataset(data_dir, manifest, cache, sharers)
    weakref.finalize(data, folder.cleanup)
    return data


class ImageDataset:
    """A converted data set.

    Attributes:
      data_dir: the folder of the records.
      manifest: the content of `dataset.json`.
      classes: the class names in label order; empty for an unlabelled set.
      splits: split name -> its shards and the counts of examples.
      image_shape: height and width of every image, in pixels.
      cache: decides which shards are kept in memory, and holds them.
    """

    def __init__(
        self, data_dir: str, manifest: records.Manifest, cache: str, sharers: int = 1
    ) -> None:
        self.data_dir = data_dir
        self.manifest = manifest
        self.classes = manifest.classes
        self.splits = manifest.splits
        self.image_shape = (manifest.image_height, manifest.image_width)
        room = room_for(machine.free_bytes(), sharers) if cache == "auto" else 0
        self.cache = Cache(data_dir, manifest, cache, room)
        self._source = batching.Source(
            data_dir, len(manifest.classes), self.image_shape, self.cache, manifest.has_unknown
        )

    def batches(
        self,
        split: SplitNames,
        batch_size: int,
        training: bool = False,
        augment_on: str = "host",
        augmentations: Augmentations = Augmentations(),  # noqa: B008 - frozen
        seed: int = 0,
        start: int = 0,
        max_examples: Optional[int] = None,
        with_keys: bool = False,
    ) -> tf.data.Dataset:
        """Batches of one split, as Keras takes them.

        For training: (images, labels), endless, reshuffled each epoch. Every example comes once in
        an epoch; epochs follow each other without a gap, so a batch may hold the end of one and
        the beginning of the next.

        For evaluation: (images, labels, ones), every example once, in the order of the records;
        the last batch may be shorter. (The third element, float32 [B], is there for code that took
        it for a mask of padding. To Keras it is a weight of one for each example.)

        Args:
          split: a name in `splits`, or several to be read as one.
          batch_size: images a batch, B; at least 1.
          training: endless and shuffled, or once and in order.
          augment_on: `host` augments in the pipeline; `device` leaves the images to the caller, who
            needs `with_keys`; labels are those of the augmented images. Only for training.
          augmentations: the augmentations to apply, their probability and strengths.
          seed: keys the random order and the augmentation; any int64.
          start: for training: the position in the endless stream of examples to begin at, the
            number of examples that were trained on before.
          max_examples: for evaluation: only the first so many. The converter shuffles records
            across shards, so these are a random sample.
          with_keys: adds a last element, int32 [B, 2]: epoch and number of each example in the
            split.

        Returns:
          A dataset of images uint8 [B, H, W, 3], labels float32 [B, C] (0 or 1, in between where
          images are mixed, and -1 where a label is unknown), and what else is named above. Its
          cardinality is known; that of training is infinite. A warning says if labels are -1:
          Keras's losses take no notice of that, `cloudtf.masked(loss)` and `cloudtf.get_loss(name)`
          leave them out.

        Raises:
          UserError: there is no such split, or it is empty or damaged.

        >>> data = cloudtf.open_dataset("records")
        >>> train = data.batches("train", batch_size=8, training=True, seed=1)
        >>> images, labels = next(iter(train))
        >>> images.shape, images.dtype, labels.shape
        (TensorShape([8, 64, 64, 3]), tf.uint8, TensorShape([8, 4]))
        >>> val = data.batches("val", batch_size=5)
        >>> [len(images) for images, labels, ones in val]
        [5, 5, 2]
        """
        _check_choice("augment_on", augment_on, AUGMENT_ON)
        if start < 0:
            raise UsageError(f"{param(start=start)} must be at least 0.")
        whole = self._joined(split, batch_size)
        if training and whole.unknown_counts:
            warnings.warn(
                f"Some labels of {whole.name} are unknown (-1), which Keras's losses do not know: "
                "compile the model with cloudtf.masked(loss) or cloudtf.get_loss(name).",
                stacklevel=2,
            )
        if training:
            made = self._training(
                whole, batch_size, augment_on, augmentations, seed, start, order.ALONE, None
            )
        else:
            made = self._evaluation(whole, batch_size, max_examples, order.ALONE)
        return batching.finished(batching.narrowed(made, training, with_keys))

    def training_batches(
        self,
        split: SplitNames,
        batch_size: int,
        augment_on: str,
        augmentations: Augmentations,
        seed: int,
        start: int = 0,
        share: order.Share = order.ALONE,
        cores: Optional[int] = None,
        size: Optional[tuple[int, int]] = None,
    ) -> tf.data.Dataset:
        """Endless batches for cloudtf's own loop: a dataset of `Batch` of fixed shapes.

        Args:
          split: a name, or several to be read as one.
          batch_size: images a batch of one replica.
          augment_on: `host`, or `device` to leave it to the train step.
          augmentations: the augmentations to apply, their probability and strengths.
          seed: keys the order and the augmentation; any int64.
          start: the position in the stream of all workers to begin at.
          share: the number of this worker, and of all; `ALONE` for a single one.
          cores: the number of cores to keep busy; None: all. Where the model runs on them too,
            few are better.
          size: (height, width) of the images as they are trained on; None: as in the records.

        Raises:
          UserError: there is no such split, or it is empty or damaged.
        """
        whole = self._joined(split, batch_size)
        made = self._training(
            whole, batch_size, augment_on, augmentations, seed, start, share, cores, size
        )
        return batching.finished(made, cores)

    def evaluation_batches(
        self,
        split: SplitNames,
        batch_size: int,
        max_examples: Optional[int] = None,
        share: order.Share = order.ALONE,
    ) -> tf.data.Dataset:
        """Every example once, for cloudtf's own scoring: a dataset of `Batch` of fixed shapes.

        A TPU compiles anew for each shape, so the last batch is padded; see its mask.

        Args:
          split: a name, or several to be read as one.
          batch_size: B, images a batch, at least 1.
          max_examples: only the first so many; None for all.
          share: which of several workers this is; in their order, their examples are all.

        Raises:
          UserError: there is no such split, or it is empty or damaged.
        """
        whole = self._joined(split, batch_size)
        return batching.finished(self._evaluation(whole, batch_size, max_examples, share))

    def batch_maker(
        self,
        split: SplitNames,
        batch_size: int,
        augment_on: str,
        augmentations: Augmentations,
        seed: int,
        start: int = 0,
        share: order.Share = order.ALONE,
        size: Optional[tuple[int, int]] = None,
    ) -> BatchMaker:
        """What makes the batches of `training_batches`, as of a split kept in memory, elsewhere."""
        stream = order.training_order(self._joined(split, batch_size), seed, start, share)
        self.cache.check_streamed(stream.part.shards)
        return BatchMaker(
            data_dir=self.data_dir,
            order=stream,
            batch_size=batch_size,
            num_classes=len(self.classes),
            image_shape=self.image_shape,
            changes=self._changes(augmentations, augment_on, seed, size),
            unknown=self.manifest.has_unknown,
        )

    def training_part(self, split: SplitNames, share: order.Share) -> records.Split:
        """The shards that a worker reads of a split in training, by which its cache is known."""
        return order.training_order(self.manifest.joined(split), 0, 0, share).part.shards

    def describe_share(self, split: SplitNames, share: order.Share) -> str:
        """What one of several workers reads of a split in training, in one line."""
        return order.describe(self.manifest.joined(split), share)

    @contextlib.contextmanager
    def naming_damage(self, split: SplitNames) -> Iterator[None]:
        """Around code that goes through batches: says which record made TensorFlow fail.

        What is cached was checked when it was loaded. A split that is streamed from disk is read
        by TensorFlow alone, whose errors name neither shard nor image; after one, the split is
        read again to find the culprit.

        Raises:
          UserError: naming the shard or image. An error that has another cause is left as it is.
        """
        try:
            yield
        except damage.ERRORS_OF_DATA as error:
            if damage.may_be_damage(error):
                joined = self.manifest.joined(split)
                damage.find_damage(
                    self.data_dir,
                    joined,
                    len(self.classes),
                    *self.image_shape,
                    error,
                    self.manifest.has_unknown,
                )
            raise

    def num_examples(self, split: SplitNames) -> int:
        """Examples in a split, or in several."""
        return self.manifest.joined(split).num_examples

    def names(self, split: SplitNames) -> tuple[str, ...]:
        """The image names of a split, by example number."""
        joined = self.manifest.joined(split)
        table, first = self.cache.columns(joined)
        return table.names[first : first + joined.num_examples]

    def labels(self, split: SplitNames) -> tf.Tensor:
        """The labels of a split by example number: float32 [N, C], 0, 1 or -1 (unknown)."""
        joined = self.manifest.joined(split)
        table, first = self.cache.columns(joined)
        return table.labels[first : first + joined.num_examples]

    def masks(self, split: SplitNames) -> dict[str, bytes]:
        """Image name -> its small masks, as `data.masks.encode` gives them; empty without masks."""
        if not self.manifest.mask_side:
            return {}
        joined = self.manifest.joined(split)
        table, first = self.cache.columns(joined)
        rows = slice(first, first + joined.num_examples)
        return dict(zip(table.names[rows], table.masks[rows].numpy().tolist()))

    @functools.cached_property
    def photographs(self) -> photograph_table.Photographs:
        """What is known of the photographs beside their labels.

        Raises:
          UserError: the table of them is damaged.
        """
        return photograph_table.read(self.data_dir, self.manifest)

    def groups(self, split: SplitNames) -> tuple[str, ...]:
        """The group of each image of a split, by example number.

        Equal ones are of photographs that belong together: they are copies of one, or have the same
        in the column that was `group_column` of the conversion. Any other is a group of its own.

        >>> data = cloudtf.open_dataset("records")
        >>> len(data.groups("val")), len(set(data.groups("val")))
        (12, 12)
        """
        return self.photographs.groups_of(self.names(split))

    def columns(self, split: SplitNames) -> dict[str, tuple[str, ...]]:
        """The columns that `keep_columns` of the conversion named: a cell for each image.

        Cells are by example number, empty where nothing is known.

        >>> cloudtf.open_dataset("records").columns("val")
        {}
        """
        return self.photographs.columns_of(self.names(split))

    def _training(
        self,
        whole: records.Split,
        batch_size: int,
        augment_on: str,
        augmentations: Augmentations,
        seed: int,
        start: int,
        share: order.Share,
        cores: Optional[int],
        size: Optional[tuple[int, int]] = None,
    ) -> tf.data.Dataset:
        stream = order.training_order(whole, seed, start, share)
        changes = self._changes(augmentations, augment_on, seed, size)
        return batching.training(self._source, stream, batch_size, changes, cores)

    def _changes(
        self,
        augmentations: Augmentations,
        augment_on: str,
        seed: int,
        size: Optional[tuple[int, int]],
    ) -> Changes:
        return Changes(
            augmentations,
            seed,
            on_host=augment_on == "host",
            has_masks=self.manifest.mask_side > 0,
            size=size,
        )

    def _evaluation(
        self,
        whole: records.Split,
        batch_size: int,
        max_examples: Optional[int],
        share: order.Share,
    ) -> tf.data.Dataset:
        count = min(max_examples or whole.num_examples, whole.num_examples)
        part = order.own_part(whole, share, count)
        return batching.evaluation(self._source, part, batch_size)

    def _joined(self, split: SplitNames, batch_size: int) -> records.Split:
        if batch_size < 1:
            raise UsageError(f"{param(batch_size=batch_size)} must be at least 1.")
        joined = self.manifest.joined(split)
        if not joined.num_examples:
            raise UserError(f"The split {joined.name!r} in {self.data_dir} has no examples.")
        return joined


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UsageError(f"{param(**{name: value})} is not one of {', '.join(choices)}.")
