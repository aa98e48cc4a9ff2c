"""A VQ-VAE and the prior over its codes on MNIST, beside PCA with codes of the same length.

    MINIVAE_DATA=... python benchmarks/vq.py
    python benchmarks/vq.py --data digits --epochs 60        # a minute

Both stages are ordinary commands, `minivae train --model vq` and `minivae prior`, in one run
folder, so a benchmark that was stopped goes on where it was.  MNIST is binarised afresh at each
visit, the test images once with seed 777.  The figures:

  squared error   |x - E[x|codes]|^2 per image, beside PCA at equal code length: coordinates that
                  are rounded and entropy coded (`minivae.evaluation.pca_at_code_length`), in the
                  M log2 n_codes bits of a code of which nothing is known, and in the mean length
                  that the prior gives to it.
  perplexity      of the entries over the test images.
  bits per image  -log2 p(codes) - log2 p(x|codes), an upper bound on -log2 p(x): beside the uniform
                  prior, independent positions, and independent pixels.

Results: RUN/vq.json, and pictures in RUN/pictures.
"""

import argparse
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minivae import runs
from minivae.cli import main as minivae
from minivae.cli.quantised import load_prior, training_images
from minivae.codebook import hidden_rate, perplexity
from minivae.evaluation import Estimate, pca_at_code_length
from minivae.evaluation.quantised import CodeLength, code_lengths, codes_of, usage
from minivae.models import VQVAE, IndependentPrior, smoothed_mean

BIT, MOST = math.log(2.0), 10_000
PIXELS = {"mnist": 205.82}  # nats: independent pixels, by an independent program


def pca_error(x: np.ndarray, test: np.ndarray, bits: float) -> tuple[float, float]:
    """PCA with so many bits for each training image: squared error of test images, and their bits.

    x  at most `MOST` training images are taken.
    """
    code = pca_at_code_length(x[:MOST].astype(np.float64), bits)
    index = code.encode(test)
    error = ((code.decode(index) - test) ** 2).sum(axis=1)
    return float(error.mean()), float(code.code_length(index).mean())


def has_prior(folder: Path) -> bool:
    """Whether the run has a prior over the codes that it gives now, after more epochs too."""
    model, _ = runs.load_run(folder)
    assert isinstance(model, VQVAE)
    try:
        return load_prior(folder, model) is not None
    except ValueError as error:
        print(f"{error}: it is trained again")
        return False


def figures(folder: Path) -> dict[str, Any]:
    """What the docstring says of a run that has its prior."""
    model, config = runs.load_run(folder)
    assert isinstance(model, VQVAE)
    dataset, a = runs.load_data(config), model.architecture
    x, train = dataset.test.x, training_images(dataset, config)
    codes, n = codes_of(model, train), a.n_codes
    prior = load_prior(folder, model)
    assert prior is not None
    lengths = code_lengths(model, prior, x)
    alone = code_lengths(model, IndependentPrior(codes, n), x)
    means = [np.asarray(model.reconstruct(x[i : i + 500])) for i in range(0, len(x), 500)]
    rate = hidden_rate(a.M, n)
    error, taken = pca_error(train, x, rate / BIT)
    fair, fair_taken = pca_error(train, x, lengths.rate.mean() / BIT)
    mean = smoothed_mean(train)
    pixels = -(x * np.log(mean) + (1.0 - x) * np.log1p(-mean)).sum(axis=1)
    return {
        "squared error": Estimate.of(((x - np.concatenate(means)) ** 2).sum(axis=1)).mean,
        "bits of a code, uniform": rate / BIT,
        "squared error, PCA in as many": error,
        "bits that this took": taken,
        "bits of a code, by the prior": lengths.rate.mean() / BIT,
        "squared error, PCA in these": fair,
        "bits that these took": fair_taken,
        "perplexity": perplexity(usage(codes_of(model, x), n)),
        "n_codes": n,
        "codes per image": a.M,
        "distortion, nats": lengths.distortion.mean(),
        "bits per image": _bits(lengths),
        "standard error": Estimate.of(lengths.total).standard_error / BIT,
        "bits per image, independent positions": _bits(alone),
        "bits per image, uniform": (rate + lengths.distortion.mean()) / BIT,
        "bits per image, independent pixels": pixels.mean() / BIT,
        "nats per image": lengths.total.mean(),
    }


def _bits(lengths: CodeLength) -> float:
    return float(lengths.total.mean() / BIT)


def main() -> int:
    """Train what is not trained yet, then measure; status 0 if both baselines are beaten."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", default="mnist", choices=["mnist", "digits"])
    add("--epochs", type=int, default=6)
    add("--prior-epochs", type=int, default=6)
    add("--run", type=Path, default=None, help="folder; default: runs/benchmark-vq-DATA")
    args = parser.parse_args()
    folder = args.run or Path("runs", f"benchmark-vq-{args.data}")
    if folder.exists() and not (folder / "checkpoint.json").exists():
        shutil.rmtree(folder)  # stopped before its first checkpoint
    words = ["--resume", str(folder), "--epochs", str(args.epochs)]
    if not folder.exists():
        words = ["--data", args.data, "--model", "vq", "--out", str(folder)]
        words += ["--epochs", str(args.epochs)]
    if minivae(["train", *words]):
        return 2
    if not has_prior(folder):
        width = "500" if args.data == "mnist" else "128"
        words = ["--epochs", str(args.prior_epochs), "--hidden", width, "--force"]
        if minivae(["prior", str(folder), *words]):
            return 2
    if minivae(["sample", str(folder)]):
        return 2
    found = figures(folder)
    runs.write_json(folder / "vq.json", found)
    for name, value in found.items():
        print(f"  {name:40} {value if isinstance(value, str | int) else f'{value:.3f}'}")
    if args.data in PIXELS:
        print(f"  published: independent pixels {PIXELS[args.data]} nats")
    print(f"wrote {folder / 'vq.json'}")
    won = found["squared error"] < found["squared error, PCA in as many"]
    won &= found["bits per image"] < found["bits per image, independent pixels"]
    return 0 if won else 1


if __name__ == "__main__":
    sys.exit(main())
