"""Networks that evaluate generators, against the known truth of the samples they are trained on."""

import dataclasses
import re

import keras
import numpy as np
import pytest

from utils import datasets
from utils.errors import CompanionError
from utils.models import evaluators


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    monkeypatch.setenv("COMPANION_DATA", "sample")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    keras.utils.set_random_seed(0)


def test_the_digit_classifier_is_accurate_and_trained_once(quick, capsys):
    digits = datasets.load_digits(3_000, 300)
    model = evaluators.train_digit_classifier(digits)
    printed = capsys.readouterr().out
    images = digits.test.images[..., None].astype("float32") / 255
    logits = model.predict(images, verbose=0)
    accuracy = (logits.argmax(axis=1) == digits.test.labels).mean()
    assert accuracy > 0.8
    assert f"digit classifier: {accuracy:.1%} of 300 test digits" in printed

    features = evaluators.extract_features(model, images)  # (300, 64)
    assert features.shape == (300, 64)
    assert features.dtype == np.float32
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(features @ kernel + bias, logits, atol=1e-4)

    # The notebook's seed is not the measure's.
    keras.utils.set_random_seed(7)
    assert "trained before" not in printed
    loaded = evaluators.train_digit_classifier(digits)
    assert "digit_classifier: trained before" in capsys.readouterr().out
    for weight, loaded_weight in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, loaded_weight)

    # With other labels it is another classifier.
    train = datasets.Images(digits.train.images, 9 - digits.train.labels)
    evaluators.train_digit_classifier(dataclasses.replace(digits, train=train))
    right = re.search(r"digit classifier: ([\d.]+)% of 300", capsys.readouterr().out)
    assert float(right.group(1)) < 20


def test_the_attribute_regressor_predicts_attributes_of_drawn_faces(quick, capsys):
    faces = datasets.load_faces(1_500, 200, size=32)
    model = evaluators.train_attribute_regressor(faces)
    printed = capsys.readouterr().out
    predicted = model.predict(faces.test.images.astype("float32") / 255, verbose=0)
    assert predicted.shape == (200, len(evaluators.FACE_ATTRIBUTES))
    for name, smallest in (("smile", 0.5), ("skin", 0.6), ("background", 0.5)):
        values = predicted[:, evaluators.FACE_ATTRIBUTES.index(name)]
        truth = faces.test.attributes[name]
        assert np.corrcoef(values, truth)[0, 1] > smallest, name
        # In the attribute's own units: closer to the truth than its mean is.
        assert np.mean((values - truth) ** 2) < np.var(truth), name
    smiles = predicted[:, evaluators.FACE_ATTRIBUTES.index("smile")]
    correlation = np.corrcoef(smiles, faces.test.attributes["smile"])[0, 1]
    assert f"correlation with the true smile {correlation:.3f}, glasses right in" in printed


def test_photographs_have_no_attributes_to_learn(quick):
    images = datasets.FaceImages(np.zeros((2, 32, 32, 3), "uint8"))
    photographs = datasets.Dataset("faces", images, images, "real", "")
    with pytest.raises(CompanionError, match="unknown"):
        evaluators.train_attribute_regressor(photographs)
