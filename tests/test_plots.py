"""Pictures show what they say: the pixels, the grid, the circles."""

import io
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

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


# ---- walks ----


def grey(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 0.9, shape)


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(figure.axes[0].images[0].get_array())


def test_a_last_row_that_is_not_full_is_still_shown() -> None:
    originals, decoded = grey(5, 4), grey(5, 4) / 2
    page = pixels(plots.reconstructions(originals, decoded, (2, 2), columns=3))
    assert np.array_equal(page[6:8, :5], plots.mosaic(originals[3:], (2, 2), 2))
    assert np.array_equal(page[9:11, :5], plots.mosaic(decoded[3:], (2, 2), 2))
    assert not page[6:, 5:].any()


def test_samples_are_no_wider_than_their_number() -> None:
    assert pixels(plots.samples(grey(2, 4), (2, 2))).shape == (2, 5)


@settings(max_examples=12)
@given(
    st.integers(1, 3), st.integers(1, 3), st.integers(2, 5), st.integers(1, 5), st.integers(1, 5)
)
def test_every_step_of_every_walk_stands_over_its_tick(
    P: int, ways: int, T: int, height: int, width: int
) -> None:
    walks = {f"way {i}": grey(P, T, height * width) + i for i in range(ways)}
    ends, t = grey(P, 2, height * width) + 10, np.arange(T) / (T - 1)
    axes = plots.interpolation(walks, ends, (height, width), t).axes[0]
    page = pixels(axes.figure)
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == list(walks) * P
    for i, y in enumerate(axes.get_yticks()):
        pair, way = divmod(i, ways)
        row = [ends[pair, 0], *walks[f"way {way}"][pair], ends[pair, 1]]
        for x, image in zip(axes.get_xticks(), row, strict=True):
            assert np.array_equal(cut(page, x, y, height, width), image.reshape(height, width))
    assert page.sum() == pytest.approx(
        sum(walk.sum() for walk in walks.values()) + ways * ends.sum()
    )


def cut(page: np.ndarray, x: float, y: float, height: int, width: int) -> np.ndarray:
    """The image whose middle is at (x, y), where the pixel (0, 0) reaches from -1/2 to 1/2."""
    top, left = round(y + 0.5 - height / 2), round(x + 0.5 - width / 2)
    return page[top : top + height, left : left + width]


@settings(max_examples=12)
@given(st.integers(1, 4), st.integers(2, 5), st.integers(1, 6), st.integers(1, 6))
def test_every_value_of_every_latent_stands_over_its_tick(
    R: int, T: int, height: int, width: int
) -> None:
    images, values = grey(R, T, height * width), np.linspace(-2, 2, T)
    own = grey(height * width), np.linspace(-1.5, 3, R)
    names = [f"latent {i}" for i in range(R)]
    axes = plots.traversal(images, (height, width), names, values, own, "value").axes[0]
    page = pixels(axes.figure)
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    centres = axes.get_xticks()
    for row, y in zip(images, axes.get_yticks(), strict=True):
        for x, image in zip(centres, [own[0], *row], strict=True):
            assert np.array_equal(cut(page, x, y, height, width), image.reshape(height, width))
    marks = axes.collections[0].get_offsets()
    for (x, y), value, middle in zip(marks, own[1], axes.get_yticks(), strict=True):
        share = min((value + 2) / 4, 1.0)  # beyond the last value it stays there
        assert x == pytest.approx(centres[1] + share * (centres[-1] - centres[1]))
        assert -0.5 <= y < middle - height / 2  # in the white above its row
    assert "orange" in axes.get_title() and "means of p(x|z)" in axes.get_title()
    assert page.shape == (round(axes.get_ylim()[0] + 0.5), round(axes.get_xlim()[1] + 0.5))


@settings(max_examples=12)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
def test_every_cell_stands_above_its_name(N: int, columns: int, height: int, width: int) -> None:
    images = grey(N, height * width)
    figure = plots.cells(images, (height, width), [f"{i}" for i in range(N)], "title", columns)
    page, texts = pixels(figure), figure.axes[0].texts
    for image, text in zip(images, texts, strict=True):
        x, y = text.get_position()
        found = [top for top in range(page.shape[0]) if top + height / 2 < y]
        left = round(x + 0.5 - width / 2)
        here = [page[top : top + height, left : left + width] for top in found]
        assert any(np.array_equal(part, image.reshape(height, width)) for part in here)
        assert not page[round(y), left : left + width].any()  # the name is on white
    assert page.sum() == pytest.approx(images.sum())


def test_labels_stay_inside_the_figure() -> None:
    names = [f"latent {i}: KL {i}.00 nats" for i in range(8, 12)]
    own = grey(64), np.zeros(4)
    figures = [
        plots.traversal(grey(4, 9, 64), (8, 8), names, np.linspace(-2, 2, 9), own, "value"),
        plots.interpolation(
            {"spherical": grey(2, 9, 784)}, grey(2, 2, 784), (28, 28), np.linspace(0, 1, 9)
        ),
        plots.cells(grey(7, 64), (8, 8), names + names[:3], "title"),
    ]
    for figure in figures:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        box = figure.get_tightbbox(canvas.get_renderer())
        width, height = figure.get_size_inches()
        assert box.x0 > 0.02 and box.y0 > 0.02 and box.x1 < width and box.y1 < height - 0.02


@pytest.mark.parametrize(
    ("N", "columns", "shape"), [(7, 5, (8, 8)), (4, 2, (28, 28)), (5, 5, (28, 28))]
)
def test_the_names_of_cells_cover_no_image(N: int, columns: int, shape: tuple[int, int]) -> None:
    images = np.ones((N, shape[0] * shape[1]))
    figure = plots.cells(images, shape, ["latent 11: KL 1.23 nats"] * N, "title", columns)
    page, axes, canvas = pixels(figure), figure.axes[0], FigureCanvasAgg(figure)
    canvas.draw()
    for text in axes.texts:
        box = text.get_window_extent(canvas.get_renderer()).transformed(axes.transData.inverted())
        top, bottom = sorted((box.y0, box.y1))
        # the row r of pixels reaches from r - 1/2 to r + 1/2
        assert not page[math.floor(top + 0.5) : math.ceil(bottom - 0.5) + 1].any()


def test_a_gif_plays_there_and_back_in_time() -> None:
    frames = [plots.cells(grey(1, 4) * i / 4, (2, 2), [""], f"{i}") for i in range(1, 5)]
    content = plots.gif(iter(frames), step=40, hold=250, dpi=20)
    assert content == plots.gif(frames, step=40, hold=250, dpi=20)
    with Image.open(io.BytesIO(content)) as film:
        size = tuple(round(20 * inches) for inches in frames[0].get_size_inches())
        assert film.format == "GIF" and film.info["loop"] == 0
        assert all(abs(a - b) <= 1 for a, b in zip(film.size, size, strict=True))
        durations, means = [], []
        for i in range(film.n_frames):
            film.seek(i)
            durations.append(film.info["duration"])
            means.append(float(np.asarray(film.convert("L")).mean()))
    assert durations == [250, 40, 40, 250, 40, 40]
    assert means[0] > means[1] > means[2] > means[3]  # more and more ink
    assert means[4:] == [means[2], means[1]]


def test_a_gif_of_one_figure_stands_still() -> None:
    frame = plots.cells(grey(1, 4), (2, 2), [""], "")
    with Image.open(io.BytesIO(plots.gif([frame], dpi=20))) as film:
        assert film.n_frames == 1


# ---- colour ----


def test_pages_in_colour_have_white_between_the_images() -> None:
    images = grey(3, 12)
    page = plots.mosaic(images, (2, 2, 3), columns=2)
    assert page.shape == (5, 5, 3)
    assert np.array_equal(page[:2, 3:], images[1].reshape(2, 2, 3))
    assert (page[2] == 1).all() and (page[:, 2] == 1).all() and (page[3:, 3:] == 1).all()


def test_every_picture_takes_colour_also_beyond_white(caplog: pytest.LogCaptureFixture) -> None:
    shape, t = (3, 2, 3), np.linspace(0, 1, 4)
    own = grey(18), np.zeros(2)
    figures = [
        plots.samples(1.5 - 2 * grey(5, 18), shape, 3),
        plots.reconstructions(grey(5, 18), grey(5, 18) + 0.5, shape, 3),
        plots.interpolation({"straight": grey(2, 4, 18)}, grey(2, 2, 18), shape, t),
        plots.traversal(grey(2, 4, 18), shape, ["a", "b"], t, own, "value"),
        plots.cells(grey(5, 18) - 0.5, shape, list("abcde"), "title"),
        plots.manifold(VAE(Architecture(18, 2, ())), shape, 4),
    ]
    for figure in figures:
        page = pixels(figure)
        assert page.ndim == 3 and page.min() >= 0 and page.max() == 1
        figure.savefig(io.BytesIO(), dpi=20)
    assert not caplog.records  # Matplotlib's words about values that it had to clip


def test_a_gif_keeps_colours() -> None:
    red = np.array([[0.9, 0.1, 0.1] * 4, [0.1, 0.1, 0.9] * 4])
    frames = [plots.cells(red[i : i + 1], (2, 2, 3), [""], f"{i}") for i in range(2)]
    with Image.open(io.BytesIO(plots.gif(frames, dpi=20))) as film:
        for i, colour in enumerate([(230, 26, 26), (26, 26, 230)]):
            film.seek(i)
            middle = film.convert("RGB").getpixel((film.width // 2, film.height // 2))
            assert all(abs(a - b) < 12 for a, b in zip(middle, colour, strict=True))
