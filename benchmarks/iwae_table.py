"""The table of the IWAE paper on MNIST, in its short form: -log p(x) of k = 1 and k = 5.

    MINIVAE_DATA=... python benchmarks/iwae_table.py                    40 epochs, k = 1 and 5
    python benchmarks/iwae_table.py --k 1 5 50 --epochs 121             more rows, for longer
    python benchmarks/iwae_table.py --examples 1000                     a tenth of the evaluation
    python benchmarks/iwae_table.py --late                              each gradient a step late

784-200-200-50 with tanh and one stochastic layer, trained by `minivae.objectives.iwae` and by the
recipe of Burda, Grosse and Salakhutdinov (2015) as their program has it; what that says beyond the
paper stands beside the code below.  The test images are those of `default_rng(777)`; log p(x) is
that of 5,000 importance samples, the proposal the encoder's q.

Everything is kept in --folder after every epoch and every hundred images.  Killed at any moment,
the same command goes on from there and ends with the same numbers, equal to the bit; so does a
later one with more epochs.  results.json has the figures, table.md the table; with --late they are
results-late.json and table-late.md.  The exit status is
0 if the NLL of k = 1 is at most 92.5 after 40 epochs and that of k = 5 better by 0.5 or more.
"""

import argparse
import io
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import minivae as mv
from minivae import blas
from minivae.arrays import Array, generator, namespace
from minivae.evaluation import Estimate, latent_usage
from minivae.layers import Activation, Dense, Heads, Stack
from minivae.models import IWAE
from minivae.parameters import Layer
from minivae.runs.files import claimed, write
from minivae.training.history import Meter

BATCH, TRAINING = 20, 59_600  # as coded: the last 400 images are put aside, and nothing shuffled
WEIGHTS, NOISE, PIXELS, BOUND, LIKELIHOOD, CHOICE = 61, 62, 63, 64, 65, 66  # purposes
FEW, CHUNK = 50, 100  # samples of the -ELBO of all images; images between two savings
BLOCK = 32_768  # parameters that Adam moves at a time: they and their moments stay in the cache
PUBLISHED = {1: 86.76, 5: 85.54, 50: 84.78}  # 3,280 epochs: table 1, one stochastic layer
SHORT = {(1, 40): (92.0, 99.0, 21), (1, 121): (89.3, 96.0, 21)}
"""(k, epochs): NLL, -ELBO and active units of an independent program."""
GATE, GAIN = 92.5, 0.5  # nats, after 40 epochs


class Doubled(Activation):
    """y = 2 x: the authors' head gives log sigma, our Gaussian wants log sigma^2.

    Not the same as a head for log sigma^2: Adam's steps would move log sigma half as far.
    """

    def forward(self, x: Array) -> tuple[Array, Array]:
        return 2.0 * x, x

    def backward(self, dy: Array, x: Array, need_dx: bool = True) -> Array:
        return 2.0 * dy


class Burda(IWAE):
    """The IWAE with the authors' encoder: log sigma from a linear head, without a limit."""

    def make_encoder(self) -> Layer:
        a = self.architecture
        n = a.hidden[-1]
        logvar = Stack(Dense(n, a.latent, "glorot"), Doubled())
        mu = Dense(n, a.latent, "glorot")
        return Heads(a.trunk(a.n_features, a.hidden), mu=mu, logvar=logvar)


class AsCoded(mv.Adam):
    """Adam as the authors' program has it.  Beside Kingma and Ba's algorithm 1:

    Sum         the gradient is that of the sum over the batch, not of the mean, and so epsilon
                weighs 1/20 of what it would.
    Ones        v starts at 1, not at 0.
    Correction  the step has Adam's factor for moments that started at 0,
                alpha_t = lr sqrt(1 - b2^t) / (1 - b1^t), although v has not: so for the first
                thousands of steps, while 1 still stands in v, they are short.  A warm-up.
    Epsilon     1e-4 is added to sqrt(v) as it stands, which is not corrected.

        m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2
        theta <- theta + alpha_t m / (sqrt(v) + epsilon)      t from 1

    Late        Theano makes all assignments of a step at once, from the values of the one before.
                So in the authors' program theta moves by the moments of before this step: the
                second line comes first, a gradient is heard a step later, and the first step goes
                nowhere, as m is still 0.  Programs that copy the formulas do not have this; here it
                is the option ``late``, for the difference is measured: see benchmarks/README.md.

    We keep Adam's sums u = m / (1 - b1) and w = v / (1 - b2), and go down where they went up.

    scale  what makes a sum over the batch of the gradient g: the batch size.
    late   whether theta moves before the moments do.
    """

    def __init__(self, learning_rate: float, scale: float, late: bool = False) -> None:
        super().__init__(learning_rate, beta1=0.99, beta2=0.999, epsilon=1e-4)
        self.scale, self.late = scale, late

    def step(self, theta: Array, grad: Array) -> None:
        if self.u is None:
            xp = namespace(theta)
            self.u, self.w = xp.zeros_like(theta), xp.full_like(theta, 1.0 / (1.0 - self.beta2))
        self.t += 1
        unit = math.sqrt(1.0 - self.beta2)  # sqrt(v) = unit sqrt(w)
        rate = self.learning_rate * math.sqrt(1.0 - self.beta2**self.t) / (1.0 - self.beta1**self.t)
        rate, epsilon = rate * (1.0 - self.beta1) / unit, self.epsilon / unit
        for start in range(0, theta.shape[0], BLOCK):
            part = slice(start, start + BLOCK)
            u, w, g = self.u[part], self.w[part], self.scale * grad[part]
            if self.late:
                theta[part] -= rate * u / (namespace(theta).sqrt(w) + epsilon)
            u *= self.beta1
            u += g
            w *= self.beta2
            w += g * g
            if not self.late:
                theta[part] -= rate * u / (namespace(theta).sqrt(w) + epsilon)


def learning_rate(epoch: int) -> float:
    """1e-4 round(10^(1 - i/7), 1) for 3^i epochs, i = 0 .. 7; ``epoch`` counts from 0."""
    i, end = 0, 1
    while epoch >= end and i < 7:
        i += 1
        end += 3**i
    return 1e-4 * round(10.0 ** (1.0 - i / 7.0), 1)


def new_model(x: np.ndarray, seed: int) -> Burda:
    """784-200-200-50, tanh: weights by Glorot's uniform law, the output's bias at the logit of x.

    x  (N, 784) training images; a pixel's mean is kept inside [0.001, 0.999], as coded.  (The
       authors draw every layer from the same seed, so that layers of one shape begin alike; we
       don't.)
    """
    mean = np.clip(x.mean(axis=0, dtype=np.float64), 0.001, 0.999)
    model = Burda(mv.Architecture(x.shape[1], 50, (200, 200), "tanh"), mean)
    rng = generator("cpu", seed, 0, WEIGHTS)
    for view in model.parameters.views(model.parameters.theta).values():
        if view.ndim == 2:
            limit = math.sqrt(6.0 / sum(view.shape))
            view[...] = rng.uniform(-limit, limit, view.shape)
    return model


def one_epoch(model: IWAE, optimizer: AsCoded, x: np.ndarray, epoch: int, k: int, seed: int) -> Any:
    """One pass over x in its order; the means of the bound and of the ELBO on the way, in nats."""
    optimizer.learning_rate = learning_rate(epoch)
    noise, pixels = (generator("cpu", seed, epoch, purpose) for purpose in (NOISE, PIXELS))
    parameters, meter = model.parameters, Meter()
    for start in range(0, len(x), BATCH):
        batch = mv.binarise(x[start : start + BATCH], "new", pixels)
        parameters.zero_grad()
        meter.add(model.objective(batch, noise, samples=k))
        optimizer.step(parameters.theta, parameters.grad)
    return meter.means()


def train(
    folder: Path, x: np.ndarray, k: int, epochs: int, seed: int, late: bool = False
) -> tuple[Burda, np.ndarray]:
    """The model after so many epochs, from where ``folder`` has it.

    Returns  the model and the rows (epochs, 3): bound, ELBO, seconds.
    Raises   ValueError if the folder is further on.
    """
    model, optimizer, rows = new_model(x, seed), AsCoded(1e-3, BATCH, late), np.empty((0, 3))
    theta, file = model.parameters.theta, folder / "training.npz"
    if file.exists():
        state = read(file)
        rows = state.pop("rows")
        theta[...] = state.pop("theta")
        optimizer.restore(state, theta)
    if len(rows) > epochs:
        raise ValueError(f"{folder} has {len(rows)} epochs, more than {epochs}: name another")
    for epoch in range(len(rows), epochs):
        begun = time.perf_counter()
        with blas.threads(1):  # the products are small, and sums equal to the bit everywhere
            means = one_epoch(model, optimizer, x, epoch, k, seed)
        row = [means["iwae"], means["elbo"], time.perf_counter() - begun]
        rows = np.vstack([rows, row])
        keep(file, theta=theta, rows=rows, **optimizer.state())
        print(f"k = {k}, epoch {epoch + 1}/{epochs}: bound {row[0]:.2f}, ELBO {row[1]:.2f} nats, "
              f"{row[2]:.0f} s", flush=True)  # fmt: skip
    return model, rows


def evaluate(file: Path, model: IWAE, x: np.ndarray, samples: int, examples: int, seed: int) -> Any:
    """-ELBO and an NLL of `FEW` samples of all images x, and the NLL of some of them.

    examples  how many, drawn without replacement: a multiple of `CHUNK`, or N.  Kept in ``file``,
              and gone on from there.

    Returns  {"elbo": (N,), "few": (N,), "nll": (N,)} in nats; nll is nan where it was not asked
             for.
    """
    N = len(x)
    found = {name: np.full(N, math.nan) for name in ("elbo", "few", "nll")}
    if file.exists():
        found = read(file)
    order = generator("cpu", seed, 0, CHOICE).permutation(N)[:examples]
    jobs = [(np.arange(N), FEW, BOUND, "few"), (order, samples, LIKELIHOOD, "nll")]
    for images, S, purpose, name in jobs:
        for start in range(0, len(images), CHUNK):
            rows = images[start : start + CHUNK]
            if not np.isnan(found[name][rows]).any():
                continue
            begun, rng = time.perf_counter(), generator("cpu", seed, start, purpose)
            values = mv.estimate_likelihood(model, x[rows], rng, S)
            found[name][rows] = values.nll
            if name == "few":
                found["elbo"][rows] = values.elbo
            keep(file, **found)
            print(f"  {name}: {start + len(rows)} of {len(images)} images, S = {S:,}: "
                  f"{np.mean(found[name][images[: start + CHUNK]]):.2f} nats, "
                  f"{time.perf_counter() - begun:.1f} s", flush=True)  # fmt: skip
    return found


def likelihood(few: np.ndarray, nll: np.ndarray) -> dict[str, float]:
    """The mean NLL of all N images from all or n of them.

    With n < N it is the mean of ``few`` over all, corrected by the mean difference of the n: what
    images differ in is in both numbers, and cancels.

    Shapes   few (N,), nll (N,) with nan where it was not computed.
    Returns  "nll"; "nll_error", the standard error over test sets of N images; and
             "nll_subset_error", that from having n of them, 0 for n = N.
    """
    N, known = len(few), ~np.isnan(nll)
    difference = (nll - few)[known]
    n = len(difference)
    spread = float(difference.std(ddof=1)) if n > 1 else math.nan
    return {
        "nll": float(few.mean() + difference.mean()),
        "nll_error": Estimate.of(nll[known] if n == N else few).standard_error,
        "nll_subset_error": 0.0 if n == N else spread * math.sqrt((1.0 - n / N) / n),
    }


def measure(model: IWAE, rows: np.ndarray, x: np.ndarray, found: Any, k: int, S: int) -> Any:
    """One row of the table, as JSON can hold it; nats per image."""
    usage = latent_usage(model, x)
    epochs = len(rows)
    short = dict(
        zip(("nll", "negative_elbo", "active_units"), SHORT.get((k, epochs), ()), strict=False)
    )
    return {
        "k": k,
        "epochs": epochs,
        "examples": int((~np.isnan(found["nll"])).sum()),
        "samples": S,
        **likelihood(found["few"], found["nll"]),
        "negative_elbo": float(-found["elbo"].mean()),
        "negative_elbo_error": Estimate.of(found["elbo"]).standard_error,
        "active_units": int(usage.active().sum()),
        "train_bound": rows[:, 0].tolist(),
        "train_elbo": rows[:, 1].tolist(),
        "seconds": float(rows[:, 2].sum()),
        "published_nll_3280_epochs": PUBLISHED.get(k),
        "short_form": short or None,
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown, beside the figures that we know."""
    lines = [
        "| k | epochs | NLL | -ELBO | active | short form: NLL, -ELBO, active | "
        "published NLL (3,280 epochs) |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        short, published = r["short_form"], r["published_nll_3280_epochs"]
        beside = ", ".join(str(figure) for figure in (short or {}).values())
        subset = f", from {r['examples']:,} images +- {r['nll_subset_error']:.2f}"
        lines.append(
            f"| {r['k']} | {r['epochs']} | {r['nll']:.2f} +- {r['nll_error']:.2f}"
            f"{subset if r['nll_subset_error'] else ''} | {r['negative_elbo']:.2f} "
            f"| {r['active_units']} | {beside} | {published or ''} |"
        )
    return "\n".join(lines) + "\n"


def verdict(results: list[dict[str, Any]]) -> list[str]:
    """What is outside the gate, one line each; empty if it was passed or does not apply."""
    nll = {r["k"]: r["nll"] for r in results if r["epochs"] == 40}
    said = []
    if 1 in nll and not nll[1] <= GATE:
        said.append(f"k = 1: NLL {nll[1]:.2f}, wanted at most {GATE}")
    if {1, 5} <= set(nll) and not nll[1] - nll[5] >= GAIN:
        said.append(f"k = 5: better by {nll[1] - nll[5]:.2f} nats, wanted at least {GAIN}")
    return said


def beside_others(file: Path, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """These rows and those of other k or epochs that the file has already, in their order."""
    known = json.loads(file.read_text()) if file.exists() else []
    rows = {(r["k"], r["epochs"]): r for r in [*known, *results]}
    return [rows[key] for key in sorted(rows)]


def keep(file: Path, **arrays: Any) -> None:
    """Write arrays so that the file appears whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write(file, buffer.getvalue())


def read(file: Path) -> dict[str, np.ndarray]:
    """What `keep` has written."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def parse() -> argparse.Namespace:
    """The options, each of them possible."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5], help="samples of the bounds")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--samples", type=int, default=5000, help="of the NLL, for each image")
    parser.add_argument("--examples", type=int, default=10_000, help="test images of the NLL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--late", action="store_true", help="move before the gradient is heard")
    parser.add_argument("--folder", type=Path, default=Path("runs/iwae_table"))
    options = parser.parse_args()
    for name in ("epochs", "samples", "examples"):
        if getattr(options, name) < 1:
            parser.error(f"expected --{name} of at least 1, got {getattr(options, name)}")
    if options.examples > 10_000 or options.examples % CHUNK:
        parser.error(f"expected --examples a multiple of {CHUNK} up to 10000, "
                     f"got {options.examples}")  # fmt: skip
    if min(options.k) < 1 or options.seed < 0:
        parser.error("expected every --k of at least 1, and a --seed of at least 0")
    return options


def main() -> int:
    """Train, evaluate, print."""
    options, results, trained = parse(), [], {}
    data = mv.binarise_splits(mv.load_mnist(n_valid=0), "new")
    train_x, test_x = data.train.x[:TRAINING], data.test.x
    options.folder.mkdir(parents=True, exist_ok=True)
    with claimed(options.folder):
        for k in options.k:
            folder = options.folder / f"k{k}-seed{options.seed}{'-late' if options.late else ''}"
            folder.mkdir(exist_ok=True)
            try:
                run = train(folder, train_x, k, options.epochs, options.seed, options.late)
            except ValueError as error:  # the folder has more epochs than are asked for
                print(f"iwae_table: {error}", file=sys.stderr)
                return 2
            trained[k] = folder, *run
        for k, (folder, model, rows) in trained.items():
            file = folder / f"evaluation-{options.epochs}-{options.samples}.npz"
            found = evaluate(file, model, test_x, options.samples, options.examples, options.seed)
            results.append(measure(model, rows, test_x, found, k, options.samples))
            name = "-late" if options.late else ""
            kept = beside_others(options.folder / f"results{name}.json", results)
            write(options.folder / f"results{name}.json", json.dumps(kept, indent=2) + "\n")
            write(options.folder / f"table{name}.md", table(kept))
    print(table(results))
    said = verdict(results)
    print("\n".join(said) or "nothing outside the gate")
    return min(len(said), 1)


if __name__ == "__main__":
    sys.exit(main())
