"""Rendered worlds: the rasteriser against clipping, and every factor does what it says."""

import hashlib
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minivae import plots
from minivae.datasets import (
    Dataset,
    Split,
    binarise_splits,
    draw_glyphs,
    draw_sprites,
    glyphs,
    glyphs_grid,
    load,
    load_glyphs,
    load_sprites,
    sprites,
    sprites_grid,
)
from minivae.datasets.base import fixed_order
from minivae.datasets.raster import coverage, to_bytes
from minivae.datasets.worlds import choose, factor_table

LOADERS: list[Callable[..., Dataset]] = [load_sprites, load_glyphs]
GRIDS = [
    pytest.param(sprites_grid, sprites.LEVELS, (3, 5, 16, 9, 9), id="sprites"),
    pytest.param(glyphs_grid, glyphs.LEVELS, (26, 4, 2, 2, 3, 5, 5), id="glyphs"),
]
MIDDLES = np.arange(28) - 13.5


def sprite(shape: int, scale: float = 10, rotation: float = 0, x: float = 0, y: float = 0) -> Any:
    return draw_sprites(np.array([[shape, scale, rotation, x, y]]))[0].astype(float) / 255


def glyph(*factors: float) -> Any:
    return draw_glyphs(np.array([factors]))[0].astype(float) / 255


def centre(image: np.ndarray) -> tuple[float, float]:
    """Centre of mass, to the right and upwards from the middle."""
    mass = image.sum()
    return float((image * MIDDLES).sum() / mass), float(-(image * MIDDLES[:, None]).sum() / mass)


# ---- the rasteriser ----


def clipped_area(corners: list[tuple[float, float]], row: int, column: int) -> float:
    """Area of polygon and pixel, by clipping at the four sides (Sutherland and Hodgman, 1974)."""
    for axis, bound, sign in ((0, column, 1), (0, column + 1, -1), (1, row, 1), (1, row + 1, -1)):
        kept = []
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            da, db = sign * (a[axis] - bound), sign * (b[axis] - bound)
            if da >= 0:
                kept.append(a)
            if (da > 0 > db) or (da < 0 < db):
                t = da / (da - db)
                kept.append((a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
        corners = kept
    cross = [a[0] * b[1] - a[1] * b[0] for a, b in zip(corners, corners[1:] + corners[:1])]  # noqa: B905
    return abs(sum(cross)) / 2


def short_steps(corners: np.ndarray, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Every side cut into n steps, as a batch of one."""
    t = np.arange(n)[:, None] / n
    after = np.roll(corners, -1, axis=0)
    points = (corners[:, None] + t * (after - corners)[:, None]).reshape(1, -1, 2)
    return points, np.roll(points, -1, axis=1)


COORDINATE = st.one_of(st.floats(0, 6), st.sampled_from([0.0, 1.0, 2.0, 2.5, 3.0, 6.0]))


@settings(max_examples=150)
@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=3))
def test_coverage_is_the_area_by_clipping(corners: list[tuple[float, float]]) -> None:
    """Drawn triangles, also flat ones and with sides on the lines of the grid."""
    got = coverage(*short_steps(np.array(corners)), 6)[0]
    wanted = [[clipped_area(corners, r, c) for c in range(6)] for r in range(6)]
    assert np.allclose(got, wanted, rtol=0, atol=1e-12)


def test_a_hole_is_not_covered_and_order_does_not_matter() -> None:
    outer = np.array([(0.5, 0.5), (5.5, 0.5), (5.5, 5.5), (0.5, 5.5)])
    inner = np.array([(2.0, 2.0), (2.0, 4.0), (4.0, 4.0), (4.0, 2.0)])  # the other way round
    (a, b), (c, d) = short_steps(outer), short_steps(inner)
    start, end = np.concatenate([a, c], axis=1), np.concatenate([b, d], axis=1)
    page = coverage(start, end, 6)[0]
    assert page[0, 0] == 0.25 and page[0, 1] == 0.5 and page[1, 1] == 1
    assert not page[2:4, 2:4].any() and page.sum() == 21
    mixed = np.random.default_rng(0).permutation(start.shape[1])
    assert np.allclose(coverage(start[:, mixed], end[:, mixed], 6)[0], page, atol=1e-14)


def test_coverage_refuses_what_it_cannot_draw() -> None:
    square = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    for corners, word in ((square * 2, "2 > 1 pixels"), (square - 0.5, "leaves"),
                          (square + np.nan, "leaves")):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            coverage(corners[None], np.roll(corners, -1, axis=0)[None], 4)


def test_bytes_are_rounded_and_half_goes_up_on_either_side_of_rounding() -> None:
    share = np.array([0, 0.5 - 1e-13, 0.5, 0.5 + 1e-13, 1 - 1e-13, 1 + 1e-13, 0.4 / 255, 0.6 / 255])
    assert to_bytes(share).tolist() == [0, 128, 128, 128, 255, 255, 0, 1]


# ---- what a world promises, for both ----


@pytest.mark.parametrize(("grid", "levels", "shape"), GRIDS)
def test_the_grid_is_factorial_and_no_image_has_two_names(
    grid: Any, levels: Any, shape: tuple[int, ...]
) -> None:
    images, factors = grid()
    n = int(np.prod(shape))
    assert images.shape == (n, 28, 28) and images.dtype == np.uint8
    assert factors.shape == (n, len(shape)) and factors.dtype == np.float64
    assert len(np.unique(factors, axis=0)) == n  # all different and as many as there can be
    table = factors.reshape(*shape, len(shape))
    for axis, values in enumerate(levels.values()):
        along = np.moveaxis(table[..., axis], axis, -1)
        assert (along == np.array(values)).all()
    assert len(np.unique(images.reshape(n, -1).view("V784"))) == n
    assert images.max() == 255 and images.reshape(n, -1).any(axis=1).all()


@pytest.mark.parametrize("loader", LOADERS)
def test_the_default_data(loader: Any) -> None:
    data = loader()
    assert [len(s) for s in (data.train, data.valid, data.test)] == [10_000, 1000, 1000]
    assert data.image_shape == (28, 28) and len(data.sha256) == 64
    images = set()
    for part in (data.train, data.valid, data.test):
        assert part.x.dtype == np.float32 and part.x.min() == 0 and part.x.max() == 1
        assert part.factors.shape == (len(part), len(data.factor_names))
        assert np.array_equal(part.y, part.factors[:, 0])
        assert set(np.unique(part.y)) == set(range(len(data.class_names)))
        images |= {row.tobytes() for row in part.x}
    assert len(images) == 12_000  # all different: no image is in two splits


@pytest.mark.parametrize("loader", LOADERS)
def test_the_same_call_gives_the_same_data_and_more_of_it_begins_with_less(loader: Any) -> None:
    one, again, longer = loader(50, 5, 5), loader(50, 5, 5), loader(60, 5, 5)
    assert one.sha256 == again.sha256 != longer.sha256
    assert np.array_equal(one.test.x, again.test.x)
    assert np.array_equal(longer.train.x[:50], one.train.x)
    assert np.array_equal(longer.train.factors[:50], one.train.factors)


@pytest.mark.parametrize("loader", LOADERS)
def test_the_images_belong_to_their_factors(loader: Any) -> None:
    draw = draw_sprites if loader is load_sprites else draw_glyphs
    data = loader(40, 10, 10)
    for part in (data.train, data.valid, data.test):
        assert np.array_equal(draw(part.factors).reshape(len(part), -1), np.rint(part.x * 255))
    parts = (data.train, data.valid, data.test)
    pixels = b"".join(np.rint(part.x * 255).astype(np.uint8).tobytes() for part in parts)
    table = b"".join(part.factors.astype("<f8").tobytes() for part in parts)
    assert data.sha256 == hashlib.sha256(pixels + table).hexdigest()


@pytest.mark.parametrize("loader", LOADERS)
def test_factors_travel_with_their_images(loader: Any) -> None:
    data = loader(40, 10, 10)
    other = data.with_validation(20)
    for part, before in (("train", data.train.factors[:30]), ("test", data.test.factors)):
        assert np.array_equal(getattr(other, part).factors, before)
    assert np.array_equal(other.valid.factors[:10], data.train.factors[30:])
    assert np.array_equal(other.valid.factors[10:], data.valid.factors)
    for how in ("none", "threshold", "fixed", "new"):
        drawn = binarise_splits(other, how)
        assert drawn.factor_names == data.factor_names and drawn.class_names == data.class_names
        for part in ("train", "valid", "test"):
            assert np.array_equal(getattr(drawn, part).factors, getattr(other, part).factors)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("parts", [(0, 0, 0), (-1, 2, 2), (10**6, 0, 0)])
def test_a_size_that_cannot_be_is_one_line(loader: Any, parts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected 0 < train") as error:
        loader(*parts)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loader", LOADERS)
def test_time_and_memory_are_bounded(loader: Any) -> None:
    loader(100, 0, 0)  # imports and fonts
    tracemalloc.start()
    begin = time.process_time()
    loader()
    seconds, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 20  # half a second where nothing else runs and nobody traces
    assert peak < 250e6, f"{peak / 1e6:.0f} MB"


def test_loaded_by_name() -> None:
    assert load("sprites").name == "sprites" and load("glyphs").name == "glyphs"


def test_the_fixed_choice() -> None:
    levels = {"a": (0, 1, 2), "b": (5, 7)}
    table = factor_table(levels)
    assert table.tolist() == [[0, 5], [0, 7], [1, 5], [1, 7], [2, 5], [2, 7]]
    assert np.array_equal(choose(levels, 4), table[fixed_order(6)[:4]])
    assert sorted(fixed_order(100).tolist()) == list(range(100))


# ---- Split and Dataset with factors ----


def test_bad_factors_are_refused() -> None:
    x, y, f = np.zeros((3, 4), np.float32), np.zeros(3, np.int64), np.zeros((3, 2))
    for factors, word in (
        (f[0], "(N, F)"),
        (f.astype(np.float32), "float32"),
        (f[:2], "2 factors"),
    ):
        with pytest.raises(ValueError, match="Split") as error:
            Split(x, y, factors)
        assert word in str(error.value)
    good, none = Split(x, y, f), Split(x, y)
    Dataset("d", (2, 2), good, good, good, "", ("a", "b"))
    for parts, names in (((good, good, good), ()), ((good, none, good), ("a", "b")),
                         ((none, none, none), ("a",))):  # fmt: skip
        with pytest.raises(ValueError, match="names of factors"):
            Dataset("d", (2, 2), *parts, "", names)


# ---- sprites ----


def test_the_sprites_are_these_for_all_time() -> None:
    """Pinned: after corners are rounded to 2^-16 all arithmetic is defined to the last bit."""
    assert load_sprites().sha256 == (
        "228729c637fe5c694715219818d5d0b1de10961b5e5e3e41243e589aec62d3c2"
    )


def test_the_roundings_before_the_digest_have_margins() -> None:
    """No corner is near a tie of its rounding, and no pixel near a tie of its byte."""
    levels = {**sprites.LEVELS, "x": (0,), "y": (0,)}
    factors = factor_table(levels)
    outlines = np.stack([sprites._square(), sprites._ellipse(), sprites._heart()])
    nudged = outlines * (1 + 1e-12)  # a thousand times what two machines may differ by
    corners = sprites._corners(outlines, factors)
    assert np.array_equal(corners, sprites._corners(nudged, factors))
    share = coverage(corners, np.roll(corners, -1, axis=1), 28)
    for nudge in (-1e-10, 1e-10):
        assert np.array_equal(to_bytes(share), to_bytes(share + nudge))


DRAWN = st.tuples(
    st.integers(0, 2), st.floats(4, 12), st.floats(0, 0.999), st.floats(-4, 4), st.floats(-4, 4)
)


@given(DRAWN)
def test_a_sprite_has_the_area_and_the_centre_it_was_given(factors: tuple[float, ...]) -> None:
    image = sprite(*factors)  # type: ignore[arg-type]
    assert image.min() == 0 and image.max() == 1
    assert image.sum() == pytest.approx(factors[1] ** 2, rel=0.01)
    assert centre(image) == pytest.approx(factors[3:], abs=0.05)


def test_all_sprites_have_the_area_and_the_centre_they_were_given() -> None:
    images, factors = sprites_grid()
    image = images / 255
    mass = image.sum(axis=(1, 2))
    assert np.abs(mass / factors[:, 1] ** 2 - 1).max() < 0.01
    assert np.abs((image * MIDDLES).sum(axis=(1, 2)) / mass - factors[:, 3]).max() < 0.01
    assert np.abs((image * -MIDDLES[:, None]).sum(axis=(1, 2)) / mass - factors[:, 4]).max() < 0.01


def inside(shape: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points lie in the shape of area 1, from its equation instead of its outline."""
    if shape == 0:
        return np.maximum(abs(u), abs(v)) <= 0.5
    if shape == 1:
        return (u / 2) ** 2 + v**2 <= 1 / (2 * np.pi)
    # The curve itself, at a million times: for each height the outermost width on its right half.
    k = np.sqrt(180 * np.pi)
    t = np.linspace(0, np.pi, 200_001)
    a, b = (
        16 * np.sin(t) ** 3,
        13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t),
    )
    middle = np.trapezoid(a * b * np.gradient(b, t), t) / np.trapezoid(a * np.gradient(b, t), t)
    top = int(b.argmax())
    x, y = np.abs(u * k), v * k + middle
    outer = np.interp(y, b[top:][::-1], a[top:][::-1], left=-1, right=-1)
    notch = np.interp(y, b[: top + 1], a[: top + 1], left=0, right=99)
    return (x <= outer) & (x >= notch)


@pytest.mark.parametrize("shape", [0, 1, 2])
@pytest.mark.parametrize("rotation", [0.0, 0.3, 0.8125])
def test_a_sprite_is_its_equation(shape: int, rotation: float) -> None:
    """Every pixel against 32 x 32 samples of the shape's own equation."""
    scale, x, y = 11.3, 1.2, -0.7
    at = (np.arange(28 * 32) + 0.5) / 32 - 14
    across, up = at[None, :] - x, -at[:, None] - y
    angle = np.radians((90, 180, 360)[shape] * rotation)
    u = (np.cos(angle) * across + np.sin(angle) * up) / scale
    v = (-np.sin(angle) * across + np.cos(angle) * up) / scale
    wanted = inside(shape, u, v).reshape(28, 32, 28, 32).mean(axis=(1, 3))
    assert np.abs(sprite(shape, scale, rotation, x, y) - wanted).max() < 0.04


def test_whole_pixels_move_the_image_and_nothing_else() -> None:
    images, _ = sprites_grid()
    grid = images.reshape(3, 5, 16, 9, 9, 28, 28)
    middle = grid[:, :, :, 4, 4]
    for i, x in enumerate(range(-4, 5)):
        for j, y in enumerate(range(-4, 5)):
            moved = np.roll(middle, (-y, x), axis=(-2, -1)).astype(int)
            assert np.abs(moved - grid[:, :, :, i, j]).max() <= 1
    assert np.array_equal(middle, draw_sprites(factor_table(
        {**sprites.LEVELS, "x": (0,), "y": (0,)})).reshape(middle.shape))  # fmt: skip


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_a_quarter_turn_is_rot90_and_a_period_the_beginning(shape: int) -> None:
    """Counterclockwise, as np.rot90."""
    quarter = {0: 1.0, 1: 0.5, 2: 0.25}[shape]
    for k in range(5):
        first = k / 16 * quarter
        turned = np.rot90(sprite(shape, 11, first))
        if shape == 0:
            assert np.abs(turned - sprite(0, 11, first)).max() <= 1.01 / 255
        else:
            assert np.abs(turned - sprite(shape, 11, first + quarter)).max() <= 1.01 / 255
            assert np.abs(turned - sprite(shape, 11, first)).max() > 0.5
    heart = sprite(2, 11)
    assert np.abs(heart - heart[:, ::-1]).max() <= 1.01 / 255
    ink = heart.sum(axis=1)
    assert np.flatnonzero(ink)[-1] - 13.5 > 13.5 - np.flatnonzero(ink)[0]  # the tip is below


def test_every_sprite_factor_changes_the_image() -> None:
    images, _ = sprites_grid()
    grid = images.reshape(3, 5, 16, 9, 9, 784).astype(int)
    for axis in range(5):
        step = np.abs(np.diff(grid, axis=axis)).sum(axis=-1)
        assert step.min() > 255, axis  # the worth of a whole pixel at least


@pytest.mark.parametrize(
    ("factors", "word"),
    [
        ([[3, 8, 0, 0, 0]], "shape 0, 1 or 2"),
        ([[0, 8, 1.0, 0, 0]], "rotation"),
        ([[0, 0, 0, 0, 0]], "scale > 0"),
        ([[0, 8, 0, 11, 0]], "leaves the image"),
        ([[0, 8, np.nan, 0, 0]], "finite"),
        ([[0, 8, 0, 0]], "(N, 5)"),
        ([0, 8, 0, 0, 0], "(N, 5)"),
    ],
)
def test_sprites_that_make_no_sense(factors: Any, word: str) -> None:
    with pytest.raises(ValueError) as error:
        draw_sprites(np.array(factors, float))
    assert word in str(error.value) and "\n" not in str(error.value)


# ---- glyphs ----

PLAIN = (0, 0, 0, 18, 0, 0)


@settings(max_examples=60)
@given(
    st.integers(0, 25), st.integers(0, 3), st.integers(0, 1), st.integers(0, 1),
    st.floats(10, 20), st.integers(-2, 2), st.integers(-2, 2),
)  # fmt: skip
def test_a_glyph_moves_with_its_position_and_keeps_its_ink(
    character: int, family: int, weight: int, slant: int, size: float, x: int, y: int
) -> None:
    face = (character, family, weight, slant, size)
    here, there = glyph(*face, 0, 0), glyph(*face, x, y)
    assert here.min() == 0 and 0.2 < here.max() <= 1
    assert np.abs(np.roll(here, (-y, x), axis=(0, 1)) - there).max() <= 1.01 / 255
    moved = np.subtract(centre(there), centre(here))
    assert moved == pytest.approx((x, y), abs=0.05)


def test_ink_grows_with_the_square_of_the_size() -> None:
    for character in range(26):
        small, large = glyph(character, 0, 1, 0, 10, 0, 0), glyph(character, 0, 1, 0, 20, 0, 0)
        assert large.sum() / small.sum() == pytest.approx(4, rel=0.01)


def test_bold_has_more_ink_and_slanted_leans_to_the_right() -> None:
    for family in range(4):
        for character in range(26):
            plain = glyph(character, family, 0, 0, 18, 0, 0)
            bold = glyph(character, family, 1, 0, 18, 0, 0)
            assert bold.sum() > 1.1 * plain.sum(), (family, character)
        for character in map(glyphs.CHARACTERS.index, "HIT"):
            for weight in (0, 1):
                image = glyph(character, family, weight, 1, 18, 0, 0)
                rows = np.flatnonzero(image.any(axis=1))
                upper, lower = (
                    (image[half] * MIDDLES).sum() / image[half].sum()
                    for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :])
                )
                assert upper > lower + 0.5


def test_a_glyph_is_the_character_that_matplotlib_draws() -> None:
    """The same outline by another hand: Agg, at eight times the size, then averaged."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    for character, family, weight, slant in ((1, 2, 0, 0), (6, 3, 1, 1), (16, 0, 1, 0)):
        face = glyphs._faces()[family, weight, slant]
        letter = glyphs.CHARACTERS[character]
        path = TextPath((0, 0), letter, size=100, prop=FontProperties(fname=face))
        box = path.get_extents()
        figure = Figure(figsize=(2.24, 2.24), dpi=100)
        canvas = FigureCanvasAgg(figure)
        middle = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2)
        placed = middle.scale(8 * 18 / 100).translate(112 + 8, 112 - 16)
        figure.add_artist(PathPatch(path, transform=placed, color="black", lw=0))
        canvas.draw()
        ink = 1 - np.asarray(canvas.buffer_rgba())[..., 0] / 255
        wanted = ink.reshape(28, 8, 28, 8).mean(axis=(1, 3))
        assert np.abs(glyph(character, family, weight, slant, 18, 1, -2) - wanted).max() < 0.03


def test_every_glyph_factor_changes_the_image() -> None:
    images, _ = glyphs_grid()
    grid = images.reshape(26, 4, 2, 2, 3, 5, 5, 784).astype(np.int16)
    for axis in range(7):
        step = np.abs(np.diff(grid, axis=axis)).sum(axis=-1, dtype=np.int64)
        assert step.min() > 100, axis  # an I in Sans Mono and one in Serif are the closest


def test_strokes_do_not_overlap() -> None:
    """Crossing outlines would count twice; none of these do, so nothing is really clipped."""
    for face in glyphs._faces().values():
        for character in glyphs.CHARACTERS:
            steps = glyphs._placed(
                glyphs._steps(face, character, 20.0), np.array([[0, 0, 0, 0, 20.0, 0, 0]])
            )
            assert coverage(steps[0], steps[1], 28).max() < 1 + 1e-9


def test_the_users_settings_do_not_change_the_glyphs() -> None:
    import matplotlib

    before = glyph(7, *PLAIN)
    glyphs._curves.cache_clear()
    changed = {"text.hinting": "force_autohint", "font.size": 30, "font.family": "cursive"}
    with matplotlib.rc_context(changed):
        assert np.array_equal(glyph(7, *PLAIN), before)


def test_a_missing_face_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        load_glyphs(10, 0, 0)
    message = str(error.value)
    assert "DejaVuSans.ttf" in message and "STIXGeneral.ttf" in message and "\n" not in message


@pytest.mark.parametrize(
    ("factors", "word"),
    [
        ([[26, 0, 0, 0, 18, 0, 0]], "character 0 to 25"),
        ([[0, 0.5, 0, 0, 18, 0, 0]], "family 0 to 3"),
        ([[0, 0, 2, 0, 18, 0, 0]], "weight 0 to 1"),
        ([[0, 0, 0, -1, 18, 0, 0]], "slant 0 to 1"),
        ([[0, 0, 0, 0, -3, 0, 0]], "size > 0"),
        ([[0, 0, 0, 0, 18, 12, 0]], "leaves the image"),
        ([[0, 0, 0, 0, 18, 0]], "(N, 7)"),
    ],
)
def test_glyphs_that_make_no_sense(factors: Any, word: str) -> None:
    with pytest.raises(ValueError) as error:
        draw_glyphs(np.array(factors, float))
    assert word in str(error.value) and "\n" not in str(error.value)


# ---- pictures and the command line ----


@pytest.mark.parametrize("names", [tuple("0123456789"), sprites.SHAPES, tuple(glyphs.CHARACTERS)])
def test_the_colour_bar_names_the_classes(names: tuple[str, ...]) -> None:
    labels = np.arange(len(names))
    figure = plots.latents(np.zeros((len(names), 2)), labels, names=names)
    plane, bar = figure.axes
    assert tuple(label.get_text() for label in bar.get_yticklabels()) == names
    figure.canvas.draw()
    colours = {tuple(c) for c in plane.collections[0].to_rgba(labels)}
    assert len(colours) == len(names)
    if len(names) <= 10:
        from matplotlib import colormaps

        wanted = [(*c, 1.0) for c in colormaps["tab10"].colors[: len(names)]]
        assert np.allclose(plane.collections[0].to_rgba(labels), wanted)


@pytest.mark.parametrize("name", ["sprites", "glyphs"])
def test_train_and_evaluate_on_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from minivae.cli import main

    monkeypatch.chdir(tmp_path)
    small = ["--epochs", "1", "--hidden", "8", "--latent", "2", "--batch-size", "500"]
    assert main(["train", "--data", name, *small, "--out", "run"]) == 0
    assert {p.stem for p in Path("run/pictures").iterdir()} == {
        "curves", "reconstructions", "samples", "manifold", "latents", "kl",
    }  # fmt: skip
    assert load(name).sha256 in Path("run/card.json").read_text()
    capsys.readouterr()
    assert main(["evaluate", "run", "--samples", "2"]) == 0
    assert f"1,000 test images of {name}" in capsys.readouterr().out
