"""A strict suite: floating-point errors raise, drawn cases repeat, gradient cases are counted."""

from __future__ import annotations

import os

# The products of the suite are small.  Two threads of OpenBLAS wait for each other by spinning, and
# a machine that does something else besides slows the suite to a crawl.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import minivae  # noqa: F401  # before NumPy, so that it may choose the kernel of its BLAS

# isort: split
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from oracles import CASES

from minivae.arrays import to_device
from minivae.datasets import download

NEEDED = 2_000
"""Complex-step cases that the whole suite must draw."""

# Derandomised: the same cases on every machine and in every run.
settings.register_profile("suite", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def strict_floats() -> Iterator[None]:
    """An overflow, a division by zero or a nan out of nothing is an error in every test."""
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        yield


@pytest.fixture(autouse=True, scope="session")
def no_downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reaches the internet or a user's cache, nor does a process that a test starts."""
    nobody = "http://127.0.0.1:9"  # the port of `discard`, where nobody listens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "MIRRORS", ())
        patch.setenv("MINIVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        for scheme in ("http", "https"):
            patch.setenv(f"{scheme}_proxy", nobody)
        patch.setenv("no_proxy", "127.0.0.1")
        yield


@functools.cache
def no_gpu() -> str:
    """Why tests marked ``gpu`` cannot run here; empty if they can."""
    try:
        to_device(np.ones(1), "cuda")
    except RuntimeError as error:
        return str(error)
    return ""


class Whole:
    """Whether all test files were collected, and nothing was deselected."""

    def __init__(self) -> None:
        self.deselected = False
        self.suite = False

    def pytest_deselected(self) -> None:
        self.deselected = True

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        files = set(Path(__file__).parent.glob("test_*.py"))
        single = any("::" in arg for arg in session.config.args)
        self.suite = files <= {item.path for item in session.items} and not single


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Whole(), "whole")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and "slow" not in item.config.option.markexpr:
        pytest.skip("slow: run with -m slow")
    if item.get_closest_marker("gpu") and no_gpu():
        pytest.skip(no_gpu())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of pytest-xdist has ended: what it drew counts, too."""
    cases, whole = getattr(node, "workeroutput", {}).get("gradients", ({}, False))
    CASES.merge(cases)
    node.config.pluginmanager.get_plugin("whole").suite |= whole


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    whole = config.pluginmanager.get_plugin("whole")
    assert isinstance(whole, Whole)
    complete = whole.suite and not whole.deselected
    if hasattr(config, "workeroutput"):  # a process of pytest-xdist: it reports, and does not judge
        config.workeroutput["gradients"] = (CASES.plain(), complete)
    elif complete:
        CASES.wanted = NEEDED


@pytest.hookimpl(trylast=True, specname="pytest_sessionfinish")
def few_gradients_fail(session: pytest.Session) -> None:
    if session.exitstatus == 0 and not CASES.enough():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CASES or not CASES.enough():
        terminalreporter.section("gradients")
        for line in CASES.lines():
            terminalreporter.write_line(line)
