"""Pictures of a VQ-VAE: the entries of its codebook, and images as grids of numbers."""

import math

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from minivae.arrays import to_numpy
from minivae.models.two_levels import TwoLevelArchitecture
from minivae.models.vector_quantised import VQVAE
from minivae.patches import grid
from minivae.plots.pages import BLUE, INK, mosaic

SHOWN = 256  # entries of a codebook that a picture can show


def codebook(model: VQVAE, codes: np.ndarray) -> Figure:
    """What each entry looks like, the most used first, and how often each is used.

    An entry is shown as the middle patch of an image that has it at every place: with neighbours
    of its own kind, since the decoder looks at them, too.

    codes  (N, M) of the images whose usage is shown.
    """
    a = model.architecture
    share = np.bincount(codes.ravel(), minlength=a.n_codes) / codes.size
    order = np.argsort(-share, kind="stable")[:SHOWN]
    pixels = to_numpy(model.decode(model.vectors(np.repeat(order[:, None], a.M, axis=1))).mean)
    down, across = (n // 2 * a.patch for n in a.grid)
    images = pixels.reshape(len(order), *a.image_shape)
    middle = images[:, down : down + a.patch, across : across + a.patch]
    one, columns = (a.patch, a.patch, *a.image_shape[2:]), math.ceil(math.sqrt(len(order)))
    page = mosaic(middle.reshape(len(order), -1), one, columns)
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.1, 1.0])
    left.imshow(page, cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
    left.set_axis_off()
    left.set_title("entries as patches, the most used first", fontsize=10, color=INK)
    right.bar(range(len(order)), 100.0 * share[order], width=1.0, color=BLUE)
    right.axhline(100.0 / a.n_codes, color=INK, lw=0.8, ls="--", label="equal use")
    right.set_xlabel("entry, the most used first")
    right.set_ylabel("share of the codes [%]")
    p = share[share > 0.0]
    right.set_title(f"perplexity {np.exp(-(p * np.log(p)).sum()):.1f} of {a.n_codes}", fontsize=10)
    right.legend(fontsize=8)
    return figure


def codes(images: np.ndarray, codes: np.ndarray, model: VQVAE) -> Figure:
    """Images above their codes above what the codes decode to; a colour for each entry.

    Where there are two levels of codes, the upper level stands above the lower one.
    Shapes  images (n, D), codes (n, M).
    """
    a, n = model.architecture, len(images)
    decoded = to_numpy(model.decode(model.vectors(codes)).mean)
    hue = colormaps["nipy_spectral"](np.linspace(0.05, 0.95, a.n_codes))[:, :3]
    levels = {"codes": (codes[:, -a.positions :], a.grid)}
    if isinstance(a, TwoLevelArchitecture):
        upper = codes[:, : a.n_top], grid(a.grid, a.top)
        levels = {"upper": upper, "lower": levels["codes"]}
    rows: dict[str, np.ndarray] = {"image": images.reshape(n, *a.image_shape).clip(0.0, 1.0)}
    rows |= {name: hue[of].reshape(n, *shape, 3) for name, (of, shape) in levels.items()}
    rows["decoded"] = decoded.reshape(n, *a.image_shape).clip(0.0, 1.0)
    figure = Figure(figsize=(7.0, 7.0 * len(rows) / n + 0.5), layout="constrained")
    for row, (name, pictures) in enumerate(rows.items()):
        for i in range(n):
            plane = figure.add_subplot(len(rows), n, row * n + i + 1)
            plane.imshow(pictures[i], cmap="gray_r", vmin=0.0, vmax=1.0, interpolation="nearest")
            plane.set_xticks([])
            plane.set_yticks([])
            if i == 0:
                plane.set_ylabel(name, fontsize=8)
    figure.suptitle(
        f"images, their {a.M} codes (a colour is an entry), and what these decode to",
        fontsize=10, color=INK,
    )  # fmt: skip
    return figure
