"""`minivae verify`: the certificate, and the bugs that it must catch."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minivae import arrays, runs, verify
from minivae.cli import _common

HELP = "prove on this machine that the numbers are right"
DESCRIPTION = """Climb a ladder of proofs, from gradients at machine precision to runs that repeat
themselves. Each rung prints its figures, their tolerances, and what it would have caught.

With --bugs, plant every mistake of the bug zoo in the library, one after another, and see the rung
that is named for it fail. The rungs then do as much as with --quick, or with --full if it is given.

The last rung holds the GPU against NumPy and is skipped without --device cuda.

Exit status 0 if all is well; 1 if a rung fails, a bug is not caught, or the device that --device
names is missing (then nothing else is tried and no file is written)."""
EXAMPLES = """examples:
  minivae verify
  minivae verify --full --json certificate.json --text certificate.txt
  minivae verify --device cuda
      hold the GPU against NumPy too
  minivae verify --bugs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    level = parser.add_mutually_exclusive_group()
    level.add_argument("--full", action="store_true", help="more cases where they are drawn")
    level.add_argument("--quick", action="store_true", help="a glance, in seconds")
    add("--bugs", action="store_true", help="plant each known bug and see its rung fail")
    add("--json", metavar="FILE", help="write the result as JSON")
    add("--text", metavar="FILE", help="write the result as a page of text")
    add("--force", action="store_true", help="replace these files if they exist")
    _common.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Climb or hunt, print, write; the exit status."""
    for name in ("json", "text"):
        _check_file(name, getattr(args, name), args.force)
    if args.json and args.text and Path(args.json).resolve() == Path(args.text).resolve():
        raise ValueError(f"expected two files for --json and --text, got {args.json} twice")
    if missing := _missing(args.device):
        print(f"minivae: {missing}", file=sys.stderr)
        return 1
    level = "full" if args.full else "quick" if args.quick else "standard"
    if args.bugs:
        level = "full" if args.full else "quick"  # the rungs that a bug breaks need no more
    setting = verify.Setting(level, args.device)
    passed, text, value = _hunt(setting) if args.bugs else _climb(setting)
    if args.json is not None:
        path = Path(args.json)
        runs.write_json(path, value)
        print(f"wrote {path}")
    if args.text is not None:
        _common.write(Path(args.text), text.encode())
    return 0 if passed else 1


def _missing(device: str) -> str:
    """Why the device that was named cannot be compared with; empty if it can."""
    try:
        arrays.to_device(np.zeros(1), device)
    except RuntimeError as error:
        return " ".join(str(error).split())
    return ""


def _climb(setting: verify.Setting) -> tuple[bool, str, dict[str, Any]]:
    print(verify.heading(setting), end="\n\n")
    certificate = verify.climb(setting, after_rung=lambda outcome: _show(outcome.as_text()))
    print(certificate.summary())
    return certificate.passed, certificate.as_text(), certificate.as_json()


def _hunt(setting: verify.Setting) -> tuple[bool, str, dict[str, Any]]:
    from minivae.verify import bugs

    print(verify.heading(setting), end="\n\n")
    catches = bugs.hunt(bugs.ZOO, setting, lambda catch: _show(catch.as_text()))
    caught = sum(catch.caught for catch in catches)
    summary = f"{caught} of {len(catches)} bugs caught by the rung that is named for them"
    print(summary)
    pages = [verify.heading(setting), *(catch.as_text() for catch in catches), summary]
    value = bugs.as_json(catches, setting)
    return caught == len(catches), "\n\n".join(pages) + "\n", value


def _show(text: str) -> None:
    print(text, end="\n\n")
    sys.stdout.flush()


def _check_file(option: str, name: str | None, force: bool) -> None:
    """Judge a file to write before any work is done."""
    if name is None:
        return
    path = Path(name)
    if not path.parent.is_dir():
        raise ValueError(f"--{option}: {path}: there is no folder {path.parent}")
    if os.path.lexists(path) and not path.is_file():
        raise ValueError(f"--{option}: {path} is no regular file")
    if os.path.lexists(path) and not force:
        raise ValueError(f"--{option}: {path} exists already: --force replaces it")
