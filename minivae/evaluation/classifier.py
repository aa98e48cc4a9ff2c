"""A classifier of images from the same layers: a judge for what a conditional model draws."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minivae.arrays import Array, namespace, to_numpy
from minivae.distributions import Categorical
from minivae.layers import Dense, Stack
from minivae.models.base import Model
from minivae.models.conditional import ConditionalArchitecture
from minivae.parameters import Layer


class Guess(NamedTuple):
    """log p(y|x) of each example, in nats, and the loss."""

    reconstruction: Array
    loss: Array

    def terms(self) -> dict[str, Array]:
        """The per-example numbers (B,) that a training run reports."""
        return {"reconstruction": self.reconstruction}


class Classifier(Model):
    """p(y|x) = softmax of a network, trained by cross-entropy.

    It uses what a conditional model has: its ``n_conditions`` classes are the outputs, and in
    training y (B, C), one-hot, is what it has to say, not what it is told.

        judge = Classifier(ConditionalArchitecture(784, hidden=(256,), n_conditions=10))
        train(judge, x, y=onehot, binarisation="new", epochs=5)
        judge.classes(images)
    """

    Architecture: ClassVar[Any] = ConditionalArchitecture
    OPTIONS: ClassVar[Mapping[str, float | int | str]] = {}
    conditional: ClassVar[bool] = True

    def make_parts(self, data_mean: np.ndarray | None) -> dict[str, Layer]:
        """One network, x (B, D) to logits (B, C)."""
        a = self.architecture
        n = (a.n_features, *a.hidden)[-1]
        self.network = Stack(a.trunk(a.n_features, a.hidden), Dense(n, a.n_conditions, "glorot"))
        return {"network": self.network}

    def objective(  # type: ignore[override]  # y is not optional
        self, x: Array, rng: Any = None, gradient: bool = True, *, y: Array
    ) -> Guess:
        """log p(y|x) of the classes y (B, C), one-hot."""
        x, y = self.array(x), self.array(y)
        logits, cache = self.network.forward(x)
        p = Categorical(logits[:, None, :])  # one variable of C classes
        log_p = p.log_prob(y[:, None, :])
        result = Guess(log_p, -namespace(x).mean(log_p))
        if gradient:
            (score,) = p.score(y[:, None, :])
            self.network.backward(-score[:, 0, :] / x.shape[0], cache, need_dx=False)
        return result

    def warn_if_grey(self, x: Array, stacklevel: int = 3) -> None:
        """Grey values are welcome: no pixel is scored."""

    def classes(self, x: np.ndarray) -> np.ndarray:
        """The most probable class of each image, (N,), a thousand at a time."""
        parts = [self.array(x[i : i + 1000]) for i in range(0, len(x), 1000)]
        return np.concatenate([to_numpy(self.network.forward(p)[0]).argmax(axis=1) for p in parts])
