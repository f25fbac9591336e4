"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

from typing import Optional

# Read by `jpeg`, `png` and `other_kinds`.
READABLE = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "GIF", "AVIF", "HEIC")

_STARTS = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # With offsets of 8 bytes, as for files over 4 GB.
    b"MM\0+": "TIFF",
    b"%PDF": "PDF",
    b"PK\3\4": "ZIP",
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "RAR",
    b"8BPS": "Photoshop",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"\x93NUMPY": "NumPy",
    b"\x89HDF": "HDF5",
    b"CDF\1": "NetCDF",
    b"CDF\2": "NetCDF",
    b"SIMPLE  =": "FITS",
    b"\0\0\1\0": "Windows icon",
    b"<svg": "SVG",
    b"%!PS": "PostScript",
    b"FUJIFILMCCD-RAW": "camera raw",
    b"version https://git-lfs": "Git LFS pointer",
    b"<!DOCTYPE html": "HTML",
    b"<!doctype html": "HTML",
    b"<html": "HTML",
    b"<HTML": "HTML",
    b"<?xml": "XML",
}
# The brands of ISO base media files (ISO/IEC 14496-12), behind `ftyp`.
_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"mif1": "HEIC",
    b"msf1": "HEIC",
    b"crx ": "camera raw",
}
# What else can be said of some of them.
_MEND = {
    "Git LFS pointer": "fetch the file itself with `git lfs pull`",
    "HTML": "perhaps a page in place of a download that failed",
    "camera raw": "develop it to a JPEG or TIFF",
    "DICOM": "write it as a PNG of 16 bits",
    "ZIP": "unpack it",
    "gzip": "unpack it",
    "7z": "unpack it",
    "RAR": "unpack it",
}


def kind_of(data: bytes) -> Optional[str]:
    """What a file is: one of `READABLE`, the name of another kind, or None for what is not known.

    Args:
      data: the content of the file, or some hundred bytes of its start.

    >>> kind_of(b"GIF89a..."), kind_of(b"%PDF-1.7"), kind_of(b"what is this?")
    ('GIF', 'PDF', 'text')
    """
    for start, kind in _STARTS.items():
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else "AVI or WAV"
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[i : i + 4] for i in range(16, min(len(data), 64), 4))]
        found = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return "AVIF" if "AVIF" in found else found[0] if found else "video"
    # Any two letters begin so: the size of the header behind them must be one of BMP's.
    if data[:2] == b"BM" and data[14:18] in (b"\x0c\0\0\0", b"\x28\0\0\0", b"\x34\0\0\0",
                                             b"\x38\0\0\0", b"\x40\0\0\0", b"\x6c\0\0\0",
                                             b"\x7c\0\0\0"):  # fmt: skip
        return "BMP"
    if data[128:132] == b"DICM":
        return "DICOM"
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return "PNM"
    if data and all(byte >= 32 or byte in b"\t\n\r" for byte in data[:200]):
        return "text"
    return None


def refusal(data: bytes) -> str:
    """A phrase on a file of which no picture can be read: what it is, and what would help.

    Args:
      data: the content of the file, which is of none of the kinds in `READABLE`.
    """
    kind = kind_of(data)
    if kind is None:
        return f"the file is of no known kind (it begins with {data[:8].hex(' ')})"
    article = "an" if kind[0] in "AEIORU" and kind != "RAR" else "a"
    if kind in ("HTML", "HDF5"):
        article = "an"
    what = "text" if kind == "text" else f"{article} {kind}"
    if kind == "camera raw":
        what = "a camera's raw file"
    mend = f" ({_MEND[kind]})" if kind in _MEND else ""
    return f"the file is {what}{mend}, not a {', '.join(READABLE[:-1])} or {READABLE[-1]}"
