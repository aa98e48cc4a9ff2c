"""Proofs that the numbers are right; `gradients` differentiates without using any backward."""

from minivae.verify.gradients import (
    central_difference,
    complex_step,
    gradient_error,
    layer_errors,
    model_errors,
)

__all__ = [
    "central_difference",
    "complex_step",
    "gradient_error",
    "layer_errors",
    "model_errors",
]
