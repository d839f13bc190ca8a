"""All private names of Keras that this project uses; it has no public ones for what they do.

A test names each. If a version of Keras lacks one, training still runs, but cannot be resumed.
"""

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


# Each name, and a function of a model and its optimizers that uses it.
NAMES = {
    "Model._initial_epoch": lambda model, optimizers: model._initial_epoch,
    "Layer._flatten_layers": lambda model, optimizers: all_layers(model),
    "Optimizer._trainable_variables": lambda model, optimizers: (
        [trained_variables(optimizer) for optimizer in optimizers]
    ),
    "keras.src.random.seed_generator.global_seed_generator": lambda model, optimizers: (
        global_seed()
    ),
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
