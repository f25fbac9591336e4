"""Photographs a second into records: cloudtf's converter, other ways to shrink a JPEG, the limit.

    python benchmarks/convert.py --work_dir=DIR --json=convert.json

All read the same files from the page cache, in as many threads as there are cores, and all but the
limit end with JPEGs of quality 95 in a file. A second part says what decoding at a reduced scale
costs in quality, on photographs that ship with scikit-image and scikit-learn and on synthetic
clouds: PSNR and SSIM against decoding in full and averaging by area, beside what a JPEG of quality
95 loses in any case.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Iterator

import data
import harness
import numpy as np
from absl import flags

from cloudtf.diagnosis import timing

FLAGS = flags.FLAGS
flags.DEFINE_integer("images", 150, "Photographs.", lower_bound=2)
flags.DEFINE_integer("height", 1400, "Their rows.", lower_bound=224)
flags.DEFINE_integer("width", 2100, "Their columns.", lower_bound=224)
flags.DEFINE_bool("speed", True, "Measure speed.")
flags.DEFINE_bool("quality", True, "Measure quality.")

SIZE = 224
QUALITY = 95

CLOUDTF = "cloudtf convert"
FULL = "cv2: full decode, area mean"
REDUCED = "cv2: IMREAD_REDUCED_COLOR_4, area mean"
DRAFT = "PIL: draft, box filter"
TENSORFLOW = "tf.io.decode_jpeg(ratio=4), area mean"
LIMIT = "libjpeg-turbo, scaled decode alone (limit)"


def cloudtf_convert(photographs: str, workers: int) -> harness.Measure:
    """The whole command: CSV, split, decode, resize, encode, checksums, shards, manifest."""
    from cloudtf.data.convert import ConvertConfig, convert

    def measure(images: int) -> harness.Turn:
        with tempfile.TemporaryDirectory() as output, timing.quiet():
            config = ConvertConfig(
                labels_csv=os.path.join(photographs, "train.csv"),
                images_dir=os.path.join(photographs, "train_images"),
                output_dir=os.path.join(output, "records"),
                jpeg_quality=QUALITY,
                workers=workers,
            )
            began = time.perf_counter()
            convert(config)
            return harness.Turn(time.perf_counter() - began, images)

    return measure


def full_decode(paths: list[str], workers: int) -> harness.Measure:
    """What most scripts do."""
    import cv2

    return _opencv(paths, workers, cv2.IMREAD_COLOR)


def reduced_decode(paths: list[str], workers: int) -> harness.Measure:
    """OpenCV's own scaled decode; only whole reductions by 2, 4 and 8."""
    import cv2

    return _opencv(paths, workers, cv2.IMREAD_REDUCED_COLOR_4)


def _opencv(paths: list[str], workers: int, flag: int) -> harness.Measure:
    import cv2

    cv2.setNumThreads(1)

    def make(encoded: bytes) -> bytes:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
        image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

    return _in_threads(paths, workers, make)


def pil_draft(paths: list[str], workers: int) -> harness.Measure:
    """Pillow's way to a scaled decode."""
    import io

    from PIL import Image

    def make(encoded: bytes) -> bytes:
        image = Image.open(io.BytesIO(encoded))
        image.draft("RGB", (SIZE, SIZE))
        image = image.resize((SIZE, SIZE), Image.BOX)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=QUALITY)
        return out.getvalue()

    return _in_threads(paths, workers, make)


def tensorflow_ratio(paths: list[str], workers: int) -> harness.Measure:
    """TensorFlow alone, eagerly in threads."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)

    def make(encoded: bytes) -> bytes:
        image = tf.io.decode_jpeg(encoded, channels=3, ratio=4)
        image = tf.image.resize(image[None], (SIZE, SIZE), method="area")[0]
        image = tf.cast(tf.round(image), tf.uint8)
        return tf.io.encode_jpeg(image, quality=QUALITY).numpy()

    return _in_threads(paths, workers, make)


def scaled_decode(paths: list[str], workers: int) -> harness.Measure:
    """The smallest scale that covers the target; nothing is done with the pixels."""
    import simplejpeg

    def make(encoded: bytes) -> bytes:
        simplejpeg.decode_jpeg(encoded, min_height=SIZE, min_width=SIZE)
        return b""

    return _in_threads(paths, workers, make)


def _in_threads(paths: list[str], workers: int, make: Callable[[bytes], bytes]) -> harness.Measure:
    pool = ThreadPoolExecutor(workers)

    def one(path: str) -> bytes:
        with open(path, "rb") as file:
            return make(file.read())

    def measure(images: int) -> harness.Turn:
        with tempfile.TemporaryFile() as output:
            began = time.perf_counter()
            for encoded in pool.map(one, paths[:images]):
                output.write(encoded)
            return harness.Turn(time.perf_counter() - began, images)

    return measure


def quality_rows(work_dir: str) -> list[dict[str, Any]]:
    """A row for each photograph and size: what is lost, in dB and SSIM."""
    import cv2
    import simplejpeg
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    from cloudtf.data import images

    rows = []
    for name, encoded in _test_photographs(work_dir):
        whole = simplejpeg.decode_jpeg(encoded)
        for size in (SIZE, 96):
            if min(whole.shape[:2]) < size * 1.2:
                continue
            expected = cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
            found = images.load(encoded, size, size)
            scaled = simplejpeg.decode_jpeg_header(encoded, min_height=size, min_width=size)
            again = simplejpeg.decode_jpeg(
                simplejpeg.encode_jpeg(expected, quality=QUALITY, colorsubsampling="420")
            )
            rows.append(
                {
                    "photograph": name,
                    "rows": whole.shape[0],
                    "columns": whole.shape[1],
                    "size": size,
                    "eighths": round(8 * scaled[0] / whole.shape[0]),
                    "psnr": float(peak_signal_noise_ratio(expected, found)),
                    "ssim": float(structural_similarity(expected, found, channel_axis=-1)),
                    "psnr_of_q95": float(peak_signal_noise_ratio(expected, again)),
                    "ssim_of_q95": float(structural_similarity(expected, again, channel_axis=-1)),
                }
            )
    return rows


def _test_photographs(work_dir: str) -> Iterator[tuple[str, bytes]]:
    """Names and JPEGs: photographs that come with packages, then synthetic clouds."""
    import simplejpeg
    import skimage.data
    from sklearn.datasets import load_sample_image

    pictures = {
        name: getattr(skimage.data, name) for name in ("astronaut", "chelsea", "coffee", "rocket")
    }
    pictures["hubble"] = skimage.data.hubble_deep_field
    pictures["china"] = lambda: load_sample_image("china.jpg")
    pictures["flower"] = lambda: load_sample_image("flower.jpg")
    for name, load in pictures.items():
        pixels = np.ascontiguousarray(load()[..., :3])
        yield name, simplejpeg.encode_jpeg(pixels, quality=QUALITY, colorsubsampling="420")
    folder = data.photographs(work_dir, FLAGS.images, FLAGS.height, FLAGS.width)
    for number, path in enumerate(data.photograph_paths(folder)[:3], 1):
        with open(path, "rb") as file:
            yield f"clouds {number}", file.read()


def main() -> None:
    """Measures and reports."""
    facts = harness.machine()
    work_dir = data.folder(FLAGS.work_dir)
    photographs = data.photographs(work_dir, FLAGS.images, FLAGS.height, FLAGS.width)
    paths = data.photograph_paths(photographs)
    workers = len(os.sched_getaffinity(0))
    results: dict[str, harness.Result] = {}
    notes: list[str] = []
    if FLAGS.speed:
        theirs = {"paths": paths, "workers": workers}
        cases = [
            harness.Case(
                CLOUDTF, cloudtf_convert, {"photographs": photographs, "workers": workers}
            ),
            harness.Case(LIMIT, scaled_decode, theirs),
            harness.Case(REDUCED, reduced_decode, theirs),
            harness.Case(DRAFT, pil_draft, theirs),
            harness.Case(TENSORFLOW, tensorflow_ratio, theirs),
            harness.Case(FULL, full_decode, theirs),
        ]
        results, notes = harness.alternate(cases, items=len(paths))
    mean = sum(os.path.getsize(path) for path in paths) / len(paths)
    notes.append(
        f"{len(paths)} photographs of {FLAGS.width} x {FLAGS.height}, {mean / 1000:.0f} KB in the "
        f"mean, to {SIZE} x {SIZE} at quality {QUALITY}; {workers} threads."
    )
    ratios = [
        harness.ratio(results, CLOUDTF, LIMIT, 0.9),
        harness.ratio(results, CLOUDTF, FULL, 3.5),
        harness.ratio(results, CLOUDTF, REDUCED),
        harness.ratio(results, CLOUDTF, DRAFT),
        harness.ratio(results, CLOUDTF, TENSORFLOW),
    ]
    rows = quality_rows(work_dir) if FLAGS.quality else []
    harness.report("convert", facts, "images/s", results, ratios, notes, {"quality": rows})
    if rows:
        print("\nAgainst a full decode and area mean, and what quality 95 alone loses:\n")
        print(
            harness.table(
                ("photograph", "pixels", "to", "scale", "PSNR", "SSIM", "q95 PSNR", "q95 SSIM"),
                (
                    (
                        row["photograph"],
                        f"{row['columns']} x {row['rows']}",
                        row["size"],
                        f"{row['eighths']}/8",
                        f"{row['psnr']:.1f}",
                        f"{row['ssim']:.4f}",
                        f"{row['psnr_of_q95']:.1f}",
                        f"{row['ssim_of_q95']:.4f}",
                    )
                    for row in rows
                ),
            )
        )


if __name__ == "__main__":
    harness.run(main)
