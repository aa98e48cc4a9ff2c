"""What a conditional model is told: one-hot classes, scaled numbers, angles, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from minivae.datasets import load_digits, load_sprites
from minivae.datasets.base import Dataset, Split
from minivae.datasets.conditions import conditions


@pytest.fixture(scope="module")
def sprites() -> Dataset:
    return load_sprites(300, 50, 50)


def test_a_class_is_a_one_hot_row() -> None:
    digits = load_digits()
    known = conditions(digits)
    y = known.of(digits.test)
    assert y.shape == (len(digits.test), 10) and y.dtype == np.float32 and known.width == 10
    assert np.array_equal(y, np.eye(10)[digits.test.y])
    assert np.array_equal(known.read("7"), np.eye(10)[7])
    assert np.array_equal(known.read("label=7"), np.eye(10)[7])
    assert known.label is known.attributes[0]


def test_factors_stand_beside_each_other(sprites: Dataset) -> None:
    known = conditions(sprites, "factors")
    y, factors = known.of(sprites.train), sprites.train.factors
    assert factors is not None and y.shape == (300, 3 + 1 + 2 + 1 + 1) and known.label is None
    assert np.array_equal(y[:, :3], np.eye(3)[factors[:, 0].astype(int)])
    assert y[:, 3] == pytest.approx((factors[:, 1] - 10.0) / 2.0)  # scales 8 to 12
    turn = 2.0 * np.pi * factors[:, 2]
    assert y[:, 4:6] == pytest.approx(np.stack([np.cos(turn), np.sin(turn)], axis=1), abs=1e-6)
    assert y[:, 6:] == pytest.approx(factors[:, 3:] / 4.0)
    one = known.read("shape=heart, scale=10,rotation=0.25,x=-4,y=2")
    assert one == pytest.approx([0, 0, 1, 0, 0, 1, -1, 0.5], abs=1e-6)
    # In another order, and only some of them: as they are named.
    few = conditions(sprites, "x,shape")
    assert few.of(sprites.train) == pytest.approx(y[:, [6, 0, 1, 2]])
    assert few.read("shape=square,x=4") == pytest.approx([1, 1, 0, 0])
    assert few.rows([np.array([0.0, 4.0]), np.array([1, 2])]).shape == (2, 4)


def test_numbers_are_scaled_by_the_training_images_alone(sprites: Dataset) -> None:
    assert sprites.train.factors is not None
    inside = sprites.train.factors[:, 3] < 4.0
    narrow = replace(sprites, train=sprites.train[inside])
    y = conditions(narrow, "x").of(sprites.train)
    assert y.max() == pytest.approx(2.0 * 8.0 / 7.0 - 1.0)  # 4, beyond -4 to 3


def test_a_class_that_training_has_not_seen_is_refused() -> None:
    digits = load_digits()
    without = replace(digits, train=digits.train[digits.train.y != 7])
    known = conditions(without)
    assert known.width == 10
    for split in (digits.test, digits.valid):
        with pytest.raises(ValueError, match="label '7': no training image has it"):
            known.of(split)
    with pytest.raises(ValueError, match="label '7'"):
        known.read("7")
    fewer = conditions(replace(digits, train=digits.train[digits.train.y < 9]))
    with pytest.raises(ValueError, match="label 9: no training image has it"):
        fewer.of(digits.test)


@pytest.mark.parametrize(
    "text, message",
    [
        ("11", "label one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; got '11'"),
        ("seven", "got 'seven'"),
        ("", "got ''"),
        ("shape=7", "a value of each of label; got 'shape=7'"),
        ("7,8", "a value of each of label"),
        ("-1", "got '-1'"),
    ],
)
def test_unknown_labels(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conditions(load_digits()).read(text)


@pytest.mark.parametrize(
    "text, message",
    [
        ("shape=heart,x=5", "x from -4 to 4, as training images have it; got '5'"),
        ("shape=heart,x=-4.5", "x from -4 to 4, as training images have it; got '-4.5'"),
        ("shape=heart,x=nan", "got 'nan'"),
        ("shape=heart,x=left", "got 'left'"),
        ("shape=star,x=0", "shape one of square, ellipse, heart; got 'star'"),
        ("shape=heart", "a value of each of shape, x; got"),
        ("shape=heart,x=0,x=1", "a value of each of shape, x; got"),
        ("heart,0", "a value of each of shape, x; got"),
    ],
)
def test_unknown_factors(sprites: Dataset, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        conditions(sprites, "shape,x").read(text)


def test_only_the_first_factor_has_the_names_of_the_classes(sprites: Dataset) -> None:
    renamed = replace(sprites, factor_names=("shape", "family", "rotation", "x", "y"))
    shape, family = conditions(renamed, "shape,family").attributes
    assert shape.names == sprites.class_names and shape.seen == (0, 1, 2)
    assert family.kind == "class" and family.names == tuple(str(n) for n in range(13))
    assert set(family.seen) <= set(range(8, 13))  # they were scales


def test_angles_run_once_around(sprites: Dataset) -> None:
    known = conditions(sprites, "rotation")
    assert known.read("0") == pytest.approx(known.read("1"), abs=1e-6)
    with pytest.raises(ValueError, match="rotation from 0 to 1"):
        known.read("1.5")


def test_data_without_such_conditions(sprites: Dataset) -> None:
    digits = load_digits()
    with pytest.raises(ValueError, match="digits has no known factors"):
        conditions(digits, "factors")
    with pytest.raises(ValueError, match=r"digits \(label\), or one of quadrants-1, .*; got 'sh"):
        conditions(digits, "shape")
    table = Split(digits.train.x, digits.train.y)
    rows = Dataset("rows", (1, 64), table, table, table, "0")
    with pytest.raises(ValueError, match=r"a condition of rows \(label\); got 'shape'"):
        conditions(rows, "shape")
    with pytest.raises(ValueError, match=r"\(label, factors, shape, scale"):
        conditions(sprites, "shape,colour")
    with pytest.raises(ValueError, match="got 'x,x'"):
        conditions(sprites, "x,x")
    zeros = Split(digits.train.x, np.zeros(len(digits.train), np.int64))
    with pytest.raises(ValueError, match="label is the same for all training images"):
        conditions(replace(digits, train=zeros))
