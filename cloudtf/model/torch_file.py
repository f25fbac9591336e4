"""Reads the tensors of a PyTorch weight file (`torch.save` of a state dict) without PyTorch.

Such a file is a pickle, and a pickle may call any function of this machine. This reader builds
tensors and ordered dictionaries, and refuses a file that names anything else. It knows the two
formats there are: one pickle after the other with the numbers behind them (up to PyTorch 1.5), and
a zip archive with a file a tensor (since); see torch/serialization.py.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from typing import Any, NamedTuple, Union

import numpy as np

from cloudtf import files
from cloudtf.errors import UserError, reason

# What the older format begins with, each a pickle of its own.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001

_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
_MAX_DIMENSIONS = 8


class _Kind(NamedTuple):
    """The name of a storage class; nothing that a pickle could call."""

    name: str


class _Storage(NamedTuple):
    key: str
    kind: str
    length: int


class _Tensor(NamedTuple):
    """A tensor as the pickle describes it; nothing is believed before `_Numbers.array`."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


def read_state_dict(path: str) -> dict[str, np.ndarray]:
    """Reads a file that `torch.save(model.state_dict(), path)` has made.

    Args:
      path: local or remote. A dictionary with a state dict under the key `state_dict` will do too.

    Returns:
      A new array for each tensor, by its name, in the order of the file.

    Raises:
      UserError: the file cannot be read, is cut or damaged, or names anything but tensors.
    """
    data = files.read_bytes(path)
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            state, numbers = _from_archive(data)
        else:
            state, numbers = _from_pickles(data)
        if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
            state = state["state_dict"]
        return _arrays(state, numbers)
    except Exception as error:  # A damaged pickle raises any kind.
        raise UserError(
            f"The weights in {path} are not a state dict saved by PyTorch, or are damaged "
            f"({reason(error)}); give the file as it was published."
        ) from error


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined, misc]
    """Builds tensors only. In Python, since the one in C takes any memory that a file asks for."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _rebuild_parameter
        if module == "torch" and name in _DTYPES:
            return _Kind(name)
        raise ValueError(f"it names {module}.{name}, which is no tensor and could run code")

    def persistent_load(self, name: Any) -> _Storage:
        word, kind, key, _, count, *view = name
        if word != "storage" or not isinstance(kind, _Kind) or any(view):
            raise ValueError("it refers to something that is no tensor")
        return _Storage(str(key), kind.name, _whole(count))


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _load(file: io.BytesIO) -> Any:
    return _Unpickler(file).load()


class _Numbers:
    """The bytes of the storages, by key."""

    def __init__(self, parts: dict[str, Union[bytes, memoryview]], order: str = "little") -> None:
        self._parts, self._order = parts, order

    def array(self, tensor: Any) -> np.ndarray:
        """The array of a tensor; ValueError if its numbers are not all there."""
        if not isinstance(tensor, _Tensor) or not isinstance(tensor.storage, _Storage):
            raise ValueError("it holds something that is no tensor")
        storage = tensor.storage
        dtype = _DTYPES[storage.kind].newbyteorder("<" if self._order == "little" else ">")
        if storage.key not in self._parts:
            raise ValueError("the numbers of a tensor are missing")
        flat = np.frombuffer(self._parts[storage.key], dtype)
        offset = _whole(tensor.offset)
        shape = tuple(_whole(length) for length in tensor.shape)
        strides = tuple(_whole(stride) for stride in tensor.strides)
        count = int(np.prod(shape, dtype=object))
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides))
        if (
            len(flat) != storage.length
            or len(shape) != len(strides)
            or len(shape) > _MAX_DIMENSIONS
            or not 0 < count <= len(flat)
            or last >= len(flat)
        ):
            raise ValueError("a tensor does not fit its numbers")
        view = np.lib.stride_tricks.as_strided(
            flat[offset:], shape, [stride * dtype.itemsize for stride in strides], writeable=False
        )
        return view.astype(dtype.newbyteorder("="), order="C", copy=True)


def _arrays(state: Any, numbers: _Numbers) -> dict[str, np.ndarray]:
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ValueError("it is no dictionary of tensors")
    return {name: numbers.array(tensor) for name, tensor in state.items()}


def _from_pickles(data: bytes) -> tuple[Any, _Numbers]:
    file = io.BytesIO(data)
    if _load(file) != _MAGIC or _load(file) != _PROTOCOL:
        raise ValueError("it does not begin as such a file does")
    order = "little" if _load(file).get("little_endian", True) else "big"
    state = _load(file)
    sizes = {storage.key: storage for storage in _storages(state)}
    parts: dict[str, Union[bytes, memoryview]] = {}
    for key in _load(file):
        if key not in sizes:
            raise ValueError("it has numbers of no tensor")
        count = int.from_bytes(file.read(8), order)  # type: ignore[arg-type]
        begin = file.tell()
        end = begin + count * _DTYPES[sizes[key].kind].itemsize
        if end > len(data):
            raise ValueError("the file is cut short")
        parts[key] = memoryview(data)[begin:end]
        file.seek(end)
    return state, _Numbers(parts, order)


def _storages(state: Any) -> list[_Storage]:
    values = list(state.values()) if isinstance(state, dict) else []
    for value in list(values):
        values += value.values() if isinstance(value, dict) else ()
    return [v.storage for v in values if isinstance(v, _Tensor) and isinstance(v.storage, _Storage)]


def _from_archive(data: bytes) -> tuple[Any, _Numbers]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        (described,) = [name for name in names if name.endswith("data.pkl")]
        folder = described[: -len("data.pkl")]
        if sum(entry.file_size for entry in archive.infolist()) > 2 * len(data):
            raise ValueError("it unpacks to more than PyTorch packs")  # PyTorch does not compress.
        state = _load(io.BytesIO(archive.read(described)))
        order = "little"  # Of files from before PyTorch 2.1, which do not say it.
        if f"{folder}byteorder" in names:
            order = archive.read(f"{folder}byteorder").decode("ascii").strip()
        parts: dict[str, Union[bytes, memoryview]] = {
            storage.key: archive.read(f"{folder}data/{storage.key}") for storage in _storages(state)
        }
    return state, _Numbers(parts, order)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise ValueError(f"{str(value)[:40]} is not the size of anything")
    return value
