"""The command line: `minivae train`, `minivae evaluate RUN`, `minivae sample RUN` and more.

Bad input is one line on standard error and exit status 2; Ctrl-C is 130; a reader that goes away
(`minivae info | head -1`) ends a command quietly.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

import minivae
from minivae.cli import (
    collapse_lab,
    diagnose,
    encode,
    evaluate,
    explain_loss,
    export,
    factors,
    gap,
    holes,
    info,
    interpolate,
    prior,
    probe,
    prune,
    reconstruct,
    report,
    sample,
    sweep,
    train,
    traverse,
    usage,
    verify,
)
from minivae.cli._parser import Parser

COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "sweep": sweep,
    "gap": gap,
    "reconstruct": reconstruct,
    "sample": sample,
    "interpolate": interpolate,
    "traverse": traverse,
    "holes": holes,
    "probe": probe,
    "factors": factors,
    "encode": encode,
    "export": export,
    "usage": usage,
    "prune": prune,
    "diagnose": diagnose,
    "collapse-lab": collapse_lab,
    "explain-loss": explain_loss,
    "prior": prior,
    "report": report,
    "verify": verify,
    "info": info,
}
HELP = """
commands:
{}

start with:
  minivae train                         a VAE on the embedded digits
  minivae evaluate runs/digits-vae-1    its bound and its likelihood, in nats
  minivae sample runs/digits-vae-1      images that nobody wrote
  minivae traverse runs/digits-vae-1    what each latent does

`minivae COMMAND --help` explains a command, with examples.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command's module describes its own options."""
    top = Parser(
        prog="minivae",
        usage="minivae [-h] [--version] COMMAND ...",
        description="Variational autoencoders from first principles, every gradient by hand.",
        epilog=HELP.format("\n".join(f"  {name:15}{m.HELP}" for name, m in COMMANDS.items())),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"minivae {minivae.__version__}")
    # The epilog lists the commands: argparse would break the lines of the longer names.
    commands = top.add_subparsers(prog="minivae", dest="command", help=argparse.SUPPRESS)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(sub)
    return top


def _notes() -> Callable[..., None]:
    """What a command does with warnings: one line each, once, without the place in our source."""
    said: set[str] = set()

    def note(message: Warning | str, *where: object, **rest: object) -> None:
        if str(message) not in said:
            said.add(str(message))
            print(f"minivae: note: {message}", file=sys.stderr)

    return note


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; no command prints the help."""
    try:
        with _all_written():
            top = parser()
            args = top.parse_args(argv)
            args.own_process = argv is None  # and may be replaced by another
            if args.command is None:
                top.print_help()
                return 0
            # Overflow ends a run with one line of advice; NumPy's warnings would only come before.
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.showwarning = _notes()
                status = COMMANDS[args.command].run(args)
    except KeyboardInterrupt as interrupt:
        print(f"minivae: {interrupt or 'interrupted'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # nobody reads on: what a program does that the signal ends
        return 141
    except MemoryError:
        print("minivae: not enough memory for sizes like these", file=sys.stderr)
        return 2
    except (ValueError, RuntimeError, OSError, ArithmeticError) as error:
        print(f"minivae: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return status or 0  # a command that found a failure says 1


@contextmanager
def _all_written() -> Iterator[None]:
    """Leave nothing in the buffer of standard output: it could fail only when Python has ended."""
    try:
        yield
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            # The buffer keeps what it could not write, and would try it again at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
