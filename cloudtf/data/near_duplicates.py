"""Photographs that are copies: encoded anew, resized, cropped by 5%, flipped, turned by 90 degrees.

Candidates come from bits of each sketch's cosine transform: the signs of random projections, of
which several random choices are sorted, so that those which begin alike stand beside each other
(locality sensitive hashing: Charikar, 2002). A photograph stands there in its crops, and in its
orientations. Candidates are then compared, first their sketches, then the small images themselves.

Pictures without structure, such as an even sky or a blank page, are never taken for copies: nothing
in them tells one from another.
"""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from cloudtf.data import likeness

# Cosines each way in a photograph's bits.
_COARSE = 6
# The least structure, in grey levels.
_STRUCTURE = 1.0
# The least cosine between the coefficients of a photograph and of its copy.
_ALIKE = 0.95
_BITS = 64
# Up to so many photographs, entries that begin with so many equal bits are compared, in so many
# orders; each doubling takes a bit more, and two more orders.
_USUAL, _FIRST_BITS, _ORDERS = 5000, 14, 10
# Each entry is compared with so many that follow, so that a set of photographs which all look alike
# does not take the square of its size.
_FOLLOWING = 12
# Photographs or pairs at once, which bounds the memory.
_AT_ONCE = 2048
_VECTORS_AT_ONCE = 16 * _AT_ONCE
_PAIRS_AT_ONCE = 256


def find(
    sketches: np.ndarray, read: Callable[[Sequence[int]], Sequence[np.ndarray]]
) -> list[list[int]]:
    """The groups of photographs that are copies of one.

    Takes about 2 KB of memory a photograph, and some 40 MB, beside the sketches.

    Args:
      sketches: uint8 [N, 32, 32]; see `likeness.sketch`.
      read: indices of photographs -> their small images, uint8 [H, W, 3] each. Called only with
        those that are probably copies.

    Returns:
      The indices of each group of two or more, ascending; the groups by their first.
    """
    first, second, parts, orientations = _candidates(sketches)
    kept = np.zeros(len(first), bool)
    for at in range(0, len(first), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        parts[some], kept[some] = likeness.align(
            sketches[first[some]], sketches[second[some]], parts[some], orientations[some]
        )
    group_of = np.arange(len(sketches))
    pairs = np.flatnonzero(kept)
    for at in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[at : at + _PAIRS_AT_ONCE]
        # Those that are in one group already need no look.
        some = some[group_of[first[some]] != group_of[second[some]]]
        needed = np.unique([first[some], second[some]])
        images = dict(zip(needed.tolist(), read(needed.tolist())))
        for pair in some:
            one, other = int(first[pair]), int(second[pair])
            if group_of[one] != group_of[other] and likeness.is_copy(
                images[one], images[other], parts[pair], int(orientations[pair])
            ):
                numbers = group_of[one], group_of[other]
                group_of[group_of == max(numbers)] = min(numbers)
    sizes = np.bincount(group_of, minlength=1)
    return [np.flatnonzero(group_of == one).tolist() for one in np.flatnonzero(sizes > 1)]


def _candidates(sketches: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pairs that may be a photograph and its copy, each once and perhaps once the other way round.

    Returns:
      Two arrays of indices, the part of the first that the second may show [pairs, 4], and the
      orientation of the second.
    """
    entries, present = _entries(sketches)
    count, each = entries.shape[:2]
    vectors = entries.reshape(count * each, entries.shape[2])
    random = np.random.default_rng(0)
    directions = random.standard_normal((vectors.shape[1], _BITS)).astype(np.float32)
    kept = np.flatnonzero(np.repeat(present, each))
    bits = _packed_bits(vectors, kept, directions)
    more = max(0, int(np.ceil(np.log2(max(count, 1) / _USUAL))))
    codes, alike = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for _ in range(_ORDERS + 2 * more):
        key = _permuted(bits, random.permutation(_BITS))
        order = np.argsort(key)
        begin = key[order] >> np.uint64(_BITS - _FIRST_BITS - more)
        entry = kept[order]
        photograph, is_part = entry // each, entry % each < len(likeness.PARTS)
        for distance in range(1, _FOLLOWING + 1):
            beside = begin[:-distance] == begin[distance:]
            if not beside.any():
                break
            beside &= photograph[:-distance] != photograph[distance:]
            beside &= is_part[:-distance] != is_part[distance:]
            one, other = entry[:-distance][beside], entry[distance:][beside]
            part = is_part[:-distance][beside]
            one, other = np.where(part, one, other), np.where(part, other, one)
            for at in range(0, len(one), _VECTORS_AT_ONCE):
                some = slice(at, at + _VECTORS_AT_ONCE)
                pairs = vectors[one[some]], vectors[other[some]]
                cosine = np.einsum("nd,nd->n", *pairs, dtype=np.float32)
                near = np.flatnonzero(cosine >= _ALIKE)
                codes.append(one[some][near] * len(vectors) + other[some][near])
                alike.append(cosine[near])
    code, at = np.unique(np.concatenate(codes), return_index=True)
    cosine = np.concatenate(alike)[at]
    part_entry, copy_entry = np.divmod(code, max(len(vectors), 1))
    first, second = part_entry // each, copy_entry // each
    # Either may be the crop: what is better by these few cosines need not be the right way round.
    pair = first * count + second
    best = np.lexsort((-cosine, pair))
    best = best[np.diff(pair[best], prepend=-1) > 0]
    parts = likeness.PARTS[part_entry[best] % each]
    orientations = copy_entry[best] % each - len(likeness.PARTS)
    return first[best], second[best], parts, orientations


def _packed_bits(vectors: np.ndarray, kept: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """On which side of each direction [D, 64] the kept vectors [V, D] lie: uint8 [kept, 8]."""
    bits = np.empty((len(kept), _BITS // 8), np.uint8)
    for at in range(0, len(kept), _VECTORS_AT_ONCE):
        some = slice(at, at + _VECTORS_AT_ONCE)
        bits[some] = np.packbits(vectors[kept[some]] @ directions > 0, axis=1)
    return bits


def _permuted(bits: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The bits, uint8 [N, 8], in another order, as numbers: uint64 [N]."""
    key = np.empty(len(bits), np.uint64)
    for at in range(0, len(bits), _VECTORS_AT_ONCE):
        some = slice(at, at + _VECTORS_AT_ONCE)
        chosen = np.packbits(np.unpackbits(bits[some], axis=1).take(order, axis=1), axis=1)
        key[some] = chosen.view(">u8")[:, 0]
    return key


def _entries(sketches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a photograph is looked for by: its parts, then its orientations.

    Returns:
      float16 [N, 11 + 8, U * U] of length 1 each, and bool [N]: whether there is structure at all.
    """
    parts = likeness.PARTS
    axes = np.unique(np.concatenate([parts[:, :2], parts[:, 2:]]), axis=0)
    rows = [int(np.flatnonzero((axes == part[:2]).all(axis=1))[0]) for part in parts]
    columns = [int(np.flatnonzero((axes == part[2:]).all(axis=1))[0]) for part in parts]
    waves = likeness.cosines(axes[:, 0], axes[:, 1], _COARSE).reshape(-1, likeness.SIDE)
    number = np.arange(_COARSE)
    # The spectrum of photographs falls with the frequency; so each counts about as much.
    weight = np.sqrt(number[:, None] ** 2 + number**2).ravel().astype(np.float32)
    each = len(parts) + likeness.ORIENTATIONS
    entries = np.empty((len(sketches), each, _COARSE**2), np.float16)
    present = np.empty(len(sketches), bool)
    for at in range(0, len(sketches), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        products = waves @ sketches[some].astype(np.float32) @ waves.T
        products = products.reshape(len(products), len(axes), _COARSE, len(axes), _COARSE)
        by_part = products[:, rows, :, columns].swapaxes(0, 1)
        every = np.concatenate([by_part, likeness.oriented(by_part[:, 0])], axis=1)
        found = likeness.structure(every.reshape(len(products), each, -1))
        present[some] = np.linalg.norm(found[:, 0], axis=1) >= _STRUCTURE
        found *= weight
        found /= np.maximum(np.linalg.norm(found, axis=2, keepdims=True), 1e-6)
        entries[some] = found
    return entries, present
