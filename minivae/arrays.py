"""Which library owns this array, and how arrays move between libraries.

minivae never chooses between NumPy and CuPy: the array does.  A function that needs ``exp`` or
``sum`` begins with ``xp = namespace(x)`` and computes wherever ``x`` lives.  There is no global
switch, and CuPy is imported only when somebody asks for the device ``"cuda"``.
"""

import contextvars
import functools
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

Array = Any
"""An array of NumPy, CuPy or another library of the array API standard; shapes in docstrings."""

Device = str | Callable[[np.ndarray], Array]
"""``"cpu"``, ``"cuda"``, or a function that turns a NumPy array into another library's array."""


def namespace(x: Array) -> Any:
    """The module whose functions take ``x``: ``numpy``, ``cupy``, or what ``x`` itself names.

    Raises  TypeError if ``x`` is no array.

    >>> namespace(np.ones(3)).__name__
    'numpy'
    """
    if isinstance(x, np.ndarray | np.generic):
        return np
    cupy = sys.modules.get("cupy")
    if cupy is not None and cupy.get_array_module(x) is cupy:
        return cupy
    if hasattr(x, "__array_namespace__"):
        return x.__array_namespace__()
    raise TypeError(f"expected an array, got {type(x).__name__}")


def to_device(x: np.ndarray, device: Device) -> Array:
    """The NumPy array ``x`` on ``device``; on ``"cpu"`` it is ``x`` itself.

    Raises  RuntimeError, one line that says what to install, if CuPy or a GPU is missing;
            ValueError for an unknown device.
    """
    if callable(device):
        return device(x)
    if device == "cpu":
        return x
    if device == "cuda":
        return import_cupy().asarray(x)
    raise ValueError(f"expected the device 'cpu' or 'cuda', got {device!r}")


def to_numpy(x: Array) -> np.ndarray:
    """A NumPy array with the values of ``x``, copied to the host if it lives elsewhere."""
    if isinstance(x, np.ndarray | np.generic):
        return np.asarray(x)
    if hasattr(x, "get"):  # CuPy
        return x.get()
    if hasattr(x, "__array_namespace__"):
        host = x.__array_namespace__().__array_namespace_info__().default_device()
        return np.from_dlpack(x.to_device(host))
    return np.asarray(x)


def like(x: np.ndarray, other: Array) -> Array:
    """``x`` moved to the library and the device of ``other``, its dtype unchanged."""
    xp = namespace(other)
    if type(x) is type(other) or xp is np:
        return x
    return xp.asarray(x) if xp.__name__ == "cupy" else xp.asarray(x, device=other.device)


def copy(x: Array) -> Array:
    """A copy of ``x`` in its own library, on its own device."""
    return x.copy() if hasattr(x, "copy") else namespace(x).asarray(x, copy=True)


def in_memory(x: Any) -> bool:
    """Whether ``x`` is an ordinary NumPy array, not one whose rows are still on a disk."""
    return isinstance(x, np.ndarray) and not isinstance(x, np.memmap)


def dtype_name(x: Array) -> str:
    """The name of the dtype of ``x`` in any library: ``"float32"``, ``"float64"``, ..."""
    return str(x.dtype).rpartition(".")[2]


def cast(x: Array, other: Array) -> Array:
    """``x`` (often a mask) in the dtype of ``other``, so that a product with it is allowed."""
    if hasattr(x, "astype"):
        return x.astype(other.dtype)
    return namespace(x).astype(x, other.dtype)


def beside(a: Array, b: Array) -> Array:
    """The columns of both, (B, n) and (B, m) -> (B, n + m); ``a`` itself if m = 0.

    Backward  the columns of the gradient part again: da = d[:, :n], db = d[:, n:].
    """
    return joined([a, b], axis=1) if b.shape[1] else a


def joined(parts: Sequence[Array], axis: int = 0) -> Array:
    """Arrays of one library, one after the other along ``axis``."""
    xp = namespace(parts[0])
    join = xp.concat if hasattr(xp, "concat") else xp.concatenate  # an older CuPy
    return join(list(parts), axis=axis)


def sum_to(x: Array, shape: Sequence[int]) -> Array:
    """Sum ``x`` over the axes along which an array of ``shape`` was broadcast to give it.

    Broadcasting copies a number to many places; its derivative adds up what comes back.

    >>> sum_to(np.ones((5, 2, 3)), (2, 1)).tolist()
    [[15.0], [15.0]]
    """
    xp = namespace(x)
    while x.ndim > len(shape):
        x = xp.sum(x, axis=0)
    for axis, n in enumerate(shape):
        if n == 1 and x.shape[axis] != 1:
            x = xp.sum(x, axis=axis, keepdims=True)
    return x


# Randomness: a function of (seed, epoch, purpose), so a resumed run needs no saved generator.


def generator(device: Device, *key: int) -> Any:
    """A random generator that depends on ``key`` alone, for example (seed, epoch, purpose).

    On ``"cuda"`` it is CuPy's, so that noise is born on the GPU; everywhere else NumPy's.  The two
    draw different numbers from the same key: a run is reproducible on a device, not across them.
    """
    sequence = np.random.SeedSequence(key)
    if device == "cuda":
        return import_cupy().random.default_rng(sequence)
    return np.random.default_rng(sequence)


def standard_normal(rng: Any, shape: Sequence[int], other: Array) -> Array:
    """Noise eps ~ N(0, 1) of ``shape``, in the dtype and on the device of ``other``."""
    return like(rng.standard_normal(tuple(shape), dtype=dtype_name(other)), other)


def uniform(rng: Any, shape: Sequence[int], other: Array) -> Array:
    """Noise u ~ U[0, 1) of ``shape``, in the dtype and on the device of ``other``."""
    return like(rng.random(tuple(shape), dtype=dtype_name(other)), other)


# Fused elementwise formulas: one kernel on a GPU, cache-sized blocks on all cores of a CPU.

BLOCK = 131_072
"""Numbers per block: a few temporaries of this size stay in a core's cache."""

PROBE = 64
"""Numbers that go through a formula first, to see what comes out; a multiple of a cache line."""


def fused(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Run an elementwise formula in one pass over its arrays, wherever they live.

    CuPy    the formula becomes a single kernel (`cupy.fuse`): launches are what costs on a GPU.
    NumPy   large arrays go through the formula in blocks, on all cores: NumPy lets go of the
            interpreter lock inside its loops, and a block's temporaries stay in the cache.
    others  the formula as it stands.

    The formula must be elementwise.  It may also change its arguments in place and return None.
    """
    kernel: list[Callable[..., Any]] = []

    @functools.wraps(formula)
    def call(*args: Any) -> Any:
        if isinstance(args[0], np.ndarray):
            arrays = [a for a in args if isinstance(a, np.ndarray)]
            return _in_blocks(formula, args) if _may_split(arrays) else formula(*args)
        if namespace(args[0]).__name__ == "cupy":
            if not kernel:
                kernel.append(import_cupy().fuse(formula))
            return kernel[0](*args)
        return formula(*args)

    return call


def _may_split(arrays: list[np.ndarray]) -> bool:
    """Large, contiguous, and all of one shape but for leading ones: then flat blocks line up."""
    size = arrays[0].size
    return (
        size > BLOCK
        and all(a.size == size and a.flags.c_contiguous for a in arrays)
        and (len(arrays) == 1 or np.broadcast(*arrays).size == size)
    )


def _in_blocks(formula: Callable[..., Any], args: tuple[Any, ...]) -> np.ndarray | None:
    flat = [a.reshape(-1) if isinstance(a, np.ndarray) else a for a in args]
    size = flat[0].size

    def block(lo: int, hi: int) -> Any:
        return formula(*[a[lo:hi] if isinstance(a, np.ndarray) else a for a in flat])

    first = block(0, PROBE)  # tells the dtype of the result, or that the formula works in place
    out = None if first is None else np.empty(size, first.dtype)

    def run(start: int, stop: int) -> None:
        for lo in range(start, stop, BLOCK):
            hi = min(lo + BLOCK, stop)
            result = block(lo, hi)
            if out is not None:
                out[lo:hi] = result

    _on_all_cores(run, PROBE, size)
    if out is None:
        return None
    out[:PROBE] = first
    return out.reshape(np.broadcast_shapes(*(a.shape for a in args if isinstance(a, np.ndarray))))


def _on_all_cores(run: Callable[[int, int], None], start: int, stop: int) -> None:
    """Call ``run(start, stop)`` on every core's equal share of ``range(start, stop)``."""
    n = max(1, min(cores(), stop // BLOCK))  # for less than a block a thread is not worth waking
    edges = [start + (stop - start) * i // n for i in range(n + 1)]
    waiting = [_begin(run, edges[i], edges[i + 1]) for i in range(1, n)]
    try:
        run(edges[0], edges[1])
    finally:  # also when interrupted: nobody may write to the arrays behind the caller's back
        wait([future for future in waiting if future is not None])
    for i, future in enumerate(waiting, 1):
        if future is None:
            run(edges[i], edges[i + 1])
        else:
            future.result()


def _begin(run: Callable[[int, int], None], start: int, stop: int) -> Any:
    """A future of ``run(start, stop)``; None if the interpreter is ending and takes no work."""
    try:
        # np.errstate lives in the context, and a thread of the pool must obey the caller's.
        return _pool().submit(contextvars.copy_context().run, run, start, stop)
    except RuntimeError:
        return None


@functools.cache
def cores() -> int:
    """Cores for elementwise work: those this process may use, or fewer if BLAS is told so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    limits = [os.environ.get(v, "") for v in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")]
    return max(1, min([allowed or 1] + [int(v) for v in limits if v.isdecimal()]))


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="minivae")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork: the child makes its own
    os.register_at_fork(after_in_child=_pool.cache_clear)


def import_cupy() -> Any:
    """CuPy with a device that answers, or one line that says what is missing."""
    try:
        import cupy
    except ImportError:
        raise RuntimeError(
            "the device 'cuda' needs CuPy: pip install 'minivae[cuda12]' or 'minivae[cuda13]', "
            "whichever CUDA version your driver supports (nvidia-smi shows it)"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy raises its own types, and a broken driver raises others
        count, reason = 0, f" ({error})"
    else:
        reason = ""
    if count == 0:
        raise RuntimeError(f"CuPy is installed but finds no CUDA device{reason}: use 'cpu'")
    return cupy
