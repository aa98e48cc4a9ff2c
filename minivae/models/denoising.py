"""The denoising autoencoder: it sees a damaged copy, and is scored on the original."""

from collections.abc import Mapping
from typing import Any, ClassVar

from minivae import objectives
from minivae.arrays import Array, cast, standard_normal, uniform
from minivae.models.autoencoder import Autoencoder


class DenoisingAutoencoder(Autoencoder):
    """log p(x | z = f(x~)), where x~ is x with a fresh damage at every use.

    An autoencoder may copy; this one has to know what images look like in order to repair them.
    It is still no distribution over codes, and the loss no bound on log p(x).

    Source  Vincent, Larochelle, Bengio and Manzagol (2008), who put a fixed number of pixels of
            each image to 0; here each pixel is hit by itself, so that their number varies.  The
            other damages are of Vincent and others (2010).
    """

    OPTIONS: ClassVar[Mapping[str, float | int | str]] = {"damage": "mask", "damage_level": 0.25}
    BOUND: ClassVar[tuple[str, ...]] = ("damage", "damage_level")

    def objective(  # type: ignore[override]
        self,
        x: Array,
        rng: Any = None,
        gradient: bool = True,
        damage: str = "mask",
        damage_level: float = 0.25,
    ) -> objectives.Reconstruction:
        """log p(x | f(x~)) of x (B, D), with a damage drawn by ``rng``; see `damaged`."""
        x = self.array(x)
        seen = damaged(x, damage, damage_level, rng)
        return objectives.reconstruction(self, x, gradient, seen)


def damaged(x: Array, damage: str, level: float, rng: Any) -> Array:
    """A damaged copy of x, of its shape and dtype.

    damage  "mask"         each number is 0 with probability ``level``
            "salt-pepper"  each is 0 or 1, a fair coin, with probability ``level``
            "gaussian"     plus noise of N(0, level^2)
    Raises  ValueError for another damage, or a level that is none.
    """
    if damage not in DAMAGES:
        raise ValueError(f"expected damage one of {', '.join(DAMAGES)}; got {damage!r}")
    most = float("inf") if damage == "gaussian" else 1.0
    if not 0.0 <= level <= most or level == float("inf"):
        raise ValueError(f"expected damage_level from 0 to {most:g}, got {level}")
    if damage == "gaussian":
        return x + level * standard_normal(rng, x.shape, x)
    u = uniform(rng, x.shape, x)
    kept = cast(u >= level, x)
    if damage == "mask":
        return x * kept
    return x * kept + cast(u < 0.5 * level, x)  # half of the damaged ones are white


DAMAGES = ("mask", "salt-pepper", "gaussian")
