"""Images a second into the train step: cloudtf, other libraries, and the limits, in one run.

    python benchmarks/input_pipeline.py --work_dir=DIR --json=input_pipeline.json

Synthetic cloud scenes as 224 x 224 JPEGs of quality 95, all in the page cache. What is not called
streamed or decoded keeps its JPEGs in memory, as cloudtf does by itself where they fit; so do the
limits. The other libraries, and what is streamed, read files each time. Peers that are not
installed (`pip install cloudtf[benchmarks]`) are named and left out.
"""

from __future__ import annotations

import os
from typing import Optional

import data
import harness
import input_peers
from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 2000, "Images in the set.", lower_bound=64)
flags.DEFINE_integer("batch_size", 32, "Images a batch.", lower_bound=1)
flags.DEFINE_integer(
    "originals", 0, "Also the original notebook's way with so many files of 2100 x 1400."
)

SIZE = 224

HOST = "cloudtf, four augmentations on the host"
HOST_STREAMED = "cloudtf, on the host, streamed"
HOST_DECODED = "cloudtf, on the host, decoded cache"
DEVICE = "cloudtf, uint8 for the device"
DEVICE_STREAMED = "cloudtf, uint8 for the device, streamed"
DECODED = "cloudtf, uint8 from the decoded cache"
EVALUATION = "cloudtf, evaluation, uint8"
EVALUATION_FLOAT = "cloudtf, evaluation, float32"
SEQUENCE = "original notebook, files at 224"
SEQUENCE_ORIGINALS = "original notebook, full-size files"
TORCH = "torch DataLoader + albumentations, float32"
TORCH_UINT8 = "torch DataLoader + albumentations, uint8"
TORCH_PLAIN = "torch DataLoader, float32, no augmentation"
PER_IMAGE = "tf.data, an image at a time, usual style"
PER_IMAGE_CAREFUL = "tf.data, an image at a time, with care"
PER_IMAGE_PLAIN = "tf.data, an image at a time, float32, no augmentation"
DALI = "DALI, flips and rotation only"
DALI_PLAIN = "DALI, float32, no augmentation"
DECODE_JPEG = "tf.io.decode_jpeg, uint8 batches"
LIMIT = "libjpeg-turbo alone (limit)"


def cloudtf_training(
    records_dir: str, batch_size: int, cache: str, augment_on: str
) -> harness.Measure:
    """The training pipeline; batches as the train step takes them."""
    import cloudtf
    from cloudtf.diagnosis import cases

    data = cloudtf.open_dataset(records_dir, cache=cache)
    return cases.training(data, batch_size, augment_on).measure


def cloudtf_evaluation(
    records_dir: str, batch_size: int, cache: str, as_float: bool
) -> harness.Measure:
    """The evaluation pipeline, pass after pass."""
    import cloudtf
    from cloudtf.diagnosis import cases

    data = cloudtf.open_dataset(records_dir, cache=cache)
    return cases.evaluation(data, batch_size, as_float, _cores()).measure


def main() -> None:
    """Measures and reports."""
    facts = harness.machine()
    work_dir = data.folder(FLAGS.work_dir)
    # At a third of the real photographs' size, which is quicker to draw.
    records_dir = data.converted(data.photographs(work_dir, FLAGS.images, 466, 700), SIZE)
    paths = data.as_files(records_dir)
    originals = None
    if FLAGS.originals:
        originals = data.photograph_paths(data.photographs(work_dir, FLAGS.originals, 1400, 2100))
    results, notes = harness.alternate(_cases(records_dir, paths, originals))
    mean = sum(os.path.getsize(path) for path in paths) / len(paths)
    notes.append(
        f"{len(paths)} images of {SIZE} x {SIZE}, {mean / 1000:.1f} KB in the mean; batches of "
        f"{FLAGS.batch_size}."
    )
    ratios = [
        harness.ratio(results, *pair)
        for pair in (
            (HOST, TORCH, 3.0),
            (HOST, TORCH_UINT8),
            (HOST_DECODED, TORCH_UINT8),
            (HOST, PER_IMAGE, 8.0),
            (HOST, PER_IMAGE_CAREFUL),
            (HOST, SEQUENCE),
            (HOST, SEQUENCE_ORIGINALS),
            (HOST, DALI),
            (HOST_STREAMED, HOST),
            (HOST_STREAMED, TORCH),
            (DEVICE, DECODE_JPEG, 0.9),
            (DEVICE, DALI_PLAIN, 1.5),
            (DEVICE_STREAMED, DECODE_JPEG, 0.9),
            (DECODED, DECODE_JPEG, 1.3),
            (EVALUATION_FLOAT, DALI_PLAIN, 1.4),
            (EVALUATION_FLOAT, TORCH_PLAIN),
            (EVALUATION_FLOAT, PER_IMAGE_PLAIN),
            (EVALUATION, DALI_PLAIN),
            (DECODE_JPEG, LIMIT),
        )
    ]
    harness.report("input_pipeline", facts, "images/s", results, ratios, notes)


def _cases(
    records_dir: str, paths: list[str], originals: Optional[list[str]]
) -> list[harness.Case]:
    batch, threads = FLAGS.batch_size, _cores()
    ours = {"records_dir": records_dir, "batch_size": batch}
    images = {**ours, "size": SIZE}
    theirs = {"paths": paths, "batch_size": batch}
    torch = {**theirs, "workers": threads}
    limit = {**theirs, "size": SIZE, "threads": threads}

    def training(name: str, cache: str, augment_on: str) -> harness.Case:
        # Each epoch of a streamed set begins with filling the shuffle buffer: whole epochs.
        multiple = FLAGS.images if cache == "none" else batch
        arguments = {**ours, "cache": cache, "augment_on": augment_on}
        return harness.Case(name, cloudtf_training, arguments, multiple)

    def case(name: str, prepare, **arguments) -> harness.Case:  # noqa: ANN001, ANN003
        return harness.Case(name, prepare, arguments, batch)

    cases = [
        training(HOST, "encoded", "host"),
        case(TORCH, input_peers.torch_loader, **torch, augmented=True, as_float=True),
        case(TORCH_UINT8, input_peers.torch_loader, **torch, augmented=True, as_float=False),
        case(PER_IMAGE, input_peers.per_image_tf_data, **images, augmentation="usual"),
        case(PER_IMAGE_CAREFUL, input_peers.per_image_tf_data, **images, augmentation="careful"),
        case(SEQUENCE, input_peers.keras_sequence, **theirs, size=SIZE),
        case(DALI, input_peers.dali, **theirs, augmented=True, threads=threads),
        training(HOST_STREAMED, "none", "host"),
        training(HOST_DECODED, "decoded", "host"),
        training(DEVICE, "encoded", "device"),
        case(DECODE_JPEG, input_peers.decode_jpeg, **limit),
        training(DEVICE_STREAMED, "none", "device"),
        training(DECODED, "decoded", "device"),
        case(LIMIT, input_peers.bare_decode, **limit),
        case(EVALUATION_FLOAT, cloudtf_evaluation, **ours, cache="encoded", as_float=True),
        case(DALI_PLAIN, input_peers.dali, **theirs, augmented=False, threads=threads),
        case(EVALUATION, cloudtf_evaluation, **ours, cache="encoded", as_float=False),
        case(TORCH_PLAIN, input_peers.torch_loader, **torch, augmented=False, as_float=True),
        case(PER_IMAGE_PLAIN, input_peers.per_image_tf_data, **images, augmentation="none"),
    ]
    if originals:
        arguments = {"paths": originals, "batch_size": batch, "size": SIZE}
        cases.append(case(SEQUENCE_ORIGINALS, input_peers.keras_sequence, **arguments))
    return cases


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    harness.run(main)
