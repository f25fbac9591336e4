"""JPEG files that libraries do not write: any sampling and any number of scans, odd segments."""

import struct

import cv2
import numpy as np

_ZIGZAG = np.array(
    [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20]
    + [13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59]
    + [52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63]
)
# Codes of 4 bits for the sizes of DC values, of 8 for the runs and sizes of AC values.
_DC = {size: (size, 4) for size in range(12)}
_AC = {symbol: (code, 8) for code, symbol in enumerate([0, 0xF0])}
_AC |= {run << 4 | size: (2 + 10 * run + size - 1, 8) for run in range(16) for size in range(1, 11)}


def segment(marker, content=b""):
    """A segment with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def segments(jpeg):
    """Marker, beginning and end of each segment up to the first scan."""
    found, at = [], 2
    while not found or found[-1][0] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        found.append((jpeg[at + 1], at, end))
        at = end
    return found


def put_in(jpeg, at, content):
    """A file with something more in it."""
    return jpeg[:at] + content + jpeg[at:]


def before_end(jpeg, content):
    """A file with something between its data and the marker of its end."""
    return put_in(jpeg, len(jpeg) - 2, content)


def cut(jpeg, share, end=b""):
    """A file without the last part of its image data."""
    start = segments(jpeg)[-1][2]
    return jpeg[: start + int(share * (len(jpeg) - 2 - start))] + end


def encode(rgb, sampling, restart=0, scans=((0, 1, 2),), step=8):
    """A baseline JPEG of an image.

    Args:
      rgb: uint8 [H, W, 3].
      sampling: columns and rows of blocks of Y, Cb and Cr in a unit.
      restart: units between restart markers; 0: none.
      scans: the components of each scan.
      step: of the quantisation.
    """
    height, width = rgb.shape[:2]
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    most = [max(s) for s in zip(*sampling)]
    columns, rows = -(-width // (8 * most[0])), -(-height // (8 * most[1]))
    blocks, sizes = [], []
    for plane, (across, down) in zip(np.moveaxis(planes, 2, 0), sampling):
        size = -(-width * across // most[0]), -(-height * down // most[1])
        sizes.append((-(-size[0] // 8), -(-size[1] // 8)))
        small = cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_AREA)
        more = ((0, rows * down * 8 - size[1]), (0, columns * across * 8 - size[0]))
        whole = np.pad(small.astype(np.float32), more, mode="edge") - 128
        tiles = whole.reshape(rows * down, 8, columns * across, 8).swapaxes(1, 2)
        values = [
            [np.rint(cv2.dct(t) / step).astype(int).ravel()[_ZIGZAG] for t in r] for r in tiles
        ]
        blocks.append(values)
    frame = struct.pack(">BHHB", 8, height, width, 3)
    frame += b"".join(bytes((i + 1, a << 4 | d, 0)) for i, (a, d) in enumerate(sampling))
    pieces = [b"\xff\xd8", segment(0xDB, b"\0" + bytes([step] * 64)), segment(0xC0, frame)]
    for kind, codes, bits in ((0, _DC, 4), (0x10, _AC, 8)):
        counts = bytes(len(codes) if length == bits else 0 for length in range(1, 17))
        pieces.append(segment(0xC4, bytes([kind]) + counts + bytes(codes)))
    if restart:
        pieces.append(segment(0xDD, struct.pack(">H", restart)))
    for scan in scans:
        names = b"".join(bytes((c + 1, 0)) for c in scan)
        pieces.append(segment(0xDA, bytes([len(scan)]) + names + b"\0\x3f\0"))
        if len(scan) == 1:
            across, down = sizes[scan[0]]
            units = [[(scan[0], y, x)] for y in range(down) for x in range(across)]
        else:
            units = [
                [
                    (c, y * sampling[c][1] + j, x * sampling[c][0] + i)
                    for c in scan
                    for j in range(sampling[c][1])
                    for i in range(sampling[c][0])
                ]
                for y in range(rows)
                for x in range(columns)
            ]
        for number in range(0, len(units), restart or len(units)):
            if number:
                pieces.append(bytes((0xFF, 0xD0 + (number // restart - 1) % 8)))
            pieces.append(_coded(units[number : number + (restart or len(units))], blocks))
    return b"".join(pieces) + b"\xff\xd9"


def _coded(units, blocks):
    """The bytes of some units, filled up with ones."""
    bits, before = [], {}
    for component, y, x in (place for unit in units for place in unit):
        block = [int(value) for value in blocks[component][y][x]]
        _code(bits, _DC, 0, block[0] - before.get(component, 0))
        before[component] = block[0]
        run = 0
        for value in block[1:]:
            if value == 0:
                run += 1
                continue
            while run > 15:
                bits.append("{:0{}b}".format(*_AC[0xF0]))
                run -= 16
            _code(bits, _AC, run, value)
            run = 0
        if run:
            bits.append("{:0{}b}".format(*_AC[0]))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")


def _code(bits, codes, run, value):
    size = abs(value).bit_length()
    bits.append("{:0{}b}".format(*codes[run << 4 | size]))
    if size:
        bits.append(f"{value if value > 0 else value + (1 << size) - 1:0{size}b}")
