"""One training step of a Bernoulli VAE: minivae beside PyTorch, JAX and the bare matrix products.

    python benchmarks/train_step.py

The same network, data, loss and optimiser in each; before anything is timed, loss, gradient and a
few steps of Adam must agree.  README.md beside this file says what is measured and how.

Each implementation lives in a process of its own, blocked on a pipe while another one works: in one
process the idle threads of each library, which spin for a while, would take cores from the next.
"""

# minivae comes before NumPy, because it chooses the kernel of NumPy's BLAS.
from minivae.arrays import cores

# isort: split
import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from contestants import IMPLEMENTATIONS, RATE, Absent, Size

TOLERANCE = {"loss": 1e-5, "gradient": 5e-4, "update": 2e-2}


def serve(name: str, size: Size, device: str, pipe: Connection) -> None:
    """A worker's life: say who it is, answer the three questions of `Worker`, end on None."""
    try:
        it = IMPLEMENTATIONS[name](size, device)
    except (Absent, ImportError, RuntimeError) as error:
        pipe.send(Absent(str(error)))
        return
    batches = [it.put(x) for x in size.data()]
    pipe.send(it.about)
    for steps in iter(pipe.recv, None):
        pipe.send(_timed(it, batches, steps) if steps else _agreed(it, batches, size))


def _timed(it: Any, batches: list[Any], steps: int) -> float:
    """Seconds per step, after a few steps that wake threads and caches."""
    for i in range(3):
        result = it.step(batches[i])
    it.wait(result)
    start = time.perf_counter()
    for i in range(steps):
        result = it.step(batches[i % len(batches)])
    it.wait(result)
    return (time.perf_counter() - start) / steps


def _agreed(it: Any, batches: list[Any], size: Size) -> dict[str, list[np.ndarray]]:
    """What must be equal in all: losses, gradient, and how far the first steps move theta."""
    before, noise = it.theta(), [it.put(eps) for eps in size.noise()]
    gradient = it.gradient(batches[0], noise[0])
    losses = [np.array(float(it.step(batches[i], eps))) for i, eps in enumerate(noise)]
    update = [after - b for after, b in zip(it.theta(), before, strict=True)]
    return {"loss": losses, "gradient": gradient, "update": update}


class Worker:
    """An implementation in a process of its own."""

    def __init__(self, name: str, size: Size, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.name, (self.pipe, there) = name, context.Pipe()
        self.process = context.Process(target=serve, args=(name, size, device, there), daemon=True)
        self.process.start()
        there.close()
        self.about = self.pipe.recv()

    def ask(self, steps: int) -> Any:
        """Seconds per step over so many steps, or with 0 the numbers of `_agreed`."""
        self.pipe.send(steps)
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.send(None)
        self.process.join()


class Disagreement(Exception):
    """Two implementations do not compute the same thing, so their times mean nothing."""


def difference(what: str, a: np.ndarray, b: np.ndarray) -> float:
    """Relative difference of a from b; of updates, the 99 % quantile in learning rates.

    The direction of Adam's step is as good as unknown where a gradient is zero but for rounding:
    a handful of coordinates may differ by a whole learning rate, a wrong optimiser moves them all.
    """
    if what == "update":
        return float(np.quantile(np.abs(a - b), 0.99)) / RATE
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def compare(names: list[str], answers: list[dict[str, list[np.ndarray]]]) -> dict[str, float]:
    """The largest difference of each quantity, over its arrays, from the first answer's.

    Raises  Disagreement above the tolerances.
    """
    worst = dict.fromkeys(TOLERANCE, 0.0)
    for name, answer in zip(names, answers, strict=True):
        for what, limit in TOLERANCE.items():
            for a, b in zip(answer[what], answers[0][what], strict=True):
                error = difference(what, a, b)
                if not error <= limit:
                    raise Disagreement(f"{what} of {name} and {names[0]} differ by {error:.1e}")
                worst[what] = max(worst[what], error)
    return worst


def measure(
    size: Size, names: list[str], rounds: int, seconds: float, device: str
) -> dict[str, Any]:
    """All implementations at one size: seconds per step in every round, and who was left out."""
    started = [Worker(name, size, device) for name in names]
    workers = [w for w in started if not isinstance(w.about, Absent)]
    try:
        real = [w for w in workers if w.name != "floor"]
        differences = compare([w.name for w in real], [w.ask(0) for w in real])
        times = _times(workers, rounds, seconds)
    finally:
        for w in workers:
            w.end()
    return {
        "size": str(size),
        "seconds": times,
        "differences": differences,
        "about": {w.name: w.about for w in workers},
        "absent": {w.name: str(w.about) for w in started if isinstance(w.about, Absent)},
    }


def _times(workers: list[Worker], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per step in every round, which each second time goes through them backwards."""
    steps = {w.name: max(1, round(seconds / w.ask(2))) for w in workers}
    times: dict[str, list[float]] = {w.name: [] for w in workers}
    for i in range(rounds):
        for w in workers if i % 2 == 0 else reversed(workers):
            times[w.name].append(w.ask(steps[w.name]))
    return times


def table(result: dict[str, Any]) -> str:
    """The medians over the rounds, and the ratio to ours within each round, as text."""
    times = result["seconds"]
    lines = [f"{result['size']:24}   ms/step   minivae / it   [min - max]"]
    for name, seconds in times.items():
        line = f"  {name:22} {1e3 * statistics.median(seconds):9.3f}"
        if name != "minivae" and "minivae" in times:
            ratios = [ours / its for ours, its in zip(times["minivae"], seconds, strict=True)]
            middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
            line += f"   {middle:12.2f}   [{low:.2f} - {high:.2f}]"
        lines.append(line)
    lines += [f"  {name:22} left out: {why}" for name, why in result["absent"].items()]
    if result["differences"]:
        agreed = (f"{what} {error:.0e}" for what, error in result["differences"].items())
        lines.append("  largest difference: " + ", ".join(agreed))
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """The processor and the versions."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            models = [line.partition(":")[2].strip() for line in file if "model name" in line]
    except OSError:
        models = []
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": cores(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def parse_size(text: str) -> Size:
    """``784-400-20@128`` as a `Size`."""
    numbers = [int(n) for n in text.replace("@", "-").split("-")]
    if len(numbers) != 4 or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"expected a size like 784-400-20@128, got {text!r}")
    return Size(*numbers)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [Size(784, 400, 20, 128), Size(784, 200, 20, 20), Size(784, 1024, 20, 1024)]
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=sizes, metavar="D-H-K@B")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="per implementation and round")
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, default=[*IMPLEMENTATIONS])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", metavar="FILE", help="write every round's times there")
    return parser.parse_args()


def main() -> int:
    """Measure and print every size; 0 if all agree."""
    options = parse_options()
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    results = []
    for size in options.sizes:
        chosen = (options.only, options.rounds, options.seconds, options.device)
        results.append(measure(size, *chosen))
        if size is options.sizes[0]:
            print("; ".join(dict.fromkeys(results[0]["about"].values())))
        print("\n" + table(results[-1]), flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": about, "device": options.device, "results": results}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
