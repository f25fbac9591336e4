"""The settings of the converter."""

from __future__ import annotations

import dataclasses
import functools
from typing import Optional

from cloudtf.data.aspect import ASPECTS
from cloudtf.data.labels import FOLDERS, FORMATS
from cloudtf.data.photograph_table import NAME, OWN
from cloudtf.errors import UsageError, param
from cloudtf.settings import REQUIRED, Settings, setting

# What is made of the labels is compared by a digest.
_about_labels = functools.partial(setting, topic="labels", may_change=True)


@dataclasses.dataclass(frozen=True)
class ConvertConfig(Settings):
    """The settings of `convert`; each field's help is that of the flag of its name.

    A conversion that goes on compares what it makes of the labels, and which photographs it reads,
    by digests.

    >>> cloudtf.ConvertConfig(images_dir="photographs/images", output_dir="records").jpeg_quality
    95
    >>> cloudtf.ConvertConfig(images_dir="photographs/images", output_dir="records", folds=1)
    Traceback (most recent call last):
    cloudtf.errors.UsageError: folds=1 leaves nothing to validate on; give 2 or more, or 0.
    """

    labels_csv: Optional[str] = setting(
        None,
        "Table of labels: a CSV, or JSON such as COCO's. Without it, folders or a table among the "
        "photographs say the labels; if there are none, all go to a split named test.",
        may_change=True,
    )
    images_dir: Optional[str] = setting(
        None,
        "Folder of the photographs: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC (not needed to "
        "only `verify`).",
        may_change=True,
    )
    output_dir: str = setting(REQUIRED, "Folder for the shards and dataset.json.", may_change=True)
    follow_links: bool = setting(
        False,
        "Follow links that lead out of `images_dir`, to files and folders (Hugging Face's cache is "
        "made of links).",
        may_change=True,
    )
    image_height: int = setting(224, "Rows of the images in the records.", minimum=1, maximum=8192)
    image_width: int = setting(
        224, "Columns of the images in the records.", minimum=1, maximum=8192
    )
    aspect: str = setting(
        ASPECTS[0],
        "How photographs get the ratio of sides of the records: stretched, padded with the mean "
        "colour, or cut on both sides. A model remembers it for photographs.",
        choices=ASPECTS,
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

    label_format: str = _about_labels(
        "auto",
        "Kind of labels (docs/LABELS.md): masks, a column a class, a list of classes in each cell, "
        "a row a class, a row an image and class with yes or no, or a folder a class.",
        choices=("auto", *FORMATS, FOLDERS),
    )
    classes: tuple[str, ...] = _about_labels(
        (),
        "Class names in label order, of a table with a column a class those to read; if not given: "
        "as in the header of such a table, else alphabetical.",
    )
    column_names: tuple[str, ...] = _about_labels(
        (),
        "Names of the columns of a CSV that has no header row, such as image,label; rows may then "
        "have fewer cells.",
    )
    image_column: Optional[str] = _about_labels(
        None,
        "Column of the images' names, or columns of the parts of their paths, such as folder,file; "
        "if not given, the one whose cells name files.",
    )
    label_columns: tuple[str, ...] = _about_labels(
        (),
        "Columns that hold the classes: columns of yes and no, or columns of class names.",
    )
    ignore_columns: tuple[str, ...] = _about_labels((), "Columns that hold no classes.")
    keep_columns: tuple[str, ...] = _about_labels(
        (),
        f"Columns to keep in {NAME}, such as site,date: evaluations are divided by them too.",
    )
    label_separator: Optional[str] = _about_labels(
        None,
        "Separator of the classes in a cell: space, comma, semicolon, bar, tab, newline, "
        "python (lists as Python prints them), boxes (numbers), characters (each is a class), "
        "none (a cell is one class), the text itself, or several of these, as comma,semicolon.",
    )
    blank: str = _about_labels(
        "absent",
        "Meaning of a blank cell in a column of yes and no. Unknown labels are left out of "
        "training and of all scores.",
        choices=("absent", "unknown"),
    )
    uncertain: Optional[str] = _about_labels(
        None,
        "Meaning of -1 beside 0 and 1, or of a word such as uncertain; if not given, such a table "
        "is refused. Unknown labels are left out of training and of all scores.",
        choices=("absent", "present", "unknown"),
    )
    present_words: tuple[str, ...] = _about_labels(
        (),
        "Words or signs that say yes in columns of yes and no, beside those that are known to "
        "(docs/LABELS.md), such as x.",
    )
    absent_words: tuple[str, ...] = _about_labels(
        (), "Words or signs that say no in columns of yes and no, such as o."
    )
    unlisted: str = _about_labels(
        "leave_out",
        "Photographs that the labels do not name: leave them out, or take them as images with none "
        "of the classes.",
        choices=("leave_out", "absent"),
    )
    image_suffix: str = _about_labels(
        "",
        "Text that the files' names have after the names in the table: _green for ID_green.png.",
    )
    labels_encoding: Optional[str] = _about_labels(
        None,
        "Encoding of the table, such as latin-1 or cp1252; if not given: by its byte-order mark, "
        "without one UTF-8.",
    )
    class_characters: str = _about_labels(
        "refuse",
        "Class names with characters that file names or lists cannot hold, such as Nodule/Mass: "
        "refuse them, or replace such characters by _.",
        choices=("refuse", "replace"),
    )
    on_error: str = _about_labels(
        "fail",
        "What to do about bad rows and images: fail, or skip, count and list them.",
        choices=("fail", "skip"),
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
        "CSV column whose equal values (photographs of one scene) stay in one split, and are one "
        "in cross-validation and intervals; beside `split_column` the latter alone.",
        topic="splits",
    )
    near_duplicates: str = setting(
        "together",
        "Photographs that are copies of others (encoded anew, resized, cropped by up to 5% of a "
        "side, flipped, turned by 90 degrees): keep each in one split with its copies, only report "
        "them, or do not look for them.",
        choices=("together", "report", "ignore"),
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
        if self.split_column is not None and self.folds:
            raise UsageError(
                f"{param('split_column')} decides the splits alone: leave out {param('folds')}."
            )
        both = sorted({*self.keep_columns} & {*self.label_columns})
        if both:
            raise UsageError(
                f"{both[0]!r} is in {param('keep_columns')} and in {param('label_columns')}; a "
                "column that is kept holds no classes, so give it once."
            )
        yes, no = (
            {text.strip().lower() for text in texts}
            for texts in (self.present_words, self.absent_words)
        )
        both = sorted(yes & no)
        if both:
            raise UsageError(
                f"{both[0]!r} is in {param('present_words')} and in {param('absent_words')}; it "
                "says yes or no, so give it once."
            )
        own = sorted({*self.keep_columns} & {*OWN})
        if own:
            raise UsageError(
                f"{param(keep_columns=own[0])} would be a second column {own[0]} in {NAME}; "
                "rename it in the table of labels."
            )
        if self.column_names and self.labels_csv is None:
            raise UsageError(f"{param('column_names')} names the columns of {param('labels_csv')}.")
        if self.labels_csv is not None and self.label_format == FOLDERS:
            raise UsageError(f"{param(label_format=FOLDERS)} takes no {param('labels_csv')}.")
        if self.unlisted == "absent" and self.split_column is not None:
            raise UsageError(
                f"{param(unlisted='absent')} takes photographs of which the column of "
                f"{param('split_column')} says nothing; give one of the two."
            )
        if self.labels_encoding is not None:
            try:
                "".encode(self.labels_encoding)
            except LookupError as error:
                raise UsageError(
                    f"{param(labels_encoding=self.labels_encoding)} is no encoding of text; "
                    "utf-8, utf-16, latin-1 and cp1252 are usual."
                ) from error
