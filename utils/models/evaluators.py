"""Evaluation networks for generators: a digit classifier and an attribute regressor for faces.

The generators themselves belong in the notebooks.
"""

import weakref

import keras
import numpy as np

from utils import settings, tracking
from utils.callbacks import resume_callbacks
from utils.errors import CompanionError

# Outputs of the attribute regressor, in order; their units are defined in `synthetic.faces`.
FACE_ATTRIBUTES = (
    "smile",
    "glasses",
    "beard",
    "skin",
    "hair",
    "hair_length",
    "turn",
    "light",
    "background",
)

_feature_extractors = weakref.WeakKeyDictionary()


def train_digit_classifier(digits) -> keras.Model:
    """Train a small convolutional digit classifier, or load it if this notebook trained it before.

    Prints one line with its accuracy on the test part.

    Args:
        digits: what `datasets.load_digits` returned.

    Returns:
        A model from images (n, 28, 28, 1), floats of 0 to 1, to logits (n, 10), with a layer
        "features" of 64 units.
    """
    hyperparameters = settings.choose(
        quick={"num_examples": 14_000, "batch_size": 64},
        live={"num_examples": 240_000, "batch_size": 128},
        full={"num_examples": 600_000, "batch_size": 128},
    )
    inputs = keras.Input((28, 28, 1))
    x = inputs
    convolution = {"padding": "same", "activation": "relu"}
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, **convolution, kernel_initializer=_glorot(filters))(x)
        x = keras.layers.MaxPooling2D()(x)  # (n, 14, 14, 16), then (n, 7, 7, 32)
    x = keras.layers.Conv2D(32, 3, **convolution, kernel_initializer=_glorot(3))(x)  # (n, 7, 7, 32)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(64, activation="relu", kernel_initializer=_glorot(64), name="features")(
        x
    )
    logits = keras.layers.Dense(10, kernel_initializer=_glorot(10))(x)
    model = keras.Model(inputs, logits, name="digit_classifier")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    train_images = _scaled(digits.train.images)[..., None]
    test_images = _scaled(digits.test.images)[..., None]
    _fit(model, loss, train_images, digits.train.labels, hyperparameters)
    predicted = model.predict(test_images, batch_size=500, verbose=0).argmax(axis=1)
    accuracy = (predicted == digits.test.labels).mean()
    print(
        f"digit classifier: {accuracy:.1%} of {len(test_images):,} test digits right "
        f"({digits.label})"
    )
    return model


def train_attribute_regressor(faces) -> keras.Model:
    """Train a small convolutional network to predict the attributes of drawn faces, or load it.

    It knows drawn faces only: its output for a photograph means nothing. Prints one line about the
    test part: the correlation of predicted and true smiles, and the accuracy for glasses.

    Args:
        faces: what `datasets.load_faces` returned for drawn faces.

    Returns:
        A model from images (n, size, size, 3), floats of 0 to 1, to values (n, 9) in the units of
        the attributes, in the order of `FACE_ATTRIBUTES`, with a layer "features" of 96 units.

    Raises:
        CompanionError: the faces are photographs, whose attributes nobody labelled.
    """
    if faces.train.attributes is None:
        raise CompanionError(
            "the attributes of photographs are unknown: "
            'use datasets.load_faces(source="sample") here.'
        )
    hyperparameters = settings.choose(
        quick={"num_examples": 12_000, "batch_size": 32},
        live={"num_examples": 60_000, "batch_size": 64},
        full={"num_examples": 300_000, "batch_size": 64},
    )
    columns = [faces.train.attributes[name] for name in FACE_ATTRIBUTES]
    targets = np.stack(columns, axis=1)  # (n, 9)
    mean = targets.mean(axis=0)
    deviation = targets.std(axis=0) + 1e-6

    inputs = keras.Input(faces.train.images.shape[1:])
    x = keras.layers.Rescaling(2.0, -1.0)(inputs)
    filters = 16
    side = faces.train.images.shape[1]
    while side > 5:
        options = {"strides": 2, "padding": "same", "activation": "relu"}
        x = keras.layers.Conv2D(filters, 5, **options, kernel_initializer=_glorot(side))(x)
        filters = min(64, 2 * filters)
        side = -(-side // 2)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(96, activation="relu", kernel_initializer=_glorot(96), name="features")(
        x
    )
    # Standardized targets give every attribute the same weight in the loss, whatever its unit.
    outputs = keras.layers.Dense(len(FACE_ATTRIBUTES), kernel_initializer=_glorot(9))(x)
    standardized = keras.Model(inputs, outputs, name="attribute_regressor")
    train_images = _scaled(faces.train.images)
    standardized_targets = (targets - mean) / deviation
    _fit(standardized, "mse", train_images, standardized_targets, hyperparameters)

    values = outputs * deviation.astype("float32") + mean.astype("float32")
    model = keras.Model(inputs, values, name="attribute_regressor")
    predicted = model.predict(_scaled(faces.test.images), batch_size=250, verbose=0)
    smile = predicted[:, FACE_ATTRIBUTES.index("smile")]
    glasses = predicted[:, FACE_ATTRIBUTES.index("glasses")]
    correlation = np.corrcoef(smile, faces.test.attributes["smile"])[0, 1]
    accuracy = ((glasses > 0.5) == (faces.test.attributes["glasses"] > 0.5)).mean()
    print(
        f"attribute regressor: correlation with the true smile {correlation:.3f}, glasses right in "
        f"{accuracy:.1%} of {len(predicted):,} test faces ({faces.label})"
    )
    return model


def extract_features(model: keras.Model, images) -> np.ndarray:
    """Return the activations of a model's layer "features".

    Args:
        model: one of this module's, or any other with a layer of that name.
        images: (n, ...), as the model takes them.

    Returns:
        (n, units), float32.
    """
    if model not in _feature_extractors:  # a new model for each call would be traced each time
        features = model.get_layer("features").output
        _feature_extractors[model] = keras.Model(model.inputs, features)
    images = np.asarray(images, "float32")
    return _feature_extractors[model].predict(images, batch_size=250, verbose=0)


def _scaled(images) -> np.ndarray:
    return images.astype("float32") / 255


def _glorot(seed: int):
    """Return Keras's default initializer with a seed: a measure is the same in every notebook."""
    return keras.initializers.GlorotUniform(seed)


def _fit(model, loss, images, targets, hyperparameters) -> None:
    """Train on about `num_examples` images, with a learning rate that decreases to 0.

    Neither weights nor order depend on the notebook's seed, else another seed would be another
    measure.
    """
    order = np.random.default_rng(0).permutation(len(images))
    epochs = max(1, round(hyperparameters.num_examples / len(images)))
    steps = epochs * -(-len(images) // hyperparameters.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), loss)
    with tracking.start(model.name, hyperparameters) as run:
        model.fit(
            images[order],
            targets[order],
            shuffle=False,
            batch_size=hyperparameters.batch_size,
            epochs=epochs,
            verbose=0,
            # Without a time budget: a network that is half trained would measure otherwise.
            callbacks=resume_callbacks(model.name, run=run, monitor=None),
        )
