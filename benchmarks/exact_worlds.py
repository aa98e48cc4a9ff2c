"""The exact worlds on real data: closed forms beside yardsticks, trained models beside both.

    MINIVAE_DATA=... python benchmarks/exact_worlds.py
    python benchmarks/exact_worlds.py --only sweep      # Shannon's curve alone

Probabilistic PCA of MNIST / 255 (60,000 images, covariance / N) against figures that an independent
program computed; linear VAEs trained by our Adam against the maximum of the likelihood; a sweep of
beta, trained and in closed form, against Shannon's curve; and a VAE with two latents on digits,
whose -log p(x) is known by quadrature, against 5,000 importance samples.  The exit status is 0 if
every figure is inside its tolerance.
"""

import argparse
import math
import sys
import time
from typing import Any

import numpy as np

import minivae as mv
from minivae import exact
from minivae.arrays import generator
from minivae.evaluation import importance_likelihood

Y1 = {  # latents: log-likelihood, variance, mean KL; each to the digits that are printed
    0: (-54.321, 0.067252, 0.0),
    1: (-17.021, 0.060803, 2.216),
    2: (12.420, 0.056097, 4.357),
    5: (90.689, 0.045194, 10.801),
    10: (182.142, 0.034868, 21.030),
    20: (299.743, 0.024598, 40.203),
    50: (507.884, 0.012597, 94.400),
}
ACTIVE = {1.0: 12, 0.5: 23, 0.1: 69}  # eigenvalues of MNIST above a level
VARIANCE = 0.05  # sigma^2 of the decoders of the sweep
BETAS = (0.61, 1.05, 1.9, 2.5, 5.0, 6.4, 9.3, 11.9, 17.0)
SPARE = 3  # latents more than the water leaves dry: they have to stay unused


class Table:
    """Figures with their tolerances, printed as they come."""

    def __init__(self) -> None:
        self.failed = 0

    def row(self, name: str, difference: float, tolerance: float, more: str = "") -> None:
        """One figure: how far it is from where it should be."""
        good = difference <= tolerance
        self.failed += not good
        verdict = "" if good else "   FAILED"
        print(f"  {name:58} {difference:9.2e} <= {tolerance:.1e}  {more}{verdict}", flush=True)

    def done(self) -> int:
        """Say how many are outside; the exit status."""
        print(f"{self.failed} outside their tolerance")
        return min(self.failed, 1)


def closed_forms(spectrum: exact.Spectrum, table: Table) -> None:
    """Y1, and how many directions a level leaves."""
    print("MNIST, probabilistic PCA in closed form against the yardstick")
    for K, (likelihood, variance, kl) in Y1.items():
        world = exact.fit_ppca(spectrum, K)
        best = exact.max_log_likelihood(spectrum.eigenvalues, K)
        mean_kl = exact.mean_kl(spectrum.eigenvalues, K)
        # half a unit of the last printed digit, and room for the rounding of the comparison
        table.row(f"K = {K:2}: log-likelihood {best:.3f}", abs(best - likelihood), 5.001e-4)
        table.row(
            f"K = {K:2}: variance {world.variance:.6f}", abs(world.variance - variance), 5.001e-7
        )
        table.row(f"K = {K:2}: mean KL {mean_kl:.3f}", abs(mean_kl - kl), 5.001e-4)
    for level, count in ACTIVE.items():
        active = exact.reverse_water_filling(spectrum.eigenvalues, level).active()
        table.row(f"{active} directions above {level}", abs(active - count), 0.0)


def trained(name: str, x: np.ndarray, K: int, tolerance: float, table: Table,
            dtype: str = "float64", **options: Any) -> None:  # fmt: skip
    """A linear VAE with a learned variance, trained by Adam, against the best there is for x."""
    architecture = mv.Architecture(x.shape[1], K, (), likelihood="gaussian")
    model = mv.VAE(architecture, x.mean(axis=0), 0, dtype)
    start = time.perf_counter()
    exact.train_exactly(model, x, **options)
    seconds = f"{time.perf_counter() - start:.0f} s"
    reached = float(np.mean(exact.as_world(model).log_prob(x)))
    best = exact.max_log_likelihood(exact.Spectrum.of(x).eigenvalues, K)
    short = best - reached if best - reached > -1e-9 else math.inf  # above the maximum: impossible
    table.row(f"{name}, K = {K}: {reached:.7g} of {best:.7g}", short, tolerance, seconds)


def fixed_vae(x: np.ndarray, K: int) -> mv.VAE:
    """A linear VAE with the fixed variance of the sweep, at random weights; float64."""
    architecture = mv.Architecture(
        x.shape[1], K, (), likelihood="gaussian", variance="fixed", sigma=math.sqrt(VARIANCE)
    )
    return mv.VAE(architecture, x.mean(axis=0), 0, "float64")


def beta_sweep(x: np.ndarray, table: Table) -> None:
    """Rate, distortion and latents in use of linear beta-VAEs on images x, against Shannon's curve.

    Each VAE starts from random weights, with `SPARE` latents too many, and is trained by Adam with
    the expectation under q done by hand; beside it the closed form, written into the same VAE.  A
    direction is told if and only if its variance is above beta sigma^2.  Near that point training
    takes for ever, so every beta keeps 5 % away from it.
    """
    spectrum = exact.Spectrum.of(x)
    eigenvalues, data = spectrum.eigenvalues, spectrum.stand_ins()
    for beta in BETAS:
        level, start = beta * VARIANCE, time.perf_counter()
        want = exact.reverse_water_filling(eigenvalues, level)  # Shannon's: any number of latents
        K = want.active(0.0) + SPARE
        model = fixed_vae(x, K)
        exact.train_exactly(model, data, steps=4000, learning_rate=0.1, kl_weight=beta)
        seconds = f"{time.perf_counter() - start:.0f} s"
        near = float(np.abs(level / eigenvalues[eigenvalues > 0.0] - 1.0).min())
        table.row(f"beta = {beta}: a threshold nearer than 5 %, by", 0.05 - near, 0.0, seconds)
        closed = exact.as_vae(exact.best_decoder(spectrum, K, VARIANCE, beta), beta)
        for name, vae, digits in (("trained", model, 4), ("closed form", closed, 10)):
            got = exact.operating_point(vae, x)
            on_the_curve(f"{name}: rate", got.rate, want.rate, digits, table)
            on_the_curve(f"{name}: distortion", got.distortion, want.distortion, digits, table)
            row = f"    {name}: {got.active()} of {K} latents in use, Shannon's {want.active()}"
            table.row(row, abs(got.active() - want.active()), 0.0)


def on_the_curve(name: str, got: float, want: float, digits: int, table: Table) -> None:
    """So many digits agree: at most half a unit of the last away (of 0, that many decimals)."""
    places = digits - 1 - math.floor(math.log10(want)) if want > 0.0 else digits
    row = f"    {name} {got:.{places}f}, Shannon's {want:.{places}f}"
    table.row(row, abs(got - want), 0.5 * 10.0**-places)


def quadrature(table: Table) -> None:
    """A VAE with two latents: 5,000 importance samples against the integral."""
    data = mv.binarise_splits(mv.load_digits(), "new")
    model = mv.VAE(
        mv.Architecture(64, 2, (64,), "tanh"), mv.smoothed_mean(data.train.x), 0, "float64"
    )
    mv.train(model, data.train.x, epochs=40, batch_size=64, binarisation="new", progress=False)
    x = data.test.x[:100].astype(np.float64)
    truth = exact.exact_evidence(model, x)
    estimate = importance_likelihood(model, x, generator("cpu", 0, 0, 99), 5000)
    difference = estimate.log_evidence - truth.log_evidence
    error = difference.std(ddof=1) / math.sqrt(len(x))
    table.row("digits, 5,000 samples against quadrature, mean of 100", abs(difference.mean()), 0.02,
              f"+- {error:.1e} nats")  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without-mnist", action="store_true")
    parser.add_argument("--only", choices=["sweep"], help="nothing but the sweep of beta")
    options = parser.parse_args()
    table = Table()
    digits = mv.load_digits()
    both = np.concatenate([digits.train.x, digits.valid.x, digits.test.x]).astype(np.float64)
    both -= both.mean(axis=0)  # the mean is the decoder's bias: nothing else to learn
    print(f"Linear beta-VAEs on {len(both):,} digits, sigma^2 = {VARIANCE}: nats, squared error")
    beta_sweep(both, table)
    if options.only == "sweep":
        return table.done()
    print("Linear VAEs trained by Adam against the maximum of the likelihood, nats per image")
    spectrum = exact.Spectrum.of(both)
    trained("digits", spectrum.stand_ins(), 2, 1e-6, table, steps=8000, learning_rate=0.1)
    trained("digits, batches of 100", both, 2, 0.01, table, steps=8000, batch_size=100)
    quadrature(table)
    if not options.without_mnist:
        x = mv.load_mnist(n_valid=0).train.x
        spectrum = exact.Spectrum.of(x)
        closed_forms(spectrum, table)
        x = exact.Spectrum.of(x - x.mean(axis=0)).stand_ins()  # 1,024 rows in place of 60,000
        for K in (2, 10):
            trained("MNIST", x, K, 0.01, table, "float32", steps=1000, beta2=0.95)
    return table.done()


if __name__ == "__main__":
    sys.exit(main())
