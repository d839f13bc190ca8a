"""The judges of what generators make, and the distance between their features."""

import numpy as np
import pytest

from utils import datasets, metrics
from utils.errors import CompanionError
from utils.models import evaluators


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    monkeypatch.setenv("COMPANION_DATA", "sample")
    monkeypatch.setenv("WANDB_MODE", "disabled")


def by_loops(first, second):
    """The unbiased squared discrepancy (Gretton et al. 2012, lemma 6), pair by pair."""

    def kernel(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    n, m = len(first), len(second)
    within = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (
        n * (n - 1)
    )
    within += sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (
        m * (m - 1)
    )
    return within - 2 * sum(kernel(x, y) for x in first for y in second) / (n * m)


def test_kid_is_what_the_sums_over_pairs_give():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(9, 4)), random.normal(1, 2, size=(9, 4))
    found, error = metrics.kernel_distance(first, second, subsets=3, size=100)
    assert found == pytest.approx(by_loops(first, second), rel=1e-9)
    assert error == pytest.approx(0, abs=1e-9), "each subset is everything there is"


def test_kid_of_one_distribution_is_zero_on_average_and_grows_with_distance():
    found = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        found.append(
            metrics.kernel_distance(
                *random.normal(size=(2, 150, 8)), subsets=1, size=150, seed=seed
            )[0]
        )
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40) and min(found) < 0 < max(found)
    random = np.random.default_rng(0)
    real = random.normal(size=(600, 8))
    apart = [
        metrics.kernel_distance(real, random.normal(shift, 1, size=(600, 8)), size=200)[0]
        for shift in (0, 0.3, 0.6, 1)
    ]
    assert (np.diff(apart) > 0).all() and apart[0] < 0.1 * apart[1]


def test_kid_repeats_by_seed_and_refuses_too_few():
    first, second = np.random.default_rng(0).normal(size=(2, 300, 5))
    assert metrics.kernel_distance(first, second, size=50, seed=1) == metrics.kernel_distance(
        first, second, size=50, seed=1
    )
    assert metrics.kernel_distance(first, second, size=50, seed=1) != metrics.kernel_distance(
        first, second, size=50, seed=2
    )
    with pytest.raises(ValueError, match="at least two"):
        metrics.kernel_distance(first[:1], second)


def test_the_classifier_reads_digits_and_is_trained_once(quick, capsys):
    digits = datasets.load_digits(3_000, 300)
    model = evaluators.train_digit_classifier(digits)
    said = capsys.readouterr().out
    images = digits.test.images[..., None].astype("float32") / 255
    right = model.predict(images, verbose=0).argmax(axis=1) == digits.test.labels
    assert right.mean() > 0.8 and f"{right.mean():.1%}" in said
    features = evaluators.extract_features(model, images)
    assert features.shape == (300, 64) and features.dtype == np.float32
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(
        features @ kernel + bias, model.predict(images, verbose=0), atol=1e-4
    )
    again = evaluators.train_digit_classifier(digits)
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_reader_sees_smiles_and_glasses_of_drawn_faces(quick, capsys):
    faces = datasets.load_faces(1_500, 200, size=32)
    model = evaluators.train_attribute_regressor(faces)
    told = model.predict(faces.test.images.astype("float32") / 255, verbose=0)
    assert told.shape == (200, len(evaluators.FACE_ATTRIBUTES))
    for name, least in (("smile", 0.5), ("skin", 0.6), ("background", 0.5)):
        column = told[:, evaluators.FACE_ATTRIBUTES.index(name)]
        assert np.corrcoef(column, faces.test.attributes[name])[0, 1] > least, name
    assert "glasses" in capsys.readouterr().out


def test_photographs_have_no_attributes_to_learn(quick):
    photographs = datasets.Faces(
        datasets.FaceImages(np.zeros((2, 32, 32, 3), "uint8")),
        datasets.FaceImages(np.zeros((2, 32, 32, 3), "uint8")),
        "real",
        "",
    )
    with pytest.raises(CompanionError, match="unknown"):
        evaluators.train_attribute_regressor(photographs)
