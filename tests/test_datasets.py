import random
import shutil

import numpy as np
import pytest

from utils import datasets, downloads, settings


@pytest.fixture(scope="module")
def imdb(tmp_path_factory):
    """A folder laid out as IMDB's archive: the right number of files, each with a text of its own."""
    cache = tmp_path_factory.mktemp("imdb")
    for part in ("train", "test"):
        for sentiment in ("pos", "neg"):
            folder = cache / "aclImdb" / part / sentiment
            folder.mkdir(parents=True)
            names = [f"{number}_{random.randint(1, 10)}.txt" for number in range(12_500)]
            for name in names:
                (folder / name).write_text(f"{part} {sentiment} {name} café\x85bar", encoding="utf-8")
    yield cache
    shutil.rmtree(cache)


def words(texts, place):
    return {text.split()[place] for text in texts}


def test_real_split_is_the_sessions(imdb, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(imdb))
    reviews = datasets.reviews()
    assert reviews.source == "real" and "IMDB" in reviews.label and "Maas" in reviews.card
    assert [len(part) for part in (reviews.train, reviews.validation, reviews.test)] == [
        20_000,
        5_000,
        25_000,
    ]
    assert words(reviews.train.texts, 0) == words(reviews.validation.texts, 0) == {"train"}
    assert words(reviews.test.texts, 0) == {"test"}
    assert not set(reviews.train.texts) & set(reviews.validation.texts)
    assert all(text.endswith("café bar") for text in reviews.train.texts)
    for part in (reviews.train, reviews.validation, reviews.test):
        assert part.labels.mean() == 0.5
        assert [text.split()[1] == "pos" for text in part.texts] == part.labels.astype(bool).tolist()


def test_fewer_reviews_are_a_balanced_beginning_of_all(imdb, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(imdb))
    few, more = datasets.reviews(100, 50, 60), datasets.reviews(200, 50, 80)
    assert few.train.texts == more.train.texts[:100] and few.test.texts == more.test.texts[:60]
    assert few.train.labels.mean() == few.test.labels.mean() == 0.5


def test_incomplete_folder_gives_the_sample_and_one_line(imdb, monkeypatch, tmp_path, capsys):
    broken = tmp_path / "cache" / "aclImdb" / "train" / "neg"
    broken.mkdir(parents=True)
    (broken / "0_1.txt").write_text("cut off", encoding="utf-8")
    reviews = datasets.reviews(20, 10, 10)
    said = capsys.readouterr().out
    assert reviews.source == "sample"
    assert said.count("\n") == 1 and "1 of 12,500" in said and "make data" in said
    monkeypatch.setenv("COMPANION_DATA", "real")
    with pytest.raises(downloads.Unavailable, match="make data"):
        datasets.reviews(20, 10, 10)


def test_sample_has_the_same_type_and_needs_no_cache(monkeypatch, capsys):
    monkeypatch.setenv("COMPANION_DATA", "sample")
    reviews = datasets.reviews(40, 20, 30)
    assert capsys.readouterr().out == ""
    assert reviews.source == "sample" and "sample" in reviews.label and reviews.card
    assert [len(part) for part in (reviews.train, reviews.validation, reviews.test)] == [40, 20, 30]
    assert reviews.train.labels.dtype == np.uint8 and set(reviews.train.labels) == {0, 1}
    again = datasets.reviews(40, 20, 30)
    assert reviews.test.texts == again.test.texts and reviews.train.texts == again.train.texts


@pytest.mark.parametrize("count", [0, -1, 20_001])
def test_impossible_counts_are_refused(monkeypatch, count):
    monkeypatch.setenv("COMPANION_DATA", "sample")
    with pytest.raises(settings.Stop, match="there are 1 to 20,000"):
        datasets.reviews(train=count)


def test_unknown_data_word_is_refused(monkeypatch):
    monkeypatch.setenv("COMPANION_DATA", "toy")
    with pytest.raises(settings.Stop, match="auto, real, sample"):
        datasets.reviews()
