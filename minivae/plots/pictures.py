"""Images that a model makes: samples, reconstructions, and all codes of a plane."""

from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure

from minivae.arrays import to_numpy
from minivae.models.base import Model
from minivae.plots.pages import GAP, mosaic, picture, stacked

MEANS = "means of p(x|z)"


def samples(
    images: np.ndarray,
    image_shape: tuple[int, ...],
    columns: int = 12,
    title: str = "decoded samples of the prior N(0, 1)",
    shown: str = MEANS,
) -> Figure:
    """A mosaic of images (N, D).

    shown  what the pixels are: the means of p(x|z), or draws.
    """
    return picture(mosaic(images, image_shape, min(columns, len(images))), f"{title} ({shown})")


def reconstructions(
    originals: np.ndarray, decoded: np.ndarray, image_shape: tuple[int, ...], columns: int = 12
) -> Figure:
    """Originals above their reconstructions: pairs of rows, both inputs (N, D)."""
    columns, pairs = min(columns, len(originals)), []
    for start in range(0, len(originals), columns):
        above, below = (a[start : start + columns] for a in (originals, decoded))
        pairs.append(stacked([mosaic(a, image_shape, columns) for a in (above, below)], GAP))
    return picture(
        stacked(pairs, image_shape[0] // 2),
        f"held-out images as the model saw them, above reconstructions ({MEANS})",
    )


def manifold(model: Model, image_shape: tuple[int, ...], n: int = 15) -> Figure:
    """What the decoder makes of an n x n grid of codes, for two latents.

    The grid stands on the quantiles of N(0, 1) at (i + 1/2) / n, so that every image stands for the
    same share of the prior, 1 / n^2; an even grid would show mostly corners that are never sampled.
    """
    if model.architecture.latent != 2:
        raise ValueError(f"expected a model with 2 latents, got {model.architecture.latent}")
    at = [NormalDist().inv_cdf((i + 0.5) / n) for i in range(n)]
    z = np.array([(z1, z2) for z2 in reversed(at) for z1 in at])
    page = mosaic(to_numpy(model.decode(z).mean), image_shape, n)
    figure = picture(page, "decoded codes on the quantiles of the prior")
    axes = figure.axes[0]
    axes.set_axis_on()
    height, width = image_shape[:2]
    ticks = [0, n // 4, n // 2, n - 1 - n // 4, n - 1]
    labels = [f"{at[i]:.1f}" for i in ticks]
    axes.set_xticks([i * (width + GAP) + width / 2 for i in ticks], labels)
    axes.set_yticks([i * (height + GAP) + height / 2 for i in ticks], labels[::-1])
    axes.set_xlabel("latent 1")
    axes.set_ylabel("latent 2")
    return figure
