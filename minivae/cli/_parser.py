"""The parser of the commands: a mistake is answered in one line, with what was probably meant."""

import argparse
import difflib
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

KINDS = {"int": "a whole number", "float": "a number"}


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors and suggestions; the command's parsers are of this class too.

    minivae train: unknown option --laten, did you mean --latent? (minivae train --help lists all)
    """

    def error(self, message: str) -> NoReturn:
        """Say what is wrong on one line of standard error, and exit with status 2."""
        text = message.removeprefix("argument ").replace(
            "expected one argument", "expected a value"
        )
        text = text.replace("the following arguments are required:", "missing")
        bad = re.fullmatch(r"(.+): invalid (int|float) value: (.+)", text, re.DOTALL)
        if bad:
            text = f"{bad[1]}: expected {KINDS[bad[2]]}, got {bad[3]}"
        self.exit(2, f"{self.prog}: {' '.join(text.split())} ({self.prog} --help lists all)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but what is left over is refused here, in the command's own name."""
        known, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(self._left_over(rest))
        return known, rest

    def _print_message(self, message: str, file: Any = None) -> None:
        """As argparse does, but a help that cannot be written is an error too."""
        if message:
            (file or sys.stderr).write(message)

    def _left_over(self, rest: Sequence[str]) -> str:
        option = next((word for word in rest if word.startswith("-")), None)
        if option is None:
            return f"one word too many: {rest[0]}"
        option = option.partition("=")[0]
        return f"unknown option {option}{_suggestion(option, self._option_string_actions)}"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """argparse calls this with every value of an option, and with the name of the command."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        hint = _suggestion(str(value), names)
        if isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(None, f"unknown command {value}{hint}")
        name = "/".join(action.option_strings) or str(action.metavar or action.dest)
        raise argparse.ArgumentError(
            None, f"{name}: expected one of {', '.join(names)}; got {value}{hint}"
        )


def _suggestion(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one, as a question; empty if none is."""
    by_letters = {name.lower().lstrip("-"): name for name in known}
    found = difflib.get_close_matches(word.lower().lstrip("-"), by_letters, n=1)
    return f", did you mean {by_letters[found[0]]}?" if found else ""
