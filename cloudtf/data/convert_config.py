"""The settings of the converter."""

from __future__ import annotations

import dataclasses
from typing import Optional

from cloudtf.data.labels import FORMATS
from cloudtf.errors import UsageError, param
from cloudtf.settings import REQUIRED, Settings, setting


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Settings):
    """The settings of `convert`; each field's help is that of the flag of its name.

    A conversion that goes on compares what it makes of the labels, and which photographs it reads,
    by digests.

    >>> cloudtf.ConvertConfig(images_dir="photographs/images", output_dir="records").jpeg_quality
    95
    >>> cloudtf.ConvertConfig(images_dir="photographs/images", output_dir="records", folds=5)
    Traceback (most recent call last):
    cloudtf.errors.UsageError: folds needs labels_csv.
    """

    labels_csv: Optional[str] = setting(
        None,
        "CSV of labels; without it the images go, unlabelled, to a split named test.",
        may_change=True,
    )
    images_dir: Optional[str] = setting(
        None,
        "Folder of the photographs, JPEG or PNG (not needed to only `verify`).",
        may_change=True,
    )
    output_dir: str = setting(REQUIRED, "Folder for the shards and dataset.json.", may_change=True)
    image_height: int = setting(224, "Rows of the images in the records.", minimum=1, maximum=8192)
    image_width: int = setting(
        224, "Columns of the images in the records.", minimum=1, maximum=8192
    )
    jpeg_quality: int = setting(95, "JPEG quality of the records.", minimum=1, maximum=100)
    num_shards: int = setting(
        0,
        "Shards of each split; 0: as many as keep a shard under 100 MB, 8 or more if there are "
        "enough examples.",
        minimum=0,
        maximum=99_999,
    )
    workers: int = setting(
        0,
        "Threads; 0: one a core. With `engine='beam'`: threads for each shard; 0: one.",
        minimum=0,
        maximum=1024,
        may_change=True,
    )
    verify: bool = setting(
        False,
        "Re-read everything at the end and check counts, checksums and images. Without "
        "`images_dir`: check a set that is there already.",
        may_change=True,
    )
    overwrite: bool = setting(
        False, "Begin anew and replace the shards that are in `output_dir`.", may_change=True
    )

    engine: str = setting(
        "local",
        "local: threads of this machine. beam: an Apache Beam job (docs/BEAM.md); the same bytes.",
        choices=("local", "beam"),
        topic="machines",
        may_change=True,
    )
    beam_options: str = setting(
        "",
        "Options of the Beam job on one line, such as '--runner=FlinkRunner "
        "--flink_master=host:8081'; without a runner it is DirectRunner, on this machine.",
        topic="machines",
        may_change=True,
    )

    label_format: str = setting(
        "auto",
        "Kind of label CSV.",
        choices=("auto", *FORMATS),
        topic="labels",
        may_change=True,
    )
    classes: tuple[str, ...] = setting(
        (),
        "Class names in label order; if not given: as in the header of a one-hot CSV, else "
        "alphabetical.",
        topic="labels",
        may_change=True,
    )
    on_error: str = setting(
        "fail",
        "What to do about bad rows and images: fail, or skip, count and list them.",
        choices=("fail", "skip"),
        topic="labels",
        may_change=True,
    )

    val_fraction: float = setting(
        0.2, "Share of the images for the split val.", minimum=0, maximum=0.9, topic="splits"
    )
    folds: int = setting(
        0,
        "If 2 or more: make splits fold0, fold1, ... in place of train and val.",
        minimum=0,
        maximum=1000,
        topic="splits",
    )
    split_column: Optional[str] = setting(
        None, "CSV column that names each image's split.", topic="splits"
    )
    group_column: Optional[str] = setting(
        None,
        "CSV column whose equal values (photographs of one scene) stay in one split.",
        topic="splits",
    )
    max_examples: Optional[int] = setting(
        None,
        "Convert only so many images, chosen at random by the seed.",
        minimum=1,
        topic="splits",
    )
    seed: int = setting(
        2019,
        "Seed of the split and of the order of examples.",
        minimum=0,
        maximum=2**63 - 1,
        topic="splits",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images_dir is None and (self.labels_csv is not None or not self.verify):
            raise UsageError(f"{param('images_dir')} is required: the folder of the photographs.")
        if self.engine == "beam" and self.verify:
            raise UsageError(
                f"{param('verify')} reads the whole set on one machine, with TensorFlow: leave it "
                f"out with {param(engine='beam')}, and run `cloudtf convert --verify "
                "--output_dir=...` afterwards."
            )
        if self.beam_options and self.engine != "beam":
            raise UsageError(f"{param('beam_options')} needs {param(engine='beam')}.")
        if self.folds == 1:
            raise UsageError(
                f"{param(folds=1)} leaves nothing to validate on; give 2 or more, or 0."
            )
        if self.split_column is not None and (self.folds or self.group_column is not None):
            raise UsageError(
                f"{param('split_column')} decides the splits alone: leave out {param('folds')} and "
                f"{param('group_column')}."
            )
        if self.labels_csv is None:
            for name in ("folds", "split_column", "group_column", "classes"):
                if getattr(self, name):
                    raise UsageError(f"{param(name)} needs {param('labels_csv')}.")
