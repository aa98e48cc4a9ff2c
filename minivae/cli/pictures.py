"""What `minivae train` leaves to look at: the pictures of a run, and its last line."""

from pathlib import Path
from typing import Any

import numpy as np

from minivae import runs
from minivae.arrays import generator, to_numpy
from minivae.cli import autoregressive, conditional
from minivae.datasets import Dataset
from minivae.models import MADE, VAE, VQVAE, ConditionalVAE
from minivae.models.base import Model
from minivae.training import TERMS, History, Row, score

PICTURES = 7  # the purpose of the generator that draws the codes of samples.png


def draw(folder: Path, model: Model, dataset: Dataset, rows: list[Row], seed: int) -> list[Path]:
    """Draw every picture that this model and these data have; returns the files."""
    if isinstance(model, MADE):
        return _written(folder, autoregressive.pictures(model, dataset, rows, seed))
    if isinstance(model, ConditionalVAE):
        return _written(folder, conditional.pictures(model, dataset, rows, seed))
    from minivae import plots  # Matplotlib takes a while to load: only when there is something

    held_out = np.concatenate([dataset.valid.x, dataset.test.x])
    labels = np.concatenate([dataset.valid.y, dataset.test.y])
    if isinstance(model, VQVAE):
        return _draw_codes(folder, model, held_out, dataset, rows)
    shape, K = dataset.image_shape, model.architecture.latent
    means = to_numpy(model.means(held_out[:10_000]))
    shown = held_out[:48]
    is_image = min(shape) > 1  # and not a row of a table
    figures = {"curves": plots.curves(rows)}
    if is_image:
        decoded = to_numpy(model.reconstruct(shown))
        figures["reconstructions"] = plots.reconstructions(shown, decoded, shape)
        title = "decoded draws of N(0, 1)" + (", the prior" if isinstance(model, VAE) else "")
        drawn = to_numpy(model.sample(96, generator("cpu", seed, 0, PICTURES)))
        figures["samples"] = plots.samples(drawn, shape, title=title)
    order = np.argsort(-means.var(axis=0))
    if isinstance(model, VAE):
        kl = to_numpy(model.encode(held_out[:10_000]).kl_terms()).mean(axis=0)
        order = np.argsort(-kl)
        figures["kl"] = plots.kl_per_latent(kl)
        if K == 2 and is_image:
            figures["manifold"] = plots.manifold(model, shape)
    if K >= 2:
        first, second = (0, 1) if K == 2 else (int(order[0]), int(order[1]))
        figures["latents"] = plots.latents(
            means, labels[:10_000], (first, second), prior=isinstance(model, VAE),
            names=dataset.class_names or tuple("0123456789"),
        )  # fmt: skip
    return _written(folder, figures)


def _draw_codes(
    folder: Path, model: VQVAE, x: np.ndarray, dataset: Dataset, rows: list[Row]
) -> list[Path]:
    """The pictures of a VQ-VAE: there are none of samples before it has a prior."""
    from minivae import plots

    shape, shown = dataset.image_shape, x[:48]
    codes = to_numpy(model.codes(x[:1000]))
    figures = {
        "curves": plots.curves(rows),
        "codebook": plots.codebook(model, codes),
        "codes": plots.codes(shown[:12], codes[:12], model),
        "reconstructions": plots.reconstructions(shown, to_numpy(model.reconstruct(shown)), shape),
    }
    return _written(folder, figures)


def _written(folder: Path, figures: dict[str, Any]) -> list[Path]:
    files = []
    for name, figure in figures.items():
        files.append(folder / "pictures" / f"{name}.png")
        runs.write_figure(files[-1], figure)
    return files


def report(rows: list[Row], folder: Path, pictures: list[Path]) -> None:
    """Print the last epoch, when the best one was, and what to do next."""
    last, best = rows[-1], History(rows).best
    part = "train" if best is None else "valid"
    terms = [
        f"{name} {last[f'{part}_{column}']:.2f}"
        for column, name in TERMS.items()
        if f"{part}_{column}" in last
    ]
    what = "held-out images" if part == "valid" else "training images"
    print(f"last epoch, {what}: {', '.join(terms)} nats per image")
    if best is not None and score(best) > score(last) + 1.0:  # type: ignore[operator]
        what = next(name for column, name in TERMS.items() if f"valid_{column}" in last)
        print(
            f"the held-out {what} was best after epoch {best['epoch']:.0f}, {score(best):.2f}: "
            f"--epochs {best['epoch']:.0f} would learn less by heart"
        )
    if pictures:
        print("pictures " + " ".join(str(path) for path in pictures))
    print(f"next: minivae evaluate {folder}")
