"""Names of arguments, options and attributes in other libraries, and the names for them here."""

import difflib
from collections.abc import Sequence
from typing import NoReturn, TypeVar

_T = TypeVar("_T")

#: Names here, each with the names in PyTorch, scikit-learn, Keras and others for the same thing.
_OTHERS = {
    "learning_rate": "lr learning_rate_init eta eta0 step_size base_lr max_lr scheduler schedule",
    "n_iterations": "max_iter maxiter iterations num_iterations n_iter n_steps steps T_max total_steps",
    "max_iterations": "max_iter maxiter iterations n_iterations n_iter n_steps num_steps steps",
    "hidden_sizes": "hidden hidden_layer_sizes hidden_layers hidden_size hidden_dim hidden_dims hidden_units "
    "layers layer_sizes n_hidden units width",
    "seed": "random_state random_seed rng generator manual_seed",
    "rng": "random_state random_seed seed generator manual_seed",
    "l2": "alpha weight_decay l2_regularization l2_penalty reg_lambda",
    "weight_decay": "alpha l2",
    "l1": "l1_regularization l1_penalty reg_alpha",
    "optimizer": "solver optim optimiser opt method",
    "momentum": "beta beta1",
    "betas": "beta beta1 beta2 beta_1 beta_2",
    "eps": "epsilon",
    "dropout": "dropout_rate drop drop_rate p",
    "batch_size": "batch batchsize minibatch_size mini_batch_size",
    "loss": "criterion loss_fn loss_function objective",
    "activation": "act activation_fn activation_function activations nonlinearity",
    "output_activation": "out_activation final_activation last_activation",
    "output_range": "y_range target_range output_bounds output_limits y_bounds",
    "init": "initializer weight_init init_method kernel_initializer initialization",
    "standardize": "normalize standardise scale scale_inputs",
    "validation": "validation_fraction validation_split validation_data val val_data eval_set test_size",
    "device": "devices cuda gpu use_gpu accelerator",
    "patience": "n_iter_no_change early_stopping_rounds",
    "min_delta": "tol tolerance",
    "gradient_tolerance": "tol gtol tolerance",
    "history_size": "maxcor m",
    "sample_weight": "sample_weights weights weight w",
    "clip_norm": "clip clipping clip_grad grad_clip gradient_clip max_norm max_grad_norm clipnorm",
    "clip_value": "clipvalue clip_grad_value",
    "callbacks": "callback",
    "x": "X inputs input features data",
    "y": "Y targets target labels label",
    "target": "function f",
    "net": "network model",
    "start": "net network model",
    "in_features": "n_in in_dim input_dim input_size n_inputs in_size",
    "out_features": "n_out out_dim output_dim output_size n_outputs out_size",
    "quantiles": "quantile quantile_alpha quantile_levels",
    "level": "confidence confidence_level coverage alpha",
    "every": "interval period frequency step",
    "seconds": "time timeout limit",
    "path": "file filename file_name fname",
    "resume": "checkpoint resume_from",
    "shuffle": "shuffled",
    "factor": "gamma eta reduction_factor",
    "decay": "gamma",
    "final_rate": "eta_min min_lr",
    "warmup": "warmup_steps warmup_iterations",
    "dy": "dydx dy_dx dYdX gradients gradient grad derivatives jacobian",
    "dy_weight": "gradient_weight derivative_weight gamma",
    "derivative": "df gradient jacobian",
    "residuals": "residual equations equation pde pdes ode physics terms constraints",
    "second": "second_derivatives d2u hessian",
    "low": "lower minimum",
    "high": "upper maximum",
    "low and high": "bounds box limits domain",
    "space": "param_distributions param_grid param_space search_space distributions",
    "n_candidates": "n_trials num_samples n_configs max_evals max_trials",
    "budget_seconds": "timeout time_limit max_time budget",
}

#: Names of values here, each with the names in SciPy, MATLAB and others for the same thing.
_VALUES = {
    "levenberg_marquardt": "lm trainlm levenberg-marquardt levenbergmarquardt marquardt levmar "
    "gauss_newton gauss-newton gaussnewton",
    "quantile": "pinball quantile_loss quantileloss check tilted",
    "gaussian_nll": "gaussian normal gaussiannllloss gaussian_nll_loss nll negative_log_likelihood "
    "heteroscedastic",
    "poisson": "poisson_nll poissonnllloss poisson_deviance count counts reg:poisson count:poisson",
    "mse": "mean_squared_error squared_error l2 mseloss",
    "mae": "mean_absolute_error absolute_error l1 l1loss",
    "lbfgs": "l-bfgs l-bfgs-b l_bfgs bfgs",
}

#: What to do if there is no such argument, by its name here or in other libraries.
_INSTEAD = {
    "learning_rate": "fit and Trainer take a learning_rate",
    "n_iterations": "Trainer.run takes the number of iterations",
    "hidden_sizes": "NN takes hidden_sizes",
    "activation": "NN takes an activation",
    "batch_size": "the source takes a batch_size",
    "momentum": "the optimizer takes it, as in optimizer=SGD(momentum=0.9)",
    "betas": "the optimizer takes it, as in optimizer=Adam(betas=(0.9, 0.99))",
    "weight_decay": "fit and Trainer take l2, AdamW a weight_decay",
    "nesterov": "the optimizer takes it, as in optimizer=SGD(0.9, nesterov=True)",
    "validation": "fit takes it, and EarlyStopping in callbacks",
    "patience": "fit takes it, and EarlyStopping in callbacks",
    "early_stopping": "patience=10 with validation=0.2 in fit, or EarlyStopping in callbacks, does that",
    "log_every": "fit and Trainer take it",
    "chunk_size": "Trainer takes it",
    "verbose": "callbacks=[ProgressBar()] in fit or Trainer.run shows the progress",
    "dy": "fit and ArraySource take the derivatives of y",
    "dy_weight": "fit and Trainer take it",
    "derivative": "UniformSource takes it",
    "residuals": "Trainer and Objective take equations",
    "net": "a network is made here, from hidden_sizes and activation",
    "device": "there is no device to choose: networks are trained on the CPU",
    "quantiles": "the loss takes them, as in loss=Quantile([0.05, 0.5, 0.95])",
}

#: Options of the command line whose names are not those of the arguments.
OPTIONS = {
    "n_iterations": "iterations",
    "hidden_sizes": "hidden",
    "sample_weight": "weights",
    "standardize": "no_standardize",
    "early_stopping": "patience",
    "level": "interval",
    "budget_seconds": "budget",
    "n_candidates": "candidates",
    "n_threads": "threads",
}
#: Commands, each with the names that people may try.
_COMMANDS = {
    "crabnet-jit fit": "train training learn run",
    "crabnet-jit search": "tune sweep hyperopt optimize optimise",
    "crabnet-jit predict": "eval evaluate test score infer inference prediction",
    "crabnet-jit plot": "draw show picture visualize visualise",
    "crabnet-jit export": "convert save",
    "crabnet-jit warmup": "compile cache",
    "crabnet-jit gaussian": "article demo example",
    "crabnet-jit --help": "help",
    "crabnet-jit --version": "version",
}
_VERBOSE = "verbose verbosity progress progress_bar disp show_progress"
_EPOCHS = "epoch epochs n_epochs num_epochs max_epochs nb_epoch nb_epochs epoch_count"
_STEPS = (
    "{} counts steps of one batch, not passes over the data: "
    "for n epochs, it is n * ceil(n_samples / batch_size)"
)

#: For classes and the package: what to do instead, and the names of attributes for it in other libraries.
_ATTRIBUTES = {
    "NN": {
        "a network is trained by fit(x, y, start=net) or by a Trainer": "fit train partial_fit compile step",
        "weights are layers[k].W; parameters are all of them": "weights weight coefs_ kernel W state_dict "
        "get_weights set_weights load_state_dict",
        "biases are layers[k].b": "bias biases intercepts_ b",
        "derivatives of the loss are gradients": "grad grads zero_grad",
        "it is parameters.size": "n_parameters num_parameters count_params",
        "it is save(net, path)": "save to_file",
        "it is export(net, path)": "export to_onnx to_c",
        "it is score(net, x, y)": "score evaluate",
        "it is interval(x, level)": "predict_interval prediction_interval confidence_interval",
        "it is predict_quantiles": "predict_quantile quantiles quantile",
        "it is fit_history": "history losses loss_ loss_curve_",
        "it is classes": "classes_",
        "it is in_features": "n_features_in_ input_size",
        "it is feature_names": "feature_names_in_",
        "print(net) shows it": "summary",
        "use predict(x); there are no modes to switch": "eval",
        _INSTEAD["device"]: "to cuda cpu device",
    },
    "Trainer": {
        "it is run(n_iterations)": "fit train step",
        "it is net": "model network",
        "it is learning_rate": "lr scheduler schedule",
        "they are history.losses": "losses loss_curve_",
        "it is save_checkpoint(path); save(net, path) writes the network": "save",
        "it is load_checkpoint(path)": "load resume",
        "it is iteration": "n_iterations n_iter_ t_",
        "it is the network's: net.predict(x)": "predict",
    },
    "crabnet_jit": {
        "did you mean crabnet_jit.fit?": "train train_network",
        "did you mean crabnet_jit.NN?": "Network NeuralNetwork Net MLP Model Sequential Module",
        "did you mean crabnet_jit.Quantile?": "PinballLoss Pinball",
        "did you mean crabnet_jit.Poisson?": "PoissonNLLLoss PoissonLoss",
        "did you mean crabnet_jit.LinearLayer?": "Linear Dense",
        "did you mean crabnet_jit.ArraySource?": "DataLoader Dataset TensorDataset",
        "did you mean crabnet_jit.score?": "evaluate eval test",
        "it is a method of a network: net.predict(x)": "predict predict_proba",
        "it is in crabnet_jit.estimators, as NNRegressor": "MLPRegressor NNRegressor Regressor",
        "it is in crabnet_jit.estimators, as NNClassifier": "MLPClassifier NNClassifier Classifier",
        "say import crabnet_jit.plotting": "plotting plot plot_surface plot_history plot_fit plot_network "
        "animate_surface rotate_surface save_figure",
        "say import crabnet_jit.estimators": "estimators",
    },
}


def _here(name: str) -> list[str]:
    """The names here for what other libraries call by this name."""
    either = {name, name.lower()}
    return [ours for ours, others in _OTHERS.items() if either.intersection(others.split())]


def hint(name: str, known: Sequence[str]) -> str:
    """What to write instead of an argument that a function does not have, given those that it has."""
    lower, here = name.lower(), _here(name)
    for ours in here:
        if all(part in known for part in ours.split(" and ")):
            return f"{'they are' if ' and ' in ours else 'it is'} called {ours} here"
    if lower in _EPOCHS.split():
        count = next((ours for ours in ("n_iterations", "max_iterations") if ours in known), None)
        return _INSTEAD["n_iterations"] if count is None else _STEPS.format(count)
    if lower in _VERBOSE.split():
        return _INSTEAD["verbose"]
    for ours in (name, *here):
        if ours in _INSTEAD:
            return _INSTEAD[ours]
    if near := difflib.get_close_matches(lower, known, 1, 0.7):
        return f"did you mean {near[0]}?"
    return f"it has {', '.join(known)}" if known else "it has none"


def values_here(value: str, known: Sequence[str]) -> list[str]:
    """The known names here for a value."""
    return [ours for ours in known if value.lower() in _VALUES.get(ours, "").split()]


def option_hint(name: str, known: Sequence[str]) -> str:
    """What to type instead of an option that a command does not have; names are those in Python."""
    lower, here = name.lower(), [name, *_here(name)]
    for ours in here:
        if (option := OPTIONS.get(ours, ours)) in known:
            return f"it is called {_typed(option)} here"
    if lower in _EPOCHS.split() and "iterations" in known:
        return _STEPS.format("--iterations")
    if lower in _VERBOSE.split() and "progress" in known:
        return "--progress shows the progress"
    if "device" in here:
        return _INSTEAD["device"]
    if near := difflib.get_close_matches(lower, known, 1, 0.7):
        return f"did you mean {_typed(near[0])}?"
    python = next((_INSTEAD[ours] for ours in here if ours in _INSTEAD), None)
    return "--help lists what there is" if python is None else f"in Python, {python}"


def _typed(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def command_hint(name: str) -> str:
    """What to type instead of an unknown command; empty if none is similar."""
    places = {
        other: ours for ours, others in _COMMANDS.items() for other in (ours.split()[1], *others.split())
    }
    near = difflib.get_close_matches(name.lower(), places, 1, 0.6)
    return f"did you mean {places[near[0]]}?" if near else ""


class _Elsewhere:
    """An attribute of another library: reading it raises an error that says what to do here."""

    def __init__(self, hint: str) -> None:
        self._hint = hint

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__} has no attribute {self._name!r}; {self._hint}")


def with_hints(owner: type[_T]) -> type[_T]:
    """Let a class answer attributes of other libraries with a hint.

    A method `__getattr__` would slow down every other attribute: a prediction of one row by a third.
    """
    for name, hint in _hints(owner.__name__).items():
        attribute = _Elsewhere(hint)
        attribute.__set_name__(owner, name)
        setattr(owner, name, attribute)
    return owner


def known_attributes(owner: type, names: Sequence[str]) -> list[str]:
    """The names of those attributes that the class has."""
    return [name for name in names if name not in _hints(owner.__name__)]


def module_hint(name: str, known: Sequence[str]) -> str:
    """What to write instead of a name that the package does not have; empty if nothing is similar."""
    if hint := _hints("crabnet_jit").get(name):
        return hint
    by_lower = {public.lower(): public for public in known}
    near = difflib.get_close_matches(name.lower(), by_lower, 1, 0.7)
    return f"did you mean crabnet_jit.{by_lower[near[0]]}?" if near else ""


def _hints(owner: str) -> dict[str, str]:
    """What to do, by the names in other libraries."""
    return {name: hint for hint, names in _ATTRIBUTES[owner].items() for name in names.split()}
