"""The command line: `minivae train`, `minivae evaluate RUN`, `minivae explain-loss` and more.

Bad input is one line on standard error and exit status 2; Ctrl-C is 130.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence

import numpy as np

import minivae
from minivae.cli import evaluate, explain_loss, info, train

COMMANDS = {"train": train, "evaluate": evaluate, "explain-loss": explain_loss, "info": info}


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command's module describes its own options."""
    top = argparse.ArgumentParser(
        prog="minivae",
        description="Variational autoencoders from first principles, every gradient by hand.",
        epilog="Start with:  minivae train",
    )
    top.add_argument("--version", action="version", version=f"minivae {minivae.__version__}")
    commands = top.add_subparsers(title="commands", dest="command", required=True)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(sub)
    return top


def _note(message: Warning | str, *where: object, **rest: object) -> None:
    """A warning on the command line is one line, without the place in our source."""
    print(f"minivae: note: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    args = parser().parse_args(argv)
    args.own_process = argv is None  # and may be replaced by another
    try:
        # Overflow ends a run with one line of advice; NumPy's warnings would only come before it.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.showwarning = _note
            COMMANDS[args.command].run(args)
    except KeyboardInterrupt:
        print("minivae: interrupted", file=sys.stderr)
        return 130
    except MemoryError:
        print("minivae: not enough memory for sizes like these", file=sys.stderr)
        return 2
    except (ValueError, RuntimeError, OSError, FloatingPointError) as error:
        print(f"minivae: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0
