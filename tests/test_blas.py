"""What is asked of OpenBLAS before NumPy is loaded, and what is reported after.

The decision is a pure function and is tested over a table. The rest runs in fresh interpreters,
because the variables act once, at the first import of NumPy, and this process has it already.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLAS = ROOT / "minivae" / "blas.py"
KERNEL, PATIENCE = "OPENBLAS_CORETYPE", "OPENBLAS_THREAD_TIMEOUT"
LINUX = sys.platform == "linux"

ALL_FLAGS = "fpu sse2 avx avx2 fma avx512f avx512dq avx512cd avx512bw avx512vl avx512_bf16"
BOTH = {KERNEL: "SkylakeX", PATIENCE: "16"}
REST = {PATIENCE: "16"}


def load_by_path() -> ModuleType:
    """blas.py without the package around it."""
    spec = importlib.util.spec_from_file_location("blas_by_path", BLAS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


blas = load_by_path()

BY_PATH = f"""
import importlib.util, json, os, sys
spec = importlib.util.spec_from_file_location("blas_by_path", {str(BLAS)!r})
blas = importlib.util.module_from_spec(spec)
spec.loader.exec_module(blas)
"""
PACKAGE = "import json, os, sys\nimport minivae\nfrom minivae import blas\n"
SHOW = f"print(json.dumps([os.environ.get(n) for n in ({KERNEL!r}, {PATIENCE!r})]))"


def fresh(code: str, **variables: str) -> list[str | None]:
    """Run code in a new interpreter without OpenBLAS variables except these; its JSON output."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS_", "GOTO_", "OMP_"))}
    paths = [str(ROOT), *filter(None, [env.get("PYTHONPATH")])]
    env |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def this_machine() -> list[str | None]:
    """What a clean environment should become here, found by other means than blas.py's."""
    if not LINUX:
        return [None, None]
    text = Path("/proc/cpuinfo").read_text()
    amd = re.search(r"^vendor_id\s*:\s*AuthenticAMD$", text, re.M) is not None
    flags = re.search(r"^flags\s*:(.*)$", text, re.M)
    parts = [rf"\bavx512{part}\b" for part in ("f", "dq", "bw", "vl", "cd")]
    able = amd and flags is not None and all(re.search(part, flags[1]) for part in parts)
    return ["SkylakeX" if able else None, "16"]


def cpuinfo(vendor: str, flags: str, second: str = "") -> str:
    """A text like the kernel's, for a machine with two processors."""

    def block(number: int, flags: str) -> str:
        rows = (("processor", number), ("vendor_id", vendor), ("model name", "x : y"))
        tail = (("flags", flags), ("bugs", "none"), ("power management", ""))
        return "".join(f"{key}\t: {value}\n" for key, value in rows + tail) + "\n"

    return block(0, flags) + block(1, second or flags)


AMD = cpuinfo("AuthenticAMD", ALL_FLAGS)
TABLE = {
    "AMD with AVX-512": (AMD, "linux", {}, {"sys"}, BOTH),
    "AMD, other variables set": (AMD, "linux", {"OPENBLAS_NUM_THREADS": "2"}, set(), BOTH),
    "AMD without AVX-512": (cpuinfo("AuthenticAMD", "fpu avx avx2"), "linux", {}, set(), REST),
    "Intel with AVX-512": (cpuinfo("GenuineIntel", ALL_FLAGS), "linux", {}, set(), REST),
    "Hygon": (cpuinfo("HygonGenuine", ALL_FLAGS), "linux", {}, set(), REST),
    "no cpuinfo": ("", "linux", {}, set(), REST),
    "ARM's cpuinfo": ("processor\t: 0\nFeatures\t: fp asimd\n", "linux", {}, set(), REST),
    "nonsense": ("\0:::\n:\nvendor_id\nflags", "linux", {}, set(), REST),
    "Windows": (AMD, "win32", {}, set(), {}),
    "macOS": (AMD, "darwin", {}, set(), {}),
    "NumPy is there": (AMD, "linux", {}, {"sys", "numpy"}, {}),
    "a part of NumPy's name": (AMD, "linux", {}, {"numpydoc"}, BOTH),
    "kernel chosen by the user": (AMD, "linux", {KERNEL: "Haswell"}, set(), REST),
    "kernel left empty by the user": (AMD, "linux", {KERNEL: ""}, set(), REST),
    "patience chosen by the user": (AMD, "linux", {PATIENCE: "30"}, set(), {KERNEL: "SkylakeX"}),
    "patience left empty": (AMD, "linux", {PATIENCE: ""}, set(), {KERNEL: "SkylakeX"}),
    "both chosen": (AMD, "linux", {KERNEL: "Zen", PATIENCE: "4"}, set(), {}),
} | {
    f"AMD lacks {flag}": (
        cpuinfo("AuthenticAMD", " ".join(f for f in ALL_FLAGS.split() if f != flag)),
        "linux",
        {},
        set(),
        REST,
    )
    for flag in ("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd")
}


@pytest.mark.parametrize("case", TABLE)
def test_decision(case: str) -> None:
    text, platform, environ, modules, expected = TABLE[case]
    assert blas.wanted_settings(text, platform, environ, modules) == expected


def test_decision_needs_flags_of_one_processor_not_of_all_together() -> None:
    text = cpuinfo("AuthenticAMD", "fpu avx2", second=ALL_FLAGS)
    assert blas.wanted_settings(text, "linux", {}, set()) == REST


def test_decision_leaves_its_arguments_alone() -> None:
    environ: dict[str, str] = {}
    blas.wanted_settings(AMD, "linux", environ, set())
    assert environ == {}


# ---- blas.py by itself, in a fresh interpreter ----


def test_loading_blas_does_not_load_numpy() -> None:
    code = BY_PATH + "blas.prefer_fast_kernel(); blas.let_threads_rest()\n"
    code += "seen = ['numpy' in sys.modules, blas.loaded_kernel(), blas.loaded_threads()]\n"
    code += "print(json.dumps(seen + ['numpy' in sys.modules]))"
    assert fresh(code) == [False, "unknown", None, False]


def test_the_functions_set_one_variable_each_and_say_so() -> None:
    kernel, patience = this_machine()
    code = BY_PATH + "print(json.dumps([blas.{f}(), os.environ.get({n!r}), blas.{f}()]))"
    expected = [kernel is not None, kernel, False]
    assert fresh(code.format(f="prefer_fast_kernel", n=KERNEL)) == expected
    expected = [patience is not None, patience, False]
    assert fresh(code.format(f="let_threads_rest", n=PATIENCE)) == expected
    assert fresh(code.format(f="prefer_fast_kernel", n=PATIENCE))[1] is None
    assert fresh(code.format(f="let_threads_rest", n=KERNEL))[1] is None


def test_nothing_is_set_in_this_process_which_has_numpy() -> None:
    import numpy  # noqa: F401

    before = dict(os.environ)
    assert not blas.prefer_fast_kernel()
    assert not blas.let_threads_rest()
    assert dict(os.environ) == before


@pytest.mark.skipif(not LINUX, reason="the waiting of worker threads is changed on Linux only")
def test_resting_threads_burn_no_processor_time() -> None:
    """The reason for OPENBLAS_THREAD_TIMEOUT, seen: processor time used while we are asleep."""
    code = BY_PATH + "rest = blas.let_threads_rest() if {rest} else None\n"
    code += "import time, numpy as np\nx = np.ones((512, 512), np.float32)\nx @ x\n"
    code += "start = time.process_time(); time.sleep(0.15)\n"
    code += "print(json.dumps([blas.loaded_threads(), time.process_time() - start]))"
    threads, spinning = fresh(code.format(rest=False))
    if not isinstance(threads, int) or threads < 2:
        pytest.skip(f"needs an OpenBLAS with two threads, found {threads}")
    _, resting = fresh(code.format(rest=True))
    assert isinstance(spinning, float) and isinstance(resting, float)
    if spinning < 0.01:
        pytest.skip("this build's worker threads do not spin")
    assert resting < spinning / 2


# ---- what the package does when it is imported ----


def test_import_sets_the_variables_if_and_only_if_this_machine_qualifies() -> None:
    assert fresh(PACKAGE + SHOW) == this_machine()


@pytest.mark.parametrize("kernel", ["Haswell", ""])
@pytest.mark.parametrize("patience", ["26", ""])
def test_import_leaves_what_the_user_has_set(kernel: str, patience: str) -> None:
    assert fresh(PACKAGE + SHOW, **{KERNEL: kernel, PATIENCE: patience}) == [kernel, patience]


def test_import_after_numpy_sets_nothing() -> None:
    assert fresh("import numpy\n" + PACKAGE + SHOW) == [None, None]


def test_the_setting_arrives_in_the_library() -> None:
    """Where SkylakeX was asked for, an OpenBLAS of NumPy's own wheel uses it."""
    code = PACKAGE + "import numpy\nprint(json.dumps([blas.loaded_kernel(), numpy.__file__]))"
    kernel, _ = fresh(code)
    if this_machine()[0] is None or kernel == "unknown":
        pytest.skip("this processor is not asked for another kernel, or the BLAS is not OpenBLAS")
    assert kernel == "SkylakeX"


# ---- the truth about what is loaded ----

BOTH_WAYS = (
    "import ctypes, numpy\n"
    "print(json.dumps([blas._by_threadpoolctl('architecture'),"
    " (blas._by_ctypes('openblas_get_corename', ctypes.c_char_p) or b'').decode(),"
    " blas.loaded_kernel(), blas._by_threadpoolctl('num_threads'),"
    " blas._by_ctypes('openblas_get_num_threads', ctypes.c_int), blas.loaded_threads()]))"
)


@pytest.mark.skipif(not LINUX, reason="the library itself is asked on Linux only")
@pytest.mark.parametrize("kernel", ["", "Haswell", "Nehalem"])
def test_threadpoolctl_and_the_library_agree(kernel: str) -> None:
    pytest.importorskip("threadpoolctl")
    one, other, loaded, n_one, n_other, n = fresh(PACKAGE + BOTH_WAYS, **{KERNEL: kernel})
    if one is None:
        pytest.skip("this NumPy's BLAS is not OpenBLAS")
    assert one == other == loaded
    assert n_one == n_other == n
    assert isinstance(n, int) and n >= 1


def test_the_number_of_threads_is_the_one_asked_for() -> None:
    code = PACKAGE + "import numpy\nprint(json.dumps([blas.loaded_threads()]))"
    assert fresh(code, OPENBLAS_NUM_THREADS="1") in ([1], [None])


@pytest.mark.parametrize("wrong", ["NoSuchKernel", "Zen", "\U0001f40c"])
def test_a_wrong_name_is_not_believed(wrong: str) -> None:
    """OpenBLAS takes another kernel without a word; the report names that one."""
    pytest.importorskip("threadpoolctl")
    code = PACKAGE + "import numpy, threadpoolctl\n"
    code += "info = [i for i in threadpoolctl.threadpool_info() if i['user_api'] == 'blas']\n"
    code += "print(json.dumps([os.environ['OPENBLAS_CORETYPE'], blas.loaded_kernel()]"
    code += " + [i.get('architecture') for i in info][:1]))"
    asked, told, *truth = fresh(code, **{KERNEL: wrong})
    assert asked == wrong
    assert told == (truth[0] if truth and truth[0] else "unknown")
    if wrong != "Zen":  # some builds do have a Zen kernel
        assert told != wrong


def test_without_threadpoolctl_the_library_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = blas.loaded_kernel(), blas.loaded_threads()
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert blas._by_threadpoolctl("architecture") is None
    if LINUX:
        assert (blas.loaded_kernel(), blas.loaded_threads()) == expected


@pytest.mark.parametrize("answer", [RuntimeError("no"), KeyError("x"), [], [{}], None, 3])
def test_a_broken_threadpoolctl_is_survived(
    answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def threadpool_info() -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    fake = ModuleType("threadpoolctl")
    fake.threadpool_info = threadpool_info  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "threadpoolctl", fake)
    assert isinstance(blas.loaded_kernel(), str)
    assert blas.loaded_threads() is None or blas.loaded_threads() >= 1


@pytest.mark.parametrize(
    "maps",
    [
        "",
        "nonsense\n\n1 2 3\n",
        "7f0-7f1 r-xp 0 08:01 1 /nowhere/libopenblas.so.0\n",
        "7f0-7f1 r-xp 0 08:01 1 /nowhere/libopenblas.so.0 (deleted)\n",
        f"7f0-7f1 r-xp 0 08:01 1 {BLAS}\n7f0-7f1 rw-p 0 00:00 0 [heap]\n",
    ],
)
def test_without_a_library_the_answer_is_unknown(
    maps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.setattr(blas, "_read", lambda path: maps)
    assert blas.loaded_kernel() == "unknown"
    assert blas.loaded_threads() is None


def test_of_two_libraries_numpys_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "7f0-7f1 r-xp 0 08:01 1 {}\n"
    paths = ["/a b/scipy.libs/libscipy_openblas-1.so", "/a b/numpy.libs/libscipy_openblas64_-2.so"]
    monkeypatch.setattr(blas, "_read", lambda path: "".join(map(line.format, paths * 2)))
    assert blas._loaded_openblas() == paths
    assert blas._numpys_first(paths) == paths[::-1]


def test_a_missing_file_of_the_kernel_is_an_empty_text(tmp_path: Path) -> None:
    assert blas._read(str(tmp_path / "cpuinfo")) == ""


def test_threads_are_fewer_inside_and_as_before_outside() -> None:
    code = """
import minivae, numpy as np
from minivae import blas
before = blas.loaded_threads()
with blas.threads(1):
    inside = blas.loaded_threads()
    with blas.threads(64):
        more = blas.loaded_threads()
with blas.threads(None):
    same = blas.loaded_threads()
try:
    with blas.threads(1):
        raise KeyError
except KeyError:
    pass
print(before, inside, more, same, blas.loaded_threads())
"""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("OPENBLAS", "OMP"))}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    before, inside, more, same, after = out.stdout.split()
    assert inside == more == ("None" if before == "None" else "1")
    assert before == same == after


def test_small_products_have_one_thread_and_large_ones_all() -> None:
    assert blas.worthwhile_threads(64 * 64 * 256) == 1
    assert blas.worthwhile_threads(128 * 784 * 400) is None
