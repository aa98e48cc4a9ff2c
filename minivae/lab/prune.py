"""A model without the latents that it does not use: smaller, and the same bound.

Where latent k is inactive, its mean hardly moves with x, and the decoder has learned not to hear
it.  It enters the decoder only in the first layer,

    h = z W + b = sum over the kept k of z_k W_k  +  sum over the others of z_k W_k  +  b

so holding z_k at a number m_k for all x turns the second sum into a constant, which belongs to b:

    b' = b + sum over the others of m_k W_k

*Which m_k?*  The mean of q(z_k|x) over the training data.  That is what the decoder got there on
average, and of all constants it is nearest in the mean square to the draws it was trained on.  The
prior's mean, 0, is the same for a latent that has collapsed onto the prior.  But an inactive latent
may stand anywhere: one whose mean is 3 for every x is inactive too, and a decoder that relies
on the 3 would be wrong with a 0.

*What changes.*  The KL of the latent is gone, and so is the noise of z_k in the decoder.  Both make
the bound better.  What it told of x is gone as well, and that makes it worse.  Whether the sum is
small is not to be believed but measured: `compare` does it on held-out data, with the same noise in
the latents that stay.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivae import objectives, runs
from minivae.arrays import dtype_name, generator, like, standard_normal, to_numpy
from minivae.datasets import Dataset, binarise
from minivae.datasets.binarisation import SEEDS
from minivae.evaluation import Estimate, Usage, latent_usage
from minivae.evaluation.likelihood import ROWS
from minivae.evaluation.usage import posteriors
from minivae.models import VAE
from minivae.optimizers import Optimizer
from minivae.training import History

EXAMPLES = 10_000
"""Training examples that say which latents are used, at most; evenly spread over the data."""

COMPARISON = 30
"""The purpose, in the key (seed, epoch, purpose) of the generator, of the draws of `compare`."""


class Comparison(NamedTuple):
    """The held-out ELBO of two models, in nats per example.

    before, after  of each, with the standard error over the examples
    change         after - before, of the same examples with the same noise: its standard error is
                   that of the paired differences, far less than those of the two
    """

    before: Estimate
    after: Estimate
    change: Estimate


class Pruned(NamedTuple):
    """What `prune_run` did.

    folder      the new run
    keep        (K,) bool, the latents that stayed
    usage       `Usage` of all K on the training data
    elbo        `Comparison` on the test data
    parameters  before and after
    file_bytes  of the checkpoint before and after
    resumable   whether the training can go on: pruned from the last epoch, moments and all
    """

    folder: Path
    keep: np.ndarray
    usage: Usage
    elbo: Comparison
    parameters: tuple[int, int]
    file_bytes: tuple[int, int]
    resumable: bool


def prune(model: VAE, keep: np.ndarray, at: np.ndarray) -> VAE:
    """A new model with only the latents of ``keep``; the others held at ``at``, exactly.

    For any x, with z the code of the old model where z_k = at_k for the removed k, and z' its kept
    part: q(z'|x) and p(x|z') are those of the old model.

    Shapes  keep (K,) bool, at (K,).
    Raises  ValueError unless at least one latent stays; TypeError for a model without q(z|x).
    """
    if not isinstance(model, VAE):
        raise TypeError(f"expected a VAE, got {type(model).__name__}: it has no q(z|x)")
    K, theta = model.architecture.latent, model.parameters.theta
    if keep.shape != (K,) or keep.dtype != bool or not keep.any():
        raise ValueError(f"expected a mask of {K} latents that keeps at least one, got {keep}")
    smaller = replace(model.architecture, latent=int(keep.sum()))
    other = VAE(smaller, dtype=dtype_name(theta), device=model.device)
    held = _selected(model, theta, np.ones(K, dtype=bool))
    for name, W in held.items():
        if _takes_codes(model, name):
            b = held[name.removesuffix("W") + "b"]
            b += (at[~keep] @ W[~keep].astype(np.float64)).astype(W.dtype)
    other.parameters.theta[...] = like(_joined(_cut(model, held, keep)), other.parameters.theta)
    return other


def prune_vector(model: VAE, vector: Any, keep: np.ndarray) -> np.ndarray:
    """What is left of a moment of the optimiser (P,): that of the parameters that stay, (P',)."""
    return _joined(_selected(model, vector, keep))


def compare(
    before: VAE, after: VAE, keep: np.ndarray, x: Any, rng: Any, samples: int = 10
) -> Comparison:
    """The ELBO of both models on ``x`` (N, D), with the same noise in the latents of ``keep``.

    samples  codes for each example, at least 1.
    """
    if samples < 1:
        raise ValueError(f"expected samples of at least 1, got {samples}")
    before.check(x)
    rows, kept = max(1, ROWS // samples), np.flatnonzero(keep)
    bounds: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(x), rows):
        batch = before.array(np.asarray(x[start : start + rows]))
        eps = standard_normal(rng, (samples, len(batch), len(keep)), before.parameters.theta)
        fewer = like(np.ascontiguousarray(to_numpy(eps)[..., kept]), batch)
        pair = [
            objectives.elbo(model, batch, noise, gradient=False).elbo
            for model, noise in ((before, eps), (after, fewer))
        ]
        bounds.append((to_numpy(pair[0]).astype("f8"), to_numpy(pair[1]).astype("f8")))
    old, new = (np.concatenate(column) for column in zip(*bounds, strict=True))
    return Comparison(Estimate.of(old), Estimate.of(new), Estimate.of(new - old))


def prune_run(
    folder: str | Path,
    out: str | None = None,
    rule: str = "variance",
    threshold: float = 0.01,
    tolerance: float = 0.05,
    samples: int = 10,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: str | None = None,
) -> Pruned | None:
    """Write a run folder like ``folder``'s, without the inactive latents; None if all are active.

    out         the new folder; by default the first free of ``folder``-pruned-1, -2, ...
    rule        "variance" (of the mean) or "kl": which a latent must exceed to stay, on up to
                `EXAMPLES` training examples.
    threshold   of that rule, in squared units of the prior or in nats.
    tolerance   nats per example that the ELBO of the test data may lose.
    samples     codes an example, for the ELBO; seed draws them.
    Raises      ValueError, one line, where all latents are inactive, or the ELBO falls by more than
                the tolerance: then nothing is written.
    """
    model, config = runs.load_run(folder, device, checkpoint)
    if not isinstance(model, VAE):
        why = "it is told a condition" if model.conditional else "it has no KL and no prior"
        raise ValueError(f"{folder}: expected a VAE, got {config['model']}: {why}")
    dataset = runs.load_data(config, folder)
    x = training_examples(dataset, config)
    usage, at = latent_usage(model, x), to_numpy(posteriors(model, x).mu).mean(axis=0)
    keep = usage.active(threshold) if rule == "variance" else usage.active_by_kl(threshold)
    if keep.all():
        return None
    if not keep.any():
        raise ValueError(
            f"{folder}: none of its {len(keep)} latents is active: the model has collapsed, and "
            "without a latent it would be no VAE"
        )
    smaller = prune(model, keep, at)
    rng = generator(device, seed, 0, COMPARISON)
    elbo = compare(model, smaller, keep, dataset.test.x, rng, samples)
    if elbo.change.mean < -tolerance:
        raise ValueError(
            f"{folder}: without {int((~keep).sum())} of {len(keep)} latents the held-out ELBO "
            f"changes by {elbo.change.mean:.3f} nats, more than {tolerance:g}: nothing is written"
        )
    entry, rows = _checkpoint(Path(folder), config, checkpoint)
    optimizer = _pruned_optimizer(Path(folder), keep) if entry["moments"] else None
    new = _new_folder(Path(folder), out)
    config["pruned"] = {
        "from": Path(folder).name,
        "epoch": entry["epoch"],
        "kept": [int(k) + 1 for k in np.flatnonzero(keep)],
        "held": {str(k + 1): float(at[k]) for k in np.flatnonzero(~keep)},
    }
    del config["architecture"], config["dtype"]  # those of the smaller model are written
    runs.save(new, smaller, config, optimizer, History(rows))
    if (Path(folder) / "card.json").is_file():
        runs.write_sealed(new / "card.json", runs.read_card(Path(folder)))
    sizes = entry["bytes"], runs.read_sealed(new / "checkpoint.json")["last"]["bytes"]
    counts = len(model.parameters), len(smaller.parameters)
    return Pruned(new, keep, usage, elbo, counts, sizes, optimizer is not None)


def training_examples(dataset: Dataset, config: Mapping[str, Any]) -> np.ndarray:
    """Up to `EXAMPLES` training examples, evenly spread, as the model saw them.

    Grey ones that were drawn anew at every use are drawn once here, with the seed of "fixed".
    """
    rows = dataset.train.x
    x = np.asarray(rows[:: -(-len(rows) // EXAMPLES)])
    if config["data"]["binarisation"] == "new":
        return binarise(x, "fixed", np.random.default_rng(SEEDS["train"]))
    return x


def _checkpoint(
    source: Path, config: Mapping[str, Any], checkpoint: str | None
) -> tuple[dict[str, Any], list[Any]]:
    """The entry of the checkpoint that `runs.load_run` reads, and the history up to there."""
    progress = runs.read_sealed(source / "checkpoint.json")
    early = config.get("training", {}).get("patience") is not None
    which = checkpoint or ("best" if early and progress["best"] is not None else "last")
    return progress[which], progress["history"][: progress[which]["epoch"]]


def _pruned_optimizer(source: Path, keep: np.ndarray) -> Optimizer:
    """The optimiser after the last epoch, with the moments of the parameters that stay."""
    training = runs.load_training(source)
    assert isinstance(training.model, VAE)
    optimizer = runs.make_optimizer(training.optimizer.settings())
    state = {
        name: value if isinstance(value, int) else prune_vector(training.model, value, keep)
        for name, value in training.optimizer.state().items()
    }
    optimizer.restore(state, prune_vector(training.model, training.model.parameters.theta, keep))
    return optimizer


def _new_folder(source: Path, out: str | None) -> Path:
    """``out``, or the first free of SOURCE-pruned-1, SOURCE-pruned-2, ..., in the same place."""
    number = 1
    while out is None:
        folder = source.parent / f"{source.name}-pruned-{number}"
        out, number = None if folder.exists() else str(folder), number + 1
    return runs.create(out, "")


def _takes_codes(model: VAE, name: str) -> bool:
    """Whether a parameter is a matrix that multiplies z: one, or the heads if nothing is hidden."""
    if model.architecture.hidden:
        return name == "decoder.trunk.0.W"
    return name.startswith("decoder.") and name.endswith(".W")


def _gives_codes(name: str) -> bool:
    """Whether a parameter belongs to the last layer of the encoder: its columns are latents."""
    return name.startswith(("encoder.mu.", "encoder.logvar."))


def _selected(model: VAE, vector: Any, keep: np.ndarray) -> dict[str, np.ndarray]:
    """Copies of the named parts of ``vector`` (P,), without the latents that go."""
    views = model.parameters.views(to_numpy(vector))
    return _cut(model, {name: view.copy() for name, view in views.items()}, keep)


def _cut(model: VAE, views: Mapping[str, np.ndarray], keep: np.ndarray) -> dict[str, np.ndarray]:
    kept = np.flatnonzero(keep)
    return {
        name: np.take(view, kept, axis=-1) if _gives_codes(name)
        else np.take(view, kept, axis=0) if _takes_codes(model, name)
        else view
        for name, view in views.items()
    }  # fmt: skip


def _joined(views: Mapping[str, np.ndarray]) -> np.ndarray:
    """The vector of named arrays, in their order."""
    return np.concatenate([view.ravel() for view in views.values()])
