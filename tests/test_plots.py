"""Pictures show what they say: the pixels, the grid, the circles."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from minivae import VAE, Architecture, plots


def test_a_mosaic_holds_every_pixel_at_its_place() -> None:
    images = np.arange(1, 1 + 5 * 6, dtype=float).reshape(5, 6)
    page = plots.mosaic(images, (2, 3), columns=3)
    assert page.shape == (2 * 2 + 1, 3 * 3 + 2)
    assert np.array_equal(page[:2, 4:7], images[1].reshape(2, 3))
    assert np.array_equal(page[3:, 4:7], images[4].reshape(2, 3))
    assert not page[2].any() and not page[3:, 8:].any()  # the gaps and the empty place
    assert page.sum() == images.sum()


def test_originals_stand_above_their_reconstructions() -> None:
    originals, decoded = np.full((8, 4), 0.25), np.full((8, 4), 0.75)
    page = plots.reconstructions(originals, decoded, (2, 2), columns=4).axes[0].images[0]
    pixels = np.asarray(page.get_array())
    assert (pixels[:2, :2] == 0.25).all() and (pixels[3:5, :2] == 0.75).all()
    assert (pixels[6:8, :2] == 0.25).all() and (pixels[9:11, :2] == 0.75).all()


def test_the_manifold_stands_on_quantiles_with_z2_upwards() -> None:
    model = VAE(Architecture(4, 2, ()), dtype="float64")
    n, seen = 3, []
    model.decode = lambda z: (seen.append(z), type("P", (), {"mean": np.zeros((n * n, 4))}))[1]  # type: ignore[method-assign]
    axes = plots.manifold(model, (2, 2), n).axes[0]
    top = NormalDist().inv_cdf(2.5 / 3)
    assert np.allclose(seen[0][0], [-top, top]) and np.allclose(seen[0][-1], [top, -top])
    rightwards = [label.get_text() for label in axes.get_xticklabels()]
    downwards = [label.get_text() for label in axes.get_yticklabels()]
    assert axes.yaxis_inverted()  # so that the first tick is at the top
    assert rightwards[0] == downwards[-1] == f"{-top:.1f}"
    assert rightwards[-1] == downwards[0] == f"{top:.1f}"


def test_the_manifold_wants_two_latents() -> None:
    with pytest.raises(ValueError, match="2 latents, got 3"):
        plots.manifold(VAE(Architecture(4, 3, ())), (2, 2))


def test_ink_is_black_and_paper_is_white() -> None:
    image = plots.samples(np.full((1, 4), 0.5), (2, 2)).axes[0].images[0]
    assert image.cmap(image.norm([0.0, 1.0]))[:, :3].tolist() == [[1, 1, 1], [0, 0, 0]]


def test_latents_stand_at_their_means_with_their_labels() -> None:
    means, labels = np.arange(12.0).reshape(4, 3), np.array([3, 1, 4, 1])
    axes = plots.latents(means, labels, axes=(2, 0), limit=3).axes[0]
    dots = axes.collections[0]
    assert np.array_equal(dots.get_offsets(), means[:3, [2, 0]])
    assert np.array_equal(dots.get_array(), labels[:3])
    assert axes.get_xlabel().endswith("latent 3") and axes.get_ylabel().endswith("latent 1")


def test_the_circles_hold_what_they_say_of_the_prior() -> None:
    axes = plots.latents(np.zeros((3, 2)), np.array([0, 1, 2])).axes[0]
    z = np.random.default_rng(0).standard_normal((20_000, 2))
    for line, mass in zip(axes.lines, (0.5, 0.95), strict=True):
        radius = math.hypot(*line.get_xydata()[0])
        share = (np.hypot(*z.T) < radius).mean()
        assert abs(share - mass) < 4 * math.sqrt(mass * (1 - mass) / len(z))


def test_kl_bars_are_sorted_and_labelled_by_their_latent() -> None:
    axes = plots.kl_per_latent(np.array([0.1, 2.0, 1.0])).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [2.0, 1.0, 0.1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "3", "1"]
    assert "3.1 nats" in axes.get_title() and "nats" in axes.get_ylabel()


def test_curves_split_the_bound_and_an_autoencoder_has_none() -> None:
    rows = [{"epoch": e, "train_reconstruction": -e, "train_elbo": -2.0 * e, "train_kl": e,
             "valid_reconstruction": -e, "valid_elbo": -2.0 * e, "valid_kl": e}
            for e in range(1, 30)]  # fmt: skip
    assert [a.get_title() for a in plots.curves(rows).axes] == ["ELBO", "reconstruction", "KL"]
    only = [{"epoch": e, "train_reconstruction": -e} for e in range(1, 30)]
    figure = plots.curves(only)
    assert [a.get_title() for a in figure.axes] == ["reconstruction"]
    assert len(figure.axes[0].lines) == 1


def test_every_curve_is_its_own_column() -> None:
    terms = ("elbo", "reconstruction", "kl")
    columns = [f"{part}_{term}" for term in terms for part in ("train", "valid")]
    rows = [{"epoch": e, **{c: float(i + e) for i, c in enumerate(columns)}} for e in range(1, 30)]
    lines = [line for axes in plots.curves(rows).axes for line in axes.lines]
    for line, column in zip(lines, columns, strict=True):
        assert line.get_label() == column.split("_")[0]
        assert line.get_xdata().tolist() == list(range(1, 30))
        assert line.get_ydata().tolist() == [row[column] for row in rows]
