"""What other libraries call arguments, and what they are called here."""

import difflib
from collections.abc import Sequence

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
    "output_activation": "out_activation final_activation",
    "init": "initializer weight_init init_method kernel_initializer initialization",
    "standardize": "normalize standardise scale scale_inputs",
    "validation": "validation_fraction validation_split validation_data val val_data eval_set test_size",
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
    "every": "interval period frequency step",
    "seconds": "time timeout limit",
    "path": "file filename file_name fname",
    "resume": "checkpoint resume_from",
    "shuffle": "shuffled",
    "factor": "gamma",
    "decay": "gamma",
    "final_rate": "eta_min min_lr",
    "warmup": "warmup_steps warmup_iterations",
    "low": "lower minimum",
    "high": "upper maximum",
    "low and high": "bounds box limits domain",
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
    "verbose": "callbacks=[ProgressBar()] in fit or Trainer.run shows how far it is",
    "net": "a network is made here, from hidden_sizes and activation",
}
_VERBOSE = "verbose verbosity progress progress_bar disp show_progress"
_EPOCHS = "epoch epochs n_epochs num_epochs max_epochs nb_epoch nb_epochs epoch_count"
_STEPS = (
    "{} counts steps of one batch, not passes over the data: "
    "for so many epochs it is epochs * ceil(n_samples / batch_size)"
)


def hint(name: str, known: Sequence[str]) -> str:
    """What to write instead of an argument that a function does not have, given those that it has."""
    lower = name.lower()
    here = [ours for ours, others in _OTHERS.items() if name in others.split() or lower in others.split()]
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
