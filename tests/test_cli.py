"""The command line, in this process and as a process of its own."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from crabnet_jit import (
    NN,
    ArraySource,
    ExponentialDecay,
    StandardGaussian,
    StdRng,
    Trainer,
    UniformSource,
    __version__,
    load,
)
from crabnet_jit.cli.main import main


def test_fit_prints_the_article(capsys: Any, published_log: list[tuple[int, float]]) -> None:
    assert main(["gaussian"]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 12
    for line, (iteration, loss) in zip(lines, published_log, strict=True):
        start, value = line.rsplit(" ", 1)
        assert start == f"Iter {iteration}, loss:"
        assert float(value) == pytest.approx(loss, rel=1e-10)
        assert repr(float(value)) == value
    assert err.startswith("120000 iterations: ")
    assert err.splitlines()[0].endswith(" us per iteration")
    assert "s compiling" in err
    assert "s training" in err


def test_options_reach_the_trainer(capsys: Any) -> None:
    arguments = "--seed 7 --hidden 5 --batch-size 3 --learning-rate 0.001 --decay 0.999"
    arguments += " --iterations 41 --log-every 20"
    assert main(["gaussian", *arguments.split()]) == 0
    rng = StdRng(7)
    net = NN(2, [5], 1, rng)
    source = UniformSource(StandardGaussian(), batch_size=3, rng=rng)
    history = Trainer(net, source, learning_rate=ExponentialDecay(0.001, 0.999), log_every=20).run(41)
    assert capsys.readouterr().out == "".join(f"Iter {i}, loss: {loss!r}\n" for i, loss in history.log)
    assert len(history.log) == 3


def test_closing_line_tells_compiling_from_training(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crabnet_jit.cli.article.Trainer.compile", lambda trainer: time.sleep(0.2))
    assert main(["gaussian", "--iterations", "200000"]) == 0
    pattern = r"200000 iterations: (\S+) s compiling, (\S+) s training, (\S+) us per iteration\n.*\n"
    match = re.fullmatch(pattern, capsys.readouterr().err)
    assert match is not None
    compiling, training, per_iteration = map(float, match.groups())
    assert compiling >= 0.2
    assert per_iteration == pytest.approx(1e6 * training / 200_000, abs=0.01)


def test_no_hidden_layer(capsys: Any) -> None:
    assert main(["gaussian", "--hidden", "", "--iterations", "1"]) == 0
    assert capsys.readouterr().out.startswith("Iter 0, loss: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gaussian", "--seed", "-1"], "--seed must be an integer from 0"),
        (["gaussian", "--seed", "18446744073709551616"], "--seed must be an integer from 0"),
        (["gaussian", "--seed", "x"], "argument --seed: must be an integer, such as 100000 or 1e5, got 'x'"),
        (["gaussian", "--hidden", "8,a"], "argument --hidden: must be integers separated by commas"),
        (["gaussian", "--hidden", "8,0"], "hidden_sizes[1] must be an integer of at least 1, got 0"),
        (["gaussian", "--hidden", "8,,8"], "argument --hidden"),
        (["gaussian", "--batch-size", "0"], "--batch-size must be"),
        (["gaussian", "--learning-rate", "nan"], "--learning-rate must be"),
        (["gaussian", "--learning-rate=-1"], "--learning-rate must be"),
        (["gaussian", "--decay", "2"], "--decay must be"),
        (["gaussian", "--iterations", "-5"], "--iterations must be"),
        (["gaussian", "--log-every", "0"], "--log-every must be"),
        (["gaussian", "--unknown"], "crabnet-jit gaussian: error: there is no option --unknown"),
        (["gaussian", "file.csv"], "unrecognized arguments: file.csv"),
        (["learn"], "there is no command learn; did you mean crabnet-jit fit"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(arguments: list[str], message: str, capsys: Any) -> None:
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else -1
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_divergence_is_told_and_exits_with_1(capsys: Any) -> None:
    assert main(["gaussian", "--learning-rate", "100", "--iterations", "1000"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("Iter 0, loss: ")
    assert "the run diverged" in err


def test_interrupt_exits_with_130(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Trainer, *_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crabnet_jit.cli.article.Trainer.compile", lambda trainer: None)
    monkeypatch.setattr(Trainer, "run", interrupted)
    assert main(["gaussian"]) == 130
    assert capsys.readouterr().err.endswith("crabnet-jit gaussian: interrupted\n")


def test_not_enough_memory_is_one_line(capsys: Any) -> None:
    assert main(["gaussian", "--batch-size", str(10**15), "--iterations", "1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("crabnet-jit gaussian: error: not enough memory: ")
    assert err.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has the always-full device")
def test_full_disk_is_one_line() -> None:
    command = [sys.executable, "-m", "crabnet_jit", "gaussian", "--iterations", "1"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.splitlines()[2:] == [
        "crabnet-jit gaussian: error: [Errno 28] No space left on device"
    ]


def test_switched_off_compiler_is_told() -> None:
    command = [sys.executable, "-c", "from crabnet_jit import NN"]
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.stderr.endswith("crabnet_jit needs compiled code: unset NUMBA_DISABLE_JIT\n")


def test_module_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "crabnet_jit"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"crabnet-jit {__version__}\n"
    wrong = subprocess.run(
        [*command, "gaussian", "--seed", "-1"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert wrong.stdout == ""
    assert wrong.stderr.count("\n") == 1


def test_reader_that_goes_away_is_no_traceback() -> None:
    command = [sys.executable, "-m", "crabnet_jit", "gaussian", "--log-every", "1", "--iterations", "20000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("Iter 0")
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
        assert process.wait() == 1


def test_preset_reaches_a_hundredth_of_the_articles_error(capsys: Any) -> None:
    assert main(["gaussian", "--preset", "fast"]) == 0
    closing = capsys.readouterr().err.splitlines()
    assert closing[0].startswith("20000 iterations")
    assert float(closing[1].split()[-1]) < 1e-4


def error_of(err: str) -> float:
    """The mean squared error on the grid that was printed."""
    return float(err.splitlines()[-1].removeprefix("mean squared error on a grid of 101 x 101 points: "))


def test_the_best_preset_is_fitted_to_many_digits(capsys: Any) -> None:
    assert main(["gaussian", "--preset", "best", "--iterations", "100"]) == 0
    out, err = capsys.readouterr()
    (line,) = out.splitlines()
    assert line.startswith("Iter 0, loss: 2.")
    assert err.startswith("100 iterations")
    assert error_of(err) < 1e-8


@pytest.mark.parametrize("preset", ["article", "fast"])
def test_levenberg_marquardt_with_the_network_of_another_preset(
    preset: str, tmp_path: Path, capsys: Any
) -> None:
    arguments = f"gaussian --preset {preset} --optimizer levenberg_marquardt --save {tmp_path}/net.npz"
    assert main([*arguments.split(), "--log-every", "20", "--iterations", "41"]) == 0
    out, err = capsys.readouterr()
    losses = [float(line.split()[-1]) for line in out.splitlines()]
    assert len(losses) == 3
    assert losses[2] < losses[1] < losses[0]
    assert error_of(err) < 0.2
    assert load(tmp_path / "net.npz").activations[0].name == ("relu" if preset == "article" else "silu")


def test_the_log_of_levenberg_marquardt_has_the_losses_themselves(capsys: Any) -> None:
    arguments = "gaussian --preset best --hidden 4 --batch-size 50 --log-every 3 --iterations 10 --seed 5"
    assert main(arguments.split()) == 0
    out, _ = capsys.readouterr()
    rng = StdRng(5)
    net = NN(2, [4], 1, rng, activation="tanh", init="glorot_uniform")
    x, y = UniformSource(StandardGaussian(), -3, 3, 50, rng).batch(0)
    trainer = Trainer(net, ArraySource(x, y, 50), optimizer="levenberg_marquardt")
    losses = trainer.run(10).losses
    assert out == "".join(f"Iter {i}, loss: {float(losses[i])!r}\n" for i in (0, 3, 6, 9))


def test_what_ends_a_run_early_is_said(capsys: Any) -> None:
    assert main(["gaussian", "--optimizer", "levenberg_marquardt"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert re.match(r"\d{1,3} iterations: ", lines[0])
    assert lines[1] == "stopped: a step lowered the loss by less than loss_tolerance"


def test_an_update_rule_with_the_network_of_the_best_preset(capsys: Any) -> None:
    assert main(["gaussian", "--preset", "best", "--optimizer", "adam", "--iterations", "2000"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert 1e-6 < error_of(err) < 0.01


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--learning-rate 0.1", "--learning-rate must be left out for levenberg_marquardt, which has no"),
        ("--schedule cosine", "--schedule must be left out for levenberg_marquardt, which has no learning"),
        ("--dtype float32", "--dtype must be float64 for levenberg_marquardt"),
        ("--optimizer adam --learning-rate auto", "--learning-rate must be a finite number"),
        ("--optimizer adam --schedule auto", "--schedule must be one of exponential"),
        ("--iterations auto", "--iterations must be an integer of at least 0, got 'auto'"),
        ("--optimizer lm", "got 'lm'; did you mean 'levenberg_marquardt'?"),
    ],
)
def test_options_that_do_not_fit_the_optimizer(option: str, message: str, capsys: Any) -> None:
    assert main(["gaussian", "--preset", "best", *option.split()]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_options_go_before_a_presets_wherever_they_stand(capsys: Any) -> None:
    for arguments in (["--iterations", "7", "--preset", "best"], ["--preset", "best", "--iterations", "7"]):
        assert main(["gaussian", *arguments]) == 0
        assert capsys.readouterr().err.startswith("7 iterations")


def test_saved_fit_can_be_loaded(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "net.npz"
    assert main(["gaussian", "--preset", "fast", "--iterations", "10", "--save", str(path)]) == 0
    assert load(path).hidden_sizes == [16, 16]
    assert main(["gaussian", "--iterations", "10", "--save", str(tmp_path / "nowhere" / "net.npz")]) == 2
    assert "--save must be a file in a folder that exists" in capsys.readouterr().err


def test_closed_standard_output_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["gaussian", "--iterations", "1"]) == 1
    assert capsys.readouterr().err == "crabnet-jit gaussian: error: standard output is closed\n"


def test_closed_standard_error_keeps_the_output_clean(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["gaussian", "--batch-size", "0"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("call", "is_frozen"), [("main()", True), ("main(['gaussian', '--iterations', '0'])", False)]
)
def test_garbage_is_collected_again_after_the_imports(call: str, is_frozen: bool) -> None:
    """What is imported is left out only in a process that the command line has for itself."""
    code = (
        "import gc, sys; from crabnet_jit.cli.main import main; "
        "sys.argv = ['crabnet-jit', 'gaussian', '--iterations', '0']; "
        f"{call}; print(gc.isenabled(), gc.get_freeze_count() > 10_000)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split()[-2:] == ["True", str(is_frozen)]
