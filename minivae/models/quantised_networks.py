"""The networks of a VQ-VAE: the layers of every patch, and what a code's neighbours add."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from minivae.layers import ACTIVATIONS, Constant, Dense, Heads, SoftClip, Stack
from minivae.models.networks import (
    LOGIT_LIMIT,
    PIXEL_LOGVAR_LIMIT,
    Architecture,
    output_bias,
)
from minivae.parameters import Layer
from minivae.patches import Shift, grid, patches, whole


@dataclass(frozen=True)
class QuantisedArchitecture:
    """Everything that determines a VQ-VAE's networks.

    image_shape  (height, width), or with channels; D is their product.
    patch        side of a patch in pixels, which divides both: an image has M patches and codes.
    context      neighbours that are looked at on each side: the encoder sees that many patches
                 around a patch, the decoder that many codes around a code.
    n_codes      entries of the codebook.
    code_size    C, numbers of an entry.
    hidden       widths of the encoder's hidden layers, for each patch; the decoder has them in
                 reverse.  The other fields are those of `Architecture`.
    Raises       ValueError, one line that says what was expected and what came.
    """

    image_shape: Sequence[int]
    patch: int = 4
    context: int = 1
    n_codes: int = 128
    code_size: int = 16
    hidden: Sequence[int] = field(default=(128,))
    activation: str = "relu"
    likelihood: str = "bernoulli"
    variance: str = "shared"
    sigma: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        if len(self.image_shape) not in (2, 3) or min(self.image_shape) < 1:
            raise ValueError(f"expected image_shape (height, width), got {self.image_shape}")
        grid(self.image_shape, self.patch)
        for name, least in (("n_codes", 2), ("code_size", 1), ("context", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} of at least {least}, got {getattr(self, name)}")
        self.dense(self.n_features, self.code_size)  # judges the other fields

    @property
    def n_features(self) -> int:
        """D, the number of pixels times channels."""
        return math.prod(self.image_shape)

    @property
    def grid(self) -> tuple[int, int]:
        """How many codes there are, down and across."""
        return grid(self.image_shape, self.patch)

    @property
    def positions(self) -> int:
        """The patches of an image."""
        return math.prod(self.grid)

    @property
    def M(self) -> int:
        """The codes of an image: one for each patch."""
        return self.positions

    @property
    def latent(self) -> int:
        """The numbers of all entries that stand for an image, M C."""
        return self.M * self.code_size

    @property
    def patch_size(self) -> int:
        """The numbers of a patch: side^2, times the channels."""
        return self.n_features // self.positions

    def dense(self, n_in: int, n_out: int) -> Architecture:
        """The plain architecture with the same choices, whose trunks are used for patches."""
        return Architecture(
            n_in, n_out, self.hidden, self.activation, self.likelihood, self.variance, self.sigma
        )

    def fewest_weights(self) -> int:
        """No model of this architecture has fewer parameters: a check before any is made."""
        return self.n_codes * self.code_size + self.n_features

    def encoder(self) -> Stack:
        """x (B, D) -> z (B * M, C), the same layers for every patch and what is around it."""
        margin = self.context * self.patch
        window = patches(self.image_shape, self.patch, margin)
        return Stack(
            window,
            *self.trunk(window.index.shape[1], self.hidden),
            Dense((window.index.shape[1], *self.hidden)[-1], self.code_size, "glorot"),
        )

    def trunk(self, n_in: int, widths: Sequence[int]) -> list[Layer]:
        """Dense layers and activations, one after the other."""
        layers: list[Layer] = []
        for n_out in widths:
            layers += [Dense(n_in, n_out, "he"), ACTIVATIONS[self.activation]()]
            n_in = n_out
        return layers

    def decoder(self, data_mean: np.ndarray | None = None, code_size: int | None = None) -> Heads:
        """e (B * M, C) -> the parameters of p(x|e), each (B, D).

        Every patch is decoded from its code and those around it, by the same layers; only the bias
        of the output is each pixel's own, and starts as that of `Architecture.decoder` does.
        """
        C = self.code_size if code_size is None else code_size
        around = patches((*self.grid, C), 1, self.context, rows=self.positions)
        widths = self.hidden[::-1]
        n = (around.index.shape[1], *widths)[-1]
        trunk = Stack(around, *self.trunk(around.index.shape[1], widths))
        bias = output_bias(self.dense(self.n_features, 1), data_mean)
        pixels = Stack(Dense(n, self.patch_size, "glorot"), self._whole(), Shift(bias))
        if self.likelihood == "bernoulli":
            return Heads(trunk, logits=pixels)
        if self.likelihood == "continuous-bernoulli":
            return Heads(trunk, logits=Stack(pixels, SoftClip(LOGIT_LIMIT)))
        return Heads(trunk, mu=pixels, logvar=self._logvar(n))

    def _logvar(self, n: int) -> Layer:
        if self.variance != "pixel":
            value, learned = 2.0 * math.log(self.sigma), self.variance == "shared"
            return Stack(Constant(self.patch_size, value, learned), self._whole())
        limit = PIXEL_LOGVAR_LIMIT
        start = np.full(self.n_features, limit * math.atanh(2.0 * math.log(self.sigma) / limit))
        dense = Dense(n, self.patch_size, "glorot")
        return Stack(dense, self._whole(), Shift(start), SoftClip(limit))

    def _whole(self) -> Layer:
        return whole(self.image_shape, self.patch)


def require_codes(architecture: QuantisedArchitecture, N: int) -> None:
    """Raise ValueError if N images have fewer codes than the codebook has entries."""
    there = N * architecture.M
    if architecture.n_codes > there:
        raise ValueError(
            f"expected n_codes of at most {there:,}, the codes of {N:,} images, "
            f"got {architecture.n_codes:,}"
        )
