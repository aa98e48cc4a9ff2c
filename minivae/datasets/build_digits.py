"""Build digits.npz from scikit-learn's copy of the digits:  python -m minivae.datasets.build_digits

Kept so that everyone can see where the embedded bytes come from. Needs scikit-learn, which nothing
else here does. Building twice gives the same bytes (with the same zlib).
"""

import io
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).with_name("digits.npz")


def sklearn_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8) and labels (1797,), uint8, in the order of scikit-learn's copy.

    Raises    ImportError without scikit-learn; ValueError if the copy is not what we know.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    images, labels = source.images.astype(np.uint8), source.target.astype(np.uint8)
    unchanged = np.array_equal(images, source.images) and np.array_equal(labels, source.target)
    if images.shape != (1797, 8, 8) or images.max() != 16 or not unchanged:
        raise ValueError(f"expected 1797 images of 8 x 8 whole numbers 0..16, got {images.shape}")
    return images, labels


def npz_bytes(images: np.ndarray, labels: np.ndarray) -> bytes:
    """The two arrays as a compressed .npz whose bytes depend on nothing but the arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in (("images", images), ("labels", labels)):
            # Fixed date, system and rights: zipfile would record those of the moment.
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            member = io.BytesIO()
            np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)
            archive.writestr(entry, member.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()


def main() -> None:
    """Write digits.npz beside this file."""
    data = npz_bytes(*sklearn_digits())
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
