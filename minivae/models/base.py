"""What every model has: parameters on a device, and the way to and from NumPy arrays."""

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minivae.arrays import Array, Device, cast, dtype_name, generator, like, standard_normal
from minivae.datasets.values import require_finite, require_numbers, require_unit_interval
from minivae.distributions import Bernoulli, ContinuousBernoulli, Gaussian
from minivae.models.networks import LIKELIHOODS, Architecture
from minivae.parameters import Layer, Parameters

GREY = (
    "grey pixels under a Bernoulli: the numbers are no likelihood; "
    "binarisation='new' draws black and white"
)
INITIAL_VALUES = 1
"""The purpose, in the key (seed, epoch, purpose) of the generator, of a model's first theta."""


class Model:
    """Networks with parameters; subclasses say which networks, and which objective.

    architecture  a value of the class ``Architecture`` of this model.
    data_mean     (D,) mean of the training data, where the decoder's bias starts.
    seed, dtype, device  of the parameters; see `minivae.arrays`.

    A new model is one file: a subclass with an objective, and what differs of the class attributes

    Architecture  the frozen dataclass that determines its networks, saved with the model.
    OPTIONS       what its objective can be asked for while training, and the defaults.
    BOUND         those of them that say which bound it is, and so count for held-out data, too.
    conditional   whether its objective takes a condition ``y`` beside ``x``.
    """

    Architecture: ClassVar[Any] = Architecture
    OPTIONS: ClassVar[Mapping[str, float | int | str]] = {}
    BOUND: ClassVar[tuple[str, ...]] = ()
    conditional: ClassVar[bool] = False

    encoder: Layer
    decoder: Layer
    likelihood: type[Any]

    def __init__(
        self,
        architecture: Any,
        data_mean: np.ndarray | None = None,
        seed: int = 0,
        dtype: str = "float32",
        device: Device = "cpu",
    ) -> None:
        if dtype not in ("float32", "float64"):
            raise ValueError(f"expected dtype 'float32' or 'float64', got {dtype!r}")
        self.architecture, self.device = architecture, device
        self.likelihood = LIKELIHOODS[architecture.likelihood]
        rng = generator("cpu", seed, 0, INITIAL_VALUES)
        self.parameters = Parameters(self.make_parts(data_mean), rng, dtype, device)

    def make_parts(self, data_mean: np.ndarray | None) -> dict[str, Layer]:
        """The networks by name, in the order of theta; also attributes of the model."""
        self.encoder = self.make_encoder()
        self.decoder = self.architecture.decoder(data_mean)
        return {"encoder": self.encoder, "decoder": self.decoder}

    def make_encoder(self) -> Layer:
        """The network that turns x into a code, or into the parameters of q(z|x)."""
        raise NotImplementedError

    def start(self, x: Array, rng: Any) -> None:
        """Before the first step, with training data x (N, D): for what needs more than a mean."""

    def before_epoch(self) -> None:
        """Before each epoch, and again if one is repeated: for what counts within an epoch."""

    def after_step(self, result: Any) -> None:
        """After each step of the optimiser: for what is learned without a gradient.

        What it changes must stand in theta, so that it is saved, resumed and put back.
        """

    def after_epoch(self, rng: Any) -> dict[str, float]:
        """After each epoch, before held-out data are looked at; more columns of its row."""
        return {}

    def objective(self, x: Array, rng: Any, gradient: bool = True, **options: Any) -> Any:
        """The objective of a batch x (B, D), with noise from ``rng``; adds to the gradient."""
        raise NotImplementedError

    def means(self, x: Array) -> Array:
        """The code of each example, (B, D) -> (B, K): the mean of q(z|x), or the point f(x).

        Raises  ValueError if the model has no such codes.
        """
        raise ValueError(f"a model of the kind {type(self).__name__} has no latent codes")

    def decode(self, z: Array) -> Bernoulli | ContinuousBernoulli | Gaussian:
        """p(x|z) for codes z (B, K)."""
        params, _ = self.decoder.forward(self.array(z))
        return self.likelihood(*params)

    def reconstruct(self, x: Array) -> Array:
        """The mean of p(x|z) at the mean code of x: (B, D) -> (B, D).  No sample, and no bound."""
        return self.decode(self.means(x)).mean

    def sample(self, n: int, rng: Any) -> Array:
        """Means of p(x|z) for n codes z ~ N(0, 1): (n, D).

        To sample pixels too, draw from the distribution: ``model.decode(z).sample(noise)``.
        """
        z = standard_normal(rng, (n, self.architecture.latent), self.parameters.theta)
        return self.decode(z).mean

    def check(self, x: Array) -> Array:
        """``x`` itself, if it is data that this model can take.

        x       (N, D), N at least 1, of real numbers; an array in memory or a `Streamed`, which is
                read once from end to end.
        Raises  ValueError, one line, for what is no array of real numbers, another shape, no
                examples, a value that is not finite (in the model's dtype), or one outside [0, 1]
                where the likelihood is a Bernoulli, continuous or not; it names the first place.
        """
        D = self.architecture.n_features
        if not hasattr(x, "dtype"):
            raise ValueError(f"expected an array of shape (N, {D}), got a {type(x).__name__}")
        require_numbers(x.dtype)
        if x.ndim != 2 or x.shape[1] != D or len(x) == 0:
            raise ValueError(f"expected data of shape (N, {D}) with N of at least 1, got {x.shape}")
        low, high = require_finite(x)
        dtype = dtype_name(self.parameters.theta)
        if max(-low, high) > float(np.finfo(dtype).max):
            raise ValueError(f"expected data in the range of {dtype}, got {low:g} to {high:g}")
        if self.likelihood in (Bernoulli, ContinuousBernoulli):
            name = "Bernoulli" if self.likelihood is Bernoulli else "continuous Bernoulli"
            require_unit_interval(x, f"a {name}")
        return x

    def check_conditions(self, y: Array, n: int) -> Array:
        """``y`` itself, if it can be the conditions of n examples; ValueError, one line, if not."""
        if y.ndim != 2 or len(y) != n:
            raise ValueError(f"expected conditions of shape ({n}, C), got {tuple(y.shape)}")
        return y

    def warn_if_grey(self, x: Array, stacklevel: int = 3) -> None:
        """A warning if a Bernoulli is to score grey values: the number would be no likelihood."""
        if self.likelihood is Bernoulli and bool(((x[:1000] != 0.0) & (x[:1000] != 1.0)).any()):
            warnings.warn(GREY, stacklevel=stacklevel)

    def twin(self, dtype: str | None = None) -> Self:
        """A model with the same numbers in its own theta and a grad of its own.

        For a computation that needs `backward` but must leave this model's gradient alone, or that
        wants the same numbers in another dtype (by default it keeps this one).
        """
        theta = self.parameters.theta
        dtype = dtype_name(theta) if dtype is None else dtype
        other = type(self)(self.architecture, dtype=dtype, device=self.device)
        other.parameters.theta[...] = cast(theta, other.parameters.theta)
        return other

    def array(self, x: Array) -> Array:
        """A NumPy array ``x`` in the model's dtype, on its device; any other is left as it is.

        Its rows lie one after another in memory (C order): columns that were chosen by a mask come
        from NumPy in Fortran order, and a batch of rows of that is far slower to take.
        """
        if not isinstance(x, np.ndarray):
            return x
        theta = self.parameters.theta
        return like(x.astype(dtype_name(theta), order="C", copy=False), theta)
