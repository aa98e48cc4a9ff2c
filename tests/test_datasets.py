"""Data sets: the embedded digits, IDX files and their corruptions, MNIST, binarisation."""

import gzip
import hashlib
import importlib.util
import math
import os
import struct
import warnings
from pathlib import Path
from typing import Any

import array_api_strict as xps
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minivae.arrays import to_numpy
from minivae.datasets import (
    Dataset,
    Split,
    binarise,
    binarise_splits,
    build_digits,
    load,
    load_digits,
    load_mnist,
    mnist,
)
from minivae.datasets.binarisation import CHOICES
from minivae.datasets.digits import digits_order
from minivae.datasets.idx import MAX_BYTES, idx_header, read_idx

DTYPES = st.sampled_from([np.float32, np.float64])


def grey(dtype: Any) -> st.SearchStrategy[np.ndarray]:
    """Arrays of any shape with values in [0, 1]."""
    width = 8 * np.dtype(dtype).itemsize
    values = st.floats(0, 1, width=width)
    return hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=6), elements=values)


def one_line(error: pytest.ExceptionInfo[Any], *words: object) -> None:
    """The message is one line and contains the words."""
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


# ---- Split and Dataset ----


def split(n: int = 3, d: int = 4) -> Split:
    return Split(np.full((n, d), 0.5, np.float32), np.zeros(n, np.int64))


def test_split_has_a_length_and_is_frozen() -> None:
    assert len(split(3)) == 3
    assert len(split(0)) == 0
    with pytest.raises(AttributeError):
        split().x = np.zeros((1, 4), np.float32)  # type: ignore[misc]
    one = split()
    assert one == one and one != split() and len({one, split()}) == 2


X, Y = np.zeros((3, 4), np.float32), np.zeros(3, np.int64)
FAULTY = np.array([[0, -9, 300, 0], [0, 0, -np.inf, 0], [np.nan, 0, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        (X[0], Y, "expected x (N, D) float32"),
        (X.astype(float), Y, "float64"),
        (X, Y[:, None], "expected y (N,) int64"),
        (X, Y.astype(np.uint8), "uint8"),
        (X, Y[:2], "3 images but 2 labels"),
        (X + np.float32("nan"), Y, "nan at row 0, column 0"),
        (FAULTY, Y, "expected finite data, got -inf at row 1, column 2 (from 0)"),
    ],
)
def test_a_bad_split_is_refused(x: np.ndarray, y: np.ndarray, word: str) -> None:
    with pytest.raises(ValueError) as error:
        Split(x, y)
    one_line(error, "Split", word)


def test_a_split_takes_any_finite_number() -> None:
    Split(np.array([[-3e38, 3e38]], np.float32), np.zeros(1, np.int64))


def test_a_dataset_whose_images_do_not_fit_is_refused() -> None:
    Dataset("d", (2, 2), split(), split(), split(0), "")
    with pytest.raises(ValueError) as error:
        Dataset("d", (2, 2), split(), split(d=5), split(), "")
    one_line(error, "valid.x has 5 columns", "(2, 2)", "4 pixels")


def test_load_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("digits").name == "digits"
    monkeypatch.setenv("MINIVAE_DATA", "nowhere")
    with pytest.raises(FileNotFoundError):
        load("mnist")
    with pytest.raises(ValueError) as error:
        load("cifar")
    one_line(error, "digits, mnist", "'cifar'")
    assert "mean" not in str(error.value)
    with pytest.raises(ValueError) as error:
        load("digts")
    one_line(error, "digits, mnist", "'digts'", "did you mean digits?")


# ---- the embedded digits ----


def test_digits_shapes_and_values() -> None:
    digits = load_digits()
    assert digits.name == "digits" and digits.image_shape == (8, 8)
    assert [len(s) for s in (digits.train, digits.valid, digits.test)] == [1297, 250, 250]
    for part in (digits.train, digits.valid, digits.test):
        assert part.x.shape == (len(part), 64) and part.x.dtype == np.float32
        assert part.y.shape == (len(part),) and part.y.dtype == np.int64
        assert set(np.unique(part.y)) == set(range(10))
        assert np.array_equal(part.x * 16, np.round(part.x * 16))
        assert part.x.min() == 0 and part.x.max() == 1


def test_digits_are_those_of_uci() -> None:
    """Class counts of the test part as UCI documents them, and a digest for all time."""
    digits = load_digits()
    y = np.concatenate([digits.train.y, digits.valid.y, digits.test.y])
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.sha256 == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_digits_split_is_a_permutation_and_fixed() -> None:
    order = digits_order()
    assert sorted(order) == list(range(1797))
    assert order[:5].tolist() == [1039, 886, 286, 1467, 1064]
    with np.load(build_digits.TARGET, allow_pickle=False) as arrays:
        source, labels = arrays["images"], arrays["labels"]
    digits = load_digits()
    for part, cut in (
        (digits.train, order[:1297]),
        (digits.valid, order[1297:1547]),
        (digits.test, order[1547:]),
    ):
        assert np.array_equal(part.x, source[cut].reshape(-1, 64) / 16)
        assert np.array_equal(part.y, labels[cut])


def test_digits_digest_is_over_images_then_labels() -> None:
    with np.load(build_digits.TARGET, allow_pickle=False) as arrays:
        raw = arrays["images"].tobytes() + arrays["labels"].tobytes()
    assert len(raw) == 1797 * 65
    assert load_digits().sha256 == hashlib.sha256(raw).hexdigest()


def test_digits_look_like_digits() -> None:
    """Nearest neighbour from train to test: scrambled images or labels could not do this."""
    digits = load_digits()
    distance = ((digits.test.x[:, None] - digits.train.x) ** 2).sum(-1)
    assert np.mean(digits.train.y[distance.argmin(1)] == digits.test.y) > 0.97


def test_two_loads_share_no_memory() -> None:
    first = load_digits()
    first.train.x[:] = 0
    assert load_digits().train.x.max() == 1


@pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed"
)
def test_embedded_digits_are_scikit_learns() -> None:
    images, labels = build_digits.sklearn_digits()
    with np.load(build_digits.TARGET, allow_pickle=False) as arrays:
        assert set(arrays.files) == {"images", "labels"}
        assert arrays["images"].dtype == arrays["labels"].dtype == np.uint8
        assert np.array_equal(arrays["images"], images)
        assert np.array_equal(arrays["labels"], labels)


def test_building_is_deterministic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(build_digits.TARGET, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    monkeypatch.setattr(build_digits, "sklearn_digits", lambda: (images, labels))
    monkeypatch.setattr(build_digits, "TARGET", tmp_path / "digits.npz")
    build_digits.main()
    first = (tmp_path / "digits.npz").read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert build_digits.npz_bytes(images, labels) == first
    assert f"{len(first)} bytes" in capsys.readouterr().out
    with np.load(tmp_path / "digits.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["images"], images)
        assert np.array_equal(arrays["labels"], labels)


def test_digits_attribution_stands_beside_the_file() -> None:
    text = build_digits.TARGET.with_name("digits-LICENSE.txt").read_text(encoding="utf-8")
    for word in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0", "scikit-learn"):
        assert word in text


# ---- IDX files ----


def idx_bytes(array: np.ndarray) -> bytes:
    """A small writer, independent of the module's own header function."""
    lengths = b"".join(struct.pack(">I", n) for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def written(folder: Path, data: bytes, name: str = "file-idx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for hypothesis, which may not use a fixture that lives for one example only."""
    return tmp_path_factory.mktemp("idx")


BYTES = hnp.arrays(np.uint8, hnp.array_shapes(min_side=0, max_dims=4, max_side=5))


@given(array=BYTES, packed=st.booleans())
def test_idx_round_trip(scratch: Path, array: np.ndarray, packed: bool) -> None:
    data = idx_bytes(array)
    back = read_idx(written(scratch, gzip.compress(data, mtime=0) if packed else data))
    assert back.dtype == np.uint8 and back.shape == array.shape
    assert np.array_equal(back, array)
    assert back.flags.writeable
    assert data == idx_header(array.shape) + array.tobytes()


def reference(data: bytes) -> np.ndarray | None:
    """What these unpacked bytes mean, None if they are no IDX file: the oracle for corruptions."""
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 4:
        return None
    start = 4 + 4 * data[3]
    if len(data) < start:
        return None
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    # An empty array with absurd axes is refused too, although no byte of it is missing.
    absurd = math.prod(n for n in shape if n) > MAX_BYTES
    if absurd or len(data) - start != math.prod(shape):
        return None
    return np.array(list(data[start:]), np.uint8).reshape(shape)


def assert_judged(path: Path, expected: np.ndarray | None) -> None:
    """The right array, or a ValueError of one line with the file's name; nothing else."""
    try:
        back = read_idx(path)
    except ValueError as error:
        assert expected is None, error
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert expected is not None and np.array_equal(back, expected)
        assert back.shape == expected.shape


@given(array=BYTES, data=st.data())
@settings(max_examples=300)
def test_idx_corruption_is_judged(scratch: Path, array: np.ndarray, data: st.DataObject) -> None:
    raw = bytearray(idx_bytes(array))
    edit = data.draw(st.sampled_from(["change", "cut", "add", "insert"]))
    where = data.draw(st.integers(0, len(raw) - 1))
    if edit == "change":
        raw[where] = data.draw(st.integers(0, 255))
    elif edit == "cut":
        del raw[where:]
    elif edit == "add":
        raw += data.draw(st.binary(min_size=1, max_size=9))
    else:
        raw[where:where] = data.draw(st.binary(min_size=1, max_size=9))
    assume(raw[:2] != b"\x1f\x8b")
    assert_judged(written(scratch, bytes(raw)), reference(bytes(raw)))


@given(array=BYTES, data=st.data())
@settings(max_examples=300)
def test_gzip_corruption_is_judged(scratch: Path, array: np.ndarray, data: st.DataObject) -> None:
    """gzip carries a sum of its contents: what survives is right."""
    raw = bytearray(gzip.compress(idx_bytes(array), mtime=0))
    where = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        raw[where] = data.draw(st.integers(0, 255))
    else:
        del raw[where:]
    try:
        expected = reference(gzip.decompress(bytes(raw)))
    except Exception:
        expected = None
    assert expected is None or np.array_equal(expected, array)
    assert_judged(written(scratch, bytes(raw)), expected)


@given(raw=st.binary(max_size=64) | st.binary(max_size=64).map(lambda b: b"\0\0\x08" + b))
@settings(suppress_health_check=[HealthCheck.differing_executors])
def test_idx_of_any_bytes_is_judged(scratch: Path, raw: bytes) -> None:
    expected = None if raw[:2] == b"\x1f\x8b" else reference(raw)
    assert_judged(written(scratch, raw), expected)


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["not an IDX file", "b''"]),
        (b"\x89PNG" + GOOD, ["two zero bytes", "PNG"]),
        (b"\0\0\x0d" + GOOD[3:], ["element type 8", "got 13"]),
        (b"\0\0\x08\0", ["1 to 4 axes", "got 0"]),
        (b"\0\0\x08\xff" + bytes(255 * 4), ["1 to 4 axes", "got 255"]),
        (GOOD[:9], ["truncated header", "got 5"]),
        (GOOD[:-1], ["(3, 4) needs 12 bytes", "holds 11"]),
        (GOOD + b"x", ["(3, 4) needs 12 bytes", "more than 12"]),
        (gzip.compress(GOOD, mtime=0)[:-4], ["damaged gzip file"]),
        (gzip.compress(GOOD, mtime=0)[:-8] + bytes(8), ["damaged gzip file"]),
        (b"\x1f\x8b" + GOOD, ["damaged gzip file"]),
        (gzip.compress(GOOD[:-1], mtime=0), ["holds 11"]),
    ],
)
@pytest.mark.parametrize("name", ["data", "data.gz"])
def test_idx_error_says_what_is_wrong(
    tmp_path: Path, data: bytes, words: list[str], name: str
) -> None:
    path = written(tmp_path, data, name)
    with pytest.raises(ValueError) as error:
        read_idx(path)
    one_line(error, path, *words)


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 4, (0, 2**32 - 1, 2**32 - 1), (MAX_BYTES + 1,)])
def test_idx_absurd_sizes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for data in (idx_header(shape), gzip.compress(idx_header(shape), mtime=0)):
        with pytest.raises(ValueError) as error:
            read_idx(written(tmp_path, data))
        one_line(error, "header claims shape")


@pytest.mark.parametrize("packed", [False, True])
def test_idx_claimed_size_is_not_reserved(tmp_path: Path, packed: bool) -> None:
    """A header that claims a gigabyte before three bytes costs no gigabyte."""
    import tracemalloc

    data = idx_header((2**15, 2**15)) + b"abc"
    path = written(tmp_path, gzip.compress(data, mtime=0) if packed else data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="holds 3"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20


def test_idx_more_data_than_claimed_is_not_read(tmp_path: Path) -> None:
    """A small gzip file that unpacks to 200 MB behind a header of one byte is refused at once."""
    import tracemalloc

    path = written(tmp_path, gzip.compress(idx_header((1,)) + bytes(200 * 2**20), 1))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 1"):
            read_idx(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20


def test_idx_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


# ---- MNIST, from files that look like it ----

NAMES = list(mnist.FILES)


@pytest.fixture(scope="module")
def imitation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four files of MNIST's shapes; each image says in its pixels which it is."""
    folder = tmp_path_factory.mktemp("data") / "mnist"
    folder.mkdir()
    for name, n, offset in ((NAMES[0], 60_000, 0), (NAMES[2], 10_000, 60_000)):
        images = np.zeros((n, 28, 28), np.uint8)
        number = np.arange(n) + offset
        for digit in range(3):
            images[:, 3, digit + 1] = number // 256**digit % 256
        written(folder, gzip.compress(idx_bytes(images), 1, mtime=0), f"{name}.gz")
    for name, n in ((NAMES[1], 60_000), (NAMES[3], 10_000)):
        written(folder, idx_bytes((np.arange(n) % 10).astype(np.uint8)), name)
    return folder


def identity(part: Split) -> np.ndarray:
    """The numbers that `imitation` wrote into the images."""
    pixels = np.rint(part.x.reshape(-1, 28, 28)[:, 3, 1:4] * 255).astype(int)
    return pixels @ [1, 256, 65536]


def quiet_mnist(*args: Any, **kwargs: Any) -> Dataset:
    """load_mnist where the files are known not to be the original ones."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "MNIST: not the original bytes")
        return load_mnist(*args, **kwargs)


@pytest.mark.parametrize("n_valid", [0, 1, 5000, 59_999])
def test_mnist_splits(imitation: Path, n_valid: int) -> None:
    data = quiet_mnist(imitation, n_valid)
    assert (data.name, data.image_shape) == ("mnist", (28, 28))
    cut = 60_000 - n_valid
    assert np.array_equal(identity(data.train), np.arange(cut))
    assert np.array_equal(identity(data.valid), np.arange(cut, 60_000))
    assert np.array_equal(identity(data.test), np.arange(60_000, 70_000))
    assert np.array_equal(data.valid.y, np.arange(cut, 60_000) % 10)
    assert data.valid.x.shape == (n_valid, 784) and data.valid.x.dtype == np.float32
    assert data.test.y.dtype == np.int64


def test_mnist_values_digest_and_warning(imitation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_DATA", str(imitation.parent))
    with pytest.warns(UserWarning, match="not the original bytes") as caught:
        data = load_mnist()
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert all(name in str(caught[0].message) for name in NAMES)
    assert len(data.train) == 55_000
    pixels = read_idx(imitation / f"{NAMES[2]}.gz").reshape(10_000, 784)
    assert np.array_equal(data.test.x, pixels.astype(np.float32) / np.float32(255))
    raw = [(imitation / f"{NAMES[0]}.gz", True), (imitation / NAMES[1], False)]
    raw += [(imitation / f"{NAMES[2]}.gz", True), (imitation / NAMES[3], False)]
    digest = hashlib.sha256()
    for path, packed in raw:
        digest.update(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    assert data.sha256 == digest.hexdigest()


def test_mnist_files_that_are_the_original_give_no_warning(
    imitation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {}
    for name, (shape, _) in mnist.FILES.items():
        path = imitation / name if (imitation / name).exists() else imitation / f"{name}.gz"
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        files[name] = (shape, hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(mnist, "FILES", files)
    load_mnist(imitation)  # a warning would be an error
    one_off = files | {NAMES[1]: (files[NAMES[1]][0], "0" * 64)}
    monkeypatch.setattr(mnist, "FILES", one_off)
    with pytest.warns(UserWarning) as caught:
        load_mnist(imitation)
    assert str(caught[0].message).endswith(f": {NAMES[1]}")


@pytest.mark.parametrize("n_valid", [-1, 60_000, 10**9, 0.5, 5000.0, "5000", None])
def test_mnist_n_valid_out_of_range(n_valid: Any) -> None:
    with pytest.raises(ValueError) as error:
        load_mnist("unused", n_valid)
    one_line(error, "n_valid", repr(n_valid))


def test_mnist_folder_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIVAE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        load_mnist()
    one_line(error, "there is no folder", tmp_path / "mnist", "MINIVAE_DATA", *NAMES)
    with pytest.raises(FileNotFoundError) as error:
        load_mnist(tmp_path / "elsewhere")
    one_line(error, tmp_path / "elsewhere")


def changed(folder: Path, imitation: Path, name: str, data: bytes | None) -> None:
    """A copy of the imitation by links, with one file replaced, or left out."""
    for path in imitation.iterdir():
        if not path.name.startswith(name):
            os.symlink(path, folder / path.name)
    if data is not None:
        written(folder, data, name)


def test_mnist_file_missing(tmp_path: Path, imitation: Path) -> None:
    changed(tmp_path, imitation, NAMES[3], None)
    with pytest.raises(FileNotFoundError) as error:
        load_mnist(tmp_path)
    one_line(error, NAMES[3], f"{NAMES[3]}.gz", tmp_path, "found neither")


LABELS = (np.arange(60_000) % 10).astype(np.uint8)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (LABELS[:-1], ["expected shape (60000,)", "got (59999,)"]),
        (LABELS.reshape(-1, 2), ["expected shape (60000,)", "got (30000, 2)"]),
        (LABELS.reshape(-1, 1), ["expected shape (60000,)", "got (60000, 1)"]),
        (LABELS + np.uint8(1), ["labels 0..9", "got 10"]),
    ],
)
def test_mnist_wrong_counts_and_labels(
    tmp_path: Path, imitation: Path, array: np.ndarray, words: list[str]
) -> None:
    changed(tmp_path, imitation, NAMES[1], idx_bytes(array))
    with pytest.raises(ValueError) as error:
        load_mnist(tmp_path)
    one_line(error, tmp_path / NAMES[1], *words)


def test_mnist_damaged_files(tmp_path: Path, imitation: Path) -> None:
    changed(tmp_path, imitation, NAMES[1], b"\x01" + idx_bytes(LABELS)[1:])
    with pytest.raises(ValueError) as error:
        load_mnist(tmp_path)
    one_line(error, tmp_path / NAMES[1], "not an IDX file")
    written(tmp_path, idx_bytes(LABELS)[:-7], NAMES[1])
    with pytest.raises(ValueError) as error:
        load_mnist(tmp_path)
    one_line(error, tmp_path / NAMES[1], "needs 60000 bytes, the file holds 59993")


# ---- MNIST, the real one ----

needs_mnist = pytest.mark.skipif(
    not os.environ.get("MINIVAE_DATA"), reason="MINIVAE_DATA is not set, so there is no MNIST here"
)


@needs_mnist
def test_real_mnist() -> None:
    data = quiet_mnist()
    assert [len(s) for s in (data.train, data.valid, data.test)] == [55_000, 5_000, 10_000]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.test.y).tolist() == counts
    assert data.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert abs(data.train.x.mean() - 0.1307) < 1e-3
    assert data.train.x.max() == 1


@needs_mnist
def test_real_mnist_test_set_is_drawn_as_documented() -> None:
    data = quiet_mnist(n_valid=0)
    for how in ("fixed", "new"):
        drawn = binarise_splits(data, how)
        folder = Path(os.environ["MINIVAE_DATA"], "mnist")
        path = next(folder.glob("t10k-images-idx3-ubyte*"))
        x = read_idx(path).reshape(10_000, 784)
        uniform = np.random.default_rng(777).random((10_000, 784), dtype=np.float32)
        assert np.array_equal(drawn.test.x == 1, uniform < x / 255)
        assert drawn.valid.x.shape == (0, 784)
        assert (drawn.train is data.train) == (how == "new")


@needs_mnist
def test_independent_pixels_score_what_is_known() -> None:
    """The nats of the simplest model of the drawn test set, against an independent program's."""
    data = binarise_splits(quiet_mnist(n_valid=0), "new")
    p = data.train.x.mean(0, dtype=np.float64).clip(1e-4, 1 - 1e-4)
    nats = -(data.test.x @ np.log(p) + (1 - data.test.x) @ np.log1p(-p)).mean()
    assert abs(nats - 205.82) < 0.3


# ---- binarisation ----


@given(data=st.data(), dtype=DTYPES, how=st.sampled_from(CHOICES), seed=st.integers(0, 99))
def test_binarise_keeps_shape_and_dtype(
    data: st.DataObject, dtype: Any, how: str, seed: int
) -> None:
    x = data.draw(grey(dtype))
    before = x.copy()
    out = binarise(x, how, np.random.default_rng(seed))
    assert out.shape == x.shape and out.dtype == x.dtype
    assert np.array_equal(x, before)
    if how == "none":
        assert out is x
    else:
        assert np.all((out == 0) | (out == 1))
        assert np.all(out[x == 0] == 0) and np.all(out[x == 1] == 1)


@given(data=st.data(), dtype=DTYPES)
def test_threshold_is_at_one_half(data: st.DataObject, dtype: Any) -> None:
    x = data.draw(grey(dtype))
    assert np.array_equal(binarise(x, "threshold"), x >= 0.5)
    assert binarise(np.array([0.5, np.nextafter(0.5, 0)]), "threshold").tolist() == [1, 0]


@given(p=st.floats(0, 1, width=32), dtype=DTYPES, seed=st.integers(0, 2**32))
def test_draws_have_the_grey_value_as_their_mean(p: float, dtype: Any, seed: int) -> None:
    n = 20_000
    mean = binarise(np.full(n, p, dtype), "new", np.random.default_rng(seed)).mean(dtype=float)
    # Six standard errors, and two counts for p near 0 and 1, where the normal law does not hold.
    assert abs(mean - p) <= 6 * math.sqrt(p * (1 - p) / n) + 12 / n


@given(data=st.data(), dtype=DTYPES, seed=st.integers(0, 99))
def test_a_draw_is_the_documented_comparison(data: st.DataObject, dtype: Any, seed: int) -> None:
    x = data.draw(grey(dtype))
    expected = np.random.default_rng(seed).random(x.shape, dtype=dtype) < x
    for how in ("fixed", "new"):
        assert np.array_equal(binarise(x, how, np.random.default_rng(seed)), expected)


def test_new_draws_differ_from_visit_to_visit() -> None:
    rng, x = np.random.default_rng(0), np.full((10, 10), 0.5, np.float32)
    assert not np.array_equal(binarise(x, "new", rng), binarise(x, "new", rng))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binarise_stays_on_the_arrays_own_device(dtype: str) -> None:
    device = xps.Device("device1")  # refuses to be mixed with anything that lives elsewhere
    values = np.linspace(0, 1, 12, dtype=dtype).reshape(3, 4)
    x = xps.asarray(values, device=device)
    expected = np.random.default_rng(5).random((3, 4), dtype=dtype) < values
    for how in ("fixed", "new"):
        out = binarise(x, how, np.random.default_rng(5))
        assert out.device == device and out.dtype == x.dtype
        assert np.array_equal(to_numpy(out), expected)
    assert np.array_equal(to_numpy(binarise(x, "threshold")), values >= 0.5)
    assert binarise(x, "none") is x


@pytest.mark.gpu
def test_binarise_on_a_gpu() -> None:
    cupy = pytest.importorskip("cupy")
    x = cupy.full((200, 784), 0.3, dtype=cupy.float32)
    x[0], x[1] = 0, 1
    out = binarise(x, "new", cupy.random.default_rng(0))
    assert isinstance(out, cupy.ndarray) and out.dtype == x.dtype
    assert abs(float(out[2:].mean()) - 0.3) < 0.01
    assert float(out[0].max()) == 0 and float(out[1].min()) == 1


def toy() -> Dataset:
    rng = np.random.default_rng(3)

    def part(n: int) -> Split:
        return Split(rng.random((n, 6), dtype=np.float32), rng.integers(0, 10, n))

    return Dataset("toy", (2, 3), part(7), part(0), part(5), "abc")


@pytest.mark.parametrize("how", CHOICES)
def test_binarise_splits(how: str) -> None:
    data = toy()
    out = binarise_splits(data, how)
    assert (out.name, out.image_shape, out.sha256) == ("toy", (2, 3), "abc")
    for part, seed in (("train", 776), ("test", 777), ("valid", 778)):
        before, after = getattr(data, part), getattr(out, part)
        drawn = np.random.default_rng(seed).random(before.x.shape, dtype=np.float32) < before.x
        expected = {"none": before.x, "threshold": before.x >= 0.5, "fixed": drawn, "new": drawn}
        wanted = before.x if how == "new" and part == "train" else expected[how]
        assert np.array_equal(after.x, wanted)
        assert after.x.dtype == np.float32
        assert np.array_equal(after.y, before.y)


@pytest.mark.parametrize("how", CHOICES)
def test_binarising_twice_changes_nothing(how: str) -> None:
    """Black and white stay what they are, so a second pass is harmless."""
    once = binarise_splits(load_digits(), how)
    twice = binarise_splits(once, how)
    for part in ("train", "valid", "test"):
        assert np.array_equal(getattr(once, part).x, getattr(twice, part).x)


@pytest.mark.parametrize("how", ["dynamic", "", "NONE", None, 1, ["new"]])
def test_unknown_binarisation(how: Any) -> None:
    for call in (
        lambda: binarise(np.zeros(3), how, np.random.default_rng(0)),
        lambda: binarise_splits(toy(), how),
    ):
        with pytest.raises(ValueError) as error:
            call()
        one_line(error, "none, threshold, fixed, new", repr(how))


def test_drawing_needs_a_generator_and_floats() -> None:
    with pytest.raises(ValueError) as error:
        binarise(np.zeros(3), "new")
    one_line(error, "'new'", "rng=")
    with pytest.raises(ValueError) as error:
        binarise(np.zeros(3, np.uint8), "fixed", np.random.default_rng(0))
    one_line(error, "float32 or float64", "uint8")
