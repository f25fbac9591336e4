"""WebP, TIFF, BMP, GIF, AVIF and HEIC to pixels, by Pillow; of several pictures the first one."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from typing import TYPE_CHECKING, Any, Iterator, NamedTuple

import numpy as np

from cloudtf.data import pixels

if TYPE_CHECKING:
    from PIL import Image

# What Pillow calls them.
_FORMATS = {
    "WebP": "WEBP",
    "TIFF": "TIFF",
    "BMP": "BMP",
    "GIF": "GIF",
    "AVIF": "AVIF",
    "HEIC": "HEIF",
}
# By which a kind can be read where Pillow alone cannot: module, name to install, what it registers.
_PLUGINS = {
    "HEIC": ("pillow_heif", "pillow-heif", "register_heif_opener"),
    "AVIF": ("pillow_avif", "pillow-avif-plugin", ""),
}
_ORIENTATION = 0x0112


class Header(NamedTuple):
    """What is known of a photograph before it is decoded.

    Attributes:
      size: rows and columns as stored.
      orientation: which way up it is stored, 1 to 8 as in the Exif standard.
      bands: colours that it was stored with: 1 for grey, 3, or 4 of print (CMYK); without alpha.
    """

    size: tuple[int, int]
    orientation: int
    bands: int


class Decoded(NamedTuple):
    """A decoded photograph.

    Attributes:
      image: the pixels as stored, uint8 [H, W, 3], RGB.
      orientation: which way up it is stored, 1 to 8 as in the Exif standard.
      depth: bits of a value as it was stored, 8 for fewer; see `pixels.depth_of`.
    """

    image: np.ndarray
    orientation: int
    depth: int


def decode(kind: str, data: bytes) -> Decoded:
    """A photograph as Pillow reads it; alpha is dropped.

    Args:
      kind: the kind of file, a key of `_FORMATS`.
      data: the bytes of the file.

    Raises:
      ValueError: one phrase: too large, damaged, or the library that reads it is not installed.
    """
    with _opened(kind, data) as image:
        image.load()
        turned = image.getexif().get(_ORIENTATION, 1)
    depth = 8
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(f"the {kind} has values of more than 16 bits")
        values = values.astype(np.uint16)
        depth = pixels.depth_of(values)
        rgb = np.repeat(pixels.to_bytes(values)[..., None], 3, axis=2)
    elif image.mode == "F":
        raise ValueError(f"the {kind} has floating-point values; write it with 8 or 16 bits")
    else:
        rgb = np.asarray(image.convert("RGB"))
    return Decoded(rgb, turned if turned in range(1, 9) else 1, depth)


def read_header(kind: str, data: bytes) -> Header:
    """What Pillow knows of a photograph before it decodes it.

    Args:
      kind: the kind of file, a key of `_FORMATS` other than TIFF.
      data: the bytes of the file.

    Raises:
      ValueError: one phrase: too large, damaged, or the library that reads it is not installed.
    """
    with _opened(kind, data) as image:
        size, turned = (image.height, image.width), image.getexif().get(_ORIENTATION, 1)
    bands = {"1": 1, "L": 1, "LA": 1, "La": 1, "CMYK": 4}.get(image.mode, 3)
    return Header(size, turned if turned in range(1, 9) else 1, bands)


@contextlib.contextmanager
def _opened(kind: str, data: bytes) -> Iterator[Image.Image]:
    """A photograph that Pillow has not decoded yet; what fails with it is one phrase."""
    from PIL import Image

    _check_readable(kind)
    try:
        image = Image.open(io.BytesIO(data), formats=[_FORMATS[kind]])
        pixels.check_size(image.height, image.width)
        yield image
    except ValueError:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"the {kind} has more pixels than are read: {pixels.LIMITS}") from error
    except Exception as error:  # Of any plugin.
        raise ValueError(f"the {kind} is damaged, or of a kind that is not read") from error


def _check_readable(kind: str) -> None:
    """Loads what reads a kind; ValueError where it is not installed."""
    from PIL import Image

    # What is wrong with a file is raised; what is odd about it changes no pixel.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    Image.init()
    if _FORMATS[kind] in Image.OPEN:
        return
    if kind not in _PLUGINS:
        raise ValueError(f"the installed Pillow does not read {kind}")
    module, package, register = _PLUGINS[kind]
    try:
        plugin: Any = importlib.import_module(module)
    except ImportError:
        raise ValueError(
            f"the file is {'an' if kind == 'AVIF' else 'a'} {kind}, which Pillow here does not "
            f"read: pip install {package}"
        ) from None
    if register:
        getattr(plugin, register)()
