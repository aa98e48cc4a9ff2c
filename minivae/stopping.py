"""Early stopping: when a held-out number has not improved for a while."""

import math
from collections.abc import Iterable


class Patience:
    """The best of a number that is measured after each epoch, and how long ago that was.

        patience = Patience(epochs=10)
        if patience.update(row["valid_elbo"]):  ...   # a new best: save the model
        if patience.spent:  ...                       # 10 epochs in a row without one: stop

    Higher is better, as it is for a bound.  A value is a new best if it is finite and

        value > best + min_delta

    so neither a tie nor a nan is one.  Small gains add up: best stays until they exceed min_delta.
    Nothing of this is stored.  A resumed run gets it back from its history, `Patience.after`.

    epochs      without a new best, after which it is spent.
    min_delta   in the unit of the values, nats per example for a bound.
    best        the best value, -inf before the first; best_epoch its epoch, counted from 1 as in a
                history, 0 before the first.
    epoch       how many values it has seen.
    Raises      ValueError unless epochs >= 1 and 0 <= min_delta < inf.
    Source      Goodfellow, Bengio and Courville (2016), algorithm 7.1.
    """

    def __init__(self, epochs: int, min_delta: float = 0.0) -> None:
        if epochs < 1:
            raise ValueError(f"expected a patience of at least 1 epoch, got {epochs}")
        if not 0.0 <= min_delta < math.inf:
            raise ValueError(f"expected min_delta of at least 0, got {min_delta}")
        self.epochs, self.min_delta = epochs, min_delta
        self.best, self.best_epoch, self.epoch = -math.inf, 0, 0

    @classmethod
    def after(cls, values: Iterable[float], epochs: int, min_delta: float = 0.0) -> "Patience":
        """Where it stands after ``values``, a column of a history such as valid_elbo."""
        patience = cls(epochs, min_delta)
        for value in values:
            patience.update(value)
        return patience

    def update(self, value: float) -> bool:
        """Take the value of the next epoch; True if it is a new best."""
        self.epoch += 1
        better = math.isfinite(value) and value > self.best + self.min_delta
        if better:
            self.best, self.best_epoch = value, self.epoch
        return better

    @property
    def spent(self) -> bool:
        """Whether the last ``epochs`` values brought no new best."""
        return self.epoch - self.best_epoch >= self.epochs
