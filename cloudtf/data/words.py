"""What the words in label tables mean: column names, blanks, yes and no, and "no finding".

Everything here is about single words, out of public sets; what a whole table says is decided in
`layout`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Collection, Optional, Sequence

# What programs write for a cell without a value, in lower case.
_BLANK = frozenset(
    [
        "",
        "nan",
        "-nan",
        "none",
        "null",
        "nil",
        "na",
        "n/a",
        "#n/a",
        "#na",
        "<na>",
        "nat",
        "[]",
        "{}",
    ]
    + ["()", "set()", "-", "--", "–", "—", "."]
)
# Marks, which say yes; beside ticks and circles, crosses say no.
TICKS = frozenset(["✓", "✔", "✅", "☑", "√", "○", "◯", "〇"])
CROSSES = frozenset(["x", "✗", "✘", "×", "✕", "✖", "❌", "☒"])
_CIRCLES = ("○", "◯", "〇")
TICK_OR_CROSS = "✓/✗"
# Yes, no, and not known; each family is used by itself in a column.
NUMBERS = "numbers"
_FAMILIES: dict[str, tuple[tuple[str, ...], ...]] = {
    NUMBERS: ((), (), ()),  # See `_whole`: also 1.0, 1,00 and +1.
    "true/false": (("true",), ("false",), ("unknown", "?")),
    "t/f": (("t",), ("f",), ("?",)),
    "yes/no": (("yes",), ("no",), ("uncertain", "unknown", "maybe", "?")),
    "ja/nein": (("ja",), ("nein",), ("?",)),
    "oui/non": (("oui",), ("non",), ("?",)),
    "wahr/falsch": (("wahr",), ("falsch",), ("?",)),
    "vrai/faux": (("vrai",), ("faux",), ("?",)),
    "verdadero/falso": (("verdadero",), ("falso",), ("?",)),
    "sí/no": (("sí", "si", "sì"), ("no",), ("?",)),
    "sim/não": (("sim",), ("não", "nao"), ("?",)),
    "ja/nee": (("ja",), ("nee", "nej", "nei"), ("?",)),
    "tak/nie": (("tak",), ("nie",), ("?",)),
    "да/нет": (("да",), ("нет",), ("?",)),
    "是/否": (("是",), ("否",), ("?",)),
    "有/无": (("有",), ("无", "無"), ("?",)),
    "はい/いいえ": (("はい",), ("いいえ",), ("?",)),
    "예/아니요": (("예", "네"), ("아니요", "아니오"), ("?",)),
    "ano/ne": (("ano", "áno"), ("ne", "nie"), ("?",)),
    "da/ne": (("da",), ("ne", "nu"), ("?",)),
    "так/ні": (("так",), ("ні",), ("?",)),
    "igen/nem": (("igen",), ("nem",), ("?",)),
    "kyllä/ei": (("kyllä", "jah"), ("ei",), ("?",)),
    "evet/hayır": (("evet",), ("hayır", "hayir"), ("?",)),
    "ναι/όχι": (("ναι",), ("όχι",), ("?",)),
    "ya/tidak": (("ya",), ("tidak",), ("?",)),
    "có/không": (("có",), ("không",), ("?",)),
    "y/n": (("y",), ("n",), ("u", "?")),
    "x": (
        ("x", "+", "*", *sorted(CROSSES - {"x"}), *sorted(TICKS - {*_CIRCLES})),
        ("☐", "0", "no", "n", "false"),
        ("?",),
    ),
    TICK_OR_CROSS: (("✓", *sorted(TICKS - {"✓"})), ("✗", *sorted(CROSSES - {"✗"})), ("?",)),
    "positive/negative": (("positive",), ("negative",), ("uncertain", "equivocal")),
    "pos/neg": (("pos",), ("neg",), ("?",)),
    "present/absent": (("present",), ("absent",), ("uncertain", "unknown")),
}
FAMILIES = {
    family: {
        **dict.fromkeys(yes, 1),
        **dict.fromkeys(no, 0),
        **dict.fromkeys(uncertain, -1),
    }
    for family, (yes, no, uncertain) in _FAMILIES.items()
}
# Alone in a cell of a list they say that the image has none of the classes.
_NO_CLASS = frozenset(["no finding", "no findings"])


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names of columns, in lower case and without what is no letter or digit. Of images the best come
# first.
_IMAGE = """
    image imagename imagefilename imagefile imagepath imageid imageindex images filename file
    filepath fname path img imgname imgpath imgid imgfile photo photoid photograph photoname picture
    picturename pictureid photofile jpg jpegfile isicid name id key uuid sopinstanceuid
"""
_IMAGE_RANKS = {name: 1 - i / 60 for i, name in enumerate(_IMAGE.split())}
_LABEL = _set("""
    label labels class classes classname classnames classid classids tag tags category categories
    categoryname categoryid target targets finding findings findinglabels findinglabel labelname
    labelnames labelid labelids attributes attributeids attributeid diagnosis diagnoses disease
    diseases genre genres species dx concept concepts concepttags keyword keywords object objects
    objectname objectcategories objectscategories annotation annotations multilabel multilabels
    primarylabel groundtruth choice choices diagnostic pathology emotion
""")
_LABEL_ENDINGS = _set("""
    label labels class classes tag tags category categories target targets finding findings
    diagnosis diagnoses disease diseases genre genres species concept concepts keywords attributes
    objects
""")
# Ranks of living beings, of which `class` is one.
_TAXA = _set("""
    kingdom phylum class order family genus species subspecies commonname scientificname
""")
_SEVERAL = _set("""
    labels classes tags categories targets findings attributes attributeids attributeid diagnoses
    diseases genres concepts keywords objects annotations ids names target choices
""")
_MASK = _set("""
    encodedpixels rlemask maskrle rle mask masks segmentation segmentations encoding encodings
    pixels encodedmask rleencoding rleencoded encodedrle annotationrle predictedmask
    runlengthencoding encodedpixel maskpixels
""")
# Columns that say if the class of the row is there, and those that say how sure that is.
_VALUE = _set("""
    label value present presence confidence target exists state score probability prob isthere
    ispresent flag answer hasclass y verified
""")
_CONFIDENCE = _set("confidence conf score probability prob weight certainty")
_CONFIDENCE_WORDS = _set("confidence conf probability prob")
_BOX = _set("""
    xmin xmax ymin ymax x1 x2 y1 y2 bbox box bboxx bboxy bboxw bboxh bboxx1 bboxy1 bboxx2 bboxy2
    bboxwidth bboxheight boundingbox xcenter ycenter left top right bottom objectsbbox polygon
""")
# Known never to be a class, though their cells may be 0 and 1.
_OTHER = _set("""
    id index idx unnamed0 level0 rowid fold folds kfold split splits subset partition isvalid
    isvalidation isval istrain istraining istest valid validation test val age sex gender patient
    patientid patientage patientsex patientgender subject subjectid study studyid followup
    followupnumber viewposition width height imgwidth imgheight imagewidth imageheight radid
    readerid annotator annotatorid worker reviewer verified checked reviewed approved url license
    latitude longitude laterality numlabels labelcount nlabels
""")
# Columns that say how many there are of the class of the row.
_NUMBER_OF = _set("count counts number quantity abundance individuals howmany n")
# Words of a name that counts or numbers something, at its beginning and at its end.
_COUNTS = _set("n num nr count total")
_NUMBERED = _set("id uid idx index count")
# The same in a table of boxes around objects.
_OTHER_OF_BOXES = _set("""
    difficult truncated occluded iscrowd crowd isoccluded istruncated isgroupof isdepiction isinside
    pose depth area source x y w h z dx dy
""")
# Splits by yes and no: what no and yes say.
_SPLITS_OF = {
    **dict.fromkeys(["isvalid", "isval", "isvalidation"], ("train", "val")),
    **dict.fromkeys(["istrain", "istraining"], ("val", "train")),
    "istest": ("train", "test"),
}


def is_blank(cell: str) -> bool:
    """Whether a cell has no value, or one of the words that programs write for that.

    >>> [is_blank(cell) for cell in ("", " NaN ", "None", "<NA>", "0", "no")]
    [True, True, True, True, False, False]
    """
    return cell.strip().lower() in _BLANK


def truth(cell: str, family: str) -> Optional[int]:
    """What a cell says in the words of a family.

    Args:
      cell: the text, which is not blank.
      family: a key of `FAMILIES`.

    Returns:
      1: yes, 0: no, -1: the family's word for what is not known (or minus one); None: none of them.

    >>> truth("1.0", "numbers"), truth("0,0", "numbers"), truth(" TRUE", "true/false")
    (1, 0, 1)
    """
    word = cell.strip().lower()
    if family == NUMBERS:
        return _whole(word)
    return FAMILIES[family].get(word)


def examples(family: str) -> tuple[str, str]:
    """A word for yes and one for no, which is empty where a blank says no."""
    if family == NUMBERS:
        return "1", "0"
    yes, no, _ = _FAMILIES[family]
    return yes[0], no[0] if family != "x" else ""


def _whole(word: str) -> Optional[int]:
    found = re.fullmatch(r"([+-]?)0*([01])(?:[.,]0*)?", word) if len(word) <= 20 else None
    if found is None:
        return None
    value = int(found[2])
    return -value if found[1] == "-" else value


def are_whole(names: Collection[str]) -> bool:
    """Whether names of classes are whole numbers, of which some have a decimal point: pandas writes
    1 as 1.0 where other cells are blank.

    >>> are_whole(["1.0", "3.0"]), are_whole(["1", "3"]), are_whole(["1.0", "1.5"])
    (True, False, False)
    """
    found = all(re.fullmatch(r"\d+(\.0+)?", name, re.ASCII) for name in names)
    return found and any("." in name for name in names)


def is_measure(cell: str) -> bool:
    """Whether a cell is a fraction or a date, as no class is called.

    >>> [is_measure(cell) for cell in ("0.31", "-1e-3", "2020-01-31", "3.0", "v1.2")]
    [True, True, True, False, False]
    """
    fraction = r"[+-]?(\d*\.\d*[1-9]\d*|\d+(?=e-))(e[+-]?\d+)?"
    date = r"\d{4}[-/.]\d\d?[-/.]\d\d?.*|\d\d?[-/.]\d\d?[-/.]\d{4}.*"
    return re.fullmatch(f"{fraction}|{date}", cell.strip().lower()) is not None


def is_share(cell: str) -> bool:
    """Whether a cell is a measure, a percentage, or so many of so many votes.

    >>> [is_share(cell) for cell in ("0.31", "60%", "2/3", "3", "cat")]
    [True, True, True, False, False]
    """
    share = r"\d+([.,]\d+)?\s*%|\d+\s*/\s*\d+"
    return is_measure(cell) or re.fullmatch(share, cell.strip()) is not None


def may_be_a_code(header: str) -> bool:
    """Whether a column of 0 and 1 of this name may number two classes in place of yes and no."""
    return plain(header) in ("label", "target", "y")


def is_no_class(cell: str) -> bool:
    """Whether a cell of a list says in words that the image has none of the classes.

    >>> is_no_class("No Finding"), is_no_class("no_finding"), is_no_class("Normal")
    (True, True, False)
    """
    return re.sub(r"[\s_-]+", " ", cell.strip().lower()) in _NO_CLASS


def plain(header: str) -> str:
    """The letters and digits of a column's name, in lower case: by what it is compared.

    >>> plain("Finding Labels"), plain("Image_ID"), plain("Follow-up #")
    ('findinglabels', 'imageid', 'followup')
    """
    folded = unicodedata.normalize("NFKC", header).casefold()
    return "".join(c for c in folded if c.isalnum())


def parts(header: str) -> list[str]:
    """The words of a column's name, in lower case.

    >>> parts("ImageId_ClassId"), parts("Finding Labels"), parts("is_valid")
    (['image', 'id', 'class', 'id'], ['finding', 'labels'], ['is', 'valid'])
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", header)
    return re.findall(r"[^\W_]+", spaced.lower())


def image_rank(header: str) -> float:
    """How well a name suits the column of the images, from 0 (not at all) to 1."""
    if plain(header) in _IMAGE_RANKS:
        return _IMAGE_RANKS[plain(header)]
    return 0.4 if set(parts(header)) & {"image", "img", "file", "filename", "photo"} else 0.0


def label_rank(header: str) -> int:
    """2: the name of a column of classes; 1: one that ends like such a name; 0: neither."""
    # Of an object within another: `metadata.class-name`.
    if plain(header) in _LABEL or innermost(header) in _LABEL:
        return 2
    words = parts(header)
    # `label_1`, `class2`: columns of one class each.
    if len(words) > 1 and words[-1].isdigit():
        words = words[:-1]
    ends = re.sub(r"\d+$", "", words[-1]) if words else ""
    return 1 if ends in _LABEL_ENDINGS else 0


def is_class_column(header: str) -> bool:
    """Whether a column of 0 and 1 of this name has the names of two classes, not yes and no."""
    name = plain(header)
    return name in ("class", "classes", "label", "labels", "tag", "tags") or is_class_number(header)


def is_class_number(header: str) -> bool:
    """Whether a column of this name numbers classes: `class_id`, `label index`."""
    words = parts(header)
    return len(words) > 1 and words[-1] in _NUMBERED and words[-2] in ("class", "label", "category")


def is_taxon(header: str) -> bool:
    """Whether a column's name is a rank of living beings: `genus`, and `class` too."""
    return plain(header) in _TAXA


def is_several(header: str) -> bool:
    """Whether a column's name promises several classes in a cell: `tags`, but not `label`."""
    words = parts(header)
    return bool(words) and (words[-1] in _SEVERAL or plain(header) in _SEVERAL)


def is_mask(header: str) -> bool:
    """Whether a column's name is one of run-length encoded masks."""
    return plain(header) in _MASK


def is_count(header: str) -> bool:
    """Whether a column's name says that it counts something: `n_objects`, `num_labels`."""
    words = parts(header)
    return len(words) > 1 and words[0] in _COUNTS


def is_number_of(header: str) -> bool:
    """Whether a column of this name says how many there are of the class of the row."""
    return plain(header) in _NUMBER_OF or is_count(header)


def is_value(header: str) -> bool:
    """Whether a column's name may say if the class of the row is there."""
    return plain(header) in _VALUE


def is_confidence(header: str) -> bool:
    """Whether a column's name says how sure its row is."""
    said = {*parts(header.rpartition(".")[2])}
    return innermost(header) in _CONFIDENCE or bool(said & _CONFIDENCE_WORDS)


def innermost(header: str) -> str:
    """The plain name of what is within other objects: of `region_shape_attributes.x` the `x`."""
    return plain(header.rpartition(".")[2])


def is_box(header: str) -> bool:
    """Whether a column's name is part of a box around an object."""
    return innermost(header) in _BOX


def is_other(header: str, boxes: bool = False) -> bool:
    """Whether a column of this name is no class, though its cells may be 0 and 1.

    Args:
      header: the name of a column, as it stands in the header.
      boxes: whether the table is one of boxes around objects.
    """
    name = plain(header)
    if not name or {name, innermost(header)} & _OTHER or name.startswith("unnamed"):
        return True
    words = parts(header)
    numbers = len(words) > 1 and words[-1] in _NUMBERED and not label_rank(header)
    if numbers or is_count(header):
        return True
    return boxes and (is_box(header) or innermost(header) in _OTHER_OF_BOXES)


def is_split(header: str) -> bool:
    """Whether a column's name says that it holds the split of each image."""
    return plain(header) in _SPLITS_OF or plain(header) in ("split", "subset", "partition")


def splits(header: str, cells: Sequence[str]) -> tuple[str, ...]:
    """The names of the splits in a column; of one such as `is_valid`, val for yes and train for no.

    >>> splits("is_valid", ["True", "False"]), splits("part", ["dev", "held"])
    (('val', 'train'), ('dev', 'held'))
    """
    names = _SPLITS_OF.get(plain(header))
    for family in FAMILIES if names else ():
        answers = [truth(cell, family) for cell in cells]
        if names and all(answer in (0, 1) for answer in answers):
            return tuple(names[answer or 0] for answer in answers)
    return tuple(cells)


def is_image_and_class(header: str) -> bool:
    """Whether a column's name says that an image and a class are joined: `ImageId_ClassId`."""
    words = parts(header)
    images = [
        i for i, word in enumerate(words) if word in ("image", "img", "id", "file", "filename")
    ]
    classes = [i for i, word in enumerate(words) if word in ("label", "class", "category", "type")]
    return bool(images and classes and images[0] < classes[0])
