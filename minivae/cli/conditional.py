"""What the commands do for a model that is told a condition y."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minivae import walks
from minivae.arrays import dtype_name, generator, to_numpy
from minivae.cli import _common, _examples, completion
from minivae.datasets import Conditions, Dataset, Parted, conditions
from minivae.distributions import Bernoulli
from minivae.evaluation import (
    Estimate,
    Likelihood,
    class_pixels,
    conditional_likelihood,
    leakage,
    mean_codes,
)
from minivae.models import MODELS, ConditionalVAE
from minivae.models.base import Model
from minivae.models.conditional import PRIORS

STYLES = 6
"""Rows of the picture of the same style in all classes, by default."""


def add_arguments(add: Any) -> None:
    """The options of `minivae train` that make a condition."""
    add("--condition", metavar="WHAT",
        help="what a cvae is told: label, factors, or names of factors with commas between; or "
        "quadrants-1, -2 or -3, as many quarters of each image; default: label")  # fmt: skip
    add("--prior", choices=PRIORS,
        help="of a cvae's codes: standard, N(0, 1) for every condition, or learned, a network "
        "p(z|y); default: standard")  # fmt: skip


def complete(args: argparse.Namespace) -> None:
    """The defaults, for a conditional model; ValueError, one line, for any other."""
    defaults = {"condition": "label", "prior": "standard"}
    for name, default in defaults.items():
        if MODELS[args.model] is ConditionalVAE:
            if getattr(args, name) is None:
                setattr(args, name, default)
        elif getattr(args, name) is not None:
            raise ValueError(f"--{name} belongs to --model cvae, got --model {args.model}")


def fields(args: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """The fields of the architecture that follow from the data; {} for a model without y."""
    if MODELS[args.model] is not ConditionalVAE:
        return {}
    known = conditions(dataset, args.condition)
    try:
        known.of(dataset.valid)
    except ValueError as error:
        more = "images held out of training do: have more of them, or none"
        raise ValueError(f"{error}; {more}") from None
    return {"n_conditions": known.width}


def told(model: Model, dataset: Dataset) -> Conditions:
    """What the model is told about images of a data set.

    Raises  ValueError if that has another width: the data or the config.json were changed.
    """
    known = conditions(dataset, model.architecture.condition)
    if known.width != model.architecture.n_conditions:
        raise ValueError(
            f"the run's model is told {model.architecture.n_conditions} numbers, but "
            f"{model.architecture.condition} of {dataset.name} has {known.width}"
        )
    return known


def training(model: Model, dataset: Dataset) -> dict[str, Any]:
    """The arguments y and valid_y of `train`; {} for a model without conditions."""
    if not isinstance(model, ConditionalVAE):
        return {}
    known = told(model, dataset)
    return {"y": known.of(dataset.train), "valid_y": known.of(dataset.valid)}


# ---- evaluate ----


def evaluate(
    args: argparse.Namespace, model: ConditionalVAE, config: dict[str, Any], dataset: Dataset,
    rng: Any,
) -> Likelihood:  # fmt: skip
    """log p(x|y) of the test images, for `minivae evaluate`."""
    known = told(model, dataset)
    x, y = dataset.test.x, known.of(dataset.test)
    what = "N(0, 1)" if model.prior is None else "the learned p(z|y)"
    print(f"  given {model.architecture.condition}: p(x|y); the KL is to {what}")
    with tqdm(total=len(x), unit="ex", disable=None, leave=False) as bar:
        return conditional_likelihood(model, x, y, rng, args.samples, bar.update)


def extras(model: ConditionalVAE, config: dict[str, Any], dataset: Dataset) -> None:
    """What else `minivae evaluate` says where the condition is a class: a baseline, and leakage.

    Of images that are given in part, how many pixels the numbers are of.
    """
    if isinstance(dataset, Parted):
        completion.pixels_counted(dataset)
        return
    known = told(model, dataset)
    if known.label is None:
        return
    x, y = _examples.training_examples(dataset, config, _examples.MOST)
    label = known.attributes[0].name
    if label != "label":
        return
    if model.likelihood is Bernoulli and _common.black_and_white(dataset.test.x):
        grey = np.asarray(dataset.train.x[:])  # all of it: no class is missed, and none is drawn
        nll = class_pixels(grey, dataset.train.y, dataset.test.x, dataset.test.y)
        print(f"  independent pixels of each class: NLL {Estimate.of(nll)} nats per image, exact")
    held = mean_codes(model, dataset.test.x, known.of(dataset.test))
    codes = mean_codes(model, x, known.rows([y]))
    found = leakage(codes, y, held, dataset.test.y)
    print(f"  a linear probe reads the label from the mean codes of {found.accuracy} of the test "
          f"images; chance {100.0 * found.chance:.1f} %")  # fmt: skip


# ---- sample ----


def sample(args: argparse.Namespace, model: ConditionalVAE, config: dict[str, Any],
           path: Path) -> None:  # fmt: skip
    """`minivae sample RUN --label ...`, without it the same style in all classes; completions."""
    dataset = _common.load_data(model, config, args.run)
    known, as_array = told(model, dataset), path.suffix.lower() == ".npy"
    if isinstance(dataset, Parted):
        completion.sample(args, model, dataset, path)
        return
    if not as_array:
        _common.require_images(dataset, "--out FILE.npy writes an array")
    if args.label is None and known.label is None:
        wanted = ",".join(f"{a.name}=..." for a in known.attributes)
        raise ValueError(f"expected --label {wanted}: what to draw")
    names: tuple[str, ...] = ()
    if args.label is not None:
        y = known.read(args.label)[None, :]
    else:
        assert known.label is not None
        seen = [known.label.names[value] for value in known.label.seen]
        y, names = np.stack([known.read(name) for name in seen]), tuple(seen)
    if args.label is None and args.n is None:
        args.n = STYLES * len(y)
    n = 96 if args.n is None else args.n
    rows = -(-n // len(y))
    images = styles(model, y, rows, args)
    drawn = "pixels drawn from p(x|z,y)" if args.draw else "means of p(x|z,y)"
    at = "" if args.temperature == 1.0 else f" at temperature {args.temperature:g}"
    origin = ("N(0, 1)" if model.prior is None else "the learned p(z|y)") + at
    which = args.label if args.label is not None else f"each of {len(y)} classes"
    print(f"{rows * len(y):,} images given {which}, codes of {origin}; {drawn}")
    if as_array:
        _common.write_array(path, images.reshape(-1, images.shape[-1]))
        return
    from minivae import plots

    if args.label is None:
        title = f"a style in a row, a class in a column; codes of {origin} ({drawn})"
        figure = plots.styles(images, dataset.image_shape, names, title)
    else:
        title = f"{args.label}: decoded draws of {origin}"
        figure = plots.samples(images[:, 0], dataset.image_shape, args.columns, title, drawn)
    _common.write_picture(path, figure)


def styles(model: ConditionalVAE, y: np.ndarray, rows: int, args: argparse.Namespace) -> np.ndarray:
    """One style for all conditions of a row: images (rows, C, D).

    A style is the noise u of  z = mu_p(y) + sigma_p(y) u:  z itself where p(z) is N(0, 1).
    """
    rng = generator("cpu", args.seed, 0, _common.SAMPLES)
    shape = (rows, 1, model.architecture.latent)
    u = args.temperature * rng.standard_normal(shape, dtype=dtype_name(model.parameters.theta))
    u = np.broadcast_to(u, (rows, len(y), shape[2])).reshape(-1, shape[2])
    told_rows = np.tile(y, (rows, 1))
    pixels = generator(args.device, args.seed, 0, _common.PIXELS) if args.draw else None
    images = []
    for start in range(0, len(u), walks.ROWS):
        part = slice(start, start + walks.ROWS)
        p_z = model.prior_of(told_rows[part])
        p = model.decode(p_z.sample(model.array(u[part])), told_rows[part])
        images.append(to_numpy(p.mean if pixels is None else walks.pixels(p, pixels)))
    return np.concatenate(images).reshape(rows, len(y), -1)


# ---- pictures after training, codes ----


def pictures(model: ConditionalVAE, dataset: Dataset, rows: list[Any], seed: int) -> dict[str, Any]:
    """The figures of a training run, by name."""
    from minivae import plots

    known, shape = told(model, dataset), dataset.image_shape
    figures = {"curves": plots.curves(rows)}
    held = dataset.test if len(dataset.valid) == 0 else dataset.valid
    if len(held) == 0:
        return figures
    x, y = held.x[:10_000], known.of(held)[:10_000]
    q = model.encode(x, y)
    kl = to_numpy(q.kl_terms(model.prior_of(y))).mean(axis=0)
    figures["kl"] = plots.kl_per_latent(kl)
    if isinstance(dataset, Parted):
        figures |= completion.pictures(model, dataset, seed)
    elif _common.is_image(dataset):
        decoded = to_numpy(model.reconstruct(x[:48], y[:48]))
        figures["reconstructions"] = plots.reconstructions(x[:48], decoded, shape)
        args = argparse.Namespace(seed=seed, temperature=1.0, draw=False, device="cpu")
        if known.label is not None:
            seen = [known.label.names[value] for value in known.label.seen]
            asked = np.stack([known.read(name) for name in seen])
            drawn = styles(model, asked, STYLES, args)
            title = "a style in a row, a class in a column (means of p(x|z,y))"
            figures["samples"] = plots.styles(drawn, shape, seen, title)
        else:
            drawn = to_numpy(model.sample(len(y[:48]), generator("cpu", seed, 0, 7), y[:48]))
            title = "decoded codes of the prior, given what is known of held-out images"
            figures["samples"] = plots.samples(drawn, shape, title=title)
    if len(kl) >= 2:
        first, second = (int(k) for k in np.sort(np.argsort(-kl)[:2]))
        names = dataset.class_names or tuple("0123456789")
        figures["latents"] = plots.latents(
            to_numpy(q.mu),
            held.y[:10_000],
            (first, second),
            prior=model.prior is None,
            names=names,
            seen="not seen in training" if known.label is None else "told in training",
        )
    return figures
