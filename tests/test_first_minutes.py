"""What objects say at a prompt, and what happens to the usual slips of the first minutes."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numba import njit

import crabnet_jit
from crabnet_jit import (
    ACTIVATIONS,
    LOSSES,
    NN,
    OPTIMIZERS,
    ArraySource,
    Callback,
    Checkpoint,
    CustomActivation,
    EarlyStopping,
    Every,
    History,
    InvalidArgumentError,
    LinearLayer,
    LogFile,
    Objective,
    ProgressBar,
    Sine,
    Snapshots,
    Source,
    StandardGaussian,
    StdRng,
    TimeBudget,
    Trainer,
    UniformSource,
    check_gradients,
    diagnose,
    fit,
    other_names,
    save,
    score,
)
from crabnet_jit.archive import kind_of
from crabnet_jit.cli.commands import COMMANDS
from crabnet_jit.cli.completion import _CHOICES
from crabnet_jit.cli.main import main
from crabnet_jit.cli.options import all_options
from crabnet_jit.summary import brief, listed, summary

X = np.linspace(-1, 1, 60).reshape(30, 2)
Y = X.sum(axis=1)


def article() -> Trainer:
    rng = StdRng(1)
    return Trainer(NN(2, [8, 8], 1, rng), UniformSource(StandardGaussian(), rng=rng))


def ran() -> Trainer:
    trainer = article()
    trainer.run(1500)
    return trainer


def square(x: float) -> float:
    return x * x


def double(x: float) -> float:
    return 2 * x


def ripple(x: Any) -> Any:
    return np.sin(x[:, 0])


# ---- what matters, on one line or a few ----


class Squares(Source):
    in_features, out_features, batch_size = 1, 1, 16

    def fill(self, iteration: int, batches: Any) -> None: ...


class Watch(Callback):
    def __init__(self, limit: float, data: Any) -> None:
        self.limit, self._data = limit, data


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: LinearLayer(2, 3, rng=1), "LinearLayer(in_features=2, out_features=3)"),
        (
            lambda: NN(2, [8, 8], 1, activation="tanh"),
            "NN(2, [8, 8], 1, activation='tanh', 105 parameters, float64)",
        ),
        (lambda: NN(1, [], 1, dtype="float32"), "NN(1, [], 1, 2 parameters, float32)"),
        (
            lambda: NN(1, [2, 3], 1, activation=["relu", Sine(2.0)], output_activation="sigmoid"),
            "NN(\n  1, [2, 3], 1,\n  activation=['relu', Sine(frequency=2.0)],\n"
            "  output_activation='sigmoid',\n  17 parameters, float64,\n)",
        ),
        (
            lambda: NN(1, [2], 1, activation=CustomActivation(square, double)).activations[0],
            "CustomActivation(function=square, derivative=double)",
        ),
        (
            lambda: UniformSource(StandardGaussian(), batch_size=4),
            "UniformSource(StandardGaussian(), low=[-3.0, -3.0], high=[3.0, 3.0], batch_size=4)",
        ),
        (
            lambda: UniformSource(ripple, low=0, high=1),
            "UniformSource(ripple, low=[0.0], high=[1.0], batch_size=16)",
        ),
        (
            lambda: UniformSource(njit(square), low=0, high=1),
            "UniformSource(square, low=[0.0], high=[1.0], batch_size=16)",
        ),
        (
            lambda: ArraySource(X, Y),
            "ArraySource(30 samples, 2 inputs, 1 output, batch_size=30, in order)",
        ),
        (
            lambda: ArraySource(X, X, 8, sample_weight=np.arange(30)),
            "ArraySource(30 samples, 2 inputs, 2 outputs, batch_size=8, weighted)",
        ),
        (Squares, "Squares(in_features=1, out_features=1, batch_size=16)"),
        (
            lambda: Objective(NN(2, [], 1), X, Y, loss="mae"),
            "Objective(30 samples, 2 inputs, 1 output, loss=MAE())",
        ),
        (lambda: Every(5, ripple), "Every(every=5, function=ripple)"),
        (lambda: TimeBudget(2), "TimeBudget(seconds=2.0)"),
        (lambda: LogFile(Path("a.csv")), "LogFile(path='a.csv', every=1000)"),
        (lambda: Checkpoint("a.npz"), "Checkpoint(path='a.npz', every=100000, options=None)"),
        (ProgressBar, "ProgressBar(interval=0.1, file=None)"),
        (lambda: Snapshots(5, 9), "Snapshots(every=5, max_snapshots=9)"),
        (lambda: Watch(1.5, X), "Watch(limit=1.5, data=array of shape (30, 2))"),
        (
            EarlyStopping,
            "EarlyStopping(patience=10, validation=None, every=1000, min_delta=0.0, restore_best=True)",
        ),
        (lambda: History(10), "History(0 iterations)"),
        (
            lambda: score(NN(1, [], 1, init=[1.0, 0.0]), [0.0, 1.0, 2.0], [0.0, 1.0, 3.0]),
            "Scores(n_samples=3, rmse=[0.57735], mae=[0.333333], r2=[0.785714])",
        ),
        (
            lambda: ran().state(),
            "TrainerState(\n  iteration=1500,\n  rate_scale=1.0,\n  n_skipped=0,\n"
            "  source_stream={'seed': 1, 'stream': 0, 'position': 105},\n"
            "  dropout_stream={'seed': 0, 'stream': 1, 'position': 0},\n"
            "  parameters=array of shape (105,),\n  optimizer_buffers=array of shape (105,),\n"
            "  optimizer_numbers=[0, 0],\n  window=array of shape (1001,),\n  return_points=(),\n)",
        ),
    ],
)
def test_a_repr_says_what_matters(make: Callable[[], Any], text: str) -> None:
    assert repr(make()) == text


def test_a_network_of_a_data_frame_says_its_columns_and_classes() -> None:
    frame = pd.DataFrame({f"column {k}": X[:, k % 2] for k in range(12)})
    net = fit(frame, np.where(Y > 0, "yes", "no"), n_iterations=100, hidden_sizes=[4])
    lines = repr(net).splitlines()
    assert lines[:4] == [
        "NN(",
        "  12, [4], 2,",
        "  activation='tanh',",
        "  62 parameters, float64, standardised,",
    ]
    columns = ", ".join(f"'column {k}'" for k in range(8))
    assert lines[4:] == [f"  inputs=[{columns}, … of 12],", "  classes=['no', 'yes'],", ")"]
    assert repr(net.schema.labels) == "Labels('no', 'yes')"
    assert repr(net.standardization).splitlines()[1] == "  x_mean=array of shape (12,),"
    assert "covariance=array of shape (12, 12)" in repr(net.domain)


def test_a_trainer_says_how_far_it_is_and_what_it_does() -> None:
    trainer = article()
    common = """
  net=NN(2, [8, 8], 1, activation='relu', 105 parameters, float64),
  source=UniformSource(StandardGaussian(), low=[-3.0, -3.0], high=[3.0, 3.0], batch_size=16),
  loss=MSE(),
  optimizer=SGD(momentum=0.0, nesterov=False),
  learning_rate=ExponentialDecay(learning_rate=0.002, decay=0.99999),
)"""
    assert repr(trainer) == "Trainer(\n  0 iterations done," + common
    trainer.run(1500)
    loss = trainer.history.running_loss(1499)
    assert repr(trainer) == f"Trainer(\n  1,500 iterations done, running loss {loss:.6g},{common}"


def test_a_trainer_says_what_is_not_the_default() -> None:
    source = ArraySource(X, Y, 8)
    trainer = Trainer(NN(2, [3], 1), source, learning_rate=ripple, l2=0.5, dropout=0.25, on_divergence="skip")
    lines = repr(trainer).splitlines()
    assert lines[6:10] == [
        "  learning_rate=ripple,",
        "  l2=0.5,",
        "  dropout=(0.25,),",
        "  on_divergence='skip',",
    ]


def test_a_history_says_where_it_began_and_where_it_is() -> None:
    history = ran().history
    first, last = history.running_loss(0), history.running_loss(1499)
    assert repr(history).splitlines()[1:-1] == [
        "  1,500 iterations,",
        f"  running loss from {first:.6g} to {last:.6g},",
        f"  learning rate from {0.002 * 0.99999:.6g} to {0.002 * 0.99999**1500:.6g},",
    ]
    history.events += [(k, f"event {k}") for k in range(7)]
    assert repr(history).splitlines()[4:] == [
        "  2 earlier events,",
        *(f"  event {k} after {k} iterations," for k in range(2, 7)),
        ")",
    ]


def test_a_history_whose_rate_and_loss_stay_says_them_once() -> None:
    trainer = Trainer(NN(1, [], 1, init=[0.0, 0.0]), ArraySource([1.0], [2.0]), learning_rate=0.0)
    assert repr(trainer.run(5)) == "History(5 iterations, running loss 4, learning rate 0)"


def test_a_history_without_a_schedule_says_no_rate() -> None:
    history = History(10)
    history.extend(np.ones(3))
    assert repr(history) == "History(3 iterations, running loss 1)"


def test_the_history_of_a_fit_has_its_least_validation_loss() -> None:
    history = fit(X, Y, n_iterations=100, hidden_sizes=[4], validation=0.3).fit_history
    assert history is not None
    best = int(np.argmin(history.validation_losses))
    value, after = history.validation_losses[best], history.validation_iterations[best]
    assert f"  least validation loss {value:.6g} after {after} iterations,\n" in repr(history)


def test_a_run_and_its_callbacks_say_how_far_they_are() -> None:
    said: list[str] = []
    stopping, snapshots = EarlyStopping(every=100), Snapshots(100)
    article().run(300, callbacks=[stopping, snapshots, Every(200, lambda run: said.append(repr(run)))])
    assert re.fullmatch(r"Run\(200 of 300 iterations, running loss \S+\)", said[0])
    assert f"3 checks, best loss {stopping.best_loss:.6g}" in repr(stopping)
    assert repr(snapshots) == "Snapshots(every=100, max_snapshots=100, 4 snapshots)"
    objective = Objective(NN(2, [], 1), X, Y)
    assert f"  validation={objective!r},\n" in repr(EarlyStopping(validation=objective))


def test_results_of_inspection_are_their_text() -> None:
    net = NN(2, [3], 1, rng=1)
    diagnosis, result = diagnose(net, X), check_gradients(net, X, Y)
    assert repr(diagnosis) == str(diagnosis)
    assert repr(diagnosis).startswith("layer  units  activation")
    assert repr(result) == str(result)
    assert repr(result).startswith("gradients are right: the worst is ")


def test_no_repr_has_an_address_or_a_long_array() -> None:
    trainer = ran()
    net = fit(np.ones((50, 900)) * np.arange(50)[:, None], np.arange(50.0), n_iterations=20)
    things = [trainer, trainer.state(), trainer.optimizer_state, trainer.history, trainer.source, net]
    things += [net.fit_history, net.domain, net.standardization, net.schema, net.layers, net.activations]
    things += [score(net, np.ones((5, 900)), np.arange(5.0)), net.spec, diagnose(net, np.ones((3, 900)))]
    things += [Every(1, lambda run: None), CustomActivation(lambda x: x, lambda x: 1.0)]
    things += [UniformSource(lambda x: x[:, 0], low=[0.0] * 50, high=1.0), Watch(1.0, object())]
    for thing in things:
        text = repr(thing)
        assert " at 0x" not in text, type(thing)
        assert len(text) < 1000, type(thing)
        assert len(text.splitlines()) <= 12, type(thing)


def test_values_are_brief() -> None:
    assert brief(np.float64(1 / 3)) == "0.333333"
    assert brief(np.array([[1.0, np.nan]])) == "[[1, nan]]"
    assert brief(np.array(["a", "b"])) == "array of shape (2,)"
    assert brief(object()) == "object(…)"
    assert brief("x" * 300) == f"'{'x' * 97} …"
    assert brief("two\nlines") == "'two\\nlines'"
    assert listed([]) == "[]"
    assert summary(1, "x" * 94) == f"int({'x' * 94})"
    assert summary(1, "x" * 96) == f"int(\n  {'x' * 96},\n)"


# ---- attributes that other libraries have ----


def attributes_of(owner: str) -> list[str]:
    return [*other_names._hints(owner)]


@pytest.mark.parametrize(
    ("owner", "name", "hint"),
    [
        (NN, "fit", "a network is trained by fit(x, y, start=net) or by a Trainer"),
        (NN, "train", "a network is trained by fit(x, y, start=net) or by a Trainer"),
        (NN, "weights", "weights are layers[k].W; parameters are all of them"),
        (NN, "classes_", "it is classes"),
        (Trainer, "fit", "it is run(n_iterations)"),
        (Trainer, "lr", "it is learning_rate"),
    ],
)
def test_attributes_of_other_libraries_are_answered(owner: type, name: str, hint: str) -> None:
    thing = article() if owner is Trainer else NN(2, [3], 1)
    for asked in (thing, owner):
        with pytest.raises(AttributeError) as caught:
            getattr(asked, name)
        assert str(caught.value) == f"{owner.__name__} has no attribute {name!r}; {hint}"


@pytest.mark.parametrize("make", [lambda: NN(2, [3], 1), article])
def test_they_are_not_there(make: Callable[[], Any]) -> None:
    thing = make()
    for name in attributes_of(type(thing).__name__):
        assert not hasattr(thing, name)
        assert name not in dir(thing)
    assert "parameters" in dir(NN(1, [], 1))
    assert "run" in dir(article())
    thing.weights = "mine"
    assert thing.weights == "mine"


def test_attributes_of_ones_own_come_first() -> None:
    class Mine(NN):
        weights = "mine"

    assert Mine(1, [], 1).weights == "mine"
    with pytest.raises(AttributeError, match="Mine has no attribute 'bias'; biases are layers"):
        Mine(1, [], 1).bias  # type: ignore[attr-defined]  # noqa: B018  # the error is the point


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("train", "did you mean crabnet_jit.fit?"),
        ("DataLoader", "did you mean crabnet_jit.ArraySource?"),
        ("Relu", "did you mean crabnet_jit.ReLU?"),
        ("check_gradient", "did you mean crabnet_jit.check_gradients?"),
        ("plot_fit", "say import crabnet_jit.plotting"),
    ],
)
def test_names_that_the_package_has_not(name: str, hint: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(crabnet_jit, name)
    assert str(caught.value) == f"module 'crabnet_jit' has no attribute {name!r}; {hint}"


def test_no_hint_hides_a_name_that_is_there() -> None:
    assert not {*attributes_of("crabnet_jit")} & {*crabnet_jit.__all__}
    with pytest.raises(AttributeError, match=r"has no attribute '_fit'$"):
        crabnet_jit._fit  # type: ignore[attr-defined]  # noqa: B018  # the error is the point


# ---- the command line: what was meant ----


@pytest.fixture
def run(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str, str]]:
    """The command line in a folder with a table, a network and a checkpoint."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "110")
    rows = [f"{k},{2 * k}\n" for k in range(40)]
    Path("data.csv").write_text("x,z\n" + "".join(rows))
    Path("few.csv").write_text("x,z\n" + "".join(rows[:15]))
    save(NN(1, [], 1, init=[2.0, 0.0]), "model.npz", {"inputs": ["x"], "outputs": ["z"]})
    article().save_checkpoint("run.npz")

    def run(line: str) -> tuple[int, str, str]:
        try:
            code: Any = main(shlex.split(line))
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


Line = Callable[[str], tuple[int, str, str]]


def assert_answer(result: tuple[int, str, str], answer: str) -> None:
    """One line on standard error, which ends so."""
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.endswith(f"{answer}\n")


@pytest.mark.parametrize(
    "name",
    ["lm", "LM", "trainlm", "levenberg-marquardt", "LevenbergMarquardt", "gauss_newton", "Gauss-Newton"],
)
def test_a_method_by_the_names_of_others(name: str) -> None:
    for take in (fit, Objective(NN(1, [3], 1), [[0.0]], [0.0]).minimize):
        arguments = ([[0.0]], [0.0]) if take is fit else ()
        with pytest.raises(InvalidArgumentError, match=r"; did you mean 'levenberg_marquardt'\?$"):
            take(*arguments, optimizer=name)
    with pytest.raises(InvalidArgumentError, match=r"; did you mean 'lbfgs'\?$"):
        Objective(NN(1, [3], 1), [[0.0]], [0.0]).minimize(optimizer="L-BFGS-B")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("trian", "did you mean crabnet-jit fit points.csv --inputs x --outputs y?"),
        ("train", "did you mean crabnet-jit fit points.csv --inputs x --outputs y?"),
        ("Fit", "did you mean crabnet-jit fit points.csv --inputs x --outputs y?"),
        ("eval", "did you mean crabnet-jit predict?"),
        ("test", "did you mean crabnet-jit predict?"),
        ("pred", "did you mean crabnet-jit predict?"),
        ("convert", "did you mean crabnet-jit export?"),
        ("exprot", "did you mean crabnet-jit export?"),
        ("help", "did you mean crabnet-jit --help?"),
        ("version", "did you mean crabnet-jit --version?"),
        ("points.csv", "type crabnet-jit fit points.csv --inputs x --outputs y"),
        ("points.csv.gz", "type crabnet-jit fit points.csv.gz --inputs x --outputs y"),
        ("net.npz", "type crabnet-jit predict net.npz FILE, or crabnet-jit plot net.npz"),
        (
            "xyzzy",
            "the commands are gaussian, fit, search, predict, describe, plot, export, warmup, completion",
        ),
    ],
)
def test_a_command_that_there_is_not(name: str, answer: str, run: Line) -> None:
    assert_answer(run(name), f"crabnet-jit: error: there is no command {name}; {answer}")
    assert_answer(run(f"{name} data.csv --lr 0.1"), answer)


@pytest.mark.parametrize(
    ("line", "option", "answer"),
    [
        ("fit data.csv --optimiser adam", "--optimiser", "it is called --optimizer here"),
        ("fit --lr 0.1", "--lr", "it is called --learning-rate here"),
        ("fit --lr=0.1", "--lr", "it is called --learning-rate here"),
        ("gaussian --learning_rate 1", "--learning_rate", "it is called --learning-rate here"),
        ("gaussian --hidden-layer-sizes 8", "--hidden-layer-sizes", "it is called --hidden here"),
        ("gaussian --hidden-sizes 8", "--hidden-sizes", "it is called --hidden here"),
        ("gaussian --max-iter 8", "--max-iter", "it is called --iterations here"),
        ("gaussian --random-state 8", "--random-state", "it is called --seed here"),
        ("fit --alpha 8", "--alpha", "it is called --l2 here"),
        ("fit --sample-weight w", "--sample-weight", "it is called --weights here"),
        ("fit --early-stopping", "--early-stopping", "it is called --patience here"),
        ("fit --verbose", "--verbose", "--progress shows the progress"),
        ("fit --iteratoins 5", "--iteratoins", "did you mean --iterations?"),
        (
            "fit --epochs 5",
            "--epochs",
            "--iterations counts steps of one batch, not passes over the data: "
            "for n epochs, it is n * ceil(n_samples / batch_size)",
        ),
        (
            "fit --device cuda",
            "--device",
            "there is no device to choose: networks are trained on the CPU",
        ),
        (
            "fit --momentum 0.9",
            "--momentum",
            "in Python, the optimizer takes it, as in optimizer=SGD(momentum=0.9)",
        ),
        ("gaussian --patience 5", "--patience", "crabnet-jit fit has it"),
        ("predict model.npz data.csv --hidden 5", "--hidden", "crabnet-jit gaussian has it"),
        ("gaussian -e 5", "-e", "--help lists what there is"),
        ("gaussian -lr 5", "-lr", "it is called --learning-rate here"),
        ("gaussian --xyzzy", "--xyzzy", "--help lists what there is"),
    ],
)
def test_an_option_that_there_is_not(line: str, option: str, answer: str, run: Line) -> None:
    command = line.split(maxsplit=1)[0]
    assert_answer(run(line), f"crabnet-jit {command}: error: there is no option {option}; {answer}")


def test_options_before_the_command(run: Line) -> None:
    assert_answer(run("--seed 1 gaussian"), "there is no option --seed; options come after the command")


def test_options_may_be_abbreviated_if_it_is_clear_which(run: Line) -> None:
    assert run("gaussian --iter 1 --batch 3 --hid 4 --log-e 5")[0] == 0
    code, _, err = run("gaussian --log 5")
    assert (code, err) == (
        2,
        "crabnet-jit gaussian: error: ambiguous option: --log could match --log-every, --log-file\n",
    )


@pytest.mark.parametrize("name", ["--inputs=--lr", "--inputs '--a b'"])
def test_what_is_a_value_is_no_unknown_option(name: str, run: Line) -> None:
    code, _, err = run(f"fit data.csv {name} --outputs z")
    assert code == 2
    assert "column must be one of x, z" in err


@pytest.mark.parametrize("text", ["1e1", "10", "1_0", "1E1", "10.0", "+1e1"])
def test_integers_may_be_written_as_powers_of_ten(text: str, run: Line) -> None:
    code, out, err = run(f"gaussian --iterations {text} --log-every 1e3 --seed 2e0 --frames 1e2")
    assert code == 0
    assert out.startswith("Iter 0, loss: ")
    assert err.startswith("10 iterations: ")


@pytest.mark.parametrize("text", ["1e-1", "1.5", "1e400", "nan", "inf", "1,000", "x", "", "1e17", "9e15.0"])
def test_other_numbers_are_no_integers(text: str, run: Line) -> None:
    expected = f"argument --seed: must be an integer, such as 100000 or 1e5, got {text!r}"
    assert_answer(run(f"gaussian --iterations 1 --seed={text}"), expected)


def test_large_seeds_keep_their_digits(run: Line) -> None:
    assert run("gaussian --iterations 1 --seed 18446744073709551615")[0] == 0
    assert_answer(run("gaussian --seed 1844674407370955161.5e1"), "got '1844674407370955161.5e1'")


def test_numbers_have_a_point(run: Line) -> None:
    answer = "argument --learning-rate: must be a number, got '0,1'; the decimal sign is a point"
    assert_answer(run("gaussian --learning-rate 0,1"), answer)
    assert_answer(run("gaussian --learning-rate x"), "must be a number, got 'x'")


@pytest.mark.parametrize(
    "text", ["8x8", "8X8", "8 8", "[8, 8]", "(8,8)", "(8;8)", "8*8", "8,,8", "8,8,", "8, 8 x"]
)
def test_hidden_sizes_in_other_ways(text: str, run: Line) -> None:
    assert_answer(run(f"gaussian '--hidden={text}'"), f"got {text!r}; did you mean 8,8?")


@pytest.mark.parametrize("text", ["8,a", "8.5", "-8,x", ","])
def test_what_are_no_hidden_sizes(text: str, run: Line) -> None:
    assert_answer(run(f"gaussian '--hidden={text}'"), f"or empty for no hidden layer, got {text!r}")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("gaussian --hidden 8 8", "unrecognized arguments: 8; a list has commas: --hidden=8,8"),
        (
            "fit data.csv --inputs x y --outputs z",
            "unrecognized arguments: y; a list has commas: --inputs=x,y",
        ),
        (
            "fit --inputs x --outputs y z data.csv",
            "unrecognized arguments: data.csv; a list has commas: --outputs=y,z",
        ),
        ("plot model.npz a.png --low -1 0", "unrecognized arguments: 0; a list has commas: --low=-1,0"),
        ("plot model.npz a.png --low -1,0", "argument --low: expected one argument; type --low=-1,0"),
        (
            "plot model.npz a.png --at -1 --low -1,0",
            "argument --low: expected one argument; type --low=-1,0",
        ),
        (
            "gaussian --learning-rate -inf",
            "argument --learning-rate: expected one argument; type --learning-rate=-inf",
        ),
        ("gaussian data.csv", "unrecognized arguments: data.csv"),
        ("fit --inputs x --outputs z data.csv more", "unrecognized arguments: more"),
    ],
)
def test_lists_have_commas(line: str, answer: str, run: Line) -> None:
    assert_answer(run(line), f"crabnet-jit {line.split(maxsplit=1)[0]}: error: {answer}")


# ---- help, version, completion ----

HELPS = ["--help", *(f"{command} --help" for command in COMMANDS)]


def test_nothing_is_the_help_and_an_error(run: Line) -> None:
    code, out, err = run("")
    assert (code, out, err) == (2, "", run("--help")[1])
    assert err.startswith("usage: crabnet-jit [-h] [-V] COMMAND ...")


def test_the_version_has_two_options(run: Line) -> None:
    assert run("-V") == run("--version") == (0, f"crabnet-jit {crabnet_jit.__version__}\n", "")


@pytest.mark.parametrize("line", HELPS)
def test_helps_have_no_defaults_that_say_nothing(line: str, run: Line) -> None:
    code, out, err = run(line)
    assert (code, err) == (0, "")
    assert not re.search(r"default:\s+(None|False|\))", out)


def test_helps_say_the_defaults(run: Line) -> None:
    out = " ".join(run("gaussian --help")[1].split())
    for default in ("8,8", "relu", "0.002", "120000"):
        assert f"(default: {default})" in out
    assert "--l1 FACTOR penalty on the absolute parameters (default: 0.0)" in " ".join(
        run("fit --help")[1].split()
    )


def completed(words: str, script: Path) -> set[str]:
    """What bash makes of the last of some words; a word of a single dot is an empty one."""
    given = ["" if word == "." else word for word in words.split()]
    code = f"""
        source {script}; shift 0; COMP_WORDS=("$@"); COMP_CWORD={len(given) - 1}
        COMP_LINE="$*"; COMP_POINT=${{#COMP_LINE}}
        _shtab_crabnet_jit "$1" "${{COMP_WORDS[COMP_CWORD]}}" "" ; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(["bash", "-c", code, "bash", *given], capture_output=True, text=True, check=True)
    return {line.strip() for line in result.stdout.splitlines()}


def test_bash_completes_commands_options_names_and_files(run: Line, tmp_path: Path) -> None:
    code, out, err = run("completion bash")
    assert (code, err) == (0, "")
    script = tmp_path / "completion.bash"
    script.write_text(out)
    assert completed("crabnet-jit .", script) >= {*COMMANDS}
    assert completed("crabnet-jit pre", script) == {"predict"}
    assert completed("crabnet-jit fit data.csv --le", script) == {"--learning-rate"}
    assert completed("crabnet-jit fit data.csv --activation si", script) == {"silu", "sigmoid", "sine"}
    assert completed("crabnet-jit gaussian --preset .", script) == {"article", "fast", "best"}
    assert completed("crabnet-jit fit da", script) == {"data.csv"}
    assert completed("crabnet-jit predict mo", script) == {"model.npz"}
    assert completed("crabnet-jit completion .", script) == {"bash", "zsh", "fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_for_other_shells_have_all_commands_and_names(shell: str, run: Line) -> None:
    code, out, err = run(f"completion {shell}")
    assert (code, err) == (0, "")
    for name in (*COMMANDS, *ACTIVATIONS, *OPTIMIZERS, *LOSSES, "learning-rate"):
        assert name in out


def test_all_options_with_names_are_completed() -> None:
    parser = all_options()
    named = {
        (command, action.dest)
        for command, of_command in parser.commands.items()
        for action in of_command._actions
        if action.metavar in ("NAME", "WHAT") and "," in str(action.help).partition(";")[0]
    }
    assert {name for _, name in named} <= {*_CHOICES, "prefix"}


def test_completion_without_shtab_says_what_to_install(run: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    code, out, err = run("completion bash")
    assert (code, out) == (1, "")
    answer = 'completion needs shtab: pip install "crabnet-jit[completion]"'
    assert err == f"crabnet-jit completion: error: {answer}\n"


def test_completion_for_a_shell_that_is_not_known(run: Line) -> None:
    assert_answer(
        run("completion tcsh"), "SHELL must be one of bash, zsh, fish, got 'tcsh'; did you mean 'zsh'?"
    )


# ---- files that are mixed up ----


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (
            "predict data.csv model.npz",
            "data.csv is a table; did you mean crabnet-jit predict model.npz data.csv?",
        ),
        (
            "predict data.csv few.csv",
            "data.csv is a table; did you mean crabnet-jit predict MODEL data.csv?",
        ),
        ("predict - model.npz", "- is not a network; did you mean crabnet-jit predict model.npz -?"),
        (
            "fit model.npz --inputs x --outputs z",
            "model.npz is a network, not a table; did you mean crabnet-jit predict model.npz FILE?",
        ),
        (
            "fit run.npz --inputs x --outputs z",
            "run.npz is the checkpoint of a run, not a table; "
            "did you mean crabnet-jit fit FILE --resume run.npz?",
        ),
        (
            "plot data.csv",
            "data.csv is a table; did you mean crabnet-jit plot MODEL PICTURE --data data.csv?",
        ),
        ("plot a.png model.npz", "a.png is not a network; did you mean crabnet-jit plot model.npz a.png?"),
        ("export x.c model.npz", "x.c is not a network; did you mean crabnet-jit export model.npz x.c?"),
        ("export data.csv x.c", "data.csv is a table; did you mean crabnet-jit export MODEL FILE?"),
        (
            "predict 'my data.csv' model.npz",
            "my data.csv is a table; did you mean crabnet-jit predict model.npz 'my data.csv'?",
        ),
    ],
)
def test_files_that_are_mixed_up(line: str, answer: str, run: Line) -> None:
    Path("my data.csv").write_bytes(Path("data.csv").read_bytes())
    before = {path: path.read_bytes() for path in Path().iterdir()}
    assert_answer(run(line), f"error: {answer}")
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_files_in_order_are_taken(run: Line) -> None:
    shutil.copy("model.npz", "model.csv")  # what it is, is in the file
    assert run("predict model.csv data.csv")[0] == 0
    assert run("export model.npz x.c")[0] == 0


def test_archives_of_others_have_no_kind(tmp_path: Path) -> None:
    contents: dict[str, dict[str, Any]] = {
        "other.npz": {"a": np.ones(3)},
        "number.npz": {"header": np.ones(3)},
        "text.npz": {"header": np.array("no JSON")},
        "list.npz": {"header": np.array("[1]")},
    }
    for name, arrays in contents.items():
        np.savez(tmp_path / name, **arrays)
        assert kind_of(tmp_path / name) is None
    np.savez_compressed(tmp_path / "small.npz", header=np.array('{"format": "crabnet_jit network"}'))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    for name in ("small.npz", "cut.npz", "missing.npz", "."):
        assert kind_of(tmp_path / name) is None


# ---- a validation set that is too small ----


@pytest.mark.parametrize(
    ("file", "options", "remark"),
    [
        ("few.csv", "--validation 0.2", "3 rows set aside for validation"),
        ("few.csv", "--validation 0.01", "1 row set aside for validation"),
        ("few.csv", "--validation 0", None),
        ("data.csv", "--validation 0.22", "9 rows set aside for validation"),
        ("data.csv", "--validation 0.25", None),
    ],
)
def test_a_small_validation_set_is_remarked_upon(
    file: str, options: str, remark: str | None, run: Line
) -> None:
    line = f"fit {file} --inputs x --outputs z --hidden 2 --iterations 10 --no-progress {options}"
    code, out, err = run(line)
    assert (code, out) == (0, "")
    remarks = [line for line in err.splitlines() if "set aside" in line]
    if remark is None:
        assert remarks == []
    else:
        assert remarks == [
            f"{remark}: too few for reliable scores; a larger --validation sets aside more, "
            "--validation 0 trains on all rows"
        ]
