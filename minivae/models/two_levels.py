"""Two levels of codes: a few for large parts of an image, and one for each patch given those."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import Any, ClassVar

import numpy as np

from minivae.arrays import Array, beside, joined, namespace
from minivae.codebook import Codebook
from minivae.layers import Dense, Stack
from minivae.models.quantisation import Quantised
from minivae.models.quantised_networks import QuantisedArchitecture
from minivae.models.vector_quantised import VQVAE
from minivae.parameters import Layer
from minivae.patches import Gather, grid, patches, whole


@dataclass(frozen=True)
class TwoLevelArchitecture(QuantisedArchitecture):
    """Everything that determines the networks of two levels.

    top  a code of the upper level stands for top x top patches, and divides their grid; 0 takes
         the smallest number above 1 that does.
    """

    top: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        common = gcd(*self.grid)
        fit = [n for n in range(1, common + 1) if common % n == 0]
        if self.top == 0:
            object.__setattr__(self, "top", fit[1] if common > 1 else 1)
        if self.top not in fit:
            down, across = self.grid
            raise ValueError(
                f"expected a top that divides the {down} x {across} patches "
                f"({', '.join(map(str, fit))}), got {self.top}"
            )

    @property
    def n_top(self) -> int:
        """The codes of the upper level."""
        down, across = grid(self.grid, self.top)
        return down * across

    @property
    def M(self) -> int:
        """The codes of an image: those of the upper level, then one for each patch."""
        return self.n_top + self.positions

    @property
    def features(self) -> int:
        """The numbers that the encoder makes of each patch."""
        return self.hidden[0] if self.hidden else self.code_size

    def feature_network(self) -> Stack:
        """x (B, D) -> h (B * positions, H), the same layers for every patch."""
        window = patches(self.image_shape, self.patch, self.context * self.patch)
        n, widths = window.index.shape[1], self.hidden
        if not widths:
            return Stack(window, Dense(n, self.features, "glorot"))
        last = Dense((n, *widths)[-1], self.features, "glorot")
        return Stack(window, *self.trunk(n, widths), last)

    def upper(self) -> Stack:
        """h (B * positions, H) -> z (B * n_top, C) of the upper level."""
        part = patches((*self.grid, self.features), self.top, rows=self.positions)
        return Stack(part, Dense(part.index.shape[1], self.code_size, "glorot"))

    def spread(self) -> Stack:
        """Entries of the upper level (B * n_top, C) -> u (B * positions, C), for each patch."""
        C = self.code_size
        apart = whole((*self.grid, C), self.top)
        rows = Gather(apart.index.reshape(self.positions, C), apart.n_in, self.n_top)
        return Stack(Dense(C, self.top**2 * C, "glorot"), rows)


class TwoLevelVQVAE(VQVAE):
    """h = f(x);  t = nearest entry to g(h);  u = s(t);  b = nearest entry to k(h, u);  p(x|b, u).

    The upper codes stand for several patches each, and the lower ones are chosen, and decoded,
    given what the upper ones say.  The codes of an image are the upper ones and then the lower
    ones, so that a prior in this order draws the large parts first.  Both levels have one codebook
    (Razavi and others have one each): the numbers of all codes mean the same entries.

    Source  Razavi, van den Oord and Vinyals (2019).
    """

    Architecture: ClassVar[Any] = TwoLevelArchitecture

    def make_parts(self, data_mean: np.ndarray | None) -> dict[str, Layer]:
        """The features, both encoders, the codebook, and the decoder of both."""
        a = self.architecture
        self.encoder, self.upper, self.spread = a.feature_network(), a.upper(), a.spread()
        self.lower = Dense(a.features + a.code_size, a.code_size, "glorot")
        self.codebook = Codebook(a.n_codes, a.code_size)
        self.decoder = a.decoder(data_mean, 2 * a.code_size)
        self.before_epoch()
        self.rule: dict[str, Any] = dict(self.OPTIONS)
        parts: Mapping[str, Layer] = {
            "encoder": self.encoder, "upper": self.upper, "spread": self.spread,
            "lower": self.lower, "codebook": self.codebook, "decoder": self.decoder,
        }  # fmt: skip
        return dict(parts)

    def unquantised(self, x: Array) -> Array:
        """The vectors of both levels, those of the lower given the upper one's as they are."""
        h, _ = self.encoder.forward(x)
        t, _ = self.upper.forward(h)
        u, _ = self.spread.forward(t)
        return joined([t, self.lower.forward(beside(h, u))[0]])

    def quantised(self, x: Array, commitment: float, weight: float, gradient: bool) -> Quantised:
        """`minivae.models.quantisation.quantised`, twice: each level has its distance.

        u is used by the lower code and by the decoder, h by both codes: their gradients add.
        """
        xp, a, book = namespace(x), self.architecture, self.codebook
        B, C, H = x.shape[0], a.code_size, a.features

        # The loss, downwards.
        h, enc_cache = self.encoder.forward(x)
        z_t, upper_cache = self.upper.forward(h)
        t, index_t = book.forward(z_t)
        u, spread_cache = self.spread.forward(t)
        z_b, lower_cache = self.lower.forward(beside(h, u))
        b, index_b = book.forward(z_b)
        out, dec_cache = self.decoder.forward(beside(b, u))
        p = self.likelihood(*out)  # p(x|b, u)
        log_px = p.log_prob(x)
        away_t, away_b = z_t - t, z_b - b
        distance = sum(xp.sum(xp.reshape(v * v, (B, -1)), axis=1) for v in (away_t, away_b))
        loss = xp.mean((weight + commitment) * distance - log_px)
        z, index = joined([z_t, z_b]), joined([index_t, index_b])
        result = Quantised(log_px, distance, loss, z, index)
        if not gradient:
            return result

        # Its gradient, upwards: pixels, lower code, upper code, features.
        dout = tuple((-1.0 / B) * score for score in p.score(x))
        dbu: Any = self.decoder.backward(dout, dec_cache)
        dz_b = book.backward(dbu[:, :C], index_b) + (2.0 * commitment / B) * away_b
        dhu: Any = self.lower.backward(dz_b, lower_cache)
        dt: Any = self.spread.backward(dbu[:, C:] + dhu[:, H:], spread_cache)
        dz_t = book.backward(dt, index_t) + (2.0 * commitment / B) * away_t
        dh = dhu[:, :H] + self.upper.backward(dz_t, upper_cache)
        if weight != 0.0:
            book.learn((-2.0 * weight / B) * joined([away_t, away_b]), index)
        self.encoder.backward(dh, enc_cache, need_dx=False)
        return result

    def codes(self, x: Array) -> Array:
        """The numbers of the entries: (B, n_top + positions), the upper ones first."""
        a = self.architecture
        h, _ = self.encoder.forward(self.array(x))
        t, index_t = self.codebook.forward(self.upper.forward(h)[0])
        u, _ = self.spread.forward(t)
        _, index_b = self.codebook.forward(self.lower.forward(beside(h, u))[0])
        xp = namespace(index_t)
        upper, lower = xp.reshape(index_t, (-1, a.n_top)), xp.reshape(index_b, (-1, a.positions))
        return beside(upper, lower)

    def decode(self, z: Array) -> Any:
        """p(x|b, u) for the entries of B images, (B, M C), the upper ones first."""
        a, z = self.architecture, self.array(z)
        xp, C = namespace(z), self.architecture.code_size
        t = xp.reshape(z[:, : a.n_top * C], (-1, C))
        b = xp.reshape(z[:, a.n_top * C :], (-1, C))
        u, _ = self.spread.forward(t)
        params, _ = self.decoder.forward(beside(b, u))
        return self.likelihood(*params)
