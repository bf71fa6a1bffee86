"""Every example runs, and shows what it says."""

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crabnet_jit.cli.main import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_training_by_hand_prints_what_the_command_prints(capsys: Any) -> None:
    runpy.run_path(str(EXAMPLES / "by_hand.py"))
    by_hand = capsys.readouterr().out
    assert main(["gaussian", "--iterations", "3001", "--log-every", "1000", "--no-progress"]) == 0
    assert by_hand == capsys.readouterr().out
    assert by_hand.count("\n") == 4


def test_a_network_in_compiled_code_prints_numbers_that_agree(capsys: Any) -> None:
    pytest.importorskip("scipy")
    runpy.run_path(str(EXAMPLES / "in_compiled_code.py"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    numbers = [[float(number) for number in re.findall(r"-?\d+\.\d+", line)] for line in lines]
    by_hand, by_scipy = numbers[0]
    assert by_hand == pytest.approx(by_scipy, abs=1e-5)
    integral, of_target = numbers[1]
    assert integral == pytest.approx(of_target, abs=0.02)
    assert numbers[2][0] == pytest.approx(integral, abs=0.01)
    value, x, y = numbers[3]
    assert value == pytest.approx(np.sin(x) * np.cos(y), abs=0.05)


def test_every_example_has_a_test() -> None:
    names = [path.name for path in sorted(EXAMPLES.glob("*.py"))]
    assert names == ["by_hand.py", "in_compiled_code.py"]
