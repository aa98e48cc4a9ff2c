"""A folder of images as rows of pixels; subfolders are classes."""

import hashlib
import io
import math
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = frozenset(
    [".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".pbm"]
)
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What may be inside; Pillow knows more, one of which (EPS) is a program that it would run."""

MODES = {"L": (), "RGB": (3,)}
"""What Pillow calls grey and colour; the axes behind height and width."""

MAX_PIXELS = 2**24  # of one image: a small file can unpack to anything
MAX_FILE = 2**28  # bytes of one file
MAX_NUMBERS = 2**30  # of all images


class Pictures(NamedTuple):
    """Images (N, H, W) or (N, H, W, 3) uint8, their classes (N,) int64, and the digest."""

    x: np.ndarray
    y: np.ndarray | None
    class_names: tuple[str, ...]
    sha256: str


def read_pictures(folder: Path, mode: str = "L") -> Pictures:
    """Read all images of a folder, or of its subfolders, whose names are then the classes.

    Which     the files whose names end as in SUFFIXES and do not begin with a dot, in the order of
              their names (subfolder by subfolder). Of a moving picture, the first image.
    mode      of MODES, to which every image is converted.
    sha256    of each file's path in the folder, a zero byte and its bytes, one after the other.
    Raises    ValueError, one line that names the file, if there are no images, one cannot be read,
              is larger than MAX_PIXELS, has more than 8 bits a pixel or another size than the
              first; ImportError without Pillow.
    """
    if mode not in MODES:
        raise ValueError(f"expected a mode of {', '.join(MODES)}, got {mode!r}")
    files, classes, names = _files(folder)
    digest, pixels = hashlib.sha256(), np.empty(0)
    for i, path in enumerate(files):
        try:
            if path.stat().st_size > MAX_FILE:
                raise ValueError(f"larger than {MAX_FILE} bytes")
            data = path.read_bytes()
            if i == 0:
                pixels = _room(len(files), data, mode)
            pixels[i] = _decoded(data, mode, pixels.shape[1:3])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        digest.update(os.fsencode(path.relative_to(folder).as_posix()) + b"\0" + data)
    return Pictures(pixels, classes, names, digest.hexdigest())


def _files(folder: Path) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """The image files, the class of each, and the classes' names."""
    here = _images(folder)
    for sub in sorted(folder.iterdir()):
        hidden = not sub.is_dir() or sub.name.startswith(".") or _images(sub)
        if not hidden and any(inner.is_dir() for inner in sub.iterdir()):
            raise ValueError(f"{sub}: expected the images of a class, got folders: one level only")
    inside = {
        sub.name: found
        for sub in sorted(folder.iterdir())
        if sub.is_dir() and not sub.name.startswith(".") and (found := _images(sub))
    }
    if here and inside:
        raise ValueError(
            f"{folder}: expected images, or one subfolder a class, got both: "
            f"{here[0].name} and {next(iter(inside))}/"
        )
    if not here and not inside:
        kinds = ", ".join(sorted(SUFFIXES))
        raise ValueError(f"{folder}: expected images ({kinds}) or subfolders of them, got none")
    if here:
        return here, None, ()
    counts = [len(found) for found in inside.values()]
    files = [path for found in inside.values() for path in found]
    return files, np.repeat(np.arange(len(inside)), counts), tuple(inside)


def _images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _room(n: int, data: bytes, mode: str) -> np.ndarray:
    """An array for n images like this first one."""
    width, height = _opened(data).size
    shape = (n, height, width, *MODES[mode])
    if math.prod(shape) > MAX_NUMBERS:
        raise ValueError(f"{n} images of {height} x {width} are more than {MAX_NUMBERS} numbers")
    return np.empty(shape, np.uint8)


def _opened(data: bytes) -> Any:
    """The image, of which only the header has been read; its size is bounded."""
    from PIL import Image  # takes a while to load: only when there are pictures

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large images: judged below
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    # Pillow's readers raise many things on damaged bytes, all of which mean this
    except Exception as error:
        raise ValueError(f"not an image that can be read ({_reason(error)})") from None
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"{height} x {width} pixels, more than {MAX_PIXELS}")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"expected 8 bits a pixel, got an image of mode {image.mode}")
    return image


def _decoded(data: bytes, mode: str, size: tuple[int, ...]) -> np.ndarray:
    """The pixels of an image, which must have this height and width."""
    image = _opened(data)
    width, height = image.size
    if (height, width) != size:
        raise ValueError(
            f"expected {size[0]} x {size[1]} pixels like the first image, got {height} x {width}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(image.convert(mode))
    except Exception as error:  # as above
        raise ValueError(f"not an image that can be read ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """What went wrong, without the address of our buffer."""
    text = str(error).partition(" <_io")[0]
    return " ".join(text.split()) or type(error).__name__
