"""All private names of Keras that this project uses; it has no public ones for what they do.

A test names each. If a version of Keras lacks one, training still runs, but cannot be resumed.
"""

import contextlib
import inspect

import keras


def begin_fit_at(model, epoch: int | None) -> None:
    """Let `fit` begin at an epoch, as Keras's own `BackupAndRestore` does; None is its default."""
    model._initial_epoch = epoch


def all_layers(model) -> list:
    """List a model and its layers at every depth; the public `model.layers` stops at the first."""
    return model._flatten_layers()


def trained_variables(optimizer) -> list:
    """List the variables that an optimizer was built for."""
    return optimizer._trainable_variables


def global_seed():
    """Return the variable behind the functions of `keras.random` that are called without a seed."""
    return keras.src.random.seed_generator.global_seed_generator().state


def random_seed() -> int | None:
    """Return the last seed that `keras.utils.set_random_seed` was called with."""
    return keras.src.utils.rng_utils.get_random_seed()


def fit_arguments(model) -> dict:
    """Return the arguments of the running `fit` of a model, and its list of all callbacks.

    `fit` tells callbacks nothing about its data. So they are read where they are: among the local
    variables of `fit`, which have the names of its public arguments.

    Raises:
        AttributeError: `fit` is not running, or has other local variables.
    """
    names = (
        "x",
        "y",
        "batch_size",
        "callbacks",
        "class_weight",
        "sample_weight",
        "shuffle",
        "validation_batch_size",
        "validation_data",
        "validation_freq",
        "validation_steps",
    )
    # Not from this function's own frame: its locals would hold the frame, and with it the data,
    # until Python looks for cycles.
    frame = inspect.currentframe().f_back
    while frame is not None:
        local = frame.f_locals
        is_fit = frame.f_code.co_name == "fit" and local.get("self") is model
        if is_fit and set(names) <= set(local) and hasattr(local["callbacks"], "callbacks"):
            return {name: local[name] for name in names}
        frame = frame.f_back
    raise AttributeError("local variables of Model.fit")


def make_variables(model, batch) -> None:
    """Make all variables of a compiled model that its first training step would make.

    Args:
        model: compiled, with weights.
        batch: inputs, and targets and sample weights where there are any, as `fit` gets them; only
            their shapes and types are used. `fit` itself says what is wrong with them.

    A version of Keras without this name makes them in the first step, which only takes longer, so
    it is not among `NAMES`.
    """
    with contextlib.suppress(AttributeError, RuntimeError, TypeError, ValueError):
        model._symbolic_build(data_batch=batch)


def argument_names(callback) -> list[str]:
    """List the arguments that a callback was made with, which are attributes of Keras's own."""
    return list(inspect.signature(type(callback).__init__).parameters)


# Each name, and a function of a model and its optimizers that uses it.
NAMES = {
    "Model._initial_epoch": lambda model, optimizers: model._initial_epoch,
    "Layer._flatten_layers": lambda model, optimizers: all_layers(model),
    "Optimizer._trainable_variables": lambda model, optimizers: (
        [trained_variables(optimizer) for optimizer in optimizers]
    ),
    "local variables of Model.fit": lambda model, optimizers: fit_arguments(model),
    "keras.src.random.seed_generator.global_seed_generator": lambda model, optimizers: (
        global_seed()
    ),
    "keras.src.utils.rng_utils.get_random_seed": lambda model, optimizers: random_seed(),
}


def missing_names(model, optimizers: list) -> list[str]:
    """Return those of `NAMES` that this version of Keras lacks."""
    missing = []
    for name, use in NAMES.items():
        try:
            use(model, optimizers)
        except AttributeError:
            missing.append(name)
    return missing
