"""The implementations that `train_step.py` times: one network, data, loss and optimiser in each.

Each has `about`, which says what it is, `put` (an array to its device), `wait` (until a result is
there), `step`, and what must agree before anything is timed: `gradient` and `theta`.
"""

# minivae comes before NumPy, because it chooses the kernel of NumPy's BLAS.
import minivae

# isort: split
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minivae.arrays import Array, cores, generator, namespace, standard_normal, to_device, to_numpy
from minivae.blas import loaded_kernel
from minivae.objectives import elbo

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
LIMIT = 15.0  # of the log-variance, as in minivae.models.networks
CHECKED_STEPS = 3  # the betas of Adam cancel in its first step


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
