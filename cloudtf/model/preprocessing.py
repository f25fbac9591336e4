"""What becomes of a photograph before an exported model: in a sentence, and as a script.

TFLite and ONNX have no ops for all that `cloudtf.data.images.load` does (decoding a JPEG at a
scale, turning it). So their files take pixels: of the model's size, which the script beside them
makes, or with `any_size` as they are decoded in full.
"""

from __future__ import annotations

import inspect
from typing import Callable

import numpy as np

SUFFIX = ".preprocess.py"
# How each script begins; by this it is known again.
MARK = b'"""Photographs to the input of a model that cloudtf exported.'

# Of the probabilities of the test image, so many are in the script.
_MOST = 8

_RUNTIMES = {
    "tflite": """\
    import tensorflow as tf  # Or Interpreter of the package ai_edge_litert.

    return tf.lite.Interpreter(model).get_signature_runner()(images=images)["probabilities"]
""",
    "onnx": """\
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]
""",
}

_SCRIPT = '''
They are the pixels that `cloudtf predict` takes, to the bit where the package simplejpeg is
installed. Without it JPEGs of some sizes, which cloudtf decodes at 3/8, 5/8, 6/8 or 7/8, are
decoded at the next larger of 1/2 and 1, and differ by one or two grey levels on average.

Run as a script (`python NAME.preprocess.py [MODEL]`) it checks itself and the model on `example()`:
another program should find the same EXPECTED pixels and PROBABILITIES. To see whether it decodes
JPEGs alike, compare its pixels with those of `preprocess` on some of your photographs.

It needs numpy, OpenCV and Pillow. Of damaged files it refuses fewer than `cloudtf predict` does.
"""

import io
import sys

import cv2
import numpy as np
from PIL import Image

try:
    import simplejpeg
except ImportError:
    simplejpeg = None

HEIGHT, WIDTH, ASPECT = @SIZE@
FILL, MOST_ELONGATED = @CONSTANTS@
ROWS, COLUMNS = @EXAMPLE_SIZE@
# Each of RGB at every [@STEPS@] of the pixels that example() becomes.
EXPECTED = @EXPECTED@
PROBABILITIES = @PROBABILITIES@

REDUCED = {
    1: cv2.IMREAD_REDUCED_COLOR_8,
    2: cv2.IMREAD_REDUCED_COLOR_4,
    4: cv2.IMREAD_REDUCED_COLOR_2,
    8: cv2.IMREAD_COLOR,
}


def preprocess(data):
    """The bytes of a JPEG or PNG file to `images`, uint8 [1, HEIGHT, WIDTH, 3], RGB, upright."""
    header = Image.open(io.BytesIO(data))
    (columns, rows), turned = header.size, header.getexif().get(0x0112, 1)
    turned = turned if turned in range(1, 9) else 1
    upright = (columns, rows) if turned >= 5 else (rows, columns)
    height, width = resized(*upright, HEIGHT, WIDTH, ASPECT)
    height, width = (width, height) if turned >= 5 else (height, width)
    scale, flags, coded = 8, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH, np.frombuffer(data, np.uint8)
    if data[:2] == b"\\xff\\xd8":  # A JPEG: at the least scale of n/8 that covers the size.
        least = min(height, rows), min(width, columns)
        for scale in REDUCED if simplejpeg is None else range(1, 9):
            if -(-rows * scale // 8) >= least[0] and -(-columns * scale // 8) >= least[1]:
                break
        flags = REDUCED.get(scale)
    if flags is None:
        image = simplejpeg.decode_jpeg(data, "BGR", min_height=height, min_width=width)
    else:
        image = cv2.imdecode(coded, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ValueError("OpenCV cannot decode the file")
    if image.dtype == np.uint16:  # Of 8, 10, 12, 14 or 16 bits the upper 8.
        lower = next(n for n in (0, 2, 4, 6, 8) if image.max() < 256 << n)
        image = (image >> lower).astype(np.uint8)
    image = resize(image, height, width, rows * scale / 8, columns * scale / 8)
    image = image.transpose(1, 0, 2) if turned >= 5 else image
    image = image[::-1] if turned in (3, 4, 7, 8) else image
    image = image[:, ::-1] if turned in (2, 3, 6, 7) else image
    return np.ascontiguousarray(fitted(image[:, :, ::-1], HEIGHT, WIDTH))[np.newaxis]


@ASPECT@

def resize(image, height, width, rows, columns):
    """Means where it shrinks, linear where it grows; of `image` rows x columns are photograph."""
    y, x, twice = rows / height, columns / width, (2 * width, 2 * height)
    whole = image.shape[:2] == (rows, columns)
    if (min(y, x) >= 1.5 if whole else min(y, x) > 1) and max(y, x) <= 4:
        if whole:  # To twice the size, then means of 2 x 2.
            image = cv2.resize(image, twice, interpolation=cv2.INTER_LINEAR)
        else:
            at = np.array([[x / 2, 0, x / 4 - 0.5], [0, y / 2, y / 4 - 0.5]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            image = cv2.warpAffine(image, at, twice, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    image = image[: max(1, round(rows)), : max(1, round(columns))]
    smaller = min(width, image.shape[1]), min(height, image.shape[0])
    image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


@EXAMPLE@

def classify(model, images):
    """The probabilities that an exported model gives, float32 [B, C]."""
@RUNTIME@

def check(model):
    """Exits with a sentence where pixels differ by over 1 or probabilities by over 0.01."""
    png = cv2.imencode(".png", example(ROWS, COLUMNS)[:, :, ::-1])[1].tobytes()
    images = preprocess(png)
    pixels = images[0, @STEPS@].astype(int)
    if np.abs(pixels - np.array(EXPECTED)).max() > 1:
        sys.exit(f"The pixels of the example are not as EXPECTED, but {pixels.tolist()}.")
    print("The pixels of the example are as expected.")
    try:
        found = classify(model, images)[0, : len(PROBABILITIES)]
    except ImportError as error:
        sys.exit(f"The probabilities were not checked: {error}.")
    if np.abs(found - np.array(PROBABILITIES)).max() > 0.01:
        sys.exit(f"The probabilities are not as PROBABILITIES, but {found.tolist()}.")
    print("The probabilities of the example are as expected.")


if __name__ == "__main__":
    check(sys.argv[1] if len(sys.argv) > 1 else __file__[: -len("@SUFFIX@")])
'''


_WAYS = {
    "stretch": "without keeping the aspect ratio",
    "pad": "with the aspect ratio kept and borders of the mean colour on both sides",
    "crop": "with the aspect ratio kept and what is too much cut off on both sides",
}


def sentence(height: int, width: int, aspect: str) -> str:
    """What `predict` does to a photograph before the model sees it.

    >>> sentence(64, 96, "pad")[:51]
    'JPEG or PNG, turned upright by its EXIF orientation'
    """
    return (
        "JPEG or PNG, turned upright by its EXIF orientation, alpha dropped, a JPEG decoded at the "
        f"smallest scale of n/8 that covers the size; resized to {height} x {width} (rows x "
        f"columns) {_WAYS[aspect]}, by area means where it shrinks, linearly where "
        "it grows; RGB, uint8, 0 to 255, not normalised"
    )


def script(
    kind: str,
    height: int,
    width: int,
    aspect: str,
    classify: Callable[[np.ndarray], np.ndarray],
) -> str:
    """The text of a script that makes a model's input, and checks itself and the model.

    Args:
      kind: the format of the exported model, `tflite` or `onnx`.
      height: rows of the model's input.
      width: columns of the model's input.
      aspect: how photographs get the ratio of sides of the input, one of `ASPECTS`.
      classify: the model, from uint8 [1, height, width, 3] to probabilities, float32 [1, C].
    """
    import cv2

    from cloudtf.data import aspect as aspects
    from cloudtf.data import images

    # Shrinking by more than 4 along one side: an area mean; tall and wide models alike.
    size = (3 * height + 5, 5 * width + 3)
    coded = cv2.imencode(".png", example(*size)[:, :, ::-1])[1].tobytes()
    pixels = images.load(coded, height, width, aspect)
    steps = (max(1, height // 3), max(1, width // 3))
    expected = pixels[:: steps[0], :: steps[1]].tolist()
    probabilities = [round(float(p), 6) for p in classify(pixels[None])[0, :_MOST]]
    text = MARK.decode() + "\n" + _SCRIPT
    for name, value in {
        "@SIZE@": f"{height}, {width}, {aspect!r}",
        "@CONSTANTS@": f"{aspects.FILL}, {aspects.MOST_ELONGATED}",
        "@ASPECT@": "\n\n".join(
            [inspect.getsource(aspects.resized), inspect.getsource(aspects.fitted)]
        ),
        "@EXAMPLE_SIZE@": f"{size[0]}, {size[1]}",
        "@STEPS@": f"::{steps[0]}, ::{steps[1]}",
        "@EXPECTED@": "[\n" + "".join(f"    {row},\n" for row in expected) + "]",
        "@PROBABILITIES@": str(probabilities),
        "@EXAMPLE@": inspect.getsource(example),
        "@RUNTIME@": _RUNTIMES[kind],
        "@SUFFIX@": SUFFIX,
    }.items():
        text = text.replace(name, value)
    return text


def example(rows: int, columns: int) -> np.ndarray:
    """A picture by a formula, uint8 [rows, columns, 3], RGB: coarse to fine, so that ways of
    resizing differ on it."""
    y, x, c = np.ogrid[:rows, :columns, :3]
    values = x * x // (columns // 8 + 1) + y * (3 + c) + x * y // (rows + 1)
    return (values % 256).astype(np.uint8)
