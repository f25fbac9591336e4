"""The Huffman codes of a JPEG's image data, walked through to the bit where they end.

Whether all of a picture is there cannot be seen from outside: a scan of which the second half was
lost, or filled with zeros, ends with an end marker like any other, and bytes that a camera left in
front of the marker look like more of the picture. Nothing is decoded here but the lengths of codes,
in about a second for a file of a megabyte; only files that a decoder has complained of come here.
"""

from __future__ import annotations

import functools
import re
from typing import Callable, NamedTuple, Optional

from cloudtf.data.jpeg_picture import Band, Frame, Picture, Scan, read_band

# In the tables of `_lengths`: bits to go on by, and above them coefficients.
_STEP = 6
_INVALID = 1000 << _STEP  # More coefficients than a block has.
_ANY = 1 << 62  # As many units as there are.

# So many bytes at the end of a picture that go on behind it, all equal or all text, are no picture.
_RUN = 8
_TEXT = re.compile(rb"[\t\n\r -~]*")

_ARITHMETIC = range(0xC9, 0xD0)


class _End(NamedTuple):
    """Where a walk ended: the bit after the last unit, and how many units came before it."""

    bit: int
    units: int
    invalid: bool = False  # What follows is no code of its table.


# From a bit of some data, through a number of units; fewer where the data or valid codes end.
_Walk = Callable[[bytes, int, int], _End]


def trim(picture: Picture) -> None:
    """Removes from the scans of a picture what follows the last code of each piece of data.

    Raises:
      ValueError: one phrase: image data is missing or damaged, or cannot be walked through.
    """
    if picture.frame.marker in _ARITHMETIC or picture.frame.marker > 0xC2:
        raise ValueError("the JPEG is damaged, or of a kind that cannot be checked")
    bits_known: dict[
        int, list[int]
    ] = {}  # Bits for the coefficients known, by component and block.
    scans = picture.scans
    for number, scan in enumerate(scans):
        place = f" in scan {number + 1} of {len(scans)}" if len(scans) > 1 else ""
        _trim(scan, picture.frame, bits_known, place)


def _trim(scan: Scan, frame: Frame, bits_known: dict[int, list[int]], place: str) -> None:
    band = read_band(scan.header)
    walk, units = _walk_of(scan, band, frame, bits_known)
    kept, done = [], 0
    for number, piece in enumerate(scan.intervals):
        if done == units:
            break  # A marker after the last piece, and whatever follows.
        if number and scan.restarts[number - 1] != (number - 1) % 8:
            raise ValueError(f"the JPEG is damaged: its restart markers are out of order{place}")
        wanted = min(scan.interval or units, units - done)
        data = piece.replace(b"\xff\0", b"\xff")
        end = walk(data, 0, wanted)
        if end.units < wanted:
            there = f"{100 * (done + end.units) // units} % of the picture{place}"
            if end.invalid:
                raise ValueError(f"the JPEG is damaged: its image data has no sense after {there}")
            if number + 1 < len(scan.intervals) and scan.interval:
                raise ValueError(f"the JPEG is damaged: image data is missing after {there}")
            raise ValueError(f"the JPEG is truncated: image data is missing after {there}")
        length = -(-end.bit // 8)
        if length < len(data) and _is_displaced(
            data, end.bit, None if frame.is_progressive else walk
        ):
            raise ValueError(f"the JPEG is damaged: its image data is not what it was{place}")
        kept.append(data[:length].replace(b"\xff", b"\xff\0"))
        done += wanted
    if done < units:
        there = f"{100 * done // units} % of the picture{place}"
        raise ValueError(f"the JPEG is truncated: image data is missing after {there}")
    scan.intervals, scan.restarts = kept, scan.restarts[: len(kept) - 1]


def _is_displaced(data: bytes, bit: int, walk: Optional[_Walk]) -> bool:
    """Whether a picture ends early since its data were changed, and what follows is more of it.

    An encoder fills the last byte with ones. Data that were changed end at any bit, or in front of
    units that are whole and end with the data; data that were replaced go on as they end.

    Args:
      data: longer than the picture needs.
      bit: where the picture ends.
      walk: how to look for more units; None: that is not looked at.
    """
    end = -(-bit // 8)
    last, rest = data[max(0, end - _RUN) : end], data[end:]
    if not _is_filled(last[-1], -bit % 8) or (len(last) == _RUN and _TEXT.fullmatch(last + rest)):
        return True
    if rest.count(rest[0]) == len(rest):
        return last.count(rest[0]) == _RUN
    further = walk(data, bit, _ANY) if walk else _End(bit, 0)
    left = 8 * len(data) - further.bit
    return further.units > 0 and left < 8 and _is_filled(data[-1], left)


def _is_filled(byte: int, bits: int) -> bool:
    """Whether the last bits of a byte are ones."""
    return byte & (1 << bits) - 1 == (1 << bits) - 1


def _walk_of(
    scan: Scan, band: Band, frame: Frame, bits_known: dict[int, list[int]]
) -> tuple[_Walk, int]:
    """How to walk through a scan, and its units."""
    by_name = {component.identifier: component for component in frame.components}
    try:
        chosen = [(by_name[name], dc, ac) for name, dc, ac in band.components]
        alone = len(chosen) == 1
        units = frame.blocks(chosen[0][0]) if alone else frame.units
        if not frame.is_progressive:
            pairs = [
                (_lengths(scan.tables[0, dc], False), _lengths(scan.tables[1, ac], True))
                for component, dc, ac in chosen
                for _ in range(1 if alone else component.rows * component.columns)
            ]
            return _sequential(pairs), units
        if band.first == 0:
            count = 1 if alone else sum(c.rows * c.columns for c, _, _ in chosen)
            if band.refines:
                return _plain_bits(count), units
            tables = [
                _lengths(scan.tables[0, dc], False)
                for component, dc, _ in chosen
                for _ in range(1 if alone else component.rows * component.columns)
            ]
            return _single(tables), units
        component, _, ac = chosen[0]
        known = bits_known.setdefault(component.identifier, [0] * units)
        symbols = _symbols(scan.tables[1, ac])
        return _spectral(symbols, band, known), units
    except KeyError as error:
        raise ValueError("the JPEG is damaged: a table of its image data is missing") from error


@functools.lru_cache(8)  # One file's.
def _lengths(definition: bytes, alternating: bool) -> list[int]:
    """What each 16 bits that follow mean: how many bits a code and its value take, and how far
    they lead: coefficients for a table of AC codes (`alternating`), else one."""

    def step(length: int, value: int) -> int:
        run, size = value >> 4, value & 15
        if not alternating:
            return length + min(value, 15) | 1 << _STEP
        # A value after a run of zeros; 16 zeros; zeros up to the end of the block.
        ahead = run + 1 if size else 16 if run == 15 else 64
        return length + size | ahead << _STEP

    return _by_prefix(definition, step, _INVALID)


@functools.lru_cache(8)
def _symbols(definition: bytes) -> list[int]:
    """What each 16 bits that follow mean: the length of a code, and above it its symbol."""
    return _by_prefix(definition, lambda length, value: length | value << _STEP, -1)


def _by_prefix(definition: bytes, entry: Callable[[int, int], int], invalid: int) -> list[int]:
    entries: list[int] = []
    values = iter(definition[16:])
    for length, count in enumerate(definition[:16], 1):
        for _, value in zip(range(count), values):
            entries += [entry(length, value)] * (1 << 16 - length)
    if len(entries) > 1 << 16:
        raise ValueError("the JPEG is damaged: a table of its image data has no sense")
    return entries + [invalid] * ((1 << 16) - len(entries))


def _sequential(pairs: list[tuple[list[int], list[int]]]) -> _Walk:
    """Units of blocks, for each of which there are the tables of its DC and its AC codes."""

    def walk(data: bytes, bit: int, units: int) -> _End:
        ends = 8 * len(data)
        position, buffer, left = bit // 8, 0, 0
        skipped = bit % 8
        done = 0
        while done < units:
            for dc, ac in pairs:
                table, coefficients = dc, 0
                while coefficients < 64:
                    if left < 32:
                        # Zeros follow the end.
                        piece = data[position : position + 8].ljust(8, b"\0")
                        buffer = (buffer & (1 << left) - 1) << 64 | int.from_bytes(piece, "big")
                        position += 8
                        left += 64 - skipped
                        skipped = 0
                    step = table[buffer >> left - 16 & 0xFFFF]
                    left -= step & 63
                    coefficients += step >> 6
                    table = ac
                if coefficients > 999:
                    return _End(bit, done, invalid=8 * position - left <= ends)
            if 8 * position - left > ends:
                return _End(bit, done)
            bit = 8 * position - left
            done += 1
        return _End(bit, done)

    return walk


class _Bits:
    """The bits of some data from one of them on; behind the end there are zeros."""

    def __init__(self, data: bytes, bit: int) -> None:
        self._data, self._position = data, bit // 8
        self._buffer, self._left = 0, 0
        self.skip(bit % 8)

    @property
    def bit(self) -> int:
        """The number of the next bit."""
        return 8 * self._position - self._left

    @property
    def over(self) -> bool:
        """Whether more bits were taken than there are."""
        return self.bit > 8 * len(self._data)

    def next(self) -> int:
        """The next 16 bits, which stay."""
        if self._left < 16:
            piece = self._data[self._position : self._position + 8].ljust(8, b"\0")
            self._buffer = (self._buffer & (1 << self._left) - 1) << 64
            self._buffer |= int.from_bytes(piece, "big")
            self._position += 8
            self._left += 64
        return self._buffer >> self._left - 16 & 0xFFFF

    def skip(self, count: int) -> None:
        """Takes any number of bits."""
        while count > 16:
            self.skip(16)
            count -= 16
        self.next()
        self._left -= count

    def take(self, count: int) -> int:
        """The number that the next bits are, 16 at most."""
        value = self.next() >> 16 - count
        self._left -= count
        return value


def _plain_bits(count: int) -> _Walk:
    """Units of so many bits."""

    def walk(data: bytes, bit: int, units: int) -> _End:
        whole = min(units, (8 * len(data) - bit) // count)
        return _End(bit + whole * count, whole)

    return walk


def _single(tables: list[list[int]]) -> _Walk:
    """Units of DC codes alone, each with its table."""

    def walk(data: bytes, bit: int, units: int) -> _End:
        bits = _Bits(data, bit)
        for done in range(units):
            for table in tables:
                step = table[bits.next()]
                if step >= _INVALID:
                    return _End(bit, done, invalid=not bits.over)
                bits.skip(step & 63)
            if bits.over:
                return _End(bit, done)
            bit = bits.bit
        return _End(bit, units)

    return walk


def _spectral(table: list[int], band: Band, known: list[int]) -> _Walk:
    """Blocks of a progressive scan of AC coefficients.

    Args:
      table: length and symbol of the code in each 16 bits, as `_symbols` makes it.
      band: the coefficients, and whether an earlier scan began them.
      known: for each block, bit k: coefficient k is not 0. It is added to.

    Returns:
      A walk that begins with the block after the last one of the walk before it.
    """
    blocks = iter(range(len(known)))

    def walk(data: bytes, bit: int, units: int) -> _End:
        bits, empty = _Bits(data, bit), 0
        for done, block in zip(range(units), blocks):
            k, before = band.first, known[block]
            while k <= band.last and not empty:
                entry = table[bits.next()]
                if entry < 0 or bits.over:
                    return _End(bit, done, invalid=not bits.over)
                bits.skip(entry & 63)
                run, size = entry >> _STEP + 4, entry >> _STEP & 15
                if size:
                    bits.skip(1 if band.refines else size)
                elif run < 15:
                    # So many blocks, with this one, have nothing more in this band.
                    empty = (1 << run) + bits.take(run)
                    break
                if band.refines:
                    # `run` coefficients more stay 0; on the way, others get a bit each.
                    while k <= band.last and (run or before >> k & 1):
                        if before >> k & 1:
                            bits.skip(1)
                        else:
                            run -= 1
                        k += 1
                else:
                    k += run
                known[block] |= (size > 0) << k
                k += 1
            if empty:
                empty -= 1
                if band.refines and k <= band.last:
                    others = before >> k & (2 << band.last - k) - 1
                    bits.skip(bin(others).count("1"))
            if bits.over:
                return _End(bit, done)
            bit = bits.bit
        return _End(bit, units)

    return walk
