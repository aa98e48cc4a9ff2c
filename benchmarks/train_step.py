"""One training step of a Bernoulli VAE: minivae beside PyTorch, JAX and the bare matrix products.

    python benchmarks/train_step.py

The same network, data, loss and optimiser in each; before anything is timed, loss, gradient and a
few steps of Adam must agree.  README.md beside this file says what is measured and how.

Each implementation lives in a process of its own, blocked on a pipe while another one works: in one
process the idle threads of each library, which spin for a while, would take cores from the next.
"""

# minivae comes before NumPy, because it chooses the kernel of NumPy's BLAS.
import minivae

# isort: split
import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from minivae.arrays import Array, cores, generator, namespace, standard_normal, to_device, to_numpy
from minivae.blas import loaded_kernel
from minivae.objectives import elbo

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
LIMIT = 15.0  # of the log-variance, as in minivae.models.networks
CHECKED_STEPS = 3  # the betas of Adam cancel in its first step
TOLERANCE = {"loss": 1e-5, "gradient": 5e-4, "update": 2e-2}


class Size(NamedTuple):
    """Width of the data, of the hidden layers and of the code; examples per batch."""

    D: int
    H: int
    K: int
    B: int

    def __str__(self) -> str:
        return f"{self.D}-{self.H}-{self.K}@{self.B}"

    def data(self) -> np.ndarray:
        """4 to 50 batches of black and white pixels, (N, B, D): some often white, most seldom."""
        rng = np.random.default_rng(0)
        shape = (max(4, min(50, 20_000 // self.B)), self.B, self.D)
        return (rng.random(shape, np.float32) < rng.random(self.D) ** 4).astype(np.float32)

    def noise(self) -> np.ndarray:
        """The eps of the agreed steps, (CHECKED_STEPS, B, K)."""
        shape = (CHECKED_STEPS, self.B, self.K)
        return np.random.default_rng(1).standard_normal(shape, np.float32)

    def model(self, device: str) -> minivae.VAE:
        """Our model; its first theta is everybody's."""
        architecture = minivae.Architecture(self.D, self.K, (self.H,))
        return minivae.VAE(architecture, seed=0, device=device)

    def start(self) -> list[np.ndarray]:
        """W and b of the five affine maps: x -> h, h -> mu, h -> logvar, z -> h, h -> logits."""
        parameters = self.model("cpu").parameters
        return list(parameters.views(parameters.theta).values())


class Absent(Exception):
    """This implementation cannot run here; the message says why."""


class Minivae:
    """The step of `minivae.training.train`, without its bookkeeping."""

    def __init__(self, size: Size, device: str) -> None:
        self.size, self.device, self.model = size, device, size.model(device)
        self.optimizer = minivae.Adam(RATE, BETA1, BETA2, EPSILON)
        self.rng = generator(device, 0)
        self.about = f"minivae {minivae.__version__} (NumPy {np.__version__}, {loaded_kernel()})"

    def step(self, x: Array, eps: Array | None = None) -> Array:
        if eps is None:
            eps = standard_normal(self.rng, (self.size.B, self.size.K), x)
        parameters = self.model.parameters
        parameters.zero_grad()
        loss = elbo(self.model, x, eps[None]).loss
        self.optimizer.step(parameters.theta, parameters.grad)
        return loss

    def gradient(self, x: Array, eps: Array) -> list[np.ndarray]:
        self.model.parameters.zero_grad()
        elbo(self.model, x, eps[None])
        return self._arrays(self.model.parameters.grad)

    def put(self, x: np.ndarray) -> Array:
        return to_device(x, self.device)

    def wait(self, result: Any) -> None:
        if self.device == "cuda":
            namespace(result).cuda.get_current_stream().synchronize()

    def theta(self) -> list[np.ndarray]:
        return self._arrays(self.model.parameters.theta)

    def _arrays(self, vector: Array) -> list[np.ndarray]:
        return [to_numpy(a).copy() for a in self.model.parameters.views(vector).values()]


class Floor(Minivae):
    """The fourteen matrix products of the step and nothing else, with the same library."""

    def __init__(self, size: Size, device: str) -> None:
        super().__init__(size, device)
        rng, (D, H, K, B) = np.random.default_rng(0), size
        maps = [(D, H), (H, K), (H, K), (K, H), (H, D)]
        shapes = [s for n_in, n_out in maps for s in ((B, n_in), (n_in, n_out), (B, n_out))]
        arrays = [self.put(rng.random(s, np.float32)) for s in shapes]
        self.products = [tuple(arrays[i : i + 3]) for i in range(0, 15, 3)]

    def step(self, x: Array, eps: Array | None = None) -> Array:
        for i, (inputs, W, dy) in enumerate(self.products):
            y = (inputs if i else x) @ W
            _ = (inputs if i else x).T @ dy
            if i > 0:
                _ = dy @ W.T
        return y


class Torch:
    """PyTorch as its tutorials write it: eager, `nn.Linear`, Adam with its defaults."""

    fused: bool | None = None

    def __init__(self, size: Size, device: str) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            raise Absent("torch.cuda.is_available() is False")
        torch.set_num_threads(cores())
        torch.manual_seed(0)
        self.torch, self.size, self.device = torch, size, device
        self.about = f"torch {torch.__version__}"
        start = [torch.from_numpy(a) for a in size.start()]
        self.maps = [torch.nn.Linear(*W.shape, device=device) for W in start[::2]]
        with torch.no_grad():
            for layer, W, b in zip(self.maps, start[::2], start[1::2], strict=True):
                layer.weight.copy_(W.T)
                layer.bias.copy_(b)
        self.parameters = [p for layer in self.maps for p in (layer.weight, layer.bias)]
        self.optimizer = torch.optim.Adam(
            self.parameters, RATE, (BETA1, BETA2), EPSILON, fused=self.fused
        )

    def loss(self, x: Any, eps: Any) -> Any:
        torch, functional = self.torch, self.torch.nn.functional
        to_hidden, to_mu, to_logvar, from_code, to_logits = self.maps
        h = torch.relu(to_hidden(x))
        mu, logvar = to_mu(h), LIMIT * torch.tanh(to_logvar(h) / LIMIT)
        z = mu + torch.exp(0.5 * logvar) * eps
        logits = to_logits(torch.relu(from_code(z)))
        cross = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        kl = 0.5 * torch.sum(mu * mu + torch.exp(logvar) - logvar - 1.0)
        return (cross + kl) / self.size.B

    def step(self, x: Any, eps: Any = None) -> Any:
        if eps is None:
            eps = self.torch.randn(self.size.B, self.size.K, device=self.device)
        self.optimizer.zero_grad()
        loss = self.loss(x, eps)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def put(self, x: np.ndarray) -> Any:
        return self.torch.from_numpy(x).to(self.device)

    def wait(self, result: Any) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def gradient(self, x: Any, eps: Any) -> list[np.ndarray]:
        self.optimizer.zero_grad()
        self.loss(x, eps).backward()
        return [p.grad.cpu().numpy().T.copy() for p in self.parameters]

    def theta(self) -> list[np.ndarray]:
        return [p.detach().cpu().numpy().T.copy() for p in self.parameters]


class TorchFused(Torch):
    """The same with the optimiser in one kernel."""

    fused = True


class Jax:
    """JAX: noise, loss, gradient and Adam in one jitted function that overwrites its state."""

    def __init__(self, size: Size, device: str) -> None:
        import jax

        if device == "cuda" and jax.default_backend() != "gpu":
            raise Absent(f"jax {jax.__version__} has no GPU here")
        if device == "cpu":
            jax.config.update("jax_platforms", "cpu")
        self.jax, self.size, self.about = jax, size, f"jax {jax.__version__}"
        theta = [jax.numpy.array(a) for a in size.start()]
        m, v = [[jax.numpy.zeros_like(a) for a in theta] for _ in range(2)]
        self.state = (theta, m, v, jax.numpy.zeros(()), jax.random.key(0))
        self.update = jax.jit(self._update, donate_argnums=0)

    def step(self, x: Any, eps: Any = None) -> Any:
        self.state, loss = self.update(self.state, x, eps)
        return loss

    def loss(self, theta: list[Any], x: Any, eps: Any) -> Any:
        jnp = self.jax.numpy
        affine = list(zip(theta[::2], theta[1::2], strict=True))
        h = jnp.maximum(x @ affine[0][0] + affine[0][1], 0.0)
        mu = h @ affine[1][0] + affine[1][1]
        logvar = LIMIT * jnp.tanh((h @ affine[2][0] + affine[2][1]) / LIMIT)
        z = mu + jnp.exp(0.5 * logvar) * eps
        h = jnp.maximum(z @ affine[3][0] + affine[3][1], 0.0)
        a = h @ affine[4][0] + affine[4][1]
        cross = jnp.sum(jnp.maximum(a, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(a))) - x * a)
        return (cross + 0.5 * jnp.sum(mu * mu + jnp.exp(logvar) - logvar - 1.0)) / self.size.B

    def _update(self, state: Any, x: Any, eps: Any) -> Any:
        jax, (theta, m, v, t, key) = self.jax, state
        if eps is None:
            key, subkey = jax.random.split(key)
            eps = jax.random.normal(subkey, (self.size.B, self.size.K))
        loss, grad = jax.value_and_grad(self.loss)(theta, x, eps)
        t = t + 1.0
        m = [BETA1 * a + (1.0 - BETA1) * g for a, g in zip(m, grad, strict=True)]
        v = [BETA2 * a + (1.0 - BETA2) * g * g for a, g in zip(v, grad, strict=True)]
        c = jax.numpy.sqrt(1.0 - BETA2**t)
        rate = RATE * c / (1.0 - BETA1**t)
        moved = [
            p - rate * a / (jax.numpy.sqrt(b) + EPSILON * c)
            for p, a, b in zip(theta, m, v, strict=True)
        ]
        return (moved, m, v, t, key), loss

    def put(self, x: np.ndarray) -> Any:
        return self.jax.device_put(x)

    def wait(self, result: Any) -> None:
        self.jax.block_until_ready((result, self.state))

    def gradient(self, x: Any, eps: Any) -> list[np.ndarray]:
        grads = self.jax.jit(self.jax.grad(self.loss))(self.state[0], x, eps)
        return [np.array(g) for g in grads]

    def theta(self) -> list[np.ndarray]:
        return [np.array(a) for a in self.state[0]]


IMPLEMENTATIONS: dict[str, Callable[[Size, str], Any]] = {
    "minivae": Minivae,
    "torch": Torch,
    "torch-fused": TorchFused,
    "jax": Jax,
    "floor": Floor,
}


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
        steps = {w.name: max(1, round(seconds / w.ask(2))) for w in workers}
        times: dict[str, list[float]] = {w.name: [] for w in workers}
        for i in range(rounds):
            for w in workers if i % 2 == 0 else reversed(workers):
                times[w.name].append(w.ask(steps[w.name]))
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sizes = [Size(784, 400, 20, 128), Size(784, 200, 20, 20), Size(784, 1024, 20, 1024)]
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=sizes, metavar="D-H-K@B")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5, help="per implementation and round")
    parser.add_argument("--only", nargs="+", choices=IMPLEMENTATIONS, default=[*IMPLEMENTATIONS])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--json", metavar="FILE", help="write every round's times there")
    options = parser.parse_args()
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
