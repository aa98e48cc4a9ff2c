"""`minivae info`: what minivae finds on this machine."""

import argparse
import importlib.metadata
import os
import platform

import numpy as np

import minivae
from minivae import arrays, blas
from minivae.datasets import download

HELP = "versions, BLAS kernel, GPU and data that are found"
DESCRIPTION = "Print what minivae finds on this machine; put it into a bug report."
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(args: argparse.Namespace) -> None:
    """Print."""
    rows = {
        "minivae": minivae.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "matplotlib": importlib.metadata.version("matplotlib"),
        "platform": platform.platform(),
        "cores": arrays.cores(),
        "BLAS kernel": blas.loaded_kernel(),
        "BLAS threads": blas.loaded_threads() or "unknown",
        "GPU": _gpu(),
        "MINIVAE_DATA": os.environ.get("MINIVAE_DATA") or "not set (--data mnist downloads)",
        "cache": download.cache_folder(),
    }
    for name, value in rows.items():
        print(f"{name:13} {value}")


def _gpu() -> str:
    try:
        cupy = arrays.import_cupy()
    except RuntimeError as error:
        return f"none: {error}"
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return f"{name} (CuPy {cupy.__version__})"
