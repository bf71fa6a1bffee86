"""Every example runs, and shows what it says."""

import runpy
from pathlib import Path
from typing import Any

from crabnet_jit.cli.main import main

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_training_by_hand_prints_what_the_command_prints(capsys: Any) -> None:
    runpy.run_path(str(EXAMPLES / "by_hand.py"))
    by_hand = capsys.readouterr().out
    assert main(["gaussian", "--iterations", "3001", "--log-every", "1000", "--no-progress"]) == 0
    assert by_hand == capsys.readouterr().out
    assert by_hand.count("\n") == 4


def test_every_example_has_a_test() -> None:
    assert [path.name for path in sorted(EXAMPLES.glob("*.py"))] == ["by_hand.py"]
