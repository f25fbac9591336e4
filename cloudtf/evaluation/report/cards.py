"""The sections of thumbnails: images that are worth a look, and labels that look wrong."""

from __future__ import annotations

from html import escape

from cloudtf.evaluation.examples import Example, Said
from cloudtf.evaluation.report import parts
from cloudtf.evaluation.report.material import Limits, Material


def examples(material: Material, limits: Limits) -> str:
    """The worst, the most doubtful and the best images, with scores and activation maps."""
    if not limits.side or not material.examples:
        return ""
    about = {
        "Worst": "the highest mean log loss over their classes",
        "Most doubtful": "scores that say least, by their entropy",
        "Best": "the lowest loss, of images that show a class",
    }
    groups = []
    drawn = masked = False
    for heading, group in material.examples.items():
        cards = [_card(example, limits.side) for example in group[: limits.cards]]
        drawn = drawn or any(example.overlay is not None for example in group)
        masked = masked or any(example.inside for example in group)
        groups.append(
            f"<h3>{escape(heading)}</h3>\n{parts.note(f'Images with {about[heading]}.')}"
            f'<div class="sheet small">\n' + "\n".join(cards) + "\n</div>"
        )
    maps = (
        "Beside an image is where the model looks for one class (Grad-CAM): the brighter, the "
        "more it speaks for the class; there is nothing where no part speaks for it. "
    )
    inside = (
        "Where the class has a mask, it says how much of that lies inside it, and how much of the "
        "image the mask is: about so much would be inside by chance. "
    )
    return parts.note(
        (maps if drawn else "")
        + (inside if masked else "")
        + "Under it are scores from 0 to 1; of many classes those that are there or probable."
    ) + "\n".join(groups)


def _card(example: Example, side: int) -> str:
    pictures = parts.thumbnail(example.pixels, side, f"the image {example.name}")
    looks = ""
    if example.overlay is not None:
        looks = f", and where the model looks for {example.focus}"
        looks += f": {example.inside}" if example.inside else ""
        pictures += parts.thumbnail(example.overlay, side, f"activation map of {example.focus}")
    said = "".join(f"<li>{escape(_line(one))}</li>" for one in example.said)
    return (
        f"<figure><figcaption>{escape(example.name + looks)}</figcaption>"
        f'<div class="pair">{pictures}</div><ul class="said">{said}</ul></figure>'
    )


def _line(said: Said) -> str:
    label = {1: "is there", 0: "is not there"}.get(said.label, "not known")
    return f"{said.class_name} {said.score:.2f}: {label}"


def suspects(material: Material, limits: Limits) -> str:
    """The labels that the model disbelieves most."""
    if not material.suspects:
        return ""
    count = len(material.suspects)
    first = material.suspects[: 2 * limits.cards]
    text = (
        f"{count:,} label{'' if count == 1 else 's'} of this split look{'s' if count == 1 else ''} "
        "wrong to a model that has not seen the image (confident learning), the least believable "
        "first; suspects.csv has all. Look before you correct: the model may be wrong."
    )
    cards = []
    for one in first:
        pixels = material.thumbnails.get(one.image)
        picture = ""
        if pixels is not None and limits.side:
            picture = f'<div class="pair">{parts.thumbnail(pixels, limits.side, one.image)}</div>'
        row = "" if one.row is None else f", row {one.row:,} of the label table"
        given = "is there" if one.label else "is not there"
        cards.append(
            f"<figure><figcaption>{escape(one.image + row)}</figcaption>{picture}"
            f'<ul class="said"><li>{escape(one.class_name)}: label says {given}</li>'
            f"<li>its probability by the model: {one.probability:.2f}</li></ul></figure>"
        )
    return parts.note(text) + '<div class="sheet small">\n' + "\n".join(cards) + "\n</div>"
