"""`minivae export RUN --out weights.npz`: the parameters for other programs."""

import argparse
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from minivae.arrays import to_numpy
from minivae.cli import _common
from minivae.models import MADE, MODELS
from minivae.models.base import Model
from minivae.models.networks import LOGIT_LIMIT, LOGVAR_LIMIT, PIXEL_LOGVAR_LIMIT

HELP = "the parameters of a run, for other programs"
DESCRIPTION = """\
Write the parameters by name in a file that needs no minivae to read.

  weights.npz            NumPy's format; the text array "metadata" describes
                         the rest, in JSON
  weights.safetensors    for PyTorch, JAX and others (pip install safetensors);
                         the description is its metadata

Rows are examples: a dense layer is y = x @ W + b with W (n_in, n_out), the
transpose of PyTorch's Linear.weight. So the mean code of images x is, for one
hidden layer of ReLU,

  h = maximum(x @ w["encoder.trunk.0.W"] + w["encoder.trunk.0.b"], 0)
  mu = h @ w["encoder.mu.W"] + w["encoder.mu.b"]

A trunk counts dense layers and activations alike: 0, 2, 4, ... are the dense
ones."""
EXAMPLES = """examples:
  minivae export runs/digits-vae-1 --out weights.npz
  minivae export runs/digits-vae-1 --out weights.safetensors
"""
KINDS = (".npz", ".safetensors")
FORMAT = "minivae weights 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    _common.add_run_argument(parser)
    _common.add_out(parser, "a .npz or a .safetensors")


def run(args: argparse.Namespace) -> None:
    """Export."""
    args.device = "cpu"
    model, _ = _common.load(args, codes=False, told=True)
    path = _common.destination(args, None, KINDS)
    views = model.parameters.views(model.parameters.theta)
    arrays = {name: np.ascontiguousarray(to_numpy(view)) for name, view in views.items()}
    pack = npz if path.suffix.lower() == ".npz" else safetensors
    content = pack(arrays, description(model))
    print(f"{len(arrays)} arrays, {len(model.parameters):,} numbers")
    _common.write(path, content)


def description(model: Model) -> dict[str, str]:
    """What another program has to know besides the arrays; all values are text.

    architecture  JSON, the fields of `Architecture`.
    limits        JSON; where a head ends in y = c tanh(a / c), which keeps it between -c and c.
    """
    architecture = model.architecture
    limits: dict[str, float] = {}
    if "logvar" in getattr(getattr(model, "encoder", None), "heads", {}):
        limits["encoder.logvar"] = LOGVAR_LIMIT
    if architecture.likelihood == "continuous-bernoulli":
        limits["decoder.logits"] = LOGIT_LIMIT
    if (architecture.likelihood, getattr(architecture, "variance", "")) == ("gaussian", "pixel"):
        limits["decoder.logvar"] = PIXEL_LOGVAR_LIMIT
    kind = next(name for name, known in MODELS.items() if type(model) is known)
    return {
        "format": FORMAT,
        "model": kind,
        "architecture": json.dumps(asdict(architecture)),
        "dense": "y = x @ W + b, x (B, n_in), W (n_in, n_out)",
        "limits": json.dumps(limits),
        **_order(model),
    }


def _order(model: Model) -> dict[str, str]:
    """Of a MADE: in which order it takes the variables; what its mask forbids is 0 in W.

    Raises  ValueError for several masks: the arrays do not say them.
    """
    if not isinstance(model, MADE):
        return {}
    if model.architecture.n_masks > 1:
        raise ValueError(f"{model.architecture.n_masks} masks share the weights: no file says them")
    return {"order": json.dumps(model.architecture.orders()[0])}


def npz(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of an .npz file; the metadata are the text array "metadata", JSON."""
    buffer = io.BytesIO()
    described: dict[str, Any] = {**arrays, "metadata": np.array(json.dumps(metadata))}
    np.savez(buffer, **described)
    return buffer.getvalue()


def safetensors(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a .safetensors file.

    Raises  ValueError, one line that says what to install, without that package.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise ValueError("a .safetensors file needs: pip install safetensors") from None
    return save(dict(arrays), metadata=dict(metadata))
