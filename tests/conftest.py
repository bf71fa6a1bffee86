"""Data of the original program, shared by the tests."""

import json
from pathlib import Path
from typing import Any

import pytest

_DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def reference() -> Any:
    """Numbers taken from the original with seed 1: draws, iteration 0, losses, log, parameters."""
    return json.loads((_DATA / "crabnet_seed1.json").read_text())


@pytest.fixture(scope="session")
def published_log() -> list[tuple[int, float]]:
    """The article's twelve lines."""
    pairs = json.loads((_DATA / "published_log.json").read_text())
    return [(iteration, loss) for iteration, loss in pairs]
