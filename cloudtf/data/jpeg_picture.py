"""What of a JPEG file makes its picture: taken apart, and put together without what is odd.

Files from cameras and the web carry bytes before the end marker, broken colour profiles, impossible
version numbers and the like. A decoder warns of these in the same way as of pixels that are
missing, and of the first oddity only. So a file that is not plain is taken apart: tables, frame and
scans are kept and the rest is not; what a decoder then complains of concerns the picture.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from typing import Iterable, NamedTuple, Optional, Union

# In image data 0xFF is followed by 0 or it begins a marker; any number of them mean what one does.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_FILLED = re.compile(rb"\xff{2,}")
_FILL = re.compile(rb"\xff+")

MAX_SCANS = 1000  # Usual files have one, or some 10.

# Markers (ITU-T T.81, table B.1).
SOS = 0xDA
_SOI, _EOI, _DQT, _DHT, _DAC, _DRI = 0xD8, 0xD9, 0xDB, 0xC4, 0xCC, 0xDD
_APP0, _APP14 = 0xE0, 0xEE
_RESTARTS = range(0xD0, 0xD8)
# What follows 0xFF without a length: also 0 and 0xFF, which are no markers.
ALONE = frozenset((0, 1, *_RESTARTS, _SOI, _EOI, 0xFF))
# Those that begin a frame header, and a progressive one.
FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_ALL = (1 << 64) - 1  # The coefficients of a block.
# JFIF 1.01 without a thumbnail: the colours are YCbCr, or gray.
_JFIF = b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"


class Component(NamedTuple):
    """One plane of a picture, such as its brightness."""

    identifier: int
    columns: int  # Blocks of 8 x 8 that it has in a unit of all planes (MCU).
    rows: int


class Frame(NamedTuple):
    """A frame header."""

    marker: int
    precision: int  # Bits of a sample.
    height: int
    width: int
    components: tuple[Component, ...]

    @property
    def is_progressive(self) -> bool:
        """Whether the picture comes in scans that each refine it."""
        return self.marker in PROGRESSIVE

    @property
    def units(self) -> int:
        """Units (MCU) in a scan of several components."""
        rows = 8 * max(c.rows for c in self.components)
        columns = 8 * max(c.columns for c in self.components)
        return -(-self.height // rows) * -(-self.width // columns)

    def blocks(self, component: Component) -> int:
        """Blocks of a component that is alone in a scan."""
        rows = -(-self.height * component.rows // max(c.rows for c in self.components))
        columns = -(-self.width * component.columns // max(c.columns for c in self.components))
        return -(-rows // 8) * -(-columns // 8)


class Band(NamedTuple):
    """What a scan says of some components: coefficients of their blocks, to a bit of them."""

    components: tuple[tuple[int, int, int], ...]  # Identifier, DC table and AC table of each.
    first: int
    last: int
    refines: bool  # Adds a bit to what an earlier scan said.
    bit: int  # 0: all of the value is known after it.


@dataclasses.dataclass
class Scan:
    """One pass over a picture.

    Attributes:
      header: the content of its SOS segment.
      intervals: the coded data as stored, in pieces between restart markers.
      restarts: the numbers of those markers, 0 to 7.
      interval: the units (MCU) of each piece but the last; 0: there is one piece.
      tables: the Huffman tables in force, by class (0: DC, 1: AC) and number: counts and values.
    """

    header: bytes
    intervals: list[bytes]
    restarts: list[int]
    interval: int
    tables: dict[tuple[int, int], bytes]


@dataclasses.dataclass
class Picture:
    """A JPEG without what does not make its picture.

    Attributes:
      colours: the segments that say what its components are, written anew.
      frame: the frame header: its size and its components.
      parts: segments with tables and the frame header, as bytes, and scans, in their order.
    """

    colours: bytes
    frame: Frame
    parts: list[Union[bytes, Scan]]

    @property
    def scans(self) -> list[Scan]:
        """The scans in their order."""
        return [part for part in self.parts if isinstance(part, Scan)]

    def file(self) -> bytes:
        """The picture as a plain JPEG file."""
        pieces = [b"\xff\xd8", self.colours]
        for part in self.parts:
            if isinstance(part, bytes):
                pieces.append(part)
                continue
            pieces.append(_segment(SOS, part.header))
            for number, data in enumerate(part.intervals):
                if number:
                    pieces.append(bytes((0xFF, _RESTARTS[(number - 1) % 8])))
                pieces.append(data)
        return b"".join((*pieces, b"\xff\xd9"))


def next_segment(data: bytes, position: int) -> Optional[tuple[int, int, int]]:
    """The first segment of a JPEG from a position on.

    Bytes between segments, and markers that stand alone, are passed over, as decoders do.

    Returns:
      Its marker, and where its content begins and ends, which may be behind the end of the file;
      None where an end marker or the end of the file comes first.
    """
    while (position := data.find(b"\xff", position)) >= 0 and position + 4 <= len(data):
        marker = data[position + 1]
        if marker not in ALONE:
            # The length counts itself; some programs write 0.
            length = max(2, data[position + 2] << 8 | data[position + 3])
            return marker, position + 4, position + 2 + length
        if marker in (_SOI, _EOI):
            return None
        fill = _FILL.match(data, position)
        position = fill.end() - 1 if fill and marker == 0xFF else position + 2
    return None


def take_apart(data: bytes) -> Picture:
    """The picture in a JPEG file.

    Raises:
      ValueError: one phrase: the file ends before its image data, or lacks whole scans of it.
    """
    frame: Optional[Frame] = None
    parts: list[Union[bytes, Scan]] = []
    tables: dict[tuple[int, int], bytes] = {}
    jfif, transform, interval = False, None, 0
    segment = next_segment(data, 2)
    while segment is not None and segment[2] <= len(data):
        marker, start, end = segment
        content = data[start:end]
        if marker == SOS and frame is not None:
            scan, end = _scan(data, content, end, interval, tables)
            parts.append(scan)
            if len(_scans(parts)) > MAX_SCANS:
                raise ValueError("the JPEG has far too many scans")
            if not frame.is_progressive and not missing(frame, (s.header for s in _scans(parts))):
                break
        elif marker in FRAMES:
            if frame is not None:
                raise ValueError("the JPEG is damaged: it has two frame headers")
            frame = read_frame(marker, content)
            parts.append(_segment(marker, content))
        elif marker in (_DQT, _DHT, _DAC, _DRI):
            parts.append(_segment(marker, content))
            if marker == _DHT:
                tables = {**tables, **_huffman_tables(content)}
            elif marker == _DRI:
                interval = int.from_bytes(content[:2], "big")
        elif marker == _APP0 and content[:5] == b"JFIF\0" and len(content) >= 14:
            jfif = True
        elif marker == _APP14 and content[:5] == b"Adobe" and len(content) >= 12:
            transform = content[11]
        segment = next_segment(data, end)
    if frame is None or not _scans(parts):
        raise ValueError("the JPEG is truncated: it ends in its header")
    lacking = missing(frame, (scan.header for scan in _scans(parts)))
    if lacking:
        raise ValueError(f"the JPEG is truncated: image data is missing ({lacking})")
    return Picture(_colours(jfif, transform, len(frame.components)), frame, parts)


def _scans(parts: list[Union[bytes, Scan]]) -> list[Scan]:
    return [part for part in parts if isinstance(part, Scan)]


def read_frame(marker: int, content: bytes) -> Frame:
    """A frame header from its marker and content; ValueError if it is not whole."""
    if len(content) < 6 or len(content) < 6 + 3 * content[5] or not content[5]:
        raise ValueError("the JPEG is damaged: its frame header is not whole")
    precision, height, width, count = struct.unpack_from(">BHHB", content)
    triples = (content[6 + 3 * i : 9 + 3 * i] for i in range(count))
    components = tuple(Component(name, both >> 4, both & 15) for name, both, _ in triples)
    return Frame(marker, precision, height, width, components)


def read_band(header: bytes) -> Band:
    """What the content of an SOS segment says; ValueError if it is not whole."""
    count = header[0] if header else 0
    if not count or len(header) != 4 + 2 * count:
        raise ValueError("the JPEG is damaged: the header of a scan is not whole")
    pairs = zip(header[1:-3:2], header[2:-3:2])
    first, last, bits = header[-3:]
    components = tuple((name, both >> 4, both & 15) for name, both in pairs)
    return Band(components, first, last, bits >> 4 > 0, bits & 15)


def missing(frame: Frame, headers: Iterable[bytes]) -> str:
    """A phrase on what the scans of a picture do not tell of it; empty if they tell all.

    Args:
      frame: the frame header: its size and its components.
      headers: the content of the SOS segment of each scan.
    """
    # By component, bit k: coefficient k is known to its last bit.
    known = dict.fromkeys((component.identifier for component in frame.components), 0)
    for header in headers:
        first, last, bits = header[-3:] if frame.is_progressive else (0, 63, 0)
        if bits & 15 == 0:
            for identifier in header[1:-3:2]:
                if identifier in known:
                    known[identifier] |= (2 << last) - (1 << first)
    unfinished = sum(mask & _ALL != _ALL for mask in known.values())
    if not unfinished:
        return ""
    return f"its scans leave {unfinished} of {len(known)} colour components unfinished"


def _scan(
    data: bytes, header: bytes, start: int, interval: int, tables: dict[tuple[int, int], bytes]
) -> tuple[Scan, int]:
    """A scan whose data begins at `start`, and where they end."""
    pieces, restarts, begin, end = [], [], start, len(data)
    for match in _MARKER.finditer(data, start):
        marker = match[0][1]
        if marker not in _RESTARTS:
            end = match.start()
            break
        pieces.append(data[begin : match.start()])
        restarts.append(marker - _RESTARTS[0])
        begin = match.end()
    pieces.append(data[begin:end])
    # What is left of 0xFF at the end of a piece fills it up.
    intervals = [_FILLED.sub(b"\xff", piece).rstrip(b"\xff") for piece in pieces]
    return Scan(header, intervals, restarts, interval, tables), end


def _huffman_tables(content: bytes) -> dict[tuple[int, int], bytes]:
    tables, position = {}, 0
    while position + 17 <= len(content):
        end = position + 17 + sum(content[position + 1 : position + 17])
        both = content[position]
        tables[both >> 4, both & 15] = content[position + 1 : end]
        position = end
    return tables


def _colours(jfif: bool, transform: Optional[int], components: int) -> bytes:
    """The segments by which decoders tell YCbCr from RGB and CMYK."""
    colours = _segment(_APP0, _JFIF) if jfif else b""
    if transform is not None:
        # What is not defined decoders take for YCbCr and YCCK.
        defined = (0, 1) if components == 3 else (0, 2)
        value = transform if transform in defined else defined[1]
        colours += _segment(_APP14, b"Adobe\0\x64\0\0\0\0" + bytes((value,)))
    return colours


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
