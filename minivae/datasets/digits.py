"""Handwritten digits, 8 x 8: small enough to travel with the package.

1,797 grey images of the digits 0 to 9. The writers' 32 x 32 bitmaps were cut into blocks of 4 x 4,
and a pixel is the number of black points in its block: 0 to 16.

Attribution: E. Alpaydin and C. Kaynak (1998), "Optical Recognition of Handwritten Digits",
UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed CC BY 4.0,
https://creativecommons.org/licenses/by/4.0/. Here is the test part of that set (13 writers), as
scikit-learn distributes it; the values are unchanged, only stored as bytes in another container
(build_digits.py). See also digits-LICENSE.txt beside this file.
"""

import hashlib
from importlib.resources import files

import numpy as np

from minivae.datasets.base import Dataset, Split, fixed_order

N_IMAGES, N_TRAIN, N_VALID = 1797, 1297, 250


def load_digits() -> Dataset:
    """The embedded digits: train 1,297, valid 250, test 250 images of 8 x 8.

    Shapes    x (N, 64) float32, the counts 0..16 divided by 16, so every value is exact.
    Split     by `digits_order`, the same for ever. All splits share the 13 writers: a test score
              says how well a model knows these hands, not how it would do on new ones.
    sha256    of the images (1797 x 64 bytes), then the labels (1797 bytes), in the source's order.
    """
    source = files(__package__) / "digits.npz"
    with source.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    order = digits_order()
    x = (images.reshape(N_IMAGES, 64).astype(np.float32) / 16)[order]
    y = labels.astype(np.int64)[order]
    train, valid, test = (
        Split(x[part], y[part])
        for part in (
            slice(N_TRAIN),
            slice(N_TRAIN, N_TRAIN + N_VALID),
            slice(N_TRAIN + N_VALID, None),
        )
    )
    return Dataset("digits", (8, 8), train, valid, test, digest)


def digits_order() -> np.ndarray:
    """The fixed permutation (1797,) of the source's order that is cut into the splits."""
    return fixed_order(N_IMAGES)
