"""The objective of the VQ-VAE; lay it beside `minivae.objectives.reconstruction`."""

from typing import NamedTuple, Protocol

from minivae.arrays import Array, namespace
from minivae.codebook import Codebook
from minivae.objectives import Networks


class QuantisedNetworks(Networks, Protocol):
    """What `quantised` needs of a model: a codebook between the networks."""

    codebook: Codebook


class Quantised(NamedTuple):
    """The terms of the VQ-VAE of each example; see `quantised`.

    reconstruction  (B,)       log p(x|e), in nats.
    distance        (B,)       sum over its codes of |z - e|^2, in squares of a code's unit.
    loss            ()         what the gradient differentiates, straight-through apart.
    z               (B * M, C) the encoder's vectors.
    index           (B * M,)   the numbers of their entries: the code.
    """

    reconstruction: Array
    distance: Array
    loss: Array
    z: Array
    index: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        return {"reconstruction": self.reconstruction, "distance": self.distance}


def quantised(
    model: QuantisedNetworks,
    x: Array,
    commitment: float = 0.25,
    codebook: float = 1.0,
    gradient: bool = True,
) -> Quantised:
    """The VQ-VAE: log p(x|e) from the entries e nearest to z = f(x), and two pulls between them.

        loss = 1/B sum_b [ -log p(x_b|e_b)  +  codebook sum_m |sg(z_bm) - e_bm|^2
                                            +  commitment sum_m |z_bm - sg(e_bm)|^2 ]

    The two sums have one value, the distance, but sg says what is held fixed: the first pulls the
    entries to the codes, the second the codes to their entries.  Sums run over the M codes of an
    image and the numbers of a code, the mean over the batch.  log p(x|e) reaches z by the
    straight-through estimator: what arrives at e is handed to z as it is.  Entries that follow by
    moving averages (`minivae.codebook.moved`) have codebook = 0.

    The loss is no bound on -log p(x): there is no prior over codes in it.  With one, -log p(codes)
    - log p(x|e) is a bound; see `minivae.evaluation.quantised`.

    Shapes  x (B, D); z, e (B * M, C).
    Unit    nats per example, and squares of a code's unit.
    Source  van den Oord, Vinyals and Kavukcuoglu (2017), equation 3.
    """
    xp = namespace(x)
    B = x.shape[0]

    # The loss, downwards.
    z, enc_cache = model.encoder.forward(x)  # (B * M, C)
    e, index = model.codebook.forward(z)
    out, dec_cache = model.decoder.forward(e)
    p = model.likelihood(*out)  # p(x|e)
    log_px = p.log_prob(x)  # (B,)
    away = z - e
    distance = xp.sum(xp.reshape(away * away, (B, -1)), axis=1)  # (B,)
    loss = xp.mean((codebook + commitment) * distance - log_px)
    result = Quantised(log_px, distance, loss, z, index)
    if not gradient:
        return result

    # Its gradient, upwards.
    dlog_px = -1.0 / B
    dout = tuple(dlog_px * score for score in p.score(x))
    de = model.decoder.backward(dout, dec_cache)
    dz = model.codebook.backward(de, index)  # straight through
    dz = dz + (2.0 * commitment / B) * away  # the codes to their entries ...
    if codebook != 0.0:
        model.codebook.learn((-2.0 * codebook / B) * away, index)  # ... and the entries to them
    model.encoder.backward(dz, enc_cache, need_dx=False)
    return result
