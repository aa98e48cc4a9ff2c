"""`minivae collapse-lab`: make posterior collapse on purpose, and try every cure on every cause."""

import argparse
import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from minivae import runs
from minivae.arrays import cores
from minivae.datasets import LOADERS, Dataset, binarise_splits, load
from minivae.lab.collapse import CAUSES, CURES, Result, Setting, experiment
from minivae.lab.collapse_results import as_json, legend, table

HELP = "make posterior collapse on purpose, and try the cures"
DESCRIPTION = (
    """\
Train a small VAE for every cause of posterior collapse with every cure, and
look at what the latents do on held-out images: their KL over time, how many
are active, the mutual information of image and code, and whether the decoder
hears the code at all.

causes and cures:
"""
    + "\n".join(legend())
    + """

A cure that does not help is reported as one. The decoder with a shortcut has an
objective, not an ELBO, and the table marks it. Results are written after each
experiment; Ctrl-C keeps what is done."""
)
EXAMPLES = """examples:
  minivae collapse-lab
      all causes and cures on the digits; leaves runs/collapse-lab-1
  minivae collapse-lab --causes no-warm-up --cures none warm-up aggressive --epochs 100
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add, default = parser.add_argument, Setting()
    add("--causes", nargs="+", choices=list(CAUSES), default=list(CAUSES), metavar="CAUSE",
        help="default: all")  # fmt: skip
    add("--cures", nargs="+", choices=list(CURES), default=list(CURES), metavar="CURE",
        help="default: all; the cause `nothing` is trained without a cure only")  # fmt: skip
    add("--data", default="digits", metavar="DATA",
        help=f"{', '.join(LOADERS)}, or the path of your own, grey or black and white; "
        "default: digits")  # fmt: skip
    add("--latent", type=int, default=default.latent, metavar="K",
        help=f"default: {default.latent}")  # fmt: skip
    add("--epochs", type=int, default=default.epochs, metavar="N",
        help=f"default: {default.epochs}")  # fmt: skip
    add("--seed", type=int, default=0, help="of all randomness; default: 0")
    add("--jobs", type=int, metavar="N", help="experiments at a time; default: one a core")
    add("--out", metavar="DIR", help="a new folder; default: runs/collapse-lab-1, ...")


def run(args: argparse.Namespace) -> None:
    """Run the experiments, print the table, draw the picture."""
    jobs = cores() if args.jobs is None else args.jobs
    if jobs < 1:
        raise ValueError(f"expected --jobs of at least 1, got {jobs}")
    setting = Setting(latent=args.latent, epochs=args.epochs, seed=args.seed)
    data = binarise_splits(load(args.data), "new")
    asked = list(pairs(args.causes, args.cures))
    folder = runs.create(args.out, "collapse-lab")
    for part in ("checkpoints", "pictures"):  # those of a run; here is one picture and no model
        shutil.rmtree(folder / part)
    print(f"{len(asked)} experiments of {setting.epochs} epochs on {data.name}; folder {folder}")
    done: dict[tuple[str, str], Result] = {}
    try:
        for result in _results(asked, data, setting, min(jobs, len(asked))):
            done[result.cause, result.cure] = result
            print(f"  {len(done):2}/{len(asked)}  {result.cause}, {result.cure}", flush=True)
            _write(folder, asked, done, args)
    except KeyboardInterrupt:
        _finish(folder, asked, done)
        told = f"stopped after {len(done)} of {len(asked)} experiments, which are kept in {folder}"
        raise KeyboardInterrupt(told) from None
    _finish(folder, asked, done)


def pairs(causes: list[str], cures: list[str]) -> Iterator[tuple[str, str]]:
    """The experiments, each once: every cause with every cure, but what needs no cure with none."""
    for cause in dict.fromkeys(causes):
        if cause == "nothing":
            yield cause, "none"
        else:
            yield from ((cause, cure) for cure in dict.fromkeys(cures))


def _results(
    asked: list[tuple[str, str]], data: Dataset, setting: Setting, jobs: int
) -> Iterator[Result]:
    """The results as they come, from so many processes with one BLAS thread each."""
    if jobs == 1:
        yield from (experiment(cause, cure, data, setting) for cause, cure in asked)
        return
    # Workers do not hear Ctrl-C: this process does, and lets those at work come to their end.
    pool = ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    with pool:
        waiting: set[Future[Result]] = {pool.submit(experiment, *p, data, setting) for p in asked}
        try:
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ready:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _in_order(
    asked: list[tuple[str, str]], done: dict[tuple[str, str], Result]
) -> dict[tuple[str, str], Result]:
    return {pair: done[pair] for pair in asked if pair in done}


def _write(
    folder: Path,
    asked: list[tuple[str, str]],
    done: dict[tuple[str, str], Result],
    args: argparse.Namespace,
) -> None:
    options: dict[str, Any] = {n: getattr(args, n) for n in ("data", "latent", "epochs", "seed")}
    found = [as_json(result) for result in _in_order(asked, done).values()]
    runs.write_json(folder / "results.json", {"options": options, "experiments": found})


def _finish(
    folder: Path, asked: list[tuple[str, str]], done: dict[tuple[str, str], Result]
) -> None:
    """The table and the picture of what there is."""
    if not done:
        return
    ordered = _in_order(asked, done)
    lines = table(ordered.values())
    print("\n".join(lines))
    runs.write(folder / "table.txt", "\n".join(lines) + "\n")
    from minivae import plots

    runs.write_figure(folder / "collapse.png", plots.collapse(ordered))
    print(f"wrote {folder / 'collapse.png'}", file=sys.stdout)
