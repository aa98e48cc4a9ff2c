"""What the commands do with a VQ-VAE: its options, its numbers, its prior and its images."""

import argparse
import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minivae.arrays import dtype_name, generator, like, to_numpy
from minivae.cli import _common
from minivae.codebook import hidden_rate, perplexity
from minivae.datasets import Dataset
from minivae.distributions import Bernoulli
from minivae.evaluation import Estimate
from minivae.evaluation.quantised import ROWS, CodePrior, code_lengths, codes_of, usage
from minivae.models import MADE, VQVAE, IndependentPrior, MadeArchitecture
from minivae.models.quantised_networks import QuantisedArchitecture, require_codes
from minivae.models.vector_quantised import CODEBOOKS, check_rule

DEFAULTS: dict[str, dict[str, Any]] = {
    "digits": {"patch": 4, "n_codes": 8, "code_size": 8, "hidden": [64], "epochs": 60},
    "mnist": {"patch": 4, "n_codes": 128, "code_size": 16, "hidden": [128], "epochs": 10},
}
OTHERWISE: dict[str, Any] = {"n_codes": 128, "code_size": 16, "hidden": [128]}
FIELDS = {"n_codes": "--codes", "code_size": "--code-size", "patch": "--patch",
          "context": "--context"}  # fmt: skip
PRIOR = "prior.npz"


def add_arguments(add: Callable[..., None]) -> None:
    """The options of `minivae train` that belong to a VQ-VAE."""
    add("--codes", type=int, metavar="N", dest="n_codes",
        help="of vq: entries of the codebook, the list of vectors that codes choose from; "
        "default: 128, for digits 8")  # fmt: skip
    add("--code-size", type=int, metavar="C",
        help="of vq: numbers of an entry; default: 16, digits 8")  # fmt: skip
    add("--patch", type=int, metavar="P",
        help="of vq: side in pixels of the patch that has one code; default: 4")  # fmt: skip
    add("--context", type=int, metavar="R",
        help="of vq: neighbours that both networks look at on each side; default: 1")  # fmt: skip
    add("--top", type=int, metavar="T",
        help="of vq2: a code of the upper level stands for T x T patches; default: the smallest "
        "number above 1 that divides their grid")  # fmt: skip
    add("--commitment", type=float, metavar="W",
        help="of vq: weight of what pulls the encoder's vectors to their entries; "
        "default: 0.25")  # fmt: skip
    add("--codebook", choices=CODEBOOKS,
        help="of vq: how entries learn: ema, as moving averages of what chose them, or gradient, "
        "by the optimiser; default: ema")  # fmt: skip
    add("--decay", type=float, metavar="D",
        help="of vq: what a moving average keeps of itself at a batch; default: 0.99")  # fmt: skip
    add("--smoothing", type=float, metavar="A",
        help="of vq: a share of all choices spread evenly, so that nothing is divided by 0; "
        "default: 0.00001")  # fmt: skip
    add("--restart", type=float, metavar="R",
        help="of vq: entries chosen less often than this part of an equal share start again after "
        "an epoch; "
        "default: 0.05")  # fmt: skip


def complete(args: argparse.Namespace) -> None:
    """Fill in what a VQ-VAE leaves open, before the defaults of the data, and refuse the rest."""
    if args.top is not None and args.model != "vq2":
        raise ValueError(f"--top belongs to --model vq2, got --model {args.model}")
    if args.top is not None and args.top < 1:  # 0 is the architecture's word for its default
        raise ValueError(f"expected --top of at least 1, got {args.top}")
    if args.model not in ("vq", "vq2"):
        for name, option in FIELDS.items():
            if getattr(args, name) is not None:
                raise ValueError(f"{option} belongs to --model vq, vq2; got --model {args.model}")
        return
    if args.latent is not None:
        raise ValueError(f"--latent: --model {args.model} has --codes and --code-size")
    for name, value in (OTHERWISE | DEFAULTS.get(args.data, {})).items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def check(args: argparse.Namespace, architecture: Any, n: int) -> None:
    """Refuse, before anything is made, what no VQ-VAE of n images can be trained with."""
    if isinstance(architecture, QuantisedArchitecture):
        require_codes(architecture, n)
        check_rule(args.commitment, args.codebook, args.decay, args.smoothing, args.restart)


def save_prior(folder: Path, model: VQVAE, prior: MADE) -> Path:
    """Write the prior into the folder of the run whose codes it knows; one file, whole or not."""
    about = json.dumps({"architecture": asdict(prior.architecture), "codes": _digest(model)})
    buffer = io.BytesIO()
    theta = to_numpy(prior.parameters.theta)
    np.savez(buffer, allow_pickle=False, theta=theta, about=np.array(about))
    _common.write(folder / PRIOR, buffer.getvalue())
    return folder / PRIOR


def load_prior(folder: Path, model: VQVAE) -> MADE | None:
    """The prior that `minivae prior` has trained, or None if there is none.

    Raises  ValueError, one line, for a damaged file or a prior over other codes.
    """
    path = folder / PRIOR
    if not path.exists():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as found:
            about, theta = json.loads(str(found["about"])), found["theta"]
        a = MadeArchitecture(**about["architecture"])
        _require_fit(a, model, theta)
        prior = MADE(a, dtype=str(theta.dtype), device=model.device)
        if theta.shape != (len(prior.parameters),) or not np.isfinite(theta).all():
            raise ValueError("its parameters do not fit")
        known = about["codes"]
    except Exception as error:  # zipfile, json and NumPy raise their own
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"{path}: not a prior over codes ({reason})") from None
    if known != _digest(model):
        raise ValueError(
            f"{path}: a prior over the codes of other parameters, those of another checkpoint, of "
            f"another run or of before it was resumed: minivae prior {folder} --force"
        )
    prior.parameters.theta[...] = like(theta, prior.parameters.theta)
    return prior


def _require_fit(a: MadeArchitecture, model: VQVAE, theta: np.ndarray) -> None:
    """Raise ValueError unless it is a prior over as many codes, and no larger than its file."""
    M, n_codes = model.architecture.M, model.architecture.n_codes
    if (a.n_features, a.n_codes) != (M, n_codes):
        raise ValueError(f"over {a.n_features} codes of {a.n_codes}, the run has {M} of {n_codes}")
    if a.fewest_weights() > theta.size:
        raise ValueError("it asks for more parameters than it holds")


def prior_of(
    model: VQVAE, folder: Path, dataset: Dataset, config: dict[str, Any]
) -> tuple[CodePrior, str]:
    """The run's prior, or one of independent positions; and what it is called."""
    prior = load_prior(folder, model)
    if prior is not None:
        return prior, "a MADE over the codes"
    codes = training_codes(model, dataset, config)
    name = "independent positions; a better one: minivae prior " + str(folder)
    return IndependentPrior(codes, model.architecture.n_codes), name


def training_images(dataset: Dataset, config: dict[str, Any]) -> np.ndarray:
    """The training images, drawn once where training drew them at every use."""
    from minivae.datasets import binarise
    from minivae.datasets.binarisation import SEEDS

    how = "fixed" if config["data"]["binarisation"] == "new" else "none"
    return binarise(np.asarray(dataset.train.x), how, np.random.default_rng(SEEDS["train"]))


def training_codes(
    model: VQVAE, dataset: Dataset, config: dict[str, Any], draws: int = 1
) -> np.ndarray:
    """The codes of the training images, (N, M), some at a time: they may be larger than memory.

    Where training drew black and white at every use, they are of ``draws`` drawings of each image,
    (draws * N, M), the first of them those of `training_images`; otherwise there is one drawing.
    """
    from minivae.datasets import binarise
    from minivae.datasets.binarisation import SEEDS

    new = config["data"]["binarisation"] == "new"
    x, rng = dataset.train.x, np.random.default_rng(SEEDS["train"])  # as if drawn all at once
    starts = [i for _ in range(draws if new else 1) for i in range(0, len(x), ROWS)]
    how = "fixed" if new else "none"
    return np.concatenate([codes_of(model, binarise(x[i : i + ROWS], how, rng)) for i in starts])


def evaluate(
    model: VQVAE, folder: Path, dataset: Dataset, config: dict[str, Any], counted: bool
) -> None:
    """Print reconstruction, perplexity over the test set, rates, and the bound by the prior.

    In bits if the pixels are ``counted``, 0 and 1; what a Bernoulli says of grey bounds nothing.
    """
    x, a = dataset.test.x, model.architecture
    prior, name = prior_of(model, folder, dataset, config)
    lengths = code_lengths(model, prior, x)
    count = usage(codes_of(model, x), a.n_codes)
    uniform = hidden_rate(a.M, a.n_codes)
    _line("reconstruction", -lengths.distortion, "nats per image: log p(x | its codes), exact")
    print(f"  perplexity      {perplexity(count):9.2f} of {a.n_codes} entries over these images, "
          f"{int((count > 0).sum())} of them used")  # fmt: skip
    print(f"  hidden rate     {uniform:9.2f} nats per image: M log n_codes, {a.M} codes of "
          f"{a.n_codes}, {uniform / math.log(2.0):.1f} bits")  # fmt: skip
    _line("rate", lengths.rate, "nats per image: -log p(codes), exact")
    print(f"  prior: {name}")
    if model.likelihood is Bernoulli and not counted:
        _line("sum", lengths.total, "nats per image: rate - reconstruction")
        return
    _line("bound", lengths.total, "nats per image: rate - reconstruction, never below -log p(x)")
    mean = lengths.total.mean() / math.log(2.0)
    if counted:
        print(f"                  {mean:9.2f} bits per image, {mean / a.n_features:.4f} per pixel")
    print("  One code is one term of the sum p(x) = sum_c p(c) p(x|c), so the bound is honest.")


def _line(name: str, values: np.ndarray, unit: str) -> None:
    e = Estimate.of(values)
    error = f" +- {e.standard_error:.2f}" if len(values) > 1 else ""
    print(f"  {name:14}  {e.mean:9.2f}{error} {unit}")


def sample(model: VQVAE, args: argparse.Namespace, dataset: Dataset, config: dict[str, Any]) -> Any:
    """What the decoder sees of n codes drawn from the prior; and what the prior is called."""
    prior, name = prior_of(model, Path(args.run), dataset, config)
    print(f"prior: {name}")
    device = model.device if isinstance(prior, MADE) else "cpu"
    rng = generator(device, args.seed, 0, _common.SAMPLES)
    codes = to_numpy(prior.sample(args.n, rng, args.temperature))
    return to_numpy(model.vectors(codes.astype(np.int64))), name.partition(";")[0]


def _digest(model: VQVAE) -> str:
    """SHA-256 of the parameters: codes of other parameters mean something else."""
    theta = to_numpy(model.parameters.theta)
    return hashlib.sha256(dtype_name(theta).encode() + theta.tobytes()).hexdigest()
