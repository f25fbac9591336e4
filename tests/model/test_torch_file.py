import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from cloudtf.errors import UserError
from cloudtf.model.torch_file import read_state_dict

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage"}


class Name(collections.namedtuple("Name", "module name")):
    """A class or function that a pickle names and this process need not have."""


class Call(collections.namedtuple("Call", "function arguments")):
    """A call that reading the pickle makes."""


class Stored(collections.namedtuple("Stored", "kind key count")):
    """A reference to the numbers of a tensor, which stand elsewhere in the file."""


class Pickler(pickle._Pickler):
    """Writes what PyTorch would write, without PyTorch."""

    def persistent_id(self, thing):
        if isinstance(thing, Stored):
            return ("storage", Name("torch", thing.kind), thing.key, "cpu", thing.count)
        return None

    def save(self, thing, **options):
        if isinstance(thing, Name):
            self.write(f"c{thing.module}\n{thing.name}\n".encode())
        elif isinstance(thing, Call):
            self.save(thing.function)
            self.save(thing.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(thing, **options)


def dump(thing):
    file = io.BytesIO()
    Pickler(file, protocol=2).dump(thing)
    return file.getvalue()


def tensor(array, key, offset=0, strides=None, shape=None, count=None):
    strides = strides or tuple(s // array.itemsize for s in array.strides)
    stored = Stored(KINDS[array.dtype.str[1:]], key, array.size if count is None else count)
    arguments = (stored, offset, shape or array.shape, strides, False, collections.OrderedDict())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def legacy(state, parts):
    """The format of PyTorch up to 1.5: pickles, then the numbers of each tensor."""
    head = [dump(MAGIC), dump(PROTOCOL), dump({"little_endian": True}), dump(state)]
    numbers = [struct.pack("<q", part.size) + part.tobytes() for part in parts.values()]
    return b"".join([*head, dump(list(parts)), *numbers])


def archive(state, parts, compression=zipfile.ZIP_STORED):
    """The format since: a zip archive with a file a tensor."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as packed:
        packed.writestr("weights/data.pkl", dump(state))
        for key, part in parts.items():
            packed.writestr(f"weights/data/{key}", part.tobytes())
        packed.writestr("weights/version", "3\n")
    return file.getvalue()


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    return {
        "conv.weight": generator.normal(size=(4, 3, 2, 2)).astype("<f4"),
        "bn.bias": generator.normal(size=5).astype("<f8"),
        "half": generator.normal(size=(2, 3)).astype("<f2"),
        "bn.num_batches_tracked": np.array(7, "<i8"),
    }


def save(arrays, form, path, **changes):
    state = collections.OrderedDict(
        (name, tensor(array, str(i), **changes)) for i, (name, array) in enumerate(arrays.items())
    )
    path.write_bytes(form(state, {str(i): array for i, array in enumerate(arrays.values())}))
    return str(path)


@pytest.mark.parametrize("form", [legacy, archive])
def test_tensors_come_back_to_the_bit_in_their_order(form, arrays, tmp_path):
    state = read_state_dict(save(arrays, form, tmp_path / "weights.pth"))
    assert list(state) == list(arrays)
    for name, array in arrays.items():
        assert state[name].dtype == array.dtype
        np.testing.assert_array_equal(state[name], array)


@pytest.mark.parametrize("form", [legacy, archive])
def test_strides_and_offsets_are_followed(form, tmp_path):
    array = np.arange(24, dtype="<f4")
    path = save({"t": array}, form, tmp_path / "w.pth", offset=2, shape=(3, 4), strides=(1, 3))
    np.testing.assert_array_equal(read_state_dict(path)["t"], array[2:14].reshape(4, 3).transpose())


def test_a_state_dict_may_be_one_entry_of_a_checkpoint(arrays, tmp_path):
    parts = {str(i): array for i, array in enumerate(arrays.values())}
    state = {name: tensor(array, str(i)) for i, (name, array) in enumerate(arrays.items())}
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(archive({"state_dict": state}, parts))
    assert list(read_state_dict(str(path))) == list(arrays)


@pytest.mark.parametrize("form", [legacy, archive])
@pytest.mark.parametrize(
    "name",
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "_rebuild_device_tensor_from_numpy"),
        ("collections", "OrderedDict.__init__.__globals__"),
        ("numpy.core.multiarray", "_reconstruct"),
    ],
)
def test_a_file_that_names_anything_else_is_refused_before_it_is_called(form, name, tmp_path):
    path = tmp_path / "weights.pth"
    witness = tmp_path / "called"
    path.write_bytes(form({"t": Call(Name(*name), (f"touch {witness}",))}, {}))
    with pytest.raises(UserError, match=rf"weights\.pth .*it names {name[0]}\."):
        read_state_dict(str(path))
    assert not witness.exists()


ONE = np.ones(6, "<f4")


@pytest.mark.parametrize("form", [legacy, archive])
@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (7,), "strides": (1,)},
        {"shape": (6,), "strides": (2,)},
        {"shape": (1 << 39, 1 << 39), "strides": (0, 0)},
        {"shape": (6,), "strides": (-1,)},
        {"shape": (2, 3), "strides": (3,)},
        {"shape": (6,), "strides": (1,), "offset": 1},
        {"shape": (6,), "strides": (1,), "offset": -1},
        {"shape": (1,) * 40, "strides": (1,) * 40},
        {"shape": ("6",), "strides": (1,)},
        {"count": 5},
        {"count": 1 << 60},
    ],
    ids=str,
)
def test_a_tensor_that_does_not_fit_its_numbers_is_refused(form, wrong, tmp_path):
    path = save({"t": ONE}, form, tmp_path / "weights.pth", **wrong)
    with pytest.raises(UserError, match=r"weights\.pth are not a state dict .*or are damaged"):
        read_state_dict(path)


@pytest.mark.parametrize("form", [legacy, archive])
def test_a_file_cut_anywhere_is_refused_in_one_sentence(form, arrays, tmp_path):
    path = tmp_path / "weights.pth"
    whole = save(arrays, form, path)
    data = path.read_bytes()
    for length in range(0, len(data) - 1, max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"give the file as it was published\.$"):
            read_state_dict(whole)


@pytest.mark.parametrize("form", [legacy, archive])
def test_a_flipped_byte_gives_tensors_or_one_sentence(form, arrays, tmp_path):
    path = tmp_path / "weights.pth"
    whole = save(arrays, form, path)
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(1)
    for place in generator.integers(0, len(data), 150):
        damaged = data.copy()
        damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            state = read_state_dict(whole)
        except UserError:
            continue
        assert all(isinstance(array, np.ndarray) for array in state.values())


def test_a_packed_bomb_is_refused(tmp_path):
    path = tmp_path / "weights.pth"
    zeros = np.zeros(1 << 20, "<f4")
    path.write_bytes(archive({"t": tensor(zeros, "0")}, {"0": zeros}, zipfile.ZIP_DEFLATED))
    with pytest.raises(UserError, match="unpacks to more"):
        read_state_dict(str(path))


def test_a_memo_without_end_takes_no_memory(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")  # LONG_BINPUT 2147483647
    with pytest.raises(UserError, match="does not begin as such a file does"):
        read_state_dict(str(path))
