"""Every picture, one function each; each returns a Matplotlib Figure and draws nothing on screen.

    plots.samples(images, (8, 8)).savefig("samples.png")

Pictures of images show the mean of p(x|z), grey where the model is in doubt, and say so.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from minivae.arrays import to_numpy
from minivae.models.base import Model

INK, BLUE, ORANGE = "#333333", "#2a6fbb", "#d9772b"
GAP = 1  # pixels of white between two images of a mosaic


def mosaic(images: np.ndarray, image_shape: tuple[int, ...], columns: int) -> np.ndarray:
    """Images (N, D) as one picture, row by row, ``columns`` beside each other, white between them.

    Ink is 1 and paper 0, as in the data; the gaps are 0.
    """
    height, width = image_shape
    rows = -(-len(images) // columns)
    step_y, step_x = height + GAP, width + GAP
    page = np.zeros((rows * step_y - GAP, columns * step_x - GAP))
    for i, image in enumerate(images):
        y, x = i // columns * step_y, i % columns * step_x
        page[y : y + height, x : x + width] = image.reshape(image_shape)
    return page


def samples(
    images: np.ndarray,
    image_shape: tuple[int, ...],
    columns: int = 12,
    title: str = "decoded samples of the prior N(0, 1)",
) -> Figure:
    """A mosaic of images (N, D)."""
    return _picture(mosaic(images, image_shape, columns), f"{title} (means of p(x|z))")


def reconstructions(
    originals: np.ndarray, decoded: np.ndarray, image_shape: tuple[int, ...], columns: int = 12
) -> Figure:
    """Originals above their reconstructions: pairs of rows, both inputs (N, D)."""
    columns, pairs = min(columns, len(originals)), []
    for start in range(0, len(originals) - columns + 1, columns):
        part = slice(start, start + columns)
        rows = np.concatenate([originals[part], decoded[part]])
        pairs += [mosaic(rows, image_shape, columns)]
        pairs += [np.zeros((image_shape[0] // 2, pairs[-1].shape[1]))]
    return _picture(
        np.concatenate(pairs[:-1]),
        "held-out images as the model saw them, above reconstructions (means of p(x|z))",
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
    figure = _picture(page, "decoded codes on the quantiles of the prior")
    axes = figure.axes[0]
    axes.set_axis_on()
    height, width = image_shape
    ticks = [0, n // 4, n // 2, n - 1 - n // 4, n - 1]
    labels = [f"{at[i]:.1f}" for i in ticks]
    axes.set_xticks([i * (width + GAP) + width / 2 for i in ticks], labels)
    axes.set_yticks([i * (height + GAP) + height / 2 for i in ticks], labels[::-1])
    axes.set_xlabel("latent 1")
    axes.set_ylabel("latent 2")
    return figure


def latents(
    means: np.ndarray,
    labels: np.ndarray,
    axes: tuple[int, int] = (0, 1),
    prior: bool = True,
    limit: int = 5000,
    names: Sequence[str] = tuple("0123456789"),
) -> Figure:
    """The mean code of each example, coloured by its label; two latents of means (N, K).

    prior  draw the circles that hold 50 % and 95 % of N(0, 1) in two dimensions.
    names  of the labels 0, 1, ...
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    plane = figure.add_subplot()
    i, j = axes
    count = len(names)
    colours = colormaps["tab10"](np.arange(count)) if count <= 10 else _around(count)
    dots = plane.scatter(
        means[:limit, i], means[:limit, j], c=labels[:limit], s=7,
        cmap=ListedColormap(colours), vmin=-0.5, vmax=count - 0.5,
    )  # fmt: skip
    bar = figure.colorbar(dots, ax=plane, ticks=range(count), label="label (not seen in training)")
    bar.ax.set_yticklabels(names)
    if prior:
        angle = np.linspace(0.0, 2.0 * math.pi, 200)
        for mass, style in ((0.5, "--"), (0.95, ":")):
            r = math.sqrt(-2.0 * math.log(1.0 - mass))  # the radius is Rayleigh distributed
            name = f"{mass:.0%} of the prior"
            plane.plot(r * np.cos(angle), r * np.sin(angle), style, color=INK, lw=1, label=name)
        plane.legend(loc="upper right", fontsize=8)
    plane.set_aspect("equal", adjustable="datalim")
    what = "mean of latent" if prior else "code"
    plane.set_xlabel(f"{what} {i + 1}")
    plane.set_ylabel(f"{what} {j + 1}")
    plane.set_title("where held-out images lie", fontsize=10)
    return figure


def kl_per_latent(kl: np.ndarray) -> Figure:
    """The KL of every latent, averaged over the data, largest first: which of them are used.

    kl  (K,) in nats.
    """
    figure = Figure(figsize=(3.6 + 0.16 * len(kl), 3.2), layout="constrained")
    plane = figure.add_subplot()
    order = np.argsort(-kl)
    plane.bar(range(len(kl)), kl[order], color=BLUE)
    plane.set_xticks(range(len(kl)), [str(i + 1) for i in order], fontsize=8)
    plane.set_xlabel("latent, largest first")
    plane.set_ylabel("KL to the prior [nats per image]")
    plane.set_title(f"together {kl.sum():.1f} nats per image", fontsize=10)
    return figure


def curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """The history of a run: the bound, and the two terms it is made of.

    For an autoencoder, which has no bound, the reconstruction alone.
    """
    has_bound = "train_elbo" in history[0]
    panels = [("elbo", "ELBO"), ("reconstruction", "reconstruction"), ("kl", "KL")]
    panels = panels if has_bound else panels[1:2]
    figure = Figure(figsize=(3.6 * len(panels) + 0.4, 3.2), layout="constrained")
    epochs = [row["epoch"] for row in history]
    planes = np.atleast_1d(figure.subplots(1, len(panels)))
    for plane, (term, name) in zip(planes, panels, strict=True):
        late: list[float] = []
        for part, colour in (("train", BLUE), ("valid", ORANGE)):
            column = f"{part}_{term}"
            if column in history[0]:
                values = [row[column] for row in history]
                plane.plot(epochs, values, color=colour, label=part, lw=1.2)
                late += values[len(values) // 20 :]
        margin = 0.05 * (max(late) - min(late)) + 1e-3
        # The first epochs fall from far away and would hide all that comes after.
        plane.set_ylim(min(late) - margin, max(late) + margin)
        plane.set_xlabel("epoch (the first may lie below)")
        plane.set_ylabel("nats per image")
        plane.set_title(name, fontsize=10)
        plane.legend(fontsize=8)
    return figure


def _around(count: int) -> np.ndarray:
    """Colours for many classes: around the circle of hues, light and dark by turns; (count, 4)."""
    colours = colormaps["hsv"](np.arange(count) / count)
    colours[:, :3] *= np.where(np.arange(count) % 2, 0.6, 0.95)[:, None]
    return colours


def _picture(page: np.ndarray, title: str) -> Figure:
    height, width = page.shape
    figure = Figure(figsize=(7.0, 7.0 * height / width + 0.4), layout="constrained")
    plane = figure.add_subplot()
    plane.imshow(page, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    plane.set_axis_off()
    plane.set_title(title, fontsize=10, color=INK)
    return figure
