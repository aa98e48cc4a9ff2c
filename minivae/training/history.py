"""What a training run reports: one row for each epoch, and the means that stand in it."""

import math
from dataclasses import dataclass, field
from typing import Any

from minivae.arrays import Array, copy, namespace, to_numpy

Row = dict[str, float]

TERMS = {
    "iwae": "IWAE bound",
    "elbo": "ELBO",
    "reconstruction": "reconstruction",
    "kl": "KL",
    "log_px": "log p(x)",
}
"""The terms of objectives that are shown, in this order, and what they are called."""

CRITERIA = ("valid_iwae", "valid_elbo", "valid_reconstruction", "valid_log_px")
"""What says which epoch was the best, the first of these that there is; higher is better."""


@dataclass
class History:
    """One row for each epoch: its number, the means of train and validation, the seconds it took.

    The numbers of train are averaged during the epoch, while the weights change; those of valid are
    taken after it.

    The columns are the terms of the objective, in nats per example: "train_elbo",
    "train_reconstruction", "train_kl", "valid_elbo", ...

    rows        of the epochs so far; `train` goes on after the last of them.
    best_theta  (P,) the parameters after the best epoch, None before the first and without
                validation.
    last_theta  (P,) the parameters after the last epoch, if `train` has put the best ones in their
                place.
    """

    rows: list[Row] = field(default_factory=list)
    best_theta: Array | None = None
    last_theta: Array | None = None

    def __getitem__(self, column: str) -> list[float]:
        """A column, for a plot."""
        return [row[column] for row in self.rows]

    @property
    def best(self) -> Row | None:
        """The row of the best epoch, the earliest of equals; None if there is none to compare."""
        judged = [row for row in self.rows if score(row) is not None]
        return max(judged, key=score, default=None)  # type: ignore[arg-type]

    @property
    def stale(self) -> int:
        """How many epochs have passed since the best one."""
        best = self.best
        return 0 if best is None else int(self.rows[-1]["epoch"] - best["epoch"])

    def add(self, row: Row, theta: Array) -> None:
        """Take the row of an epoch, and the parameters (P,) after it if it is the best so far."""
        best, value = self.best, score(row)
        if value is not None and (best is None or value > score(best)):  # type: ignore[operator]
            self.best_theta = copy(theta)
        self.rows.append(row)  # last: before this line the epoch has not happened


def score(row: Row) -> float | None:
    """By how much an epoch is good: its held-out bound, or what an autoencoder has instead."""
    return next((row[name] for name in CRITERIA if name in row), None)


class Meter:
    """Sums of an objective's terms over many batches, kept where they were computed.

    A sum is read, which on a GPU waits for all that was launched, only in `means`; so is the check
    that every loss was finite.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Any] = {}
        self.losses: Any = 0.0
        self.n = 0

    def add(self, result: Any) -> None:
        """Add a batch: each example counts once, also in a smaller last batch."""
        for name, values in result.terms().items():
            xp = namespace(values)
            total = xp.sum(values, dtype=xp.float64)
            self.sums[name] = self.sums[name] + total if name in self.sums else total
        self.losses = self.losses + xp.sum(result.loss, dtype=xp.float64)
        self.n += int(values.shape[0])

    def means(self) -> dict[str, float]:
        """The mean of each term over all examples, in nats.

        Raises  FloatingPointError if a loss was not finite.
        """
        xp = namespace(self.losses)
        # one transfer from a GPU for all of them
        *totals, losses = to_numpy(xp.stack([*self.sums.values(), self.losses])).tolist()
        if not math.isfinite(losses):
            raise FloatingPointError("the loss is not finite")
        return {name: total / self.n for name, total in zip(self.sums, totals, strict=True)}
