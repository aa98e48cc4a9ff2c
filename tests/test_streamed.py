"""Rows that stay on disk: the same numbers as in memory, from any layout, and nothing more held."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minivae import VAE, Architecture, Autoencoder, smoothed_mean
from minivae.datasets import Dataset, Split, Streamed, binarise_splits, load_file, values
from minivae.datasets.base import spread_rows
from minivae.datasets.values import blocks, first_place, floats, require_finite


def one_line(error: pytest.ExceptionInfo[Any], *words: object) -> None:
    """The message is one line and contains the words."""
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message, message


DTYPES = ["u1", "?", "<f4", ">f4", "<f8", ">f8", "<f2", "i1", ">i4", "<u2"]


@st.composite
def stored(draw: st.DrawFn) -> np.ndarray:
    """Arrays (N, D), (N, H, W) or (N, H, W, 1) of any number type, in either order of axes."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=6))
    shape += draw(st.sampled_from([(), (1,)])) if len(shape) == 3 else ()
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    values = hnp.from_dtype(dtype)
    if dtype.kind == "f":
        width = 16 if dtype.itemsize == 2 else 32
        values = st.floats(width=width, allow_nan=False, allow_infinity=False)
    array = draw(hnp.arrays(dtype, shape, elements=values))
    return np.asfortranarray(array) if draw(st.booleans()) else array


def meaning(array: np.ndarray) -> np.ndarray:
    """The oracle: number by number, in Python."""
    rows = [[float(v) for v in row.ravel()] for row in array]
    scale = 255.0 if array.dtype == np.uint8 else 1.0
    with np.errstate(over="ignore"):
        flat = np.array([np.float32(np.float32(v) / np.float32(scale)) for r in rows for v in r])
    return flat.reshape(len(rows), -1)


@st.composite
def cut(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """An array and some of its row numbers to leave out, rising."""
    array = draw(stored())
    out = sorted(draw(st.sets(st.integers(0, len(array) - 1))))
    return array, np.array(out, np.int64)


# ---- reading ----


@given(case=cut(), data=st.data())
def test_rows_are_those_of_the_array_in_memory(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    array, out = case
    x, want = Streamed(array, out), np.delete(meaning(array), out, axis=0)
    assert x.shape == want.shape and len(x) == len(want) and x.ndim == 2 and x.dtype == "f4"
    n = len(x)
    rows = data.draw(st.lists(st.integers(-n, n - 1), max_size=9)) if n else []
    start, stop, step = (data.draw(st.none() | st.integers(-9, 9)) for _ in range(3))
    part = slice(start, stop, step or None)
    for index in (np.array(rows, np.int64), np.array(rows, np.int16), part, slice(None)):
        got = x[index]
        assert np.array_equal(got, want[index])
        assert got.dtype == np.float32 and got.flags.c_contiguous and got.flags.writeable
        assert not np.shares_memory(got, array)


@given(case=cut(), data=st.data())
def test_what_is_left_out_twice_is_left_out(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    array, out = case
    once = Streamed(array, out)
    more = sorted(data.draw(st.sets(st.integers(0, len(once) - 1)))) if len(once) else []
    twice = Streamed(once, np.array(more, np.int64))
    kept = np.delete(np.delete(np.arange(len(array)), out), more)
    assert np.array_equal(twice[:], meaning(array)[kept])
    assert np.array_equal(twice.origin(slice(None)), kept)
    assert twice.array is once.array


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memory_map_is_read_like_an_array(tmp_path: Path, dtype: str, order: Any) -> None:
    array = np.asarray(np.random.default_rng(0).integers(0, 100, (9, 2, 3)), dtype, order=order)
    np.save(tmp_path / "x.npy", array)
    x = Streamed(np.load(tmp_path / "x.npy", mmap_mode="r"), np.array([4]))
    rows = np.array([7, 0, 7])
    assert np.array_equal(x[rows], meaning(array)[[8, 0, 8]])
    assert type(x[rows]) is np.ndarray


def test_bytes_are_divided_as_those_of_mnist_are() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(2, 128)
    assert np.array_equal(floats(every), every.astype(np.float32) / np.float32(255))


def test_any_byte_but_0_is_a_true_boolean() -> None:
    odd = np.array([[0, 1, 2, 255]], np.uint8).view(bool)
    assert floats(odd).tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize("bad", [3, -4, 2**40])
def test_a_row_that_is_not_there_is_refused(bad: int) -> None:
    x = Streamed(np.zeros((4, 2)), np.array([1]))
    with pytest.raises(IndexError) as error:
        x[np.array([0, bad])]
    one_line(error, "below 3", bad)


@pytest.mark.parametrize("bad", [1, np.int64(1), np.array([0.0]), np.array([[0]]), [True, False]])
def test_other_ways_to_index_are_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="slice or row numbers"):
        Streamed(np.zeros((2, 2)))[bad]


def test_iterating_is_refused_rather_than_empty() -> None:
    with pytest.raises(TypeError):
        list(Streamed(np.zeros((2, 2))))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (np.zeros(3), "(3,)"),
        (np.zeros((3, 0)), "(3, 0)"),
        (np.zeros((3, 2), complex), "complex128"),
        (np.zeros((3, 2), object), "object"),
        (np.zeros((3, 2), "U1"), "<U1"),
        (np.zeros((3, 2), "M8[s]"), "datetime64"),
    ],
)
def test_a_source_that_holds_no_rows_of_numbers_is_refused(source: np.ndarray, word: str) -> None:
    with pytest.raises(ValueError) as error:
        Streamed(source)
    one_line(error, word)


@pytest.mark.parametrize("out", [[1, 1], [2, 1], [-1], [3], [[0]]])
def test_impossible_rows_to_leave_out_are_refused(out: Any) -> None:
    with pytest.raises(ValueError) as error:
        Streamed(np.zeros((3, 2)), np.array(out))
    one_line(error, "rising order from 0 to 2")


def test_numpy_cannot_fill_the_memory_by_accident() -> None:
    x = Streamed(np.zeros((3, 2)))
    for call in (np.asarray, np.array, lambda x: np.ones((3, 2)) + x):
        with pytest.raises(TypeError):
            call(x)


def test_memory_is_for_what_is_left_out_and_what_is_read() -> None:
    """A million rows of one byte, seen as 100 bytes each: nothing of either size is ever held."""
    rows = np.broadcast_to(np.zeros((1, 100), np.uint8), (1_000_000, 100))
    tracemalloc.start()
    try:
        x = Streamed(rows, spread_rows(len(rows), 1000))
        for start in (0, 999_000 - 128):
            x[np.arange(start, start + 128)]
        built = tracemalloc.get_traced_memory()[1]
        x.min()
        passed = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert built < 400_000
    assert passed < 8 * 4 * values.BLOCK


# ---- one pass over all of it ----


@given(case=cut(), block=st.integers(5, 40))
@settings(max_examples=50)
def test_extremes_and_sums_are_those_of_the_array(
    case: tuple[np.ndarray, np.ndarray], block: int
) -> None:
    array, out = case
    want = np.delete(meaning(array), out, axis=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "BLOCK", block)
        x = Streamed(array, out)
        pieces = [(start, part.copy()) for start, part in blocks(x)]
        assert all(part.size <= max(block, want.shape[1]) for _, part in pieces)
        assert np.array_equal(np.concatenate([want[:0], *(part for _, part in pieces)]), want)
        assert [start for start, _ in pieces] == list(
            np.cumsum([0, *(len(part) for _, part in pieces)])[:-1]
        )
        if len(want):
            assert (x.min(), x.max()) == (want.min(), want.max())
        magnitude = np.abs(want).sum(axis=0, dtype=float)
        error = np.abs(x.sum(axis=0) - want.sum(axis=0, dtype=float))
        assert (error <= 1e-14 * magnitude).all()
        whole = smoothed_mean(want)
        assert (np.abs(smoothed_mean(x) - whole) <= 1e-14 * (magnitude + 1)).all()


def test_the_pass_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x, reads = Streamed(np.eye(4)), []
    read = Streamed.__getitem__
    monkeypatch.setattr(Streamed, "__getitem__", lambda s, i: reads.append(i) or read(s, i))
    model = Autoencoder(Architecture(4), smoothed_mean(x))
    assert model.check(x) is x and (x.min(), x.max()) == (0, 1)
    x.sum(axis=0)[:] = 7  # a copy
    assert x.sum(axis=0).tolist() == [1, 1, 1, 1] and len(reads) == 1


@pytest.mark.parametrize("options", [{"axis": 1}, {"dtype": np.float32}])
def test_sums_of_another_kind_are_refused(options: Any) -> None:
    with pytest.raises(ValueError, match="axis 0 and float64"):
        Streamed(np.eye(2)).sum(**options)


def test_first_place_is_the_first_row_by_row() -> None:
    x = np.zeros((5, 3))
    x[3, 1], x[1, 2], x[2, 0] = 7, 8, 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(values, "BLOCK", 6)
        for data in (x, Streamed(x)):
            assert first_place(data, lambda part: part > 0) == (1, 2, 8.0)
            assert first_place(data, lambda part: part > 8) == (2, 0, 9.0)
            assert first_place(data, lambda part: part > 9) is None


def test_a_place_can_be_called_by_the_rows_of_the_file() -> None:
    x = np.array([[0, 0], [0, np.nan]])
    with pytest.raises(ValueError, match="got nan at row 70, column 1"):
        require_finite(x, rows=np.array([30, 70]))


# ---- a model's check ----


def model(likelihood: str = "bernoulli", dtype: str = "float32") -> VAE:
    return VAE(Architecture(3, likelihood=likelihood), dtype=dtype)


def either(x: np.ndarray) -> list[Any]:
    """The same data in memory and streamed, with rows in front that are left out."""
    return [x, Streamed(np.concatenate([np.full_like(x[:1], -7), x]), np.array([0]))]


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_number_that_is_not_finite_is_named(likelihood: str, value: float) -> None:
    x = np.zeros((5, 3), "f")
    x[3, 0], x[2, 1], x[4, 2] = 1, value, np.nan
    for data in either(x):
        with pytest.raises(ValueError) as error:
            model(likelihood).check(data)
        one_line(error, f"expected finite data, got {value} at row 2, column 1 (from 0)")


@pytest.mark.parametrize(
    ("low", "high", "advice"),
    [(0, 255, "divide by 255, or"), (-1, 1, "scale the data, or"), (0, 256, "scale the data, or")],
)
def test_the_first_number_outside_the_interval_is_named(low: int, high: int, advice: str) -> None:
    x = np.full((5, 3), 0.5, "f")
    x[2, 1], x[1, 2], x[4, 2] = low, 1.5 if high > 1 else -0.5, high
    first = "1.5" if high > 1 else "-0.5"
    for data in either(x):
        for likelihood, name in (("bernoulli", "a Bernoulli"),
                                 ("continuous-bernoulli", "a continuous Bernoulli")):  # fmt: skip
            with pytest.raises(ValueError) as error:
                model(likelihood).check(data)
            one_line(
                error, f"values in [0, 1] for {name}, got {low} to {high}", advice,
                f"the first {first} at row 1, column 2 (from 0)", "--likelihood gaussian",
            )  # fmt: skip
        assert model("gaussian").check(data) is data


def test_the_borders_belong_to_the_interval() -> None:
    for data in either(np.array([[0, 1, 0.5]], "f")):
        for likelihood in ("bernoulli", "continuous-bernoulli", "gaussian"):
            assert model(likelihood).check(data) is data


@pytest.mark.parametrize("dtype", ["O", "U3", "complex64", "M8[s]", "V4"])
def test_what_is_no_number_is_refused(dtype: str) -> None:
    with pytest.raises(ValueError) as error:
        model("gaussian").check(np.zeros((2, 3), dtype))
    one_line(error, "expected real numbers", np.dtype(dtype))


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 4), (2, 3, 1), (2, 1, 3), ()])
def test_another_shape_says_what_was_expected_and_what_came(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError) as error:
        model().check(np.zeros(shape, "f"))
    one_line(error, "(N, 3) with N of at least 1", f"got {shape}")


def test_a_streamed_array_of_another_width_is_refused() -> None:
    for x in (Streamed(np.zeros((2, 4))), Streamed(np.zeros((1, 3)), np.array([0]))):
        with pytest.raises(ValueError) as error:
            model().check(x)
        one_line(error, f"got {x.shape}")


def test_what_is_no_array_is_refused() -> None:
    with pytest.raises(ValueError) as error:
        model().check([[0, 0, 0]])
    one_line(error, "(N, 3)", "got a list")


def test_numbers_beyond_the_models_dtype_are_refused() -> None:
    x = np.array([[0, 0, -1e39]])
    assert model("gaussian", "float64").check(x) is x
    with pytest.raises(ValueError) as error:
        model("gaussian").check(x)
    one_line(error, "range of float32", "-1e+39 to 0")


@pytest.mark.parametrize("dtype", ["u1", "?", "i8", "f2", "f8"])
def test_all_kinds_of_real_numbers_pass(dtype: str) -> None:
    x = np.ones((2, 3), dtype)
    assert model().check(x) is x


def test_the_mean_of_what_is_not_finite_names_the_place() -> None:
    x = np.zeros((5, 3), "f")
    x[2, 1] = np.inf
    for data in either(x):
        with pytest.raises(ValueError, match="got inf at row 2, column 1"):
            smoothed_mean(data)


# ---- splits that are streamed ----


def dataset(n: int = 40, n_valid: int = 5) -> Dataset:
    """Streamed: every number in row i is i / 64, exactly."""
    x = np.repeat(np.arange(n, dtype=np.float32)[:, None] / 64, 4, axis=1)
    pool = Streamed(x, np.array([0, 10]))
    held = spread_rows(len(pool), n_valid)
    y = np.arange(n)
    return Dataset(
        "rows", (2, 2),
        Split(Streamed(pool, held), y[Streamed(pool, held).origin(slice(None))]),
        Split(pool[held], y[pool.origin(held)]),
        Split(x[[0, 10]], y[[0, 10]]),
        "", spread=True,
    )  # fmt: skip


@given(n=st.integers(0, 37), again=st.integers(0, 37))
def test_validation_is_chosen_anew_from_what_is_not_test(n: int, again: int) -> None:
    data = dataset().with_validation(n)
    assert isinstance(data.train.x, Streamed) and isinstance(data.valid.x, np.ndarray)
    assert len(data.valid) == n
    for part in (data.train, data.valid):
        assert np.array_equal(part.x[:] * 64, np.repeat(part.y[:, None], 4, axis=1))
    both = np.concatenate([data.train.y, data.valid.y])
    assert sorted(both) == sorted(set(range(40)) - {0, 10})
    twice, direct = data.with_validation(again), dataset().with_validation(again)
    assert np.array_equal(twice.train.x[:], direct.train.x[:])
    assert np.array_equal(twice.valid.x, direct.valid.x)
    assert np.array_equal(twice.train.y, direct.train.y)


def test_validation_by_default_is_what_it_was() -> None:
    data = dataset()
    assert data.with_validation(5) is data
    assert np.array_equal(data.with_validation(6).with_validation(5).valid.y, data.valid.y)


@pytest.mark.parametrize("n", [-1, 38])
def test_validation_out_of_range(n: int) -> None:
    with pytest.raises(ValueError) as error:
        dataset().with_validation(n)
    one_line(error, "0 to 37", n)


def test_validation_of_a_streamed_split_that_was_binarised_is_refused() -> None:
    """Its valid rows are black and white, and what lies on the disk is grey."""
    drawn = binarise_splits(dataset(), "new")
    assert drawn.with_validation(5) is drawn
    with pytest.raises(ValueError) as error:
        drawn.with_validation(6)
    one_line(error, "before the binarisation")


@pytest.mark.parametrize("how", ["none", "new"])
def test_binarisation_leaves_a_streamed_train_alone(how: str) -> None:
    data = dataset()
    out = binarise_splits(data, how)
    assert out.train.x is data.train.x
    assert set(np.unique(out.test.x)) <= {0, 1} or how == "none"


@pytest.mark.parametrize("how", ["threshold", "fixed"])
def test_binarisation_that_would_have_to_be_kept_is_refused(how: str) -> None:
    with pytest.raises(ValueError) as error:
        binarise_splits(dataset(), how)
    one_line(error, "rows is read from disk", repr(how), "'new' or 'none'", "in_memory=True")


def test_what_is_no_probability_is_not_binarised() -> None:
    x = np.array([[0, 1], [0.5, 3]], "f")
    good, bad = Split(x[:1], np.zeros(1, int)), Split(x, np.zeros(2, int))
    for how in ("threshold", "fixed", "new"):
        for name in ("train", "valid", "test"):
            parts = {"train": good, "valid": good, "test": good, name: bad}
            with pytest.raises(ValueError) as error:
                binarise_splits(Dataset("d", (1, 2), **parts, sha256=""), how)
            one_line(
                error, f"binarisation of d ({name}), got 0 to 3", "3 at row 1, column 1", "gaussian"
            )
    assert binarise_splits(Dataset("d", (1, 2), bad, bad, bad, ""), "none").train is not None


@pytest.mark.parametrize("part", ["valid", "test"])
def test_only_train_may_be_streamed(part: str) -> None:
    small = Split(np.zeros((2, 2), "f"), np.zeros(2, int))
    parts = {"train": small, "valid": small, "test": small}
    Dataset(
        "d", (1, 2), **{**parts, "train": Split(Streamed(np.zeros((2, 2))), small.y)}, sha256=""
    )
    parts[part] = Split(Streamed(np.zeros((2, 2))), small.y)
    with pytest.raises(ValueError) as error:
        Dataset("d", (1, 2), **parts, sha256="")
    one_line(error, "only train", part)


def test_a_part_of_a_streamed_split_is_in_memory() -> None:
    part = dataset().train[3:6]
    assert isinstance(part.x, np.ndarray) and np.array_equal(part.x[:, 0] * 64, part.y)


def test_a_streamed_split_is_as_long_as_its_labels() -> None:
    with pytest.raises(ValueError, match="3 images but 2 labels"):
        Split(Streamed(np.zeros((3, 2))), np.zeros(2, int))


# ---- which rows are held out ----


@given(n=st.integers(0, 3000), data=st.data())
def test_spread_rows_are_one_in_each_stretch(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    rows = spread_rows(n, k)
    assert rows.shape == (k,) and rows.dtype == np.int64
    for j, row in enumerate(rows):
        assert j * n // k <= row < (j + 1) * n // k


def test_spread_rows_are_the_same_for_ever() -> None:
    assert spread_rows(10**12, 4).tolist() == [0, 404508497187, 559016994374, 963525491562]
    assert spread_rows(7, 7).tolist() == list(range(7))


@pytest.mark.parametrize("period", [2, 3, 7, 10, 26, 100])
@pytest.mark.parametrize("n", [1000, 7000, 60_000])
def test_spread_rows_of_classes_in_turn_or_in_blocks_are_of_all_classes(
    period: int, n: int
) -> None:
    """A file may repeat its classes or be sorted by them: all are held out, nearly alike."""
    rows = spread_rows(n, min(1000, n // 10))
    for labels in (np.arange(n) % period, np.arange(n) * period // n):
        counts = np.bincount(labels[rows], minlength=period)
        assert abs(counts - len(rows) / period).max() <= 0.5 * len(rows) / period + 3


def test_a_large_npy_file_is_streamed_and_a_small_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).integers(0, 256, (60, 5), np.uint8)
    np.save(tmp_path / "x.npy", array)
    monkeypatch.setattr("minivae.datasets.files.IN_MEMORY", 60 * 5 * 4)
    small = load_file(tmp_path / "x.npy")
    assert isinstance(small.train.x, np.ndarray)
    monkeypatch.setattr("minivae.datasets.files.IN_MEMORY", 60 * 5 * 4 - 1)
    large = load_file(tmp_path / "x.npy")
    assert isinstance(large.train.x, Streamed)
    assert isinstance(load_file(tmp_path / "x.npy", in_memory=True).train.x, np.ndarray)
    for part in ("train", "valid", "test"):
        one, other = getattr(small, part), getattr(large, part)
        assert np.array_equal(one.x, other.x[:]) and np.array_equal(one.y, other.y)
    assert small.sha256 == large.sha256
    assert isinstance(load_file(tmp_path / "x.npy", in_memory=False).train.x, Streamed)


def test_a_streamed_file_in_column_order_is_noted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.asfortranarray(np.eye(20)))
    with pytest.warns(UserWarning, match="column by column") as caught:
        load_file(tmp_path / "x.npy", in_memory=False)
    assert "\n" not in str(caught[0].message) and caught[0].filename == __file__
    load_file(tmp_path / "x.npy", in_memory=True)


def test_training_data_without_labels_cost_nothing_a_row(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2_000_000, 1), np.uint8))
    tracemalloc.start()
    try:
        data = load_file(tmp_path / "x.npy", in_memory=False)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(data.train) == 1_998_000 and len(data.train.y) == 1_998_000
    assert held < 200_000
