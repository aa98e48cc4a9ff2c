"""Training from a file larger than memory: its rate beside the same batches from memory.

    python benchmarks/memory_map.py --folder DIR

A file of 4 GB is made in a new folder inside DIR, and deleted at the end. Two processes train the
same network on the same batches, whose rows lie all over the file: one reads them through the
memory map (`load_file`, `Streamed`), the other has taken them into an array before. They take
turns, and their losses must agree. Before the clock starts the file is in the system's cache, so
what is measured is the price of the map and not the speed of a disk; and what comes before the
first epoch (the SHA-256 of the file, one pass to check the numbers) is not in the rate.

The gate: the median rate from the map is at least 0.90 of that from memory, and the process with
the map never has 600 MB of anonymous memory (RssAnon: its own, without the pages of files, which
the system takes back when it needs room). The exit status is 0 if both hold.
"""

# minivae comes before NumPy, because it chooses the kernel of NumPy's BLAS.
from minivae import VAE, Adam, Architecture, smoothed_mean, train

# isort: split
import argparse
import json
import multiprocessing
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contestants import Size
from train_step import machine, parse_size

from minivae.datasets import Streamed, load_file

NAMES = ("mapped", "memory")
RATIO, ANONYMOUS = 0.90, 600e6  # the gate: at least, and less than (bytes)
CHUNK = 2**24  # numbers that are made at a time


class Plan(NamedTuple):
    """What both processes do."""

    path: str
    size: Size
    steps: int

    def batches(self, x: Streamed) -> Streamed:
        """The rows of all steps, drawn without repetition from all over ``x``."""
        if self.steps * self.size.B > len(x):
            raise SystemExit(f"{len(x)} rows are too few for {self.steps} steps")
        drawn = np.random.default_rng(1).permutation(len(x))[: self.steps * self.size.B]
        return Streamed(x, np.delete(np.arange(len(x)), drawn))


def make_file(path: Path, gigabytes: float, columns: int) -> None:
    """A .npy file (N, columns) float32 of so many GB, a tenth of its pixels on, the others off."""
    rows = max(1, round(gigabytes * 1e9 / (4 * columns)))
    free = shutil.disk_usage(path.parent).free
    if 4.4 * rows * columns > free:
        raise SystemExit(f"{path.parent}: {gigabytes} GB do not fit, {free / 1e9:.1f} GB are free")
    array = np.lib.format.open_memmap(path, "w+", np.float32, (rows, columns))
    rng, step = np.random.default_rng(0), max(1, CHUNK // columns)
    for start in range(0, rows, step):
        part = array[start : start + step]
        part[...] = rng.random(part.shape, np.float32) < 0.1
    array.flush()


def warm(path: Path) -> None:
    """Read all of a file once, so that the system has it in its cache."""
    with path.open("rb") as file:
        while file.read(2**24):
            pass


def serve(name: str, plan: Plan, pipe: Connection) -> None:
    """A worker's life: prepare, say how many rows there are, train whenever asked, end on None."""
    with watched() as most:
        data = load_file(plan.path, in_memory=False)
        mean = smoothed_mean(data.train.x)
        x = plan.batches(data.train.x)
        given = x if name == "mapped" else x[:]
        pipe.send(len(data.train))
        for _ in iter(pipe.recv, None):
            seconds, loss = _trained(plan, given, mean)
            pipe.send((seconds, loss, most[0]))


def _trained(plan: Plan, x: Any, mean: np.ndarray) -> tuple[float, float]:
    """Seconds of an epoch, without what comes before it, and its mean loss."""
    D, H, K, B = plan.size
    model = VAE(Architecture(D, K, (H,)), mean)
    history = train(model, x, epochs=1, batch_size=B, optimizer=Adam(), progress=False)
    return history["seconds"][0], -history["train_elbo"][0]


@contextmanager
def watched(interval: float = 0.02) -> Iterator[list[int]]:
    """The most anonymous memory of this process so far, in bytes, as a list of one number."""
    most, over = [anonymous_memory()], threading.Event()

    def watch() -> None:
        while not over.wait(interval):
            most[0] = max(most[0], anonymous_memory())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def anonymous_memory() -> int:
    """RssAnon of this process: what it holds but for the pages of files, in bytes; 0 if unknown."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(1024 * int(line.split()[1]) for line in file if "RssAnon" in line)
    except (OSError, StopIteration):
        return 0


class Worker:
    """A contestant in a process of its own."""

    def __init__(self, name: str, plan: Plan) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self.process = context.Process(target=serve, args=(name, plan, there), daemon=True)
        self.process.start()
        there.close()
        try:
            self.rows = self.pipe.recv()
        except EOFError:
            raise SystemExit(f"{name}: cannot begin; it says why above") from None

    def ask(self) -> tuple[float, float, int]:
        """Train once: seconds, loss, and the most anonymous memory so far."""
        self.pipe.send(True)
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.send(None)
        self.process.join()


def measure(plan: Plan, rounds: int) -> dict[str, Any]:
    """The seconds of every round, after one that is not counted, and the memory."""
    workers = {name: Worker(name, plan) for name in NAMES}
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    memory: dict[str, int] = {}
    try:
        for i in range(-1, rounds):
            losses = {}
            for name in NAMES if i % 2 == 0 else reversed(NAMES):
                took, losses[name], memory[name] = workers[name].ask()
                if i >= 0:
                    seconds[name].append(took)
            require_same(losses)
    finally:
        for worker in workers.values():
            worker.end()
    return {"rows": workers["mapped"].rows, "seconds": seconds, "anonymous": memory}


def require_same(losses: dict[str, float]) -> None:
    """Stop unless both had the same loss: on other batches their times would mean nothing."""
    a, b = losses.values()
    if not abs(a - b) <= 1e-4 * abs(a):
        raise SystemExit(f"the two did not train on the same batches: losses {losses}")


def verdict(result: dict[str, Any]) -> dict[str, Any]:
    """The ratio of the median rates, the mapped process's memory, and whether both are enough."""
    middle = {name: statistics.median(result["seconds"][name]) for name in NAMES}
    ratio, memory = middle["memory"] / middle["mapped"], result["anonymous"]["mapped"]
    return {"ratio": ratio, "anonymous": memory, "passed": ratio >= RATIO and memory < ANONYMOUS}


def table(plan: Plan, result: dict[str, Any], gate: dict[str, Any]) -> str:
    """Both rates, their ratio and the memory, as text."""
    examples = plan.steps * plan.size.B
    lines = [f"{plan.size}, {plan.steps} steps, {result['rows']:,} rows to train on"]
    for name in NAMES:
        rates = sorted(examples / s for s in result["seconds"][name])
        lines.append(
            f"  {name:8} {statistics.median(rates):10,.0f} examples/s"
            f"   [{rates[0]:,.0f} - {rates[-1]:,.0f}]"
            f"   anonymous memory {result['anonymous'][name] / 1e6:,.0f} MB"
        )
    lines.append(f"  mapped / memory {gate['ratio']:.3f} (at least {RATIO:.2f})")
    lines.append(f"  {'passed' if gate['passed'] else 'FAILED'}")
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="where the file is made for a while")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of the file; default: 4")
    parser.add_argument(
        "--size", type=parse_size, default=Size(784, 400, 20, 128), metavar="D-H-K@B"
    )
    parser.add_argument("--steps", type=int, default=1200, help="of each training")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="write every round's times there")
    return parser.parse_args()


def main() -> int:
    """Measure and print; 0 if the gate is passed."""
    options = parse_options()
    # As an exception, the request to end leads past the place that deletes the file.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = {**machine(), "load": [round(load, 2) for load in os.getloadavg()]}
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="memory-map-") as folder:
        path, start = Path(folder) / "data.npy", time.perf_counter()
        make_file(path, options.gigabytes, options.size.D)
        warm(path)
        print(f"made {path.stat().st_size / 1e9:.2f} GB in {time.perf_counter() - start:.0f} s")
        plan = Plan(str(path), options.size, options.steps)
        result = measure(plan, options.rounds)
    gate = verdict(result)
    print(table(plan, result, gate))
    print(f"  load at the end {os.getloadavg()[0]:.2f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": about, "size": str(plan.size), **result, **gate}, file)
    return 0 if gate["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
