"""Every model of the family on digits, by its default command, beside a baseline that it beats.

    python benchmarks/family_digits.py
    python benchmarks/family_digits.py --only made vq

Each is trained by `minivae train --model NAME` with no other option, a VQ-VAE also by `minivae
prior`, and judged on the 250 test images, black and white drawn once.  What it is judged by:

    vae, iwae   -log p(x), 1,000 importance samples         beside independent pixels
    cvae        -log p(x|y), 1,000 importance samples       beside independent pixels of each class
    made        -log p(x), exact                            beside a mixture of 10 Bernoullis
    vq, vq2     -log p(codes) - log p(x|codes), a bound     beside independent pixels
    ae, dae     |x - x_hat|^2 with two numbers for a code   beside two principal components

The dae sees a damaged copy of x.  Its baseline does too, and is the best that two numbers can do
linearly: the map of rank two with the least squares from damaged copies to originals.  The squared
error of the means of vq and vq2 has to be 5 % below that of principal components in as many bits,
M log2 n_codes, too.

Each model is an ordinary run folder, so a benchmark that was stopped goes on where it was.  The
exit status is 0 if every model beats its baseline by its margin, 1 if not.
"""

import argparse
import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivae import runs
from minivae.arrays import generator, to_numpy
from minivae.cli import main as minivae
from minivae.cli.quantised import load_prior
from minivae.codebook import hidden_rate
from minivae.datasets import Dataset, binarise, conditions
from minivae.evaluation import (
    PCA,
    Estimate,
    class_pixels,
    conditional_likelihood,
    estimate_likelihood,
    fit_bernoulli_mixture,
    independent_pixels,
    pca_at_code_length,
)
from minivae.evaluation.quantised import code_lengths
from minivae.models.denoising import damaged

SAMPLES, DRAWS = 1_000, 5
ERROR, PCA_ERROR = "squared error", "squared error, PCA in as many bits"
OF_PCA = 0.95  # what part of the latter the former may be
NOISE, DAMAGE = 71, 72  # purposes of generators


class Figure(NamedTuple):
    """What a model reached, smaller is better; each value with its standard error over images.

    what      in words, with the unit.
    values    (N,) of the test images.
    baseline  its name, and its values (N,) of the same images.
    margin    by how much the mean has to be smaller, as a part of the baseline's mean.
    more      other numbers, by name.
    """

    what: str
    values: np.ndarray
    baseline: tuple[str, np.ndarray]
    margin: float
    more: dict[str, float]


def drawn(data: Dataset) -> np.ndarray:
    """Training images drawn black and white some times each: (DRAWS N, D) float64."""
    draws = [binarise(data.train.x, "new", np.random.default_rng(i)) for i in range(DRAWS)]
    return np.concatenate(draws).astype(np.float64)


def pixels(data: Dataset) -> tuple[str, np.ndarray]:
    """Independent pixels."""
    return "independent pixels", -independent_pixels(data.train.x).log_prob(data.test.x)


def by_likelihood(model: Any, folder: Path, data: Dataset) -> Figure:
    """A VAE, by whatever bound it was trained."""
    found = estimate_likelihood(model, data.test.x, generator("cpu", 0, 0, NOISE), SAMPLES)
    more = {"-ELBO": float(-found.elbo.mean())}
    return Figure("-log p(x), nats per image", found.nll, pixels(data), 0.10, more)


def by_class(model: Any, folder: Path, data: Dataset) -> Figure:
    """A conditional VAE."""
    y, rng = conditions(data).of(data.test), generator("cpu", 0, 0, NOISE)
    found = conditional_likelihood(model, data.test.x, y, rng, SAMPLES)
    alone = class_pixels(data.train.x, data.train.y, data.test.x, data.test.y)
    baseline, more = ("independent pixels by class", alone), {"-ELBO": float(-found.elbo.mean())}
    return Figure("-log p(x|y), nats per image", found.nll, baseline, 0.03, more)


def exactly(model: Any, folder: Path, data: Dataset) -> Figure:
    """A MADE."""
    nll = -to_numpy(model.log_prob(data.test.x)).astype(np.float64)
    fit = fit_bernoulli_mixture(drawn(data), 10, np.random.default_rng(0))
    baseline = "mixture of 10 Bernoullis", -fit.mixture.log_prob(data.test.x)
    more = {"independent pixels": float(pixels(data)[1].mean())}
    return Figure("-log p(x), nats per image", nll, baseline, 0.02, more)


def by_message(model: Any, folder: Path, data: Dataset) -> Figure:
    """A VQ-VAE and its prior."""
    prior, x, a = load_prior(folder, model), data.test.x, model.architecture
    assert prior is not None
    lengths = code_lengths(model, prior, x)
    bits = hidden_rate(a.M, a.n_codes) / math.log(2.0)
    code = pca_at_code_length(drawn(data), bits)
    more = {
        "rate": float(lengths.rate.mean()),
        "bits of a code": bits,
        ERROR: float(squared(x, model.reconstruct(x)).mean()),
        PCA_ERROR: float(squared(x, code.decode(code.encode(x))).mean()),
    }
    return Figure("bound on -log p(x), nats per image", lengths.total, pixels(data), 0.05, more)


def by_error(model: Any, folder: Path, data: Dataset) -> Figure:
    """An autoencoder, beside as many principal components."""
    x, K = data.test.x, model.architecture.latent
    pca = PCA.fit(drawn(data), K)
    baseline = f"{K} principal components", squared(x, pca.decode(pca.encode(x)))
    return Figure("squared error of an image", squared(x, model.reconstruct(x)), baseline, 0.10, {})


def by_repair(model: Any, folder: Path, data: Dataset) -> Figure:
    """A denoising autoencoder, beside the best linear map of the same rank."""
    K, x, originals = model.architecture.latent, data.test.x, drawn(data)
    seen = damaged(x, "mask", 0.25, generator("cpu", 0, 0, DAMAGE))
    copies = damaged(originals, "mask", 0.25, generator("cpu", 0, 1, DAMAGE))
    repair = best_of_rank(copies, originals, K)
    baseline = f"linear repair of rank {K}", squared(x, repair(seen))
    values = squared(x, model.reconstruct(seen))
    return Figure("squared error of a repaired image", values, baseline, 0.05, {})


def best_of_rank(seen: np.ndarray, x: np.ndarray, K: int) -> Callable[[np.ndarray], np.ndarray]:
    """The affine map of rank K from seen (N, D) to x (N, D) with the least squared error.

    Least squares without a limit on the rank, then its fitted values on their first K principal
    axes: what is left out is orthogonal to the residuals, so that no other map of rank K is better
    (Eckart and Young).

    Source  Izenman (1975), reduced-rank regression.
    """
    before, after = seen.mean(axis=0), x.mean(axis=0)
    W = np.linalg.lstsq(seen - before, x - after, rcond=None)[0]
    _, _, axes = np.linalg.svd((seen - before) @ W, full_matrices=False)
    W = W @ axes[:K].T @ axes[:K]
    return lambda rows: (rows - before) @ W + after


def squared(x: np.ndarray, mean: Any) -> np.ndarray:
    """|x - mean|^2 of each image (N,)."""
    return ((x.astype(np.float64) - to_numpy(mean)) ** 2).sum(axis=1)


JUDGED: dict[str, Callable[[Any, Path, Dataset], Figure]] = {
    "vae": by_likelihood, "iwae": by_likelihood, "cvae": by_class, "made": exactly,
    "vq": by_message, "vq2": by_message, "ae": by_error, "dae": by_repair,
}  # fmt: skip


def trained(folder: Path, name: str) -> float | None:
    """Train what is not trained yet; seconds of the processor, None if it was stopped between."""
    if folder.exists() and not (folder / "checkpoint.json").exists():
        shutil.rmtree(folder)  # stopped before its first checkpoint
    resumed, begun = folder.exists(), time.process_time()
    words = ["--resume", str(folder)] if resumed else ["--model", name, "--out", str(folder)]
    if minivae(["train", *words]):
        raise SystemExit(2)
    if name in ("vq", "vq2") and not (folder / "prior.npz").exists() \
            and minivae(["prior", str(folder)]):  # fmt: skip
        raise SystemExit(2)
    return None if resumed else time.process_time() - begun


def measured(folder: Path, name: str) -> dict[str, Any]:
    """One row of the table, as JSON can hold it."""
    processor = trained(folder, name)
    model, config = runs.load_run(folder)
    figure = JUDGED[name](model, folder, runs.load_data(config))
    rows = runs.load_training(folder).history.rows
    mine, other = Estimate.of(figure.values), Estimate.of(figure.baseline[1])
    gain = Estimate.of(figure.baseline[1] - figure.values)
    return {
        "what": figure.what, "value": mine.mean, "error": mine.standard_error,
        "baseline": figure.baseline[0], "baseline_value": other.mean,
        "gain": gain.mean, "gain_error": gain.standard_error,
        "wanted": figure.margin * other.mean,
        "passed": gain.mean >= figure.margin * other.mean and below_pca(figure.more),
        "epochs": len(rows), "seconds": sum(row["seconds"] for row in rows),
        "processor_seconds": processor, **figure.more,
    }  # fmt: skip


def below_pca(more: dict[str, float]) -> bool:
    """Whether a code that principal components can be compared with is better than they are."""
    return ERROR not in more or more[ERROR] <= OF_PCA * more[PCA_ERROR]


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| model | epochs | training | figure | value | baseline | gain | wanted |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, r in results.items():
        processor = r["processor_seconds"]
        seconds = f"{r['seconds']:.0f} s" if processor is None else f"{processor:.0f} s (processor)"
        verdict = "passed" if r["passed"] else "FAILED"
        lines.append(
            f"| {name} | {r['epochs']} | {seconds} | {r['what']} | {r['value']:.2f} ± "
            f"{r['error']:.2f} | {r['baseline']} {r['baseline_value']:.2f} | {r['gain']:.2f} ± "
            f"{r['gain_error']:.2f} | {r['wanted']:.2f}: {verdict} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Train what is missing, judge, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/family-digits"))
    parser.add_argument("--only", nargs="+", choices=list(JUDGED), default=list(JUDGED))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "results.json"
    with runs.claimed(options.folder):
        results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        for name in options.only:
            if name not in results:
                results[name] = measured(options.folder / name, name)
                runs.write_json(path, results)
    asked = {name: results[name] for name in options.only}
    print(table(asked))
    for name in ("vq", "vq2"):
        if name in asked:
            r = asked[name]
            print(f"{name}: squared error {r[ERROR]:.3f}, wanted at most {OF_PCA:g} of PCA's in "
                  f"{r['bits of a code']:.0f} bits, {r[PCA_ERROR]:.3f}")  # fmt: skip
    print(f"wrote {path}")
    return int(not all(r["passed"] for r in asked.values()))


if __name__ == "__main__":
    sys.exit(main())
