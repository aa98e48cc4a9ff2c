"""Arrays: who owns them, how they move, and the block path that must not change a bit."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import arrays
from minivae.arrays import (
    BLOCK,
    beside,
    cast,
    dtype_name,
    fused,
    generator,
    like,
    namespace,
    standard_normal,
    sum_to,
    to_device,
    to_numpy,
    uniform,
)
from minivae.numerics import sigmoid, softplus

DTYPES = ["float32", "float64"]


# ---- who owns an array ----


def test_numpy_arrays_and_scalars_belong_to_numpy() -> None:
    assert namespace(np.ones(3)) is np and namespace(np.float32(1)) is np


@pytest.mark.parametrize("thing", [1.0, [1.0], "x", None])
def test_what_is_no_array_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="expected an array, got"):
        namespace(thing)


def test_the_cpu_is_where_numpy_arrays_already_are() -> None:
    x = np.ones(3)
    assert to_device(x, "cpu") is x and to_numpy(x) is x and like(x, x) is x


def test_a_device_may_be_a_function() -> None:
    assert to_device(np.ones(2), lambda a: a + 1).tolist() == [2.0, 2.0]


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="'cpu' or 'cuda', got 'tpu'"):
        to_device(np.ones(1), "tpu")


def test_cuda_without_cupy_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"pip install 'minivae\[cuda12\]'") as error:
        to_device(np.ones(1), "cuda")
    assert "\n" not in str(error.value)


def test_cuda_without_a_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Runtime:
        @staticmethod
        def getDeviceCount() -> int:
            raise OSError("driver too old")

    class FakeCupy:
        class cuda:
            runtime = Runtime

    monkeypatch.setitem(sys.modules, "cupy", FakeCupy)
    with pytest.raises(RuntimeError, match=r"finds no CUDA device \(driver too old\)"):
        to_device(np.ones(1), "cuda")


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_by_name(dtype: str) -> None:
    x = np.ones(2, dtype)
    assert dtype_name(x) == dtype
    assert cast(x > 0, x).dtype == dtype


@settings(max_examples=100)
@given(st.lists(st.integers(1, 4), max_size=4), st.data())
def test_sum_to_undoes_a_broadcast(shape: list[int], data: st.DataObject) -> None:
    """<broadcast(a), x> = <a, sum_to(x)> for every a: sum_to is the transpose of broadcasting."""
    small = [n if data.draw(st.booleans()) else 1 for n in shape]
    small = small[data.draw(st.integers(0, len(small))) :]
    rng = np.random.default_rng(0)
    x, a = rng.normal(size=shape), rng.normal(size=small)
    back = sum_to(x, tuple(small))
    assert back.shape == a.shape
    assert np.isclose((np.broadcast_to(a, shape) * x).sum(), (a * back).sum(), rtol=1e-12)


# ---- randomness ----


def test_randomness_is_a_function_of_its_key() -> None:
    keys = [(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)]
    draws = [generator("cpu", *key).random() for key in keys]
    assert draws == [generator("cpu", *key).random() for key in keys]
    assert len(set(draws)) == len(keys)


def test_a_generator_leaves_numpys_global_state_alone() -> None:
    before = np.random.get_state()[1].tolist()
    standard_normal(generator("cpu", 0), (5,), np.ones(1))
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_has_the_dtype_and_the_moments_it_should(dtype: str) -> None:
    n, other = 40_000, np.ones(1, dtype)
    eps = standard_normal(generator("cpu", 0), (n // 4, 4), other)
    u = uniform(generator("cpu", 0), (n // 4, 4), other)
    assert eps.dtype == u.dtype == dtype and eps.shape == u.shape == (n // 4, 4)
    # Four standard errors: sigma / sqrt(n) of a mean, sigma^2 sqrt(2 / n) of a normal's variance.
    assert abs(eps.mean()) < 0.02 and abs(eps.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / n) and u.min() >= 0 and u.max() < 1


# ---- fused: large arrays in blocks, on all cores ----


def seen_sizes(formula: Any) -> tuple[Any, list[int]]:
    """A fused formula, and the sizes of the arrays it was called with."""
    sizes: list[int] = []

    @fused
    def call(*args: Any) -> Any:
        sizes.append(args[0].size)
        return formula(*args)

    return call, sizes


SIZES = [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK + 17, 5 * BLOCK - 3]


@pytest.mark.parametrize("n_cores", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_bit_equal_to_the_plain_formula(
    size: int, n_cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "cores", lambda: n_cores)
    rng = np.random.default_rng(size)
    for dtype in DTYPES:
        x, y = rng.normal(size=(2, size)).astype(dtype) * 10
        call, sizes = seen_sizes(lambda a, b, c: a * b + c)
        got = call(x, y, 0.5)
        assert np.array_equal(got, x * y + 0.5) and got.dtype == dtype
        assert sum(sizes) == size and max(sizes) <= BLOCK


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("formula", [softplus, sigmoid])
def test_library_formulas_do_not_depend_on_the_blocks(formula: Any, dtype: str) -> None:
    x = (np.random.default_rng(0).normal(size=3 * BLOCK + 5) * 20).astype(dtype)
    pieces = [formula(x[i : i + 1000]) for i in range(0, x.size, 1000)]
    assert np.array_equal(formula(x), np.concatenate(pieces))


def test_shapes_survive_the_blocks() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3, 5000))
    assert np.array_equal(fused(lambda a: a * 2)(x), 2 * x)


def test_leading_ones_broadcast_in_blocks() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 300, 400))
    call, sizes = seen_sizes(lambda a, b: a - b)
    for left, right in ((a[None], b), (b, a[None, None])):
        assert np.array_equal(call(left, right), left - right)
        assert call(left, right).shape == (left - right).shape
    assert max(sizes) <= BLOCK


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((70_000, 1), (1, 70_000 // 70_000 * 3)),
        ((70_000, 1), (70_000,)),
        ((1, 70_000), (70_000, 1)),
        ((300, 400), (400,)),
        ((300, 400), (300, 1)),
        ((400, 300), (1, 300)),
        ((2, 300, 400), (300, 400)),
        ((300, 1, 400), (1, 300, 400)),
    ],
)
def test_other_broadcasts_are_not_split(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Flat blocks would pair the wrong numbers."""
    if np.prod(np.broadcast_shapes(left, right)) > 1e7:  # only the decision matters, not the data
        a, b = np.broadcast_to(1.0, left), np.broadcast_to(2.0, right)
        call, sizes = seen_sizes(lambda a, b: a[:2] if a.shape == left else None)
        call(np.ascontiguousarray(a), np.ascontiguousarray(b))
        assert len(sizes) == 1
        return
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=left), rng.normal(size=right)
    call, _ = seen_sizes(lambda a, b: a + b)
    assert np.array_equal(call(a, b), a + b)


def test_arrays_that_are_not_contiguous() -> None:
    base = np.random.default_rng(0).normal(size=(600, 500))
    for x in (base.T, base[::2], base[:, ::-1], np.asfortranarray(base)):
        for y in (x, np.ascontiguousarray(x)):
            got = fused(lambda a, b: a * 2 - b)(x, y)
            assert np.array_equal(got, x * 2 - y)


def test_a_formula_may_change_its_arguments_in_place() -> None:
    x = np.arange(3.0 * BLOCK + 1)
    want = x + 1

    @fused
    def increment(a: Any) -> None:
        a += 1

    assert increment(x) is None and np.array_equal(x, want)


def test_a_view_that_is_contiguous_is_changed_in_place() -> None:
    base = np.zeros(5 * BLOCK)

    @fused
    def increment(a: Any, b: Any) -> None:
        a += b

    increment(base[BLOCK : 4 * BLOCK + 1], np.ones(3 * BLOCK + 1))
    assert base.sum() == 3 * BLOCK + 1 and base[BLOCK - 1] == 0 == base[4 * BLOCK + 1]


@pytest.mark.parametrize("n_cores", [1, 3])
@pytest.mark.parametrize("place", [0, -1])
def test_errstate_is_obeyed_in_every_block(
    place: int, n_cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "cores", lambda: n_cores)
    x = np.ones(4 * BLOCK)
    x[place] = 0.0
    invert = fused(lambda a: 1.0 / a)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        invert(x)
    with np.errstate(divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(invert(x)[place])


def test_an_error_in_a_worker_reaches_the_caller() -> None:
    @fused
    def picky(a: Any) -> Any:
        if a[-1] == 9.0:
            raise LookupError("nine")
        return a

    x = np.zeros(4 * BLOCK)
    x[-1] = 9.0
    with pytest.raises(LookupError, match="nine"):
        picky(x)


def test_callers_in_several_threads_do_not_meet() -> None:
    xs = [np.full(3 * BLOCK, float(i)) for i in range(4)]
    results: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        results[i] = fused(lambda a: a * 2)(xs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all((results[i] == 2 * i).all() for i in range(4))


FORK = """
import os
import numpy as np
from minivae import arrays
arrays.cores = lambda: 3
x = np.random.default_rng(0).normal(size=5 * arrays.BLOCK)
double = arrays.fused(lambda a: 2 * a)
assert np.array_equal(double(x), 2 * x)  # the pool has threads now
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(double(x), 2 * x) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), np.array_equal(double(x), 2 * x))
"""


@pytest.mark.skipif(not hasattr(arrays.os, "fork"), reason="this system cannot fork")
def test_a_forked_child_makes_its_own_threads() -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "True"]


def test_fused_keeps_name_and_docstring() -> None:
    assert softplus.__name__ == "softplus" and "log(1 + e^x)" in (softplus.__doc__ or "")


@pytest.mark.parametrize("n", [10, arrays.BLOCK + 1, 3 * arrays.BLOCK + 7])
@pytest.mark.parametrize("first", ["uint8", "float32", "float64", "complex128"])
@pytest.mark.parametrize("second", ["float32", "float64", "complex128"])
def test_the_dtype_of_a_result_does_not_depend_on_the_size(n: int, first: str, second: str) -> None:
    """Nor on which argument comes first: an imaginary part that gets lost is a gradient of zero."""
    v, mu = np.ones(n, first), np.full(n, 0.5, second)
    if second == "complex128":
        mu = mu + 1e-30j
    difference = fused(lambda v, mu: v - mu)(v, mu)
    assert difference.dtype == (v - mu).dtype and np.array_equal(difference, v - mu)


def test_an_interrupt_waits_for_the_other_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "cores", lambda: 2)
    arrays._pool.cache_clear()
    x = np.zeros(8 * arrays.BLOCK)
    main = threading.get_ident()

    def add(a: np.ndarray) -> None:
        if threading.get_ident() == main and len(a) > arrays.PROBE:
            raise KeyboardInterrupt
        time.sleep(0.01)
        a += 1.0

    with pytest.raises(KeyboardInterrupt):
        fused(add)(x)
    after = x.copy()
    time.sleep(0.1)
    assert after.sum() > arrays.BLOCK and np.array_equal(after, x)


def test_nothing_beside_an_array_is_the_array_itself() -> None:
    a = np.ones((3, 2))
    assert beside(a, np.empty((3, 0))) is a
    assert beside(a, 2.0 * a).tolist() == [[1.0, 1.0, 2.0, 2.0]] * 3
