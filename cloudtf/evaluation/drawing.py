"""What every picture of a run is drawn with.

Pictures are drawn on matplotlib's `Figure` objects, without pyplot: no window, no global state, and
no trace of a style that a notebook may have set. Colours are those of Okabe and Ito, which
colour-blind readers can tell apart; every mark differs in shape as well.
"""

from __future__ import annotations

import contextlib
import io
import textwrap
from typing import Any, Iterator, Sequence

from cloudtf import files
from cloudtf.evaluation import fonts

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5F6368"
DPI = 120


@contextlib.contextmanager
def saved_figure(
    path: str, width: float, height: float, title: str, photographs: bool = False
) -> Iterator[Any]:
    """A figure of so many inches in matplotlib's default style, written to `path` as PNG.

    Args:
      path: the PNG file to write, local or remote.
      width: inches of the whole figure, left to right.
      height: inches of the whole figure, top to bottom.
      title: kept in the file's metadata, as what a viewer can show.
      photographs: whether there are some in it. Without, 255 colours are enough: a third of the
        bytes.
    """
    # Here and not above: matplotlib takes half a second to import, and `--help` needs none of it.
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default"):
        figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        # Text of a PNG is Latin-1.
        metadata = {"Title": title.encode("latin-1", "backslashreplace").decode("latin-1")}
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI, metadata=metadata)
        files.write_bytes(path, content.getvalue() if photographs else _in_few_colours(content))


def _in_few_colours(png: io.BytesIO) -> bytes:
    from PIL import Image, PngImagePlugin

    image: Any = Image.open(png)
    texts = PngImagePlugin.PngInfo()
    for name, text in image.text.items():
        texts.add_text(name, text)
    # By median cut (0), without dithering (0): by their names in newer versions of Pillow alone.
    few = image.convert("RGB").quantize(255, method=0, dither=0)
    content = io.BytesIO()
    few.save(content, "PNG", optimize=True, pnginfo=texts, dpi=(DPI, DPI))
    return content.getvalue()


def head(axes: Any, title: str, fact: str, lift: int = 9) -> None:
    """Title and fact above the axes, `lift` points up to leave room for what else is there."""
    lines = textwrap.wrap(title, 56, max_lines=2, placeholder=" …")
    axes.annotate(
        plain(fact),
        (0, 1),
        (0, lift),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11,
        color=GREY,
    )
    axes.annotate(
        plain("\n".join(lines)),
        (0, 1),
        (0, lift + 19),
        family=fonts.families(title),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=14,
        weight="bold",
        linespacing=1.15,
    )


def dress(axes: Any) -> None:
    """The grid, ticks and spines that all axes have."""
    axes.grid(color="#DADCE0", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=11, color=GREY)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(GREY)
    axes.xaxis.label.set_size(12)
    axes.yaxis.label.set_size(12)


def say(axes: Any, text: str) -> None:
    """A text in the middle of axes that have nothing to show."""
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=13, color=GREY
    )


def plain(text: str) -> str:
    """Keeps a dollar sign in a class name from starting a formula."""
    return text.replace("$", r"\$")


def legend_below(figure: Any, handles: Sequence[Any], top: float) -> None:
    """A legend under the axes, whose upper edge is `top` (0 to 1) of the figure's height up."""
    figure.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(0.085, top),
        frameon=False,
        fontsize=11,
        labelspacing=0.55,
        borderaxespad=0,
        handlelength=2.4,
    )
