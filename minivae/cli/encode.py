"""`minivae encode RUN --out codes.csv`: the codes of a data set's images."""

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np

from minivae.cli import _common, quantised
from minivae.datasets import Dataset, Split, binarise_splits, load_file
from minivae.evaluation.quantised import codes_of
from minivae.models import VAE, VQVAE
from minivae.models.base import Model
from minivae.walks import Codes

HELP = "the codes of images, as an array or a table"
DESCRIPTION = """\
Write the mean of q(z|x) for every image of a split (an autoencoder's code is a
point), to look at the latents with other tools.

  codes.npy    an array (N, K) in the precision of the model; with --logvar an
               array (2, N, K), for   mu, logvar = numpy.load("codes.npy")
  codes.csv    a table with the columns index, label, the known factors of a
               rendered world, mu_1 to mu_K, and with --logvar logvar_1 to
               logvar_K; every digit is kept

The images are in the order of the data set, binarised as the model saw them.
Training images that were drawn anew at every use are drawn once, as with
--binarisation fixed: the same for everyone."""
EXAMPLES = """examples:
  minivae encode runs/digits-vae-1 --out codes.csv
      the 250 test images
  minivae encode runs/mnist-vae-1 --data train --logvar --out codes.npy
  minivae encode runs/mnist-vae-1 --data new.npy --out codes.csv
      images that the run has never seen
"""
KINDS = (".npy", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    _common.add_run_argument(parser)
    add("--data", default="test", metavar="DATA",
        help="train, valid or test, a split of the run's data, or the path of other data with as "
        "many pixels; default: test")  # fmt: skip
    add("--logvar", action="store_true", help="the log-variances of q(z|x) too")
    _common.add_device(parser)
    _common.add_out(parser, "a .npy or a .csv")


def run(args: argparse.Namespace) -> None:
    """Encode and write."""
    model, config = _common.load(args, numbers=True)
    path = _common.destination(args, None, KINDS)
    if args.logvar and not isinstance(model, VAE):
        raise ValueError("--logvar: an autoencoder's code is a point, it has no variance")
    dataset, part = _data(args, model, config)
    split = getattr(dataset, part)
    if len(split) == 0:
        raise ValueError(f"--data {args.data}: the run has no such examples")
    if isinstance(model, VQVAE):
        _numbers(model, dataset, part, config, path)
        return
    codes = _common.encoded(model, dataset, config, part)
    what = "means of q(z|x)" if isinstance(model, VAE) else "codes"
    more = " and log-variances" if args.logvar else ""
    which = f"{part} examples" if args.data == part else "examples"
    print(f"{what}{more} of {len(split):,} {which} of {dataset.name}")
    if path.suffix.lower() == ".csv":
        _common.write(path, table(codes, split, dataset, args.logvar))
    elif args.logvar and codes.logvar is not None:
        _common.write_array(path, np.stack([codes.mu, codes.logvar]))
    else:
        _common.write_array(path, codes.mu)


def _numbers(model: VQVAE, dataset: Dataset, part: str, config: dict[str, Any], path: Path) -> None:
    """The codes of a VQ-VAE, (N, M) integers; in a table, after index and label."""
    split = getattr(dataset, part)
    train = part == "train"
    codes = quantised.training_codes(model, dataset, config) if train else codes_of(model, split.x)
    print(f"numbers of codebook entries for {len(codes):,} examples of {dataset.name}")
    if path.suffix.lower() == ".npy":
        _common.write_array(path, codes)
        return
    names = ",".join(["index", "label", *(f"code_{m + 1}" for m in range(codes.shape[1]))])
    table = np.column_stack([np.arange(len(codes)), split.y, codes])
    rows = "\n".join(",".join(map(str, row)) for row in table.tolist())
    _common.write(path, f"{names}\n{rows}\n".encode())


def _data(args: argparse.Namespace, model: Model, config: dict[str, Any]) -> tuple[Dataset, str]:
    """The data that --data names, and the split of them that is meant."""
    name = args.data
    if name in ("train", "valid", "test"):
        return _common.load_data(model, config, args.run), name
    if not Path(name).exists():
        raise ValueError(f"--data: expected train, valid, test or a path, got {name}")
    try:
        dataset = load_file(name, n_valid=0, n_test=0)  # all of it, in its own order
    except ValueError as error:
        if "x_test" not in str(error):
            raise
        dataset = load_file(name, n_valid=0)
        print(f"{name}: x_train; its x_test is left out")
    model.check(dataset.train.x)
    return binarise_splits(dataset, config["data"]["binarisation"]), "train"


def table(codes: Codes, split: Split, dataset: Dataset, logvar: bool) -> bytes:
    """The codes as CSV: a header, then a row for each example.

    9 significant digits are what a float32 needs to come back, 17 a float64.
    """
    K = codes.mu.shape[1]
    names, columns = ["index", "label"], [np.arange(len(split)), split.y]
    formats = ["%d", "%d"]
    if dataset.class_names:  # the number of a class is its place in this file only
        classes = np.array([name.replace(",", " ") for name in dataset.class_names])
        columns[1], formats[1] = classes[split.y], "%s"
    if split.factors is not None:
        names += [name.replace(",", " ") for name in dataset.factor_names]
        columns += list(split.factors.T)
        formats += ["%.17g"] * len(dataset.factor_names)
    for word, values in (("mu", codes.mu), ("logvar", codes.logvar if logvar else None)):
        if values is not None:
            names += [f"{word}_{k + 1}" for k in range(K)]
            columns += list(values.T)
            formats += ["%.9g" if values.dtype == np.float32 else "%.17g"] * K
    text = io.StringIO()
    text.write(",".join(names) + "\n")
    row = ",".join(formats) + "\n"
    for example in zip(*columns, strict=True):
        text.write(row % example)
    return text.getvalue().encode()
