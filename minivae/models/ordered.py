"""The exact log p(x) of a network that predicts in an order: no code, no sample, no bound."""

from typing import NamedTuple, Protocol

from minivae.arrays import Array, namespace
from minivae.distributions import Bernoulli, Categorical
from minivae.parameters import Layer


class OrderedNetwork(Protocol):
    """What `autoregressive` needs: a masked network, its input, and what its output means."""

    @property
    def network(self) -> Layer:
        """What turns the columns of x into logits, each from those before it."""

    def columns(self, x: Array) -> Array:
        """What the network sees of x."""

    def predict(self, logits: Array) -> Bernoulli | Categorical:
        """p(x_i | x before i) of all variables."""


class LogLikelihood(NamedTuple):
    """log p(x) of each example, exactly, in nats.

    log_px  (B,)
    loss    ()    -mean(log_px).
    """

    log_px: Array
    loss: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        return {"log_px": self.log_px}


def autoregressive(model: OrderedNetwork, x: Array, gradient: bool = True) -> LogLikelihood:
    """log p(x) itself, one factor for each variable; its gradient is added as in `elbo`.

        log p(x) = sum_i log p(x_i | x before i)

    Lay it beside `elbo`: there is no code, so no sample, no KL and no bound.  One network computes
    all factors, since its masks let each output see only what comes before.

    Shapes  x (B, M); see `LogLikelihood` for the result.
    Unit    nats per example.
    Source  Germain, Gregor, Murray and Larochelle (2015), equations 2 to 4.
    """
    xp = namespace(x)
    B = x.shape[0]

    # The loss, downwards.
    v = model.columns(x)  # pixels as they are, codes one-hot
    logits, cache = model.network.forward(v)
    p = model.predict(logits)  # p(x_i | x before i)
    seen = xp.reshape(v, p.logits.shape)
    log_px = p.log_prob(seen)  # (B,)
    loss = -xp.mean(log_px)
    result = LogLikelihood(log_px, loss)
    if not gradient:
        return result

    # Its gradient, upwards.
    dlog_px = -1.0 / B
    (score,) = p.score(seen)
    dlogits = xp.reshape(dlog_px * score, logits.shape)
    model.network.backward(dlogits, cache, need_dx=False)
    return result
