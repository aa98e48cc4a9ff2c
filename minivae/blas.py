"""Matrix products at full speed: two environment variables that NumPy's OpenBLAS reads once.

OpenBLAS chooses its kernel (the hand-tuned matrix product for one kind of processor) and the
patience of its worker threads while it is being loaded, that is at the first `import numpy`.
Afterwards nothing can be changed. So this module imports the standard library only, and
`import minivae` calls `prefer_fast_kernel` and `let_threads_rest` before NumPy is loaded.

Two rules: what the user has set, even to an empty string, is never touched; and if NumPy is
already there, nothing is set, because it would have no effect and would only mislead
whoever looks. What really was loaded is a question for `loaded_kernel` and `loaded_threads`:
OpenBLAS accepts any nonsense in its variables without a word.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

KERNEL = "OPENBLAS_CORETYPE"
PATIENCE = "OPENBLAS_THREAD_TIMEOUT"
UNKNOWN = "unknown"

# The parts of AVX-512 that the SkylakeX kernels are compiled with.
AVX512 = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})

# NumPy's wheels prefix the symbols of their OpenBLAS and append 64_ where integers have 64 bits.
_DECORATIONS = ("scipy_{}64_", "scipy_{}", "{}64_", "{}")


def wanted_settings(
    cpuinfo: str, platform: str, environ: Mapping[str, str], modules: Container[str]
) -> dict[str, str]:
    """The variables to set, decided from its four arguments alone.

    cpuinfo   the text of /proc/cpuinfo ("" where there is none)
    platform  sys.platform; Linux is the only one for which this was measured
    environ   the environment: a variable that is in it, also an empty one, is the user's
    modules   the names of the modules already imported: after NumPy it is too late
    Returns   name -> value, empty if nothing is to be done.
    """
    if platform != "linux" or "numpy" in modules:
        return {}
    wanted = {PATIENCE: "16"}
    if _is_amd_with_avx512(cpuinfo):
        wanted[KERNEL] = "SkylakeX"
    return {name: value for name, value in wanted.items() if name not in environ}


def prefer_fast_kernel() -> bool:
    """Ask OpenBLAS for its AVX-512 kernel on AMD processors that can run it.

    OpenBLAS recognises processors by family and model. A build that does not know an AMD processor
    falls back to a kernel for AVX2 (Haswell), although SkylakeX, written for Intel, runs there too
    and multiplies the matrices of a training step well over a third faster. A build that finds
    SkylakeX by itself loses nothing.

    Sets      OPENBLAS_CORETYPE=SkylakeX in this process (and so for its children), if this is
              Linux on AMD with avx512f, cd, bw, dq and vl, NumPy is not yet imported, and the
              variable is not set.
    Returns   True if it was set.
    """
    return _apply(KERNEL)


def let_threads_rest() -> bool:
    """Let OpenBLAS's worker threads go to sleep soon after a matrix product.

    By default they spin, waiting for the next product, for 2**26 to 2**28 ticks of the processor's
    time stamp counter, depending on the build: up to a tenth of a second in which they take a core
    from everything else, for instance from NumPy code in our own second thread. 2**16 ticks, some
    25 microseconds, are enough to wait from one product of a training step to the next.

    Sets      OPENBLAS_THREAD_TIMEOUT=16 (the exponent), if this is Linux, NumPy is not yet
              imported, and the variable is not set.
    Returns   True if it was set.
    """
    return _apply(PATIENCE)


NEEDS = {
    "SkylakeX": AVX512,
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "Sandybridge": {"avx"},
    "Nehalem": {"sse4_2"},
}
"""The kernels that may be asked for by name, and what a processor needs to run them."""


def environment(kernel: str, threads: int | None) -> dict[str, str]:
    """The environment in which a new process's OpenBLAS has this kernel and so many threads.

    A kernel that this processor cannot run, or that is not in `NEEDS`, is left out.
    """
    wanted = {} if threads is None else {"OPENBLAS_NUM_THREADS": str(threads)}
    if kernel in NEEDS and NEEDS[kernel] <= _flags(cpuinfo()):
        wanted[KERNEL] = kernel
    return wanted


def loaded_kernel() -> str:
    """The kernel that NumPy's OpenBLAS really uses, such as "SkylakeX" or "Haswell".

    Asks threadpoolctl if it is installed, else the library itself. Returns "unknown" if no
    OpenBLAS is loaded (NumPy not yet imported, or built with another BLAS). Never raises.
    """
    name = _by_threadpoolctl("architecture") or _by_ctypes("openblas_get_corename", ctypes.c_char_p)
    return name.decode("ascii", "replace") if isinstance(name, bytes) else str(name or UNKNOWN)


def loaded_threads() -> int | None:
    """The number of threads of NumPy's OpenBLAS, None if it cannot be found out. Never raises."""
    count = _by_threadpoolctl("num_threads") or _by_ctypes("openblas_get_num_threads", ctypes.c_int)
    return count if isinstance(count, int) else None


SMALL = 3_000_000
"""Multiply-adds of a matrix product below which a second thread is not worth its company."""


def worthwhile_threads(multiply_adds: int) -> int | None:
    """How many BLAS threads products of this size should have: 1, or None for as many as there are.

    Two threads of OpenBLAS wait for each other by spinning.  On two idle cores they make a small
    product hardly faster.  But when another program wants a core, too, each wait can last a whole
    time slice, and several small trainings side by side, with two threads each, slow down to a
    crawl.
    """
    return 1 if multiply_adds < SMALL else None


@contextlib.contextmanager
def threads(n: int | None) -> Iterator[None]:
    """Let OpenBLAS use at most ``n`` threads inside a with-block; None changes nothing.

    Does nothing where NumPy's BLAS is not an OpenBLAS.  It never raises the number.
    """
    before = loaded_threads() if n is not None else None
    change = _find("openblas_set_num_threads") if n is not None and before else None
    if change is None or before is None or n is None or n >= before:
        yield
        return
    change.argtypes, change.restype = (ctypes.c_int,), None
    change(n)
    try:
        yield
    finally:
        change(before)


def cpuinfo() -> str:
    """What Linux says about the processors, "" elsewhere."""
    return _read("/proc/cpuinfo")


def _apply(name: str) -> bool:
    """Set one variable if `wanted_settings` says so; True if it was set."""
    value = wanted_settings(cpuinfo(), sys.platform, os.environ, sys.modules).get(name)
    if value is None:
        return False
    os.environ[name] = value
    return True


def _first_processor(cpuinfo: str) -> dict[str, str]:
    """The fields of the first processor of a /proc/cpuinfo text."""
    first: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        first.setdefault(key.strip(), value.strip())
    return first


def _flags(cpuinfo: str) -> set[str]:
    return set(_first_processor(cpuinfo).get("flags", "").split())


def _is_amd_with_avx512(cpuinfo: str) -> bool:
    """Whether the first processor of a /proc/cpuinfo text is AMD's and has all of AVX512."""
    amd = _first_processor(cpuinfo).get("vendor_id") == "AuthenticAMD"
    return amd and AVX512.issubset(_flags(cpuinfo))


def _read(path: str) -> str:
    """The text of a file of the kernel's, "" if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _numpys_first(paths: Iterable[str]) -> list[str]:
    """SciPy brings an OpenBLAS of its own; the one that multiplies our matrices is NumPy's."""
    return sorted(paths, key=lambda path: "numpy" not in path)


def _by_threadpoolctl(field: str) -> Any:
    """A field of NumPy's OpenBLAS as threadpoolctl reports it, None if it cannot say."""
    try:
        import threadpoolctl  # optional, and slow to import for a question that is asked rarely

        info = threadpoolctl.threadpool_info()
        blas = {lib["filepath"]: lib for lib in info if lib.get("internal_api") == "openblas"}
        return next((blas[path].get(field) for path in _numpys_first(blas)), None)
    except Exception:  # a diagnosis must not end a program, whatever a foreign package does
        return None


def _by_ctypes(function: str, restype: Any) -> Any:
    """The answer of a function without arguments of the OpenBLAS in this process, or None."""
    ask = _find(function)
    if ask is None:
        return None
    ask.argtypes, ask.restype = (), restype
    return ask()


def _find(function: str) -> Any:
    """A function of the OpenBLAS that NumPy has loaded into this process, or None."""
    for path in _numpys_first(_loaded_openblas()):
        try:
            # RTLD_NOLOAD: look at what is there, never load a second copy.
            library = ctypes.CDLL(path, mode=getattr(os, "RTLD_NOLOAD", 0))
        except OSError:
            continue
        for decoration in _DECORATIONS:
            found = getattr(library, decoration.format(function), None)
            if found is not None:
                return found
    return None


def _loaded_openblas() -> list[str]:
    """The OpenBLAS shared objects that are mapped into this process, in the order of the map."""
    paths = (line.split(maxsplit=5)[5:] for line in _read("/proc/self/maps").splitlines())
    names = dict.fromkeys(path[0] for path in paths if path)
    return [p for p in names if "openblas" in os.path.basename(p).lower() and ".so" in p]
