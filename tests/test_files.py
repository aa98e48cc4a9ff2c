"""Data of one's own: every kind of file gives the numbers it holds, or one line that names it."""

import gzip
import hashlib
import os
import pickle
import shutil
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from minivae.datasets import Dataset, Streamed, files, load, load_file, npy, pictures, table
from minivae.datasets.base import spread_rows
from minivae.datasets.labels import MAX_CLASSES, class_numbers
from minivae.datasets.values import require_finite

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (30, 4, 3)).astype(np.uint8)
Y = RNG.integers(0, 3, 30)


def one_line(error: pytest.ExceptionInfo[Any], *words: object) -> None:
    """The message is one line and contains the words."""
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


def refused(path: Path, *words: object, **options: Any) -> None:
    """The file is refused in one line that names it and contains the words."""
    with pytest.raises(ValueError) as error:
        load_file(path, **options)
    one_line(error, *words)
    assert str(error.value).startswith(str(path)) and len(str(error.value)) < 600


def whole(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """All x and y of a data set that splits itself, in the order of its file."""
    n_test, n_valid = len(data.test), len(data.valid)
    n = n_test + n_valid + len(data.train)
    test = spread_rows(n, n_test)
    rest = np.delete(np.arange(n), test)
    valid = rest[spread_rows(len(rest), n_valid)]
    train = np.setdiff1d(rest, valid)
    x, y = np.full((n, data.train.x.shape[1]), np.nan, "f"), np.full(n, -1)
    for rows, part in ((test, data.test), (valid, data.valid), (train, data.train)):
        x[rows], y[rows] = part.x[:], part.y
    return x, y


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


# ---- .npy ----


@pytest.mark.parametrize("dtype", ["u1", "?", "<f4", ">f4", "f8", ">f8", "f2", "i1", ">i4", "u2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((12,), (1, 12)),
        ((49,), (7, 7)),
        ((16,), (1, 16)),
        ((3, 4), (3, 4)),
        ((3, 4, 1), (3, 4)),
        ((1,), (1, 1)),
    ],
)
def test_npy(
    tmp_path: Path, dtype: str, order: Any, shape: tuple[int, ...], image: tuple[int, ...]
) -> None:
    array = np.asarray(RNG.integers(0, 100, (25, *shape)), dtype, order=order)
    data = load_file(saved(tmp_path / "mine.npy", array))
    x, y = whole(data)
    want = array.reshape(25, -1).astype(np.float32) / np.float32(255 if dtype == "u1" else 1)
    assert np.array_equal(x, want)
    assert (data.name, data.image_shape, data.class_names) == ("mine", image, ())
    assert not y.any() and data.train.y.dtype == np.int64
    assert [len(data.train), len(data.valid), len(data.test)] == [21, 2, 2]
    assert data.train.x.flags.c_contiguous and data.train.x.flags.writeable
    assert data.sha256 == hashlib.sha256((tmp_path / "mine.npy").read_bytes()).hexdigest()


def test_npy_of_version_2_and_of_python_2(tmp_path: Path) -> None:
    for version in ((1, 0), (2, 0)):
        with (tmp_path / "a.npy").open("wb") as file:
            np.lib.format.write_array(file, X, version=version)
        assert np.array_equal(
            whole(load_file(tmp_path / "a.npy"))[0], X.reshape(30, 12) / np.float32(255)
        )
    raw = (tmp_path / "a.npy").read_bytes()
    np.save(tmp_path / "a.npy", X)
    raw = (tmp_path / "a.npy").read_bytes().replace(b"(30, 4, 3), }   ", b"(30L, 4L, 3L), }")
    assert b"30L" in raw
    (tmp_path / "a.npy").write_bytes(raw)
    assert len(load_file(tmp_path / "a.npy").train) == 24


def header(descr: str, shape: str, order: bool = False) -> bytes:
    """A .npy header that says what it likes."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["not a sound NumPy file"]),
        (b"hello", ["not a sound NumPy file"]),
        (b"\x93NUMPY\x03\x00" + header("'|u1'", "(2, 2)")[8:] + b"abcd", ["not a sound NumPy"]),
        (header("'|u1'", "(2, 2)") + b"abc", ["(2, 2)", "needs 4 bytes, the file holds 3"]),
        (header("'|u1'", "(2, 2)") + b"abcde", ["needs 4 bytes, the file holds 5"]),
        (header("'|u1'", f"({2**62}, {2**62})") + b"abc", ["the file holds 3"]),
        (header("'|u1'", "(-2, -2)") + b"abcd", ["(-2, -2)"]),
        (header("'|u1'", "(-1, -1, 4)") + b"abcd", ["(-1, -1, 4)"]),
        (header("'|u1'", "(0, 4)"), ["at least one number", "(0, 4)"]),
        (header("'|u1'", "(4, 0)"), ["at least one number", "(4, 0)"]),
        (header("'|u1'", "()") + b"a", ["(N, D), (N, H, W) or (N, H, W, 1)", "()"]),
        (header("'|u1'", "(4,)") + b"abcd", ["(N, D)", "(4,)"]),
        (header("'|u1'", "(1, 2, 2, 3)") + bytes(12), ["(N, H, W, 1)", "(1, 2, 2, 3)"]),
        (header("'|u1'", "(1, 1, 1, 1, 4)") + b"abcd", ["(1, 1, 1, 1, 4)"]),
        (header("'|u1'", "(1, 4)") + b"abcd", ["at least 2 examples", "got 1"]),
        (header("'<c8'", "(2, 1)") + bytes(16), ["real numbers", "complex64"]),
        (header("'<U1'", "(2, 2)") + bytes(16), ["real numbers", "<U1"]),
        (header("'<U0'", f"({2**40}, 2)"), ["real numbers", "<U0"]),
        (header("'<M8[s]'", "(2, 2)") + bytes(32), ["real numbers", "datetime64"]),
        (header("[('a', '<f4'), ('b', '<f4')]", "(2, 2)") + bytes(32), ["real numbers"]),
        (header("('<f4', (2,))", "(2, 2)") + bytes(32), ["real numbers"]),
        (header("'|O'", "(2, 2)") + bytes(32), ["real numbers", "object"]),
        (header("'|u1'", "(" * 3000 + "2" + ")" * 3000) + b"abcd", ["not a sound NumPy file"]),
        (header("__import__('os').getcwd()", "(2, 2)") + b"abcd", ["not a sound NumPy file"]),
    ],
)  # fmt: skip
def test_npy_that_is_refused(tmp_path: Path, data: bytes, words: list[str]) -> None:
    path = tmp_path / "bad.npy"
    path.write_bytes(data)
    refused(path, *words)


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    bomb = np.array([[Bomb(tmp_path / "ran"), 1]] * 2, dtype=object)
    np.save(tmp_path / "a.npy", bomb, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=bomb, allow_pickle=True)
    np.savez(tmp_path / "y.npz", x=np.eye(2), y=bomb[:, 0], allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    for path in sorted(tmp_path.iterdir()):
        refused(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_number_that_is_not_finite_is_called_by_its_row_in_the_file(
    tmp_path: Path, value: float, in_memory: bool
) -> None:
    for row in range(30):
        array = np.zeros((30, 5))
        array[row, 3] = value
        path = saved(tmp_path / "a.npy", array)
        shown = "inf" if value == 1e39 else value
        held = spread_rows(30, 3)
        rest = np.delete(np.arange(30), held)
        if in_memory or row in held or row in rest[spread_rows(27, 3)]:
            refused(path, f"got {shown} at row {row}, column 3", in_memory=in_memory)
        else:
            x = load_file(path, in_memory=False).train.x
            assert isinstance(x, Streamed)  # it is looked through when it is used
            where = int(np.flatnonzero(x.origin(slice(None)) == row)[0])
            with pytest.raises(ValueError, match=f"got {shown} at row {where}, column 3"):
                require_finite(x)


# ---- .npz ----


def packed(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_and_without_labels(tmp_path: Path, save: Any) -> None:
    want = X.reshape(30, 12) / np.float32(255)
    for arrays, labels in (
        ({"x": X, "y": Y}, Y),
        ({"x": X, "y": Y[:, None].astype(np.int16)}, Y),
        ({"x": np.asfortranarray(X), "y": Y.astype(float), "other": np.zeros(9)}, Y),
        ({"x": X}, 0 * Y),
        ({"anything": X}, 0 * Y),
    ):
        save(tmp_path / "a.npz", **arrays)
        data = load_file(tmp_path / "a.npz")
        x, y = whole(data)
        assert np.array_equal(x, want) and np.array_equal(y, labels)
        assert data.image_shape == (4, 3) and data.class_names == ()


def test_npz_as_keras_names_it(tmp_path: Path) -> None:
    arrays = {"x_train": X[:20], "y_train": Y[:20], "x_test": X[20:], "y_test": Y[20:]}
    data = load_file(packed(tmp_path / "a.npz", **arrays))
    want = X.reshape(30, 12) / np.float32(255)
    assert np.array_equal(data.test.x, want[20:]) and np.array_equal(data.test.y, Y[20:])
    held = spread_rows(20, 2)
    assert np.array_equal(data.valid.x, want[held]) and np.array_equal(data.valid.y, Y[held])
    assert np.array_equal(data.train.x, np.delete(want[:20], held, axis=0))
    assert np.array_equal(data.train.y, np.delete(Y[:20], held))
    everything = data.with_validation(0)
    assert np.array_equal(everything.train.x, want[:20]) and len(everything.valid) == 0
    bare = load_file(packed(tmp_path / "b.npz", x_train=X[:20], x_test=X[20:]))
    assert np.array_equal(bare.test.x, data.test.x) and not bare.test.y.any()
    tiny = load_file(packed(tmp_path / "c.npz", x_train=X[:1], x_test=X[20:21]))
    assert [len(tiny.train), len(tiny.valid), len(tiny.test)] == [1, 0, 1]


def test_npz_words_are_classes_in_both_parts(tmp_path: Path) -> None:
    words = np.array(["cat", "ant", "cat", "bee"])
    path = packed(
        tmp_path / "a.npz", x_train=X[:4], y_train=words, x_test=X[:2], y_test=["dog", "ant"]
    )
    data = load_file(path, n_valid=0)
    assert data.class_names == ("ant", "bee", "cat", "dog")
    assert data.train.y.tolist() == [2, 0, 2, 1] and data.test.y.tolist() == [3, 0]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({}, ["expected the arrays x (and y)", "got none"]),
        ({"a": X, "b": X}, ["expected the arrays x (and y)", "x_train, y_train", "got a, b"]),
        ({"x_train": X, "y_train": Y, "x_test": X}, ["y_train and y_test, or neither"]),
        ({"x": X, "y": Y[:-1]}, ["expected labels (30,)", "got (29,)"]),
        ({"x": X, "y": np.eye(30)}, ["expected labels (30,)", "got (30, 30)"]),
        ({"x": X, "y": Y + 0.5}, ["words or whole numbers", ".5"]),
        ({"x": X, "y": Y + np.nan}, ["words or whole numbers", "nan"]),
        ({"x": X, "y": Y + 0j}, ["y.npy: expected real numbers", "complex"]),
        ({"x": X.astype(complex)}, ["x.npy: expected real numbers", "complex"]),
        ({"x": X.astype("U3")}, ["x.npy: expected real numbers", "<U3"]),
        ({"x": X[:0]}, ["x.npy: expected at least one number"]),
        ({"x_train": X, "x_test": X[:, :3]}, ["x_test of the shape of x_train", "(30, 3, 3)"]),
        (
            {"x_train": X + 0.0, "x_test": X + np.nan},
            ["x_test: expected finite", "row 0, column 0"],
        ),
    ],
)
def test_npz_that_is_refused(tmp_path: Path, arrays: Any, words: list[str]) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    refused(path, *words)


def test_a_header_that_claims_to_be_long_costs_no_memory(tmp_path: Path) -> None:
    """One bit turns version 1 into 2, whose header has a length of four bytes."""
    raw = bytearray(saved(tmp_path / "a.npy", X).read_bytes())
    raw[6] = 2
    (tmp_path / "a.npy").write_bytes(raw)
    archive(tmp_path / "a.npz", bytes(raw))
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        held = peak(lambda path=path: refused(path, "header of", "more than 10000"))  # type: ignore[misc]
        assert held < 2**20


def peak(act: Callable[[], Any]) -> int:
    """The most memory that an act holds, in bytes."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def archive(path: Path, data: bytes, how: int = zipfile.ZIP_DEFLATED, name: str = "x.npy") -> Path:
    with zipfile.ZipFile(path, "w", how) as file:
        file.writestr(name, data)
    return path


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 2**26
    path = archive(tmp_path / "a.npz", header("'|u1'", f"({size // 64}, 64)") + bytes(size))
    assert path.stat().st_size < size / 900
    monkeypatch.setattr(npy, "MAX_BYTES", size - 1)
    assert peak(lambda: refused(path, "more than 67108863 bytes unpacked", ".npy")) < 2**20
    monkeypatch.setattr(npy, "MAX_BYTES", size + 9)
    both = {"x_train": np.zeros((8, 64), "u1"), "x_test": np.zeros((size // 64, 64), "u1")}
    monkeypatch.setattr(npy, "MAX_BYTES", size + 511)  # together they are one too many
    path = packed(tmp_path / "b.npz", **both)
    assert peak(lambda: refused(path, "x_test.npy: more than")) < 2**20


@pytest.mark.parametrize("claim", [10, 2**30, 2**60])
def test_a_zip_that_lies_about_its_size_costs_no_memory(tmp_path: Path, claim: int) -> None:
    """The header inside, and the directory of the archive, promise more than is there."""
    path = archive(tmp_path / "a.npz", header("'|u1'", f"({claim}, 2)") + b"abcd")
    assert peak(lambda: refused(path, "the file holds 4")) < 2**20
    raw = bytearray(path.read_bytes())
    for start, at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        where = raw.index(start) + at
        size = struct.unpack_from("<I", raw, where)[0] - 4
        struct.pack_into("<I", raw, where, min(2**32 - 1, size + 2 * claim))
    path.write_bytes(raw)
    assert peak(lambda: refused(path, *(["ends after 4"] if claim == 2**30 else []))) < 2**20


def test_other_packings_than_numpys_are_refused(tmp_path: Path) -> None:
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = archive(tmp_path / "a.npz", header("'|u1'", "(2, 2)") + b"abcd", how)
        refused(path, "NumPy does not use")


def test_labels_of_no_length_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.npy", header("'|u1'", "(2, 2)") + b"abcd")
        file.writestr("y.npy", header("'<U0'", f"({2**50},)"))
    refused(tmp_path / "a.npz", "y.npy", "<U0")


# ---- .csv ----


def text(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "x", "y", "names"),
    [
        ("1,2\n3,4\n5,6\n", [[1, 2], [3, 4], [5, 6]], [0, 0, 0], ()),
        ("a,b\n1,2\n3,-4e-1\n", [[1, 2], [3, -0.4]], [0, 0], ()),
        ("\ufeffa,b\r\n1,2\r\n\r\n3,4", [[1, 2], [3, 4]], [0, 0], ()),
        ("a,label,b\n1,7,2\n3,0,4\n", [[1, 2], [3, 4]], [7, 0], ()),
        ("Y,0,1\n5,1,2\n5,3,4\n", [[1, 2], [3, 4]], [5, 5], ()),
        ("0,1,class\n1,2,dog\n3,4, cat \n", [[1, 2], [3, 4]], [1, 0], ("cat", "dog")),
        ("x,y,label\n1,2,3\n3,4,5\n", [[1, 2], [3, 4]], [3, 5], ()),
        ("x,y,class\n1,2,-1\n3,4,1\n", [[1, 2], [3, 4]], [0, 1], ("-1", "1")),
        ("x,y,class\n1,2,1.0\n3,4,12\n", [[1, 2], [3, 4]], [1, 12], tuple(map(str, range(13)))),
        ('"a","b"\n"1","2"\n 3 ,"4"\n', [[1, 2], [3, 4]], [0, 0], ()),
        ("a\n1\n2\n", [[1], [2]], [0, 0], ()),
        ('a,b,label\n1,2,"a\n,b"\n3,4,"c ""d"""\n', [[1, 2], [3, 4]], [0, 1], ("a\n,b", 'c "d"')),
        ("\n\n\nb\n\n1\n\n2\n\n", [[1], [2]], [0, 0], ()),
        ("1\n2\n", [[1], [2]], [0, 0], ()),
    ],
)
def test_csv(
    tmp_path: Path, content: str, x: list[list[float]], y: list[int], names: tuple[str, ...]
) -> None:
    data = load_file(text(tmp_path / "a.CSV", content))
    got_x, got_y = whole(data)
    assert np.array_equal(got_x, np.array(x, "f")) and got_y.tolist() == y
    assert data.class_names == names


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["lines of numbers, got none"]),
        ("\n\n", ["lines of numbers, got none"]),
        ("a,b\n", ["lines of numbers, got none"]),
        ("1,2\n", ["at least 2 examples", "got 1"]),
        ("1,2\n3,x4\n", ["line 2, column 2: expected a finite number, got 'x4'"]),
        ("1,x\n3,4\n", ["line 1, column 2: expected a finite number, got 'x'"]),
        ("1,2\n\n\n3,\n", ["line 4, column 2: expected a finite number, got ''"]),
        ("label,a,b\n1,2,3\n1,2,?\n", ["line 3, column 3", "'?'"]),
        ("a,label,b\n1,2,3\n?,2,3\n", ["line 3, column 1", "'?'"]),
        ("a,b,label\n1,nan,3\n", ["line 2, column 2", "'nan'"]),
        ("1,2\n3,inf\n", ["line 2, column 2", "'inf'"]),
        ("1,2\n3,1e39\n", ["line 2, column 2", "'1e39'"]),
        ("1,2\ninf,-inf\n", ["line 2, column 1", "'inf'"]),
        ("1,2\n3,4,5\n", ["line 2: expected 2 columns, got 3"]),
        ("1,2\n3,4\n5,6,7\n8,9,9\n", ["line 3: expected 2 columns, got 3"]),
        ("a,b,label\n3,4,cat\n\n5,6,dog,9\n", ["line 4: expected 3 columns, got 4"]),
        ("1,2\n3,1_000\n", ["line 2, column 2", "'1_000'"]),
        ("\n\na,b\n1,2\n3,z\n", ["line 5, column 2", "'z'"]),
        ("1,2\n3\n", ["line 2: expected 2 columns, got 1"]),
        ("1;2\n3;4\n", ["line 2, column 1", "'3;4'"]),
        ("label\n1\n2\n", ["lines of numbers, got none"]),
        ("a,label\n1,0.5\n2,1\n", ["words or whole numbers", "0.5"]),
        ("a,label\n1,1e400\n2,1\n", ["words or whole numbers", "inf"]),
        (b"1,2\n\xff,3\n", ["expected text in UTF-8", "invalid start byte"]),
        ("1,2\n" + "9" * 200_000 + ",3\n", ["line 2: cannot be read as CSV", "field"]),
        (f"1,2\n3,{'x' * 1000}\n", ["line 2, column 2", "xxx"]),
        ("a,label\n" + "".join(f"1,{i}\n" for i in range(MAX_CLASSES + 1)), ["1000 different"]),
    ],
)  # fmt: skip
def test_csv_that_is_refused(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    refused(text(tmp_path / "bad.csv", content), *words)


@pytest.mark.parametrize("piece", [1, 7, 30, 10_000])
@pytest.mark.parametrize("bad", [0, 2, 50, 99])
def test_csv_is_the_same_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, bad: int
) -> None:
    monkeypatch.setattr(table, "_PIECE", piece)
    x = np.random.default_rng(0).standard_normal((100, 3)).astype("f")
    lines = [f"{a},w{i % 7},{b},{c}" + "\n" * (1 + i % 3) for i, (a, b, c) in enumerate(x)]
    path = text(tmp_path / "a.csv", "a,label,b,c\n" + "".join(lines))
    got, y = whole(load_file(path))
    assert np.array_equal(got, x) and np.array_equal(y, np.arange(100) % 7)
    number = 2 + sum(line.count("\n") for line in lines[:bad])
    lines[bad] = lines[bad].replace(f",{x[bad, 1]},", ",?,")
    text(path, "a,label,b,c\n" + "".join(lines))
    refused(path, f"line {number}, column 3: expected a finite number, got '?'")


def test_csv_costs_four_bytes_a_number_and_a_long_label_is_not_multiplied(tmp_path: Path) -> None:
    rows = 20_000
    path = text(tmp_path / "a.csv", "a,b,label\n" + "1,2,0\n" * rows + f"1,2,{'w' * 100_000}\n")
    assert peak(lambda: load_file(path)) < 8_000_000


@given(array=st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False),
                               min_size=3, max_size=3), min_size=2, max_size=6))  # fmt: skip
@settings(max_examples=30)
def test_csv_that_numpy_wrote_comes_back(
    tmp_path_factory: pytest.TempPathFactory, array: list[list[float]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "back.csv"
    np.savetxt(path, np.array(array, "f"), delimiter=",", header="a,b,c", comments="")
    assert np.array_equal(whole(load_file(path))[0], np.array(array, "f"))


# ---- IDX ----


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "letters.images.idx3-ubyte"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("label_suffix", [None, "", ".gz"])
def test_idx_and_the_labels_beside_it(
    tmp_path: Path, name: str, suffix: str, label_suffix: str | None
) -> None:
    def write(name: str, array: np.ndarray, suffix: str) -> bytes:
        data = gzip.compress(idx(array)) if suffix else idx(array)
        (tmp_path / (name + suffix)).write_bytes(data)
        return data

    raw, labels = write(name, X, suffix), 0 * Y
    if label_suffix is not None:
        labels = Y + 10
        beside = name.replace("images", "labels").replace("idx3", "idx1")
        raw += write(beside, labels.astype(np.uint8), label_suffix)
    data = load_file(tmp_path / (name + suffix))
    x, y = whole(data)
    assert np.array_equal(x, X.reshape(30, 12) / np.float32(255))
    assert np.array_equal(y, labels) and data.image_shape == (4, 3)
    assert data.class_names == (tuple(map(str, range(13))) if label_suffix is not None else ())
    assert data.sha256 == hashlib.sha256(raw).hexdigest()


def test_idx_that_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a-images-idx3-ubyte"
    path.write_bytes(idx(X)[:-1])
    refused(path, "needs 360 bytes")
    path.write_bytes(idx(X))
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(Y.astype(np.uint8))[:-1])
    with pytest.raises(ValueError, match="a-labels-idx1-ubyte: shape"):
        load_file(path)
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(Y[:-1].astype(np.uint8)))
    refused(path, "expected labels (30,)", "got (29,)")
    refused(tmp_path / "a-labels-idx1-ubyte", "(N, H, W)", "got (29,)")


# ---- a folder of images ----


def image(path: Path, array: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(array).save(path, **options)
    return path


def test_images_are_rows_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "mine.v2"
    for i in np.random.default_rng(1).permutation(30):
        image(folder / f"{i:02}.{['png', 'BMP', 'tiff', 'pgm'][i % 4]}", X[i])
    (folder / ".hidden.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").mkdir()
    data = load(folder)
    x, y = whole(data)
    assert np.array_equal(x, X.reshape(30, 12) / np.float32(255)) and not y.any()
    assert (data.name, data.image_shape, data.class_names) == ("mine.v2", (4, 3), ())
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.glob("[0-9]*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    assert data.sha256 == digest.hexdigest()


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for i in range(30):
        image(tmp_path / ["cat", "ant", "bee"][Y[i]] / f"{i:02}.png", X[i])
    data = load_file(tmp_path)
    x, y = whole(data)
    assert data.class_names == ("ant", "bee", "cat")
    order = np.argsort(np.array([2, 0, 1])[Y], kind="stable")
    assert np.array_equal(x * 255, X[order].reshape(30, 12))
    assert np.array_equal(y, np.array([2, 0, 1])[Y][order])
    digest = hashlib.sha256()
    for path in sorted(tmp_path.glob("*/*")):
        digest.update(f"{path.parent.name}/{path.name}".encode() + b"\0" + path.read_bytes())
    assert data.sha256 == digest.hexdigest()


def test_colour_becomes_grey_unless_told_otherwise(tmp_path: Path) -> None:
    colour = RNG.integers(0, 256, (12, 4, 3, 3)).astype(np.uint8)
    for i in range(12):
        image(tmp_path / f"{i:02}.png", colour[i])
    grey = load_file(tmp_path)
    luma = colour @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow documents it
    assert grey.image_shape == (4, 3)
    assert np.abs(whole(grey)[0] * 255 - luma.reshape(12, 12)).max() <= 1
    full = load_file(tmp_path, mode="RGB")
    assert full.image_shape == (4, 3, 3)
    assert np.array_equal(whole(full)[0], colour.reshape(12, 36) / np.float32(255))
    with pytest.raises(ValueError, match="mode of L, RGB, got 'CMYK'"):
        load_file(tmp_path, mode="CMYK")


def test_jpeg_and_palettes_are_read(tmp_path: Path) -> None:
    flat = np.full((16, 16), 100, np.uint8)
    image(tmp_path / "a.jpg", flat)
    Image.fromarray(flat).convert("P").save(tmp_path / "b.gif")
    Image.fromarray(flat).convert("1", dither=Image.Dither.NONE).save(tmp_path / "c.png")
    x, _ = whole(load_file(tmp_path))
    assert np.abs(x * 255 - np.array([[100], [100], [0]])).max() <= 2


def test_a_folder_that_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "expected images", ".png")
    image(tmp_path / "b.png", X[0])
    refused(tmp_path, "at least 2 examples")
    image(tmp_path / "d.png", X[1].T)
    with pytest.raises(ValueError) as error:
        load_file(tmp_path)
    one_line(error, tmp_path / "d.png", "expected 4 x 3 pixels like the first image, got 3 x 4")
    image(tmp_path / "d.png", X[1].astype(np.uint16))
    with pytest.raises(ValueError) as error:
        load_file(tmp_path)
    one_line(error, tmp_path / "d.png", "8 bits a pixel", "I;16")
    (tmp_path / "d.png").write_bytes((tmp_path / "b.png").read_bytes()[:-35])
    with pytest.raises(ValueError) as error:
        load_file(tmp_path)
    one_line(error, tmp_path / "d.png", "not an image that can be read")
    (tmp_path / "d.png").write_bytes(b"")
    with pytest.raises(ValueError) as error:
        load_file(tmp_path)
    one_line(error, tmp_path / "d.png: not an image that can be read (cannot identify image file)")
    image(tmp_path / "sub" / "d.png", X[1])
    refused(tmp_path, "got both: b.png and sub/")


def test_a_picture_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    """Pillow hands EPS to an interpreter of PostScript."""
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n%%EndComments\nshowpage\n"
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(page)
    with pytest.raises(ValueError, match="cannot identify"):
        load_file(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(tmp_path / "a.png", np.zeros((5000, 4000), np.uint8))
    with pytest.raises(ValueError) as error:
        load_file(tmp_path)
    one_line(error, tmp_path / "a.png", "5000 x 4000 pixels, more than")
    assert peak(lambda: pytest.raises(ValueError, load_file, tmp_path)) < 2**20
    # The headers of larger ones make Pillow warn, and of still larger ones refuse by itself.
    raw = bytearray((tmp_path / "a.png").read_bytes())
    for width in (40_000, 400_000):
        import zlib

        struct.pack_into(">I", raw, 16, width)
        struct.pack_into(">I", raw, 29, zlib.crc32(raw[12:29]))
        (tmp_path / "a.png").write_bytes(raw)
        with pytest.raises(ValueError, match=r"a\.png"):
            load_file(tmp_path)
    for name in ("a.png", "b.png"):
        image(tmp_path / name, np.zeros((60, 60), np.uint8))
    monkeypatch.setattr(pictures, "MAX_NUMBERS", 7199)
    with pytest.raises(ValueError, match="2 images of 60 x 60 are more than 7199"):
        load_file(tmp_path)
    monkeypatch.setattr(pictures, "MAX_FILE", 10)
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        load_file(tmp_path)


# ---- labels ----


@pytest.mark.parametrize(
    ("labels", "y", "names"),
    [
        ([0, 9, 3], [0, 9, 3], ()),
        ([True, False], [1, 0], ()),
        ([0, 25], [0, 25], tuple(map(str, range(26)))),
        ([0, 999], [0, 999], tuple(map(str, range(1000)))),
        ([0, 1000], [0, 1], ("0", "1000")),
        ([-1, 1, -1], [0, 1, 0], ("-1", "1")),
        ([2.0, 0.0], [2, 0], ()),
        (["10", "9"], [10, 9], tuple(map(str, range(11)))),
        (["10", "nine"], [0, 1], ("10", "nine")),
        (["", ""], [0, 0], ("",)),
    ],
)
def test_labels_become_class_numbers(labels: list[Any], y: list[int], names: Any) -> None:
    forms: list[Any] = [np.array(labels)]
    if isinstance(labels[0], str):
        forms.append(labels)
    for form in forms:
        (got,), got_names = class_numbers([form])
        assert got.tolist() == y and got.dtype == np.int64 and got_names == names


def test_large_whole_numbers_are_told_apart() -> None:
    (y,), names = class_numbers([np.array([2**63, 2**63 - 1], np.uint64)])
    assert y.tolist() == [1, 0] and names == (str(2**63 - 1), str(2**63))


def test_labels_of_two_parts_are_numbered_together() -> None:
    (a, b), names = class_numbers([np.array([-5, 7]), np.array([100, -5, 7])])
    assert names == ("-5", "7", "100")
    assert a.tolist() == [0, 1] and b.tolist() == [2, 0, 1]


# ---- splits ----


@pytest.mark.parametrize(
    ("n", "parts"),
    [
        (2, [1, 0, 1]), (3, [1, 1, 1]), (9, [7, 1, 1]), (10, [8, 1, 1]), (29, [25, 2, 2]),
        (10_009, [8_009, 1000, 1000]), (50_000, [48_000, 1000, 1000]),
    ],
)  # fmt: skip
def test_a_tenth_is_held_out_but_at_most_a_thousand(
    tmp_path: Path, n: int, parts: list[int]
) -> None:
    data = load_file(saved(tmp_path / "a.npy", np.zeros((n, 2), np.uint8)))
    assert [len(data.train), len(data.valid), len(data.test)] == parts


def test_other_splits_can_be_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npy", X)
    data = load_file(path, n_valid=0, n_test=7)
    assert [len(data.train), len(data.valid), len(data.test)] == [23, 0, 7]
    assert np.array_equal(whole(data)[0], X.reshape(30, 12) / np.float32(255))
    everything = load_file(path, n_valid=0, n_test=0)
    assert [len(everything.train), len(everything.test)] == [30, 0]
    refused(path, "n_test from 0 to 29, got 30", n_test=30)
    refused(path, "n_test from 0 to 29, got -1", n_test=-1)
    refused(path, "n_valid from 0 to 22, got 23", n_test=7, n_valid=23)
    both = packed(tmp_path / "a.npz", x_train=X, x_test=X)
    refused(both, "its own test part", n_test=3)
    refused(both, "only .npy can stay on disk", in_memory=False)


@pytest.mark.parametrize("n", [0, 1, 3, 10, 26])
def test_validation_can_be_chosen_anew(tmp_path: Path, n: int) -> None:
    """From the whole file but its test part, evenly, whether train is streamed or not."""
    path = packed(
        tmp_path / "a.npz", x=np.repeat(np.arange(30.0), 3).reshape(30, 3), y=np.arange(30) % 10
    )
    data = load_file(path)
    again = data.with_validation(n)
    test = spread_rows(30, 3)
    rest = np.delete(np.arange(30), test)
    held = rest[spread_rows(27, n)]
    assert np.array_equal(again.valid.x[:, 0], held) and np.array_equal(again.valid.y, held % 10)
    kept = np.setdiff1d(rest, held)
    assert np.array_equal(again.train.x[:, 0], kept) and np.array_equal(again.train.y, kept % 10)
    assert again.test is data.test
    back = again.with_validation(3)
    assert np.array_equal(back.valid.x, data.valid.x)
    assert np.array_equal(back.train.x, data.train.x)


def test_a_file_sorted_by_class_is_held_out_from_all_classes(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.npz", x=np.zeros((500, 2), "u1"), y=np.repeat(np.arange(10), 50))
    data = load_file(path)
    for part in (data.valid, data.test, data.with_validation(100).valid):
        counts = np.bincount(part.y, minlength=10)
        assert counts.min() >= 0.8 * len(part) / 10 and counts.max() <= 1.2 * len(part) / 10


# ---- which kind of file ----


def test_a_path_that_is_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "a.npy", tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError) as error:
            load_file(path)
        one_line(error, path)
    with pytest.raises(ValueError) as error:
        load(str(tmp_path / "a.npy"))
    one_line(error, "digits, mnist", tmp_path / "a.npy")
    for name in ("x\0y", "x" * 10_000, ""):
        with pytest.raises(ValueError, match="expected one of digits"):
            load(name)


def test_a_file_of_another_kind_says_which_there_are(tmp_path: Path) -> None:
    refused(text(tmp_path / "photo.png", b"\x89PNG"), ".npy, .npz, .csv, an IDX file or a folder")
    refused(text(tmp_path / "empty", b""), ".npy, .npz, .csv, an IDX file or a folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    refused(tmp_path / "pipe.npy", "expected a file or a folder")


def test_a_known_name_wins_over_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "digits.npy", X)
    os.rename("digits.npy", "digits")
    assert load("digits").name == "digits" and len(load("digits").train) == 1297
    with pytest.raises(ValueError, match="IDX"):
        load("./digits")
    shutil.move("digits", "mine.npy")
    assert load("mine.npy").name == load(Path("mine.npy")).name == "mine"


# ---- corrupted files ----


def kinds(folder: Path) -> dict[str, tuple[Path, Path, np.ndarray]]:
    """Of each kind: what to load, the file to damage, and the numbers (N, D)."""
    x = RNG.integers(0, 2, (6, 2, 2)).astype(np.uint8) * 255
    want = (x.reshape(6, 4) / 255).astype("f")
    idx_file, packed_idx = folder / "a-images-idx3-ubyte", folder / "b-images-idx3-ubyte.gz"
    idx_file.write_bytes(idx(x))
    packed_idx.write_bytes(gzip.compress(idx(x)))
    labels = folder / "a-labels-idx1-ubyte"
    labels.write_bytes(idx(np.arange(6, dtype=np.uint8)))
    for i in range(2):
        image(folder / "images" / f"{i}.png", x[i])
        image(folder / "bitmaps" / f"{i}.bmp", np.stack([x[i]] * 3, axis=-1))  # no palette
        image(folder / "jpegs" / f"{i}.jpg", np.full((2, 2), x[i, 0, 0], np.uint8))
        image(folder / "gifs" / f"{i}.gif", x[i])
        image(folder / "tiffs" / f"{i}.tif", x[i])
    few = want[:2]
    floats = saved(folder / "floats.npy", want)
    return {
        "npy": (saved(folder / "a.npy", x),) * 2 + (want,),
        "npy of floats": (floats, floats, want),
        "npz": (packed(folder / "a.npz", x=x, y=np.arange(6)),) * 2 + (want,),
        "csv": (text(folder / "a.csv", "a,b,c,label\n" + "1,0,1,cat\n" * 6),) * 2 + (want,),
        "idx": (idx_file, idx_file, want),
        "idx labels": (idx_file, labels, want),
        "idx.gz": (packed_idx, packed_idx, want),
        "png": (folder / "images", folder / "images" / "1.png", few),
        "first png": (folder / "images", folder / "images" / "0.png", few),
        "bmp": (folder / "bitmaps", folder / "bitmaps" / "1.bmp", few),
        "jpg": (folder / "jpegs", folder / "jpegs" / "1.jpg", few),
        "gif": (folder / "gifs", folder / "gifs" / "1.gif", few),
        "tif": (folder / "tiffs", folder / "tiffs" / "1.tif", few),
    }  # fmt: skip


class Kinds(dict[str, Any]):
    """Shown by its name, because a failing case shows its arguments."""

    def __repr__(self) -> str:
        return "all_kinds"


@pytest.fixture(scope="module")
def all_kinds(tmp_path_factory: pytest.TempPathFactory) -> Kinds:
    folder = tmp_path_factory.mktemp("kinds")
    return Kinds(
        {
            kind: (path, victim, victim.read_bytes(), want)
            for kind, (path, victim, want) in kinds(folder).items()
        }
    )


KINDS = ["npy", "npy of floats", "npz", "csv", "idx", "idx labels", "idx.gz", "png", "first png",
         "bmp", "jpg", "gif", "tif"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_when_it_is_whole(all_kinds: dict[str, Any], kind: str) -> None:
    path, _, _, want = all_kinds[kind]
    x, _ = whole(load_file(path))
    if kind == "csv":
        want = np.array([[1, 0, 1]] * 6)
    if kind == "jpg":
        assert np.ptp(x, axis=1).max() == 0 and set(np.unique(x)) <= {0, 1}
    else:
        assert np.array_equal(x, want)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_read_or_refused(
    all_kinds: dict[str, Any], kind: str, data: st.DataObject
) -> None:
    """A sound data set, or one line that names the file; never another error."""
    path, victim, raw, _ = all_kinds[kind]
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        edit = data.draw(st.sampled_from(["flip", "change", "cut", "add", "insert", "remove"]))
        if edit == "flip" and damaged:
            damaged[where] ^= 1 << data.draw(st.integers(0, 7))
        elif edit == "change" and damaged:
            damaged[where] = data.draw(st.sampled_from([0, 1, 127, 128, 255, 10, 44, 45]))
        elif edit == "cut":
            del damaged[where:]
        elif edit == "remove":
            del damaged[where : where + data.draw(st.integers(1, 9))]
        else:
            at = len(damaged) if edit == "add" else where
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    victim.write_bytes(damaged)
    try:
        judge(path, kind)
    finally:
        victim.write_bytes(raw)


def judge(path: Path, kind: str) -> None:
    """Load, and look at what comes out."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data = load_file(path)
    except ValueError as error:
        assert str(path.parent) in str(error) and "\n" not in str(error), error
    else:
        n = len(data.train) + len(data.valid) + len(data.test)
        assert n >= 2 and len(data.sha256) == 64
        for part in (data.train, data.valid, data.test):
            assert part.x.dtype == np.float32 and np.isfinite(part.x).all()
            assert len(part.x) == len(part.y) and part.y.dtype == np.int64
            if kind in ("npy", "idx", "idx.gz", "png", "jpg"):
                assert ((part.x >= 0) & (part.x <= 1)).all() or path.suffix == ".npy"
        if kind == "npz":  # a zip carries sums of its contents
            assert set(np.unique(data.train.x)) <= {0, 1}
    finally:
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert held < 2**26, f"{held} bytes"


@given(
    raw=st.binary(max_size=200), name=st.sampled_from(["a.npy", "a.npz", "a.csv", "a", "d/a.png"])
)
@settings(max_examples=80)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any" / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(raw)
    judge(path.parent if name.startswith("d/") else path, "")


@given(
    descr=st.sampled_from(["'|u1'", "'<f4'", "'>f8'", "'|b1'", "'<f2'", "'<c16'", "'O'", "'V3'"]),
    shape=st.lists(st.integers(-3, 2**70) | st.integers(0, 4), max_size=5),
    order=st.booleans(), body=st.binary(max_size=80), packing=st.sampled_from(["npy", "npz"]),
)  # fmt: skip
@settings(max_examples=80)
def test_any_npy_header_is_judged(
    tmp_path_factory: pytest.TempPathFactory, descr: str, shape: list[int], order: bool,
    body: bytes, packing: str,
) -> None:  # fmt: skip
    data = header(descr, str(tuple(shape)), order) + body
    path = tmp_path_factory.getbasetemp() / f"header.{packing}"
    if packing == "npz":
        archive(path, data)
    else:
        path.write_bytes(data)
    judge(path, "")


def test_files_says_what_it_reads() -> None:
    text = files.__doc__ or ""
    assert all(kind in text for kind in (".npy", ".npz", ".csv", "IDX", "folder"))
