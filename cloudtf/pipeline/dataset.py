"""The input pipeline: from a folder of records to batches for training or evaluation.

Which example comes when is decided in `order.py`.
"""

from __future__ import annotations

import contextlib
import tempfile
import weakref
from typing import Callable, Iterator, Optional, Sequence, Union

import tensorflow as tf

from cloudtf import machine
from cloudtf.data import records, salvage
from cloudtf.errors import UsageError, UserError
from cloudtf.pipeline import (
    augment,
    damage,
    memory,
    numbered,
    order,
    reading,
    tables,
)
from cloudtf.pipeline.augmentations import Augmentations

SplitNames = Union[str, Sequence[str]]
Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def open_dataset(
    data_dir: str,
    cache: str = memory.CACHES[0],
    on_bad_record: str = records.ON_BAD_RECORD[0],
    sharers: int = 1,
) -> ImageDataset:
    """Opens a folder of records made by `cloudtf convert`.

    Args:
      data_dir: the folder that holds `dataset.json`.
      cache: `none` reads records from disk each epoch, `encoded` keeps them in memory, `decoded`
        keeps the images in memory, `auto` takes the fastest that fits in a share of free memory.
      on_bad_record: `fail`, or `skip` to read every shard once now and leave out what is damaged,
        up to 1% of a split, saying so.
      sharers: processes that this machine's free memory is for, with this one.

    Raises:
      UserError: there is no manifest, or a shard is missing or has another length than it says.
    """
    if cache not in memory.CACHES:
        raise UsageError(f"--cache={cache} is not one of {', '.join(memory.CACHES)}.")
    if on_bad_record not in records.ON_BAD_RECORD:
        raise UsageError(f"--on_bad_record={on_bad_record} is not one of fail, skip.")
    manifest = records.read_manifest(data_dir)
    if on_bad_record == "fail":
        records.check_shards(data_dir, manifest, tuple(manifest.splits))
        return ImageDataset(data_dir, manifest, cache, sharers)
    folder = tempfile.TemporaryDirectory(prefix="cloudtf-")
    manifest, notes = salvage.without_bad_records(data_dir, manifest, folder.name)
    for note in notes:
        print(note)
    data = ImageDataset(data_dir, manifest, cache, sharers)
    weakref.finalize(data, folder.cleanup)
    return data


class ImageDataset:
    """A converted data set.

    Attributes:
      data_dir: its folder.
      manifest: the content of `dataset.json`.
      classes: class names in label order.
      splits: `Split` by name.
      image_shape: (height, width).
      caches: what was decided for each split used so far: `none`, `encoded` or `decoded`.
    """

    def __init__(
        self, data_dir: str, manifest: records.Manifest, cache: str, sharers: int = 1
    ) -> None:
        self.data_dir = data_dir
        self.manifest = manifest
        self.classes = manifest.classes
        self.splits = manifest.splits
        self.image_shape = (manifest.image_height, manifest.image_width)
        self.caches: dict[str, str] = {}
        self._wanted_cache = cache
        self._budget = int(machine.free_bytes() * memory.SHARE) // sharers if cache == "auto" else 0
        self._tables: dict[str, tables.Table] = {}
        self._columns_read: dict[str, tables.Table] = {}
        self._on_disk: set[records.Shard] = set()
        self._cores = machine.usable_cores()

    def batches(
        self,
        split: SplitNames,
        batch_size: int,
        training: bool = False,
        augment_on: str = "host",
        augmentations: Augmentations = Augmentations(),  # noqa: B008 - frozen
        seed: int = 0,
        start: int = 0,
        share: order.Share = order.ALONE,
        max_examples: Optional[int] = None,
        with_keys: bool = False,
        cores: Optional[int] = None,
    ) -> tf.data.Dataset:
        """Batches of one split.

        For training: (images, labels), endless, reshuffled each epoch. Every example comes once in
        an epoch; epochs follow each other without a gap, so a batch may hold the end of one and
        the beginning of the next.

        For evaluation: (images, labels, mask), every example once, in the order of the records;
        the last batch is padded with zeros, and mask is 0 there.

        Args:
          split: a name in `splits`, or several to be read as one.
          batch_size: images a batch, B.
          training: endless and shuffled, or once and in order.
          augment_on: `host` augments in the pipeline; `device` leaves it to the caller, who needs
            `with_keys`. Only for training.
          augmentations: which augmentations, and how strong.
          seed: of the order and the augmentation.
          start: for training: how many examples of the endless stream to pass over.
          share: for several workers: which one this is. For training see `order.py`. For evaluation
            each gets consecutive examples; in the workers' order they are all examples.
          max_examples: for evaluation: only the first so many. The converter shuffles records
            across shards, so these are a random sample.
          with_keys: adds a last element, int32 [B, 2]: epoch and number of each example in the
            split (-1 where padded).
          cores: to be kept busy; None for all. Where the model runs on them too, few are better.

        Returns:
          A dataset of images uint8 [B, H, W, 3], labels float32 [B, C], and what else is named
          above.

        Raises:
          UserError: there is no such split, or it is empty or damaged.
        """
        if batch_size < 1:
            raise UsageError(f"--batch_size={batch_size} must be at least 1.")
        if augment_on not in ("host", "device"):
            raise UsageError(f"--augment_on={augment_on} is not one of host, device.")
        cores = cores or self._cores
        spec = self._spec(split)
        if not spec.num_examples:
            raise UserError(f"The split {spec.name!r} in {self.data_dir} has no examples.")
        if training:
            dataset = self._training(spec, batch_size, seed, start, share, cores)
            if augment_on == "host":
                dataset = self._augmented(dataset, batch_size, augmentations, seed, cores)
        else:
            dataset = self._evaluation(spec, batch_size, max_examples, share, cores)
        if not with_keys:
            dataset = dataset.map(reading.plain(lambda *batch: batch[:-1]))
        return dataset.prefetch(2).with_options(reading.options(cores))

    def numbered_batches(
        self,
        split: SplitNames,
        batch_size: int,
        augment_on: str,
        augmentations: Augmentations,
        seed: int,
        start: int = 0,
        share: order.Share = order.ALONE,
    ) -> numbered.NumberedBatches:
        """The batches for training of a split kept in memory, each to be made from its number.

        Batch 0 is the one after `start` examples. For the arguments see `batches`.
        """
        return numbered.NumberedBatches(
            data_dir=self.data_dir,
            order=order.training_order(self._spec(split), seed, start, share),
            batch_size=batch_size,
            num_classes=len(self.classes),
            image_shape=self.image_shape,
            augmentations=augmentations if augment_on == "host" else None,
            augment_seed=seed,
        )

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
                spec = self._spec(split)
                damage.find_damage(self.data_dir, spec, len(self.classes), *self.image_shape, error)
            raise

    def num_examples(self, split: SplitNames) -> int:
        """Examples in a split, or in several."""
        return self._spec(split).num_examples

    def names(self, split: SplitNames) -> tuple[str, ...]:
        """The image names of a split, by example number."""
        return self._columns(split).names

    def labels(self, split: SplitNames) -> tf.Tensor:
        """The labels of a split by example number, float32 [N, C]."""
        return self._columns(split).labels[:-1]

    def describe_cache(self) -> str:
        """What is kept in memory, in one line."""
        parts = [f"{name} {memory.WORDS[choice]}" for name, choice in self.caches.items()]
        return "; ".join(parts)

    def describe_share(self, split: SplitNames, share: order.Share) -> str:
        """What one of several workers reads of a split in training, in one line."""
        return order.describe(self._spec(split), share)

    def keep_on_disk(self, split: SplitNames) -> None:
        """Keeps a split out of memory: other machines make its batches for training."""
        self._on_disk.update(self._spec(split).shards)

    def settle_cache(
        self, split: SplitNames, share: order.Share, least: Callable[[int], int]
    ) -> None:
        """Makes all workers keep what they train on alike: the cache decides on the order.

        Args:
          split: to be trained on.
          share: which worker this is; all must call this.
          least: the least of a number over all workers.
        """
        spec = self._own(split, share)
        chosen = memory.CACHES.index(self._cache_of(spec))
        self.caches[spec.name] = memory.CACHES[least(chosen)]

    def streams(self, split: SplitNames, share: order.Share) -> bool:
        """Whether a worker reads a split from disk each epoch, which is an order of its own."""
        return self._cache_of(self._own(split, share)) == "none"

    def _cache_of(self, spec: records.Split) -> str:
        if spec.name not in self.caches:
            height, width = self.image_shape
            wanted = "none" if self._on_disk.issuperset(spec.shards) else self._wanted_cache
            choice, cost = memory.choose_cache(wanted, spec, height * width * 3, self._budget)
            self._budget -= cost
            self.caches[spec.name] = choice
        return self.caches[spec.name]

    def _own(self, split: SplitNames, share: order.Share) -> records.Split:
        """What one worker reads of a split in training."""
        return order.training_order(self._spec(split), 0, 0, share).part.shards

    def _spec(self, split: SplitNames) -> records.Split:
        """One split, or several as if they were one."""
        names = (split,) if isinstance(split, str) else tuple(split)
        specs = [self.manifest.split(name) for name in names]
        if len(specs) == 1:
            return specs[0]
        return records.Split(
            name="+".join(names),
            num_examples=sum(spec.num_examples for spec in specs),
            class_counts={c: sum(s.class_counts.get(c, 0) for s in specs) for c in self.classes},
            combination_counts={},
            shards=tuple(shard for spec in specs for shard in spec.shards),
        )

    def _columns(self, split: SplitNames) -> tables.Table:
        spec = self._spec(split)
        if spec.name in self._tables:
            return self._tables[spec.name]
        if spec.name not in self._columns_read:
            self._columns_read[spec.name] = tables.load_table(
                self.data_dir, spec, len(self.classes), self._cores
            )
        return self._columns_read[spec.name]

    def _table(self, spec: records.Split, cache: str) -> tables.Table:
        if spec.name not in self._tables:
            table = tables.load_table(
                self.data_dir, spec, len(self.classes), self._cores, self.image_shape
            )
            finish = tables.decode_table if cache == "decoded" else tables.check_sizes
            self._tables[spec.name] = finish(table, *self.image_shape, self._cores)
        return self._tables[spec.name]

    def _training(
        self,
        spec: records.Split,
        batch_size: int,
        seed: int,
        start: int,
        share: order.Share,
        cores: int,
    ) -> tf.data.Dataset:
        stream = order.training_order(spec, seed, start, share)
        cache = self._cache_of(stream.part.shards)
        if cache == "none":
            dataset, fetch = stream.streamed_batches(self.data_dir, batch_size), self._decoded
        else:
            rows = self._fetched(stream.part, cache)
            dataset = stream.batches(batch_size)
            fetch = reading.plain(lambda _, packed: rows(packed))
        return dataset.map(fetch, num_parallel_calls=self._calls(cores, batch_size))

    def _fetched(self, part: order.Part, cache: str) -> Callable[[tf.Tensor], Batch]:
        """From packed keys [B], B static, to images, labels and keys."""
        table = self._table(part.shards, cache)

        @reading.plain
        def fetch(packed: tf.Tensor) -> Batch:
            keys = order.unpack(packed)
            rows = keys[:, 1] - part.offset
            if table.decoded is not None:
                images = tf.gather(table.decoded, rows)
            else:
                encoded = tf.gather(table.encoded, rows)
                images = reading.decode_batch(encoded, *self.image_shape)
            return images, tf.gather(table.labels, rows), keys

        return fetch

    @reading.plain
    def _decoded(self, packed: tf.Tensor, serialized: tf.Tensor) -> Batch:
        """From packed keys [B] and records [B], B static, to images, labels and keys."""
        parsed = reading.parse(serialized, len(self.classes))
        return (
            reading.decode_batch(parsed["encoded"], *self.image_shape),
            parsed["label"],
            order.unpack(packed),
        )

    def _augmented(
        self,
        dataset: tf.data.Dataset,
        batch_size: int,
        augmentations: Augmentations,
        seed: int,
        cores: int,
    ) -> tf.data.Dataset:
        if not augmentations.augmentations:
            return dataset

        @reading.plain
        def augmented(images: tf.Tensor, labels: tf.Tensor, keys: tf.Tensor) -> Batch:
            images = augment.augment(images, keys, ops=augmentations, seed=seed)
            return images, labels, keys

        return dataset.map(
            augmented, num_parallel_calls=self._calls(cores, batch_size, one_core_each=True)
        )

    def _evaluation(
        self,
        spec: records.Split,
        batch_size: int,
        max_examples: Optional[int],
        share: order.Share,
        cores: int,
    ) -> tf.data.Dataset:
        count = min(max_examples or spec.num_examples, spec.num_examples)
        part = order.own_part(spec, share, count)
        cache = self._cache_of(part.shards)
        fetch = self._decoded if cache == "none" else self._fetched(part, cache)
        # The padding's row in the table.
        last = part.offset + part.shards.num_examples
        padding = reading.black_record(*self.image_shape, len(self.classes))

        @reading.plain
        def padded(numbers: tf.Tensor, *serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
            missing = batch_size - tf.shape(numbers)[0]

            def whole(values: tf.Tensor, fill: Union[int, bytes]) -> tf.Tensor:
                values = tf.concat(
                    [values, tf.fill([missing], tf.constant(fill, values.dtype))], axis=0
                )
                return tf.ensure_shape(values, [batch_size])

            return (
                whole(numbers, last),
                *(whole(records, padding) for records in serialized),
            )

        @reading.plain
        def batch(*padded: tf.Tensor) -> tuple[tf.Tensor, ...]:
            images, labels, keys = fetch(*padded)
            present = keys[:, 1] < part.end
            keys = tf.where(present[:, None], keys, [0, -1])
            return images, labels, tf.cast(present, tf.float32), keys

        if cache == "none":
            dataset = reading.stream(self.data_dir, part.shards, None, 1, part.offset)
            dataset = dataset.skip(part.first - part.offset).take(part.count)
        else:
            dataset = tf.data.Dataset.range(part.first, part.end)
        dataset = dataset.batch(batch_size).map(padded)
        return dataset.map(batch, num_parallel_calls=self._calls(cores, batch_size))

    def _calls(self, cores: int, batch_size: int, one_core_each: bool = False) -> int:
        height, width = self.image_shape
        return reading.calls(cores, batch_size, height * width * 3, one_core_each)
