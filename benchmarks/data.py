"""The data of the benchmarks: synthetic photographs and the records made of them, kept on disk."""

from __future__ import annotations

import os
import tempfile

from cloudtf.data import records
from cloudtf.data.convert import ConvertConfig, convert
from cloudtf.diagnosis import timing
from cloudtf.synthetic.synthesize import SynthesizeConfig, synthesize


def folder(work_dir: str | None) -> str:
    """The folder for the data: what was asked for, or one of the machine's temporary ones."""
    path = work_dir or os.path.join(tempfile.gettempdir(), "cloudtf-benchmarks")
    os.makedirs(path, exist_ok=True)
    return path


def photographs(work_dir: str, count: int, height: int, width: int) -> str:
    """A folder with `train_images/` and `train.csv`, drawn at the first call."""
    path = os.path.join(work_dir, f"photographs-{count}-{height}x{width}")
    if not os.path.exists(os.path.join(path, "train.csv")):
        print(f"Drawing {count} photographs of {width} x {height} in {path}.")
        with timing.quiet():
            synthesize(
                SynthesizeConfig(
                    output_dir=path,
                    num_images=count,
                    num_test_images=0,
                    image_height=height,
                    image_width=width,
                    overwrite=True,
                )
            )
    return path


def photograph_paths(path: str) -> list[str]:
    """The files in a folder made by `photographs`, sorted."""
    images = os.path.join(path, "train_images")
    return sorted(os.path.join(images, name) for name in os.listdir(images))


def converted(photographs_dir: str, size: int = 224, val_fraction: float = 0.0) -> str:
    """Records of a folder of photographs: the split `train`, and `val` if it is given a share."""
    path = f"{photographs_dir}-records-{size}{'-val' if val_fraction else ''}"
    if not os.path.exists(os.path.join(path, records.MANIFEST_NAME)):
        with timing.quiet():
            convert(
                ConvertConfig(
                    labels_csv=os.path.join(photographs_dir, "train.csv"),
                    images_dir=os.path.join(photographs_dir, "train_images"),
                    output_dir=path,
                    image_height=size,
                    image_width=size,
                    val_fraction=val_fraction,
                    overwrite=True,
                )
            )
    return path


def as_files(records_dir: str) -> list[str]:
    """The JPEGs of a set of records as files, for peers that read files: their sorted paths."""
    path = f"{records_dir}-files"
    done = os.path.join(path, "done")
    if not os.path.exists(done):
        import tensorflow as tf

        from cloudtf.pipeline import tables

        manifest = records.read_manifest(records_dir)
        shape = (manifest.image_height, manifest.image_width)
        split = manifest.split("train")
        table = tables.load_table(records_dir, split, len(manifest.classes), 2, shape)
        os.makedirs(path, exist_ok=True)
        for name, encoded in zip(table.names, table.encoded.numpy()):
            tf.io.write_file(os.path.join(path, name), encoded)
        with open(done, "w", encoding="utf-8"):
            pass
    return sorted(os.path.join(path, name) for name in os.listdir(path) if name != "done")
