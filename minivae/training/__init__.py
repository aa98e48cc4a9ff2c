"""Training: the loop, its history, and what to say when a loss is no number.

loop.py      train: minibatches, schedules, a held-out bound each epoch
history.py   History, one row for each epoch; Meter, means over many batches
failure.py   which layer or term was the first that was not finite
"""

from minivae.training.history import TERMS, History, Meter, Row, score
from minivae.training.loop import (
    BINARISE,
    NOISE,
    SHUFFLE,
    VALIDATION,
    batches,
    blas_threads,
    evaluate_objective,
    train,
)

__all__ = [
    "TERMS",
    "BINARISE",
    "NOISE",
    "SHUFFLE",
    "VALIDATION",
    "History",
    "Meter",
    "Row",
    "batches",
    "blas_threads",
    "evaluate_objective",
    "score",
    "train",
]
