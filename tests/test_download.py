"""The download of MNIST, from servers on this machine that fail in every way we know of."""

import contextlib
import functools
import gzip
import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivae.cli import main
from minivae.datasets import download, load_mnist, mnist
from minivae.datasets.download import cache_folder, fetch
from minivae.datasets.idx import idx_header

NAME = "some-images"
DATA = np.random.default_rng(0).integers(0, 256, 200_000, np.uint8).tobytes()
PACKED = gzip.compress(DATA, 1)
OTHERWISE = gzip.compress(DATA, 9, mtime=7)  # the same file, as another mirror might pack it
SHA256 = hashlib.sha256(DATA).hexdigest()

REAL = download.MIRRORS  # before the suite takes them away

Handler = Any
Answer = Callable[[Handler], None]


class Mirror:
    """A web server on this machine; `asked` holds the path and the Range of every request."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, str | None]] = []
        mirror = self

        class Requests(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append((self.path, self.headers.get("Range")))
                # The other side may have heard enough.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Mirror]]]:
    """Start servers, and make them the mirrors."""
    running: list[Mirror] = []

    def start(*answers: Answer) -> list[Mirror]:
        new = [Mirror(answer) for answer in answers]
        running.extend(new)
        monkeypatch.setattr(download, "MIRRORS", tuple(m.url for m in new))
        return new

    yield start
    for mirror in running:
        mirror.server.shutdown()
        mirror.server.server_close()


# ---- how a server may answer ----


def send(
    it: Handler, body: bytes, status: int = 200, length: int | None = None, **headers: str
) -> None:
    it.send_response(status)
    if length != -1:
        it.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        it.send_header(name.replace("_", "-"), value)
    it.end_headers()
    it.wfile.write(body)


def good(it: Handler, body: bytes = PACKED) -> None:
    """With Range, as the real ones."""
    asked = re.fullmatch(r"bytes=(\d+)-", it.headers.get("Range") or "")
    if asked is None:
        return send(it, body)
    start = int(asked[1])
    if start >= len(body):
        return send(it, b"", 416, Content_Range=f"bytes */{len(body)}")
    where = f"bytes {start}-{len(body) - 1}/{len(body)}"
    return send(it, body[start:], 206, Content_Range=where)


def without_range(it: Handler) -> None:
    send(it, PACKED)


def cut_off(it: Handler) -> None:
    """The connection ends in the middle."""
    send(it, PACKED[:70_000], length=len(PACKED))


def broken(it: Handler) -> None:
    send(it, b"sorry", 500)


def round_and_round(it: Handler) -> None:
    send(it, b"", 302, Location=it.path)


def of(body: bytes) -> Answer:
    return functools.partial(good, body=body)


def fetched(folder: Path) -> bytes:
    """Fetch, and look at what is there then."""
    path = fetch(folder, NAME, len(DATA), SHA256)
    assert path == folder / f"{NAME}.gz"
    assert {p.name for p in folder.iterdir()} <= {f"{NAME}.gz", ".lock"}
    return gzip.decompress(path.read_bytes())


def failed(folder: Path) -> str:
    """Fetching fails, in one line that says what to do, and leaves no file that counts as one."""
    with pytest.raises(ConnectionError) as error:
        fetch(folder, NAME, len(DATA), SHA256)
    message = str(error.value)
    assert "\n" not in message and message.startswith(f"{NAME}.gz could not be downloaded: ")
    assert "MINIVAE_DATA" in message and "folder mnist" in message
    assert {p.name for p in folder.iterdir()} <= {f"{NAME}.gz.part", ".lock"}
    return message


# ---- a download ----


def test_a_download_is_kept_and_not_repeated(tmp_path: Path, mirrors: Any) -> None:
    (mirror,) = mirrors(good)
    folder = tmp_path / "new" / "mnist"
    assert fetched(folder) == DATA and fetched(folder) == DATA
    assert mirror.asked == [(f"/{NAME}.gz", None)]


@pytest.mark.parametrize("name", [NAME, f"{NAME}.gz"])
def test_a_file_that_is_there_is_taken_as_it_is(tmp_path: Path, mirrors: Any, name: str) -> None:
    (mirror,) = mirrors(good)
    (tmp_path / name).write_bytes(b"a person put it here")
    assert fetch(tmp_path, NAME, len(DATA), SHA256) == tmp_path / name
    assert mirror.asked == []


def dead() -> str:
    """The address of a server that is no longer there."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.server_close()
    return f"http://127.0.0.1:{server.server_port}/"


@pytest.mark.parametrize(
    "bad",
    [
        broken, cut_off, round_and_round, of(PACKED[:-1]), of(PACKED[:9]), of(b""), of(DATA),
        of(gzip.compress(DATA[:-1] + b"!")), of(gzip.compress(DATA + b"!")), of(PACKED + b"!"),
        of(gzip.compress(DATA[:-1])), of(PACKED + PACKED), lambda it: it.connection.close(),
        lambda it: it.wfile.write(b"what?\r\n\r\n"),
        lambda it: send(it, PACKED, 404), lambda it: send(it, PACKED, length=10**18),
        lambda it: send(it, b"", 302, Location="file:///etc/passwd"),
        lambda it: send(it, b"", 302, Location="http://" + "a" * 70 + "/"),
    ],
)  # fmt: skip
def test_a_bad_mirror_is_passed_over(
    tmp_path: Path, mirrors: Any, bad: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = mirrors(bad, good)
    assert fetched(tmp_path) == DATA
    assert first.asked and len(second.asked) == 1
    again = tmp_path / "again"
    monkeypatch.setattr(download, "MIRRORS", (first.url,))
    assert first.url in failed(again)
    monkeypatch.setattr(download, "MIRRORS", (second.url,))
    assert fetched(again) == DATA


def test_a_dead_mirror_is_passed_over(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror,) = mirrors(good)
    monkeypatch.setattr(download, "MIRRORS", (dead(), mirror.url))
    assert fetched(tmp_path) == DATA


def test_a_silent_mirror_is_passed_over(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    over = threading.Event()

    def silent(it: Handler) -> None:
        over.wait(20)

    def halfway(it: Handler) -> None:
        send(it, PACKED[:1000], length=len(PACKED))
        over.wait(20)

    try:
        *_, last = mirrors(silent, halfway, good)
        assert fetched(tmp_path) == DATA
        assert last.asked == [(f"/{NAME}.gz", "bytes=1000-")]
        mirrors(silent)
        assert "timed out" in failed(tmp_path / "again")
    finally:
        over.set()


def test_when_all_fail_each_says_why(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = gzip.compress(bytes(len(DATA)))
    bad = mirrors(broken, round_and_round, of(wrong), cut_off)
    gone = dead()
    monkeypatch.setattr(download, "MIRRORS", (*download.MIRRORS, gone))
    message = failed(tmp_path)
    reasons = [f"{mirror.url} (" for mirror in bad] + [f"{gone} ("]
    assert [message.count(reason) for reason in reasons] == [1] * 5
    for word in ("HTTP 500", "infinite loop", "SHA-256", "ended after 70000 of", "refused"):
        assert word in message, message
    digest = hashlib.sha256(bytes(len(DATA))).hexdigest()
    assert digest[:12] in message and SHA256[:12] in message


def test_without_any_mirror(tmp_path: Path) -> None:
    assert "there is no mirror" in failed(tmp_path)


# ---- going on after an interruption ----


def part(folder: Path, data: bytes) -> Path:
    path = folder / f"{NAME}.gz.part"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("have", [1, 70_000, len(PACKED) - 1])
def test_only_the_missing_bytes_are_asked_for(tmp_path: Path, mirrors: Any, have: int) -> None:
    sent = []

    def counting(it: Handler) -> None:
        good(it)
        sent.append(len(PACKED) - int(it.headers["Range"][6:-1]))

    (mirror,) = mirrors(counting)
    part(tmp_path, PACKED[:have])
    assert fetched(tmp_path) == DATA
    assert mirror.asked == [(f"/{NAME}.gz", f"bytes={have}-")]
    assert sent == [len(PACKED) - have]


def test_the_next_mirror_goes_on_where_the_connection_ended(tmp_path: Path, mirrors: Any) -> None:
    first, second = mirrors(cut_off, good)
    assert fetched(tmp_path) == DATA
    assert first.asked == [(f"/{NAME}.gz", None)]
    assert second.asked == [(f"/{NAME}.gz", "bytes=70000-")]


def test_the_next_call_goes_on_where_the_last_one_ended(tmp_path: Path, mirrors: Any) -> None:
    mirrors(cut_off)
    failed(tmp_path)
    assert (tmp_path / f"{NAME}.gz.part").read_bytes() == PACKED[:70_000]
    (mirror,) = mirrors(good)
    assert fetched(tmp_path) == DATA
    assert mirror.asked == [(f"/{NAME}.gz", "bytes=70000-")]


def test_a_server_without_range_begins_anew(tmp_path: Path, mirrors: Any) -> None:
    (mirror,) = mirrors(without_range)
    part(tmp_path, PACKED[:70_000])
    assert fetched(tmp_path) == DATA and len(mirror.asked) == 1


def test_mirrors_that_pack_differently_do_not_mix(tmp_path: Path, mirrors: Any) -> None:
    first, second = mirrors(cut_off, of(OTHERWISE))
    assert PACKED[:70_000] != OTHERWISE[:70_000]
    assert fetched(tmp_path) == DATA
    assert second.asked == [(f"/{NAME}.gz", "bytes=70000-"), (f"/{NAME}.gz", None)]


@pytest.mark.parametrize("junk", [b"\0" * 70_000, b"\0" * len(PACKED), b"\0" * 10**6])
def test_a_part_that_is_junk_is_thrown_away(tmp_path: Path, mirrors: Any, junk: bytes) -> None:
    (mirror,) = mirrors(good)
    part(tmp_path, junk)
    assert fetched(tmp_path) == DATA
    assert mirror.asked[-1] == (f"/{NAME}.gz", None)


def test_a_whole_part_only_lacks_its_name(tmp_path: Path, mirrors: Any) -> None:
    (mirror,) = mirrors(good)
    part(tmp_path, PACKED)
    assert fetched(tmp_path) == DATA and len(mirror.asked) == 1


@pytest.mark.parametrize("where", ["bytes 0-9/10", "bytes 69999-9/10", "lines 70000-9/10", "", "x"])
def test_another_part_than_was_asked_for_is_not_appended(
    tmp_path: Path, mirrors: Any, where: str
) -> None:
    mirrors(lambda it: send(it, PACKED[70_000:], 206, Content_Range=where))
    part(tmp_path, PACKED[:70_000])
    assert "another part" in failed(tmp_path)
    assert (tmp_path / f"{NAME}.gz.part").read_bytes() == PACKED[:70_000]


def test_a_wrong_file_is_deleted(tmp_path: Path, mirrors: Any) -> None:
    mirrors(of(gzip.compress(b"x" * len(DATA))))
    assert "SHA-256" in failed(tmp_path)
    assert not (tmp_path / f"{NAME}.gz.part").exists()


def test_a_killed_download_leaves_a_part_and_no_file(tmp_path: Path, mirrors: Any) -> None:
    begun, over = threading.Event(), threading.Event()

    def slow(it: Handler) -> None:
        send(it, PACKED[:150_000], length=len(PACKED))
        it.wfile.flush()
        begun.set()
        over.wait(20)

    (mirror,) = mirrors(slow)
    code = (
        "import sys; from pathlib import Path; from minivae.datasets import download as d;"
        f"d.MIRRORS = ({mirror.url!r},);"
        f"d.fetch(Path(sys.argv[1]), {NAME!r}, {len(DATA)}, {SHA256!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    path = tmp_path / f"{NAME}.gz.part"
    try:
        assert begun.wait(60)
        while not (path.exists() and path.stat().st_size):
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        over.set()
    assert not (tmp_path / f"{NAME}.gz").exists()
    have = path.stat().st_size
    assert path.read_bytes() == PACKED[:have]
    (mirror,) = mirrors(good)
    assert fetched(tmp_path) == DATA  # the lock ended with the process
    assert mirror.asked == [(f"/{NAME}.gz", f"bytes={have}-")]


def test_two_at_once_download_once(tmp_path: Path, mirrors: Any) -> None:
    pytest.importorskip("fcntl")
    first = threading.Event()

    def slow(it: Handler) -> None:
        first.wait(5)
        good(it)

    (mirror,) = mirrors(slow)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(fetched(tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not mirror.asked:
        assert any(thread.is_alive() for thread in threads)
    first.set()
    for thread in threads:
        thread.join()
    assert results == [DATA] * 3 and len(mirror.asked) == 1


# ---- no more than is due ----


def test_a_download_that_never_ends_is_ended(tmp_path: Path, mirrors: Any) -> None:
    def endless(it: Handler) -> None:
        it.send_response(200)
        it.end_headers()
        while True:
            it.wfile.write(bytes(2**16))

    mirrors(endless)
    assert "more than" in failed(tmp_path)
    assert not (tmp_path / f"{NAME}.gz.part").exists()


def test_a_file_that_claims_to_be_too_long_is_not_read(tmp_path: Path, mirrors: Any) -> None:
    mirrors(lambda it: send(it, b"", length=10**12))
    assert "1000000000000 bytes, expected at most" in failed(tmp_path)


def test_a_small_file_that_unpacks_to_anything_is_not_unpacked(
    tmp_path: Path, mirrors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = gzip.compress(bytes(2**24), 9)
    assert len(bomb) < len(DATA)
    unpacked = []
    real = download.zlib.decompressobj

    def counting(*args: Any) -> Any:
        class It:
            def __init__(self) -> None:
                self.real = real(*args)

            def decompress(self, data: bytes, limit: int) -> bytes:
                out = self.real.decompress(data, limit)
                unpacked.append(len(out))
                return out

            def __getattr__(self, name: str) -> Any:
                return getattr(self.real, name)

        return It()

    mirrors(of(bomb))
    monkeypatch.setattr(download.zlib, "decompressobj", counting)
    assert f"of {len(DATA)} unpacked bytes" in failed(tmp_path)
    assert sum(unpacked) <= len(DATA) + 2**17 and max(unpacked) <= 2**16


# ---- the cache folder ----


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINIVAE_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("MINIVAE_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = cache_folder()
    assert tmp_path in folder.parents or not sys.platform.startswith("linux")
    assert folder.name == "minivae" and not folder.exists()


def test_no_test_can_reach_the_internet(tmp_path: Path) -> None:
    """Neither here nor in a process of its own."""
    assert download.MIRRORS == ()
    code = "from minivae.datasets import load_mnist; load_mnist()"
    environ = {k: v for k, v in os.environ.items() if k != "MINIVAE_DATA"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert "ConnectionError: train-images-idx3-ubyte.gz could not be downloaded" in done.stderr
    assert done.stderr.count("https://") == 2 and done.stderr.count("refused") == 2
    assert os.environ["MINIVAE_CACHE"] not in ("", str(Path.home() / ".cache" / "minivae"))


# ---- MNIST ----


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bytes]:
    """Files like MNIST's, but of 40 and 20 images, and where they are put: packed, by address."""
    monkeypatch.setenv("MINIVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    monkeypatch.setattr(mnist, "N_TRAIN", 40)
    rng, files, packed = np.random.default_rng(0), {}, {}
    for name, (shape, _) in mnist.FILES.items():
        shape = (40 if "train" in name else 20, *shape[1:])
        array = rng.integers(0, 10 if len(shape) == 1 else 256, shape).astype(np.uint8)
        raw = idx_header(shape) + array.tobytes()
        files[name] = (shape, hashlib.sha256(raw).hexdigest())
        packed[f"/{name}.gz"] = gzip.compress(raw)
    monkeypatch.setattr(mnist, "FILES", files)
    return packed


def test_mnist_is_downloaded_once_and_read_from_the_cache(
    tiny: dict[str, bytes], mirrors: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def serve(it: Handler) -> None:
        good(it, tiny[it.path])

    (mirror,) = mirrors(serve)
    data = load_mnist(n_valid=5)  # a warning about other bytes would be an error
    assert [len(s) for s in (data.train, data.valid, data.test)] == [35, 5, 20]
    assert [path for path, _ in mirror.asked] == list(tiny)
    raw = [gzip.decompress(body) for body in tiny.values()]
    assert data.sha256 == hashlib.sha256(b"".join(raw)).hexdigest()
    assert np.array_equal(load_mnist(n_valid=5).train.x, data.train.x)
    assert len(mirror.asked) == 4
    names = {p.name for p in (tmp_path / "cache" / "mnist").iterdir()} - {".lock"}
    assert names == {path[1:] for path in tiny}
    assert capsys.readouterr() == ("", "")  # the bar is for a terminal
    (tmp_path / "cache" / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    load_mnist(n_valid=5)
    assert len(mirror.asked) == 5 and "t10k-labels" in mirror.asked[-1][0]


def test_a_place_that_was_named_is_not_filled(
    tiny: dict[str, bytes], mirrors: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror,) = mirrors(good)
    monkeypatch.setenv("MINIVAE_DATA", str(tmp_path))
    for _ in range(2):  # without the folder, and with an empty one
        with pytest.raises(FileNotFoundError, match="mnist"):
            load_mnist(n_valid=5)
        (tmp_path / "mnist").mkdir(exist_ok=True)
    with pytest.raises(FileNotFoundError):
        load_mnist(tmp_path / "mine", n_valid=5)
    assert mirror.asked == [] and not (tmp_path / "cache").exists()


def test_the_command_line_says_in_one_line_what_to_do(
    mirrors: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mirrors(broken, broken)
    monkeypatch.setenv("MINIVAE_CACHE", str(tmp_path))
    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    assert main(["train", "--data", "mnist"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.count("HTTP 500") == 2 and "MINIVAE_DATA" in error


def test_the_mirrors_and_sizes_are_those_of_the_real_files() -> None:
    """The sizes follow from the shapes."""
    assert len(REAL) == 2 and all(u.startswith("https://") and u.endswith("/mnist/") for u in REAL)
    sizes = [len(idx_header(shape)) + int(np.prod(shape)) for shape, _ in mnist.FILES.values()]
    assert sizes == [47_040_016, 60_008, 7_840_016, 10_008]
