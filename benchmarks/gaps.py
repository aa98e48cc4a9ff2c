"""The anatomy of the gap on MNIST: 784-400-20, its amortisation gap with its error, and the time.

    MINIVAE_DATA=... python benchmarks/gaps.py

Trains for a few epochs on binarised MNIST in float32, refines the q of 256 test images, estimates
log p(x) by annealing, and prints the parts of the gap in nats per image, the time that each stage
took, and the parts by digit.  The exit status is 0 if the refinement took less than a minute and
the gaps are in order.
"""

import argparse
import os
import sys
import time

import numpy as np

import minivae as mv
from minivae.arrays import cores, generator
from minivae.evaluation import Annealing, Estimate, Gaps, Refining, anatomy, refine

LIMIT = 60.0
"""Seconds that the refinement of 256 images may take on two cores."""


def trained(x: np.ndarray, epochs: int) -> mv.VAE:
    """784-400-20, one hidden layer of ReLUs, binarised afresh each epoch."""
    model = mv.VAE(mv.Architecture(784, 20), mv.smoothed_mean(x), 0)
    mv.train(model, x, epochs=epochs, binarisation="new", progress=False)
    return model


def show(name: str, gaps: Gaps) -> None:
    """The parts of the gap, with their standard errors over the images."""
    parts = (gaps.amortisation, gaps.approximation, gaps.full_approximation)
    estimates = [Estimate.of(part.value) for part in parts]
    columns = "   ".join(f"{e.mean:7.3f} +- {e.standard_error:.3f}" for e in estimates)
    print(f"  {name:8} {len(gaps):5}   {columns}")


def main() -> int:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--temperatures", type=int, default=100)
    options = parser.parse_args()
    data = mv.binarise_splits(mv.load_mnist(), "new")
    begun = time.perf_counter()
    model = trained(data.train.x, options.epochs)
    print(f"{options.epochs} epochs in {time.perf_counter() - begun:.0f} s", flush=True)

    x, y = data.test.x[: options.examples], data.test.y[: options.examples]
    begun, busy = time.perf_counter(), time.process_time()
    refine(model, x, generator("cpu", 0, 0, 41), Refining(options.steps))
    taken, busy = time.perf_counter() - begun, time.process_time() - busy
    load = os.getloadavg()[0]
    print(f"refinement of {len(x)} images, {options.steps} steps: {taken:.1f} s on {cores()} cores,"
          f" {busy:.1f} s of work (load of the machine {load:.1f})", flush=True)  # fmt: skip

    begun = time.perf_counter()
    annealing = Annealing(options.chains, options.temperatures, n_leapfrog=5, start="encoder")
    found = anatomy(model, x, generator("cpu", 0, 0, 42), Refining(options.steps),
                    annealing=annealing)  # fmt: skip
    gaps = found.gaps
    print(f"anatomy in {time.perf_counter() - begun:.0f} s; nats per image:")
    for name, values in (
        ("log p(x), annealed", gaps.log_evidence),
        ("ELBO, full covariance", gaps.full),
        ("ELBO, own diagonal q", gaps.refined),
        ("ELBO, the encoder's q", gaps.elbo),
    ):
        estimate = Estimate.of(values.value)
        print(f"  {name:22} {estimate.mean:9.3f} +- {estimate.standard_error:.3f} over images, "
              f"{values.noise_of_mean:.3f} over draws")  # fmt: skip
    print("  class   images   amortisation      approximation     full covariance's")
    show("all", gaps)
    for label, part in gaps.by_class(y).items():
        show(str(label), part)
    print("  steps:", found.diagonal.marks.tolist())
    curve = found.diagonal.elbo[-1] - found.diagonal.elbo
    print("  below the last ELBO:", [round(float(v), 3) for v in curve.mean(axis=1)])
    means = [Estimate.of(part.value).mean for part in
             (gaps.amortisation, gaps.covariance, gaps.full_approximation)]  # fmt: skip
    return int(not (taken < LIMIT and min(means) >= 0.0))


if __name__ == "__main__":
    sys.exit(main())
