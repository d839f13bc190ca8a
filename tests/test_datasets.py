import hashlib
import random
import shutil

import numpy as np
import pytest
from PIL import Image

from utils import datasets, downloads, settings
from utils.datasets import faces as face_data
from utils.datasets import images as image_data
from utils.datasets import text as text_data
from utils.errors import CompanionError
from utils.synthetic.sentence_pairs import part_of, tokenize
from utils.text import leave_out_empty


@pytest.fixture(scope="module")
def imdb(tmp_path_factory):
    """A folder laid out as IMDB's archive: 12,500 files of each class, all texts different."""
    cache = tmp_path_factory.mktemp("imdb")
    for part in ("train", "test"):
        for sentiment in ("pos", "neg"):
            folder = cache / "aclImdb" / part / sentiment
            folder.mkdir(parents=True)
            stars = 9 if sentiment == "pos" else 2
            names = [f"{number}_{stars}.txt" for number in range(12_500)]
            for name in names:
                (folder / name).write_text(
                    f"{part} {sentiment} {name} café\x85bar", encoding="utf-8"
                )
    yield cache
    shutil.rmtree(cache)


# Of the texts of each part of the fake data below: an order that another Python must not change.
GOLDEN_REVIEWS = ["2d0f2b8566555067", "da9d82d180a8f759", "b9613440426e85e4"]
GOLDEN_PAIRS = ["adbde9c40eb30f3f", "7651ac15fa9d14ba", "42b01a7e0dae9159"]
GOLDEN_FINGERPRINT = "c5f52a0845643041"


def words(texts, position):
    return {text.split()[position] for text in texts}


def test_real_split_is_the_sessions(imdb, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(imdb))
    reviews = datasets.load_reviews()
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
        assert [text.split()[1] == "pos" for text in part.texts] == part.labels.astype(
            bool
        ).tolist()


def short_hash(lines):
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_the_order_of_real_reviews_is_the_same_everywhere(imdb, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(imdb))
    reviews = datasets.load_reviews()
    # Worked out from the names alone: text "train pos 7_9.txt ..." is of file train/pos/7_9.txt.
    for split, sentiment, position in (("train", "neg", 0), ("test", "pos", 1)):
        stars = 9 if sentiment == "pos" else 2
        names = [f"{split}/{sentiment}/{number}_{stars}.txt" for number in range(12_500)]
        names.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        texts = reviews.test.texts[position::2]
        if split == "train":
            texts = reviews.validation.texts[position::2] + reviews.train.texts[position::2]
        assert ["/".join(text.split()[:3]) for text in texts] == names
    parts = (reviews.train, reviews.validation, reviews.test)
    assert [short_hash(part.texts) for part in parts] == GOLDEN_REVIEWS


def test_fewer_reviews_are_a_balanced_beginning_of_all(imdb, monkeypatch):
    monkeypatch.setenv("COMPANION_CACHE", str(imdb))
    fewer, more = datasets.load_reviews(100, 50, 60), datasets.load_reviews(200, 50, 80)
    assert fewer.train.texts == more.train.texts[:100] and fewer.test.texts == more.test.texts[:60]
    assert fewer.train.labels.mean() == fewer.test.labels.mean() == 0.5


def test_an_incomplete_folder_gives_the_sample_and_one_line(imdb, monkeypatch, tmp_path, capsys):
    broken = tmp_path / "cache" / "aclImdb" / "train" / "neg"
    broken.mkdir(parents=True)
    (broken / "0_1.txt").write_text("cut off", encoding="utf-8")
    reviews = datasets.load_reviews(20, 10, 10)
    output = capsys.readouterr().out
    assert reviews.source == "sample"
    assert output.count("\n") == 1 and "1 of 12,500" in output and "make data" in output
    monkeypatch.setenv("COMPANION_DATA", "real")
    with pytest.raises(downloads.Unavailable, match="make data"):
        datasets.load_reviews(20, 10, 10)


def test_the_sample_has_the_same_type_and_needs_no_cache(monkeypatch, capsys):
    monkeypatch.setenv("COMPANION_DATA", "sample")
    reviews = datasets.load_reviews(40, 20, 30)
    assert capsys.readouterr().out == ""
    assert reviews.source == "sample" and "sample" in reviews.label and reviews.card
    assert [len(part) for part in (reviews.train, reviews.validation, reviews.test)] == [40, 20, 30]
    assert reviews.train.labels.dtype == np.uint8 and set(reviews.train.labels) == {0, 1}
    again = datasets.load_reviews(40, 20, 30)
    assert reviews.test.texts == again.test.texts and reviews.train.texts == again.train.texts


@pytest.mark.parametrize("count", [0, -1, 20_001])
def test_impossible_counts_are_refused(monkeypatch, count):
    monkeypatch.setenv("COMPANION_DATA", "sample")
    with pytest.raises(
        CompanionError, match=f"train={count:,} requested: choose 1 to 20,000 reviews"
    ):
        datasets.load_reviews(train=count)


@pytest.mark.parametrize("load", [datasets.load_sentence_pairs, datasets.load_faces])
def test_an_unknown_source_is_refused(load):
    with pytest.raises(ValueError, match="source='smaple' is not one of auto, real, sample"):
        load(2, 2, source="smaple")


def test_an_unknown_data_mode_is_refused(monkeypatch):
    monkeypatch.setenv("COMPANION_DATA", "toy")
    with pytest.raises(CompanionError, match="auto, real, sample"):
        datasets.load_reviews()


@pytest.fixture
def spa_eng(tmp_path, monkeypatch):
    """A file like spa-eng's: one to three translations each, some with a column of attribution."""
    folder = tmp_path / "cache" / "spa-eng"
    folder.mkdir(parents=True)
    lines = []
    for number in range(3_000):
        for copy in range(1 + number % 3):
            end = "\tCC-BY 2.0" if number % 2 else ""
            lines.append(
                f"Sentence {number} is here{'.!'[copy % 2]}\t"
                f"La frase {number}, {copy}, está aquí.{end}"
            )
    (folder / "spa.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("COMPANION_CACHE", str(tmp_path / "cache"))
    return folder / "spa.txt"


def number(text):
    return int(text.split()[1])


@pytest.mark.parametrize("data", ["real", "sample"])
def test_no_english_sentence_is_in_two_parts(spa_eng, monkeypatch, data):
    monkeypatch.setenv("COMPANION_DATA", data)
    pairs = datasets.load_sentence_pairs(2_000, 300, 300)
    assert pairs.source == data and pairs.card and data in pairs.label
    parts = [pairs.train, pairs.validation, pairs.test]
    assert [len(part) for part in parts] == [2_000, 300, 300]
    # Not even with other punctuation at its end or other capitals, as "Sentence 7 is here!" above.
    plain = [{text.lower().rstrip(".!?") for text in part.english} for part in parts]
    assert not (plain[0] & plain[1] or plain[0] & plain[2] or plain[1] & plain[2])
    for name, part in zip(("train", "validation", "test"), parts, strict=True):
        assert {part_of(text) for text in part.english} == {name}
        assert len(part.english) == len(part.spanish)


def test_real_pairs_stay_together_and_fewer_are_the_beginning_of_more(spa_eng):
    fewer, more = (
        datasets.load_sentence_pairs(100, 50, 60),
        datasets.load_sentence_pairs(900, 90, 60),
    )
    assert fewer.source == "real" and fewer.train.alignments is None
    assert (
        fewer.train.english == more.train.english[:100] and fewer.test.spanish == more.test.spanish
    )
    for english, spanish in zip(more.train.english, more.train.spanish, strict=True):
        assert number(english) == int(spanish.split()[2].rstrip(",")) and "CC-BY" not in spanish


def test_the_order_of_real_pairs_does_not_depend_on_the_file(spa_eng):
    pairs = datasets.load_sentence_pairs(900, 90, 60)
    lines = spa_eng.read_text(encoding="utf-8").splitlines()
    columns = [line.split("\t")[:2] for line in lines]
    columns.sort(key=lambda pair: hashlib.sha256("\t".join(pair).encode()).hexdigest())
    train = [pair for pair in columns if part_of(pair[0]) == "train"][:900]
    assert list(zip(pairs.train.english, pairs.train.spanish, strict=True)) == [*map(tuple, train)]
    parts = (pairs.train, pairs.validation, pairs.test)
    assert [short_hash(part.spanish) for part in parts] == GOLDEN_PAIRS
    spa_eng.write_text("\n".join(reversed(lines)), encoding="utf-8")
    assert datasets.load_sentence_pairs(900, 90, 60).fingerprint == pairs.fingerprint


def test_too_few_real_pairs_give_the_sample_and_one_line(spa_eng, monkeypatch, capsys):
    spa_eng.write_text(spa_eng.read_text(encoding="utf-8")[:2_000], encoding="utf-8")
    assert datasets.load_sentence_pairs(500, 20, 20).source == "sample"
    output = capsys.readouterr().out
    assert output.count("\n") == 1 and "too few" in output and "make data" in output
    spa_eng.write_bytes(b"Caf\xe9\tbar\n")
    assert datasets.load_sentence_pairs(500, 20, 20).source == "sample"
    assert "cannot be read" in capsys.readouterr().out
    monkeypatch.setenv("COMPANION_DATA", "real")
    with pytest.raises(downloads.Unavailable, match="make data"):
        datasets.load_sentence_pairs(500, 20, 20)


def test_a_notebook_may_ask_for_the_sample_beside_real_pairs(spa_eng):
    pairs = datasets.load_sentence_pairs(50, 10, 10, source="sample")
    assert pairs.source == "sample" and len(pairs.train.alignments) == 50
    for english, spanish, links in zip(
        pairs.train.english, pairs.train.spanish, pairs.train.alignments, strict=True
    ):
        sides = len(tokenize(english)), len(tokenize(spanish))
        assert links and all(0 <= e < sides[0] and 0 <= s < sides[1] for e, s in links)


@pytest.mark.parametrize("count", [0, 80_001])
def test_impossible_counts_of_pairs_are_refused(monkeypatch, count):
    monkeypatch.setenv("COMPANION_DATA", "sample")
    with pytest.raises(
        CompanionError, match=f"train={count:,} requested: choose 1 to 80,000 pairs"
    ):
        datasets.load_sentence_pairs(train=count)


@pytest.mark.parametrize("seed", range(25))
def test_files_of_pairs_are_read_in_every_form(tmp_path, monkeypatch, capsys, seed):
    monkeypatch.setattr(text_data, "MIN_FILE_PAIRS", 1)
    rng = random.Random(seed)
    alphabets = ("abc ñß'", "אבג ", "我们学习。", "🙂👩\u200d🚀", '!?.,"', "\u2028\x85\x0b\x1ca")
    expected = set()
    for number in range(rng.choice([80, 600])):
        english = f"Sentence {number}" + rng.choice(["", ".", "!"])
        translation = (
            "x" + "".join(rng.choices(rng.choice(alphabets), k=rng.randrange(1, 30))) + "y"
        )
        expected.add((english, translation))
    lines = ["\t".join(pair) for pair in sorted(expected)]
    columns = rng.choice([2, 3])
    if columns == 3:
        lines = [f"{line}\tCC-BY 2.0 (France) #{number}" for number, line in enumerate(lines)]
    odd = rng.sample(
        ["only one column", "\tno English", "no translation\t ", "a;b"], rng.randrange(3)
    )
    for line in [*odd, *["", "  ", "\t"] * rng.randrange(3)]:
        lines.insert(rng.randrange(len(lines)), line)
    newline = rng.choice(["\n", "\r\n", "\r"])
    text = newline.join(lines) + newline * rng.randrange(3)
    path = tmp_path / "deu.txt"
    path.write_bytes(text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"])))

    pairs = datasets.load_sentence_pairs(file=path)
    output = capsys.readouterr().out.splitlines()
    parts = {"train": pairs.train, "validation": pairs.validation, "test": pairs.test}
    loaded = set()
    for name, part in parts.items():
        assert {part_of(english) for english in part.english} == {name}
        loaded |= set(zip(part.english, part.spanish, strict=True))
    cleaned = {(english, " ".join(other.splitlines())) for english, other in expected}
    assert loaded == cleaned and sum(map(len, parts.values())) == len(cleaned)
    assert pairs.label == "sentence pairs: your file deu.txt" and pairs.language == "deu"
    if odd:
        numbers = [lines.index(line) + 1 for line in odd]
        assert f"{len(odd)} lines without two columns" in output[0]
        assert output[0].endswith(f"the first of them line {min(numbers)}.")
    assert output[-1] == (
        f"{path} holds {len(cleaned)} pairs: {len(pairs.train)} train pairs instead of 80,000, "
        f"{len(pairs.validation)} validation pairs instead of 10,000, "
        f"{len(pairs.test)} test pairs instead of 10,000."
    )
    assert len(output) == 1 + bool(odd)
    # The first ones are the same, however many are requested.
    fewer = datasets.load_sentence_pairs(20, 2, 2, file=str(path), language="German")
    assert capsys.readouterr().out.count("\n") == bool(odd)
    assert fewer.language == "German" and "German" in fewer.card
    assert fewer.train.english == pairs.train.english[:20]
    assert fewer.test.spanish == pairs.test.spanish[:2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("deu.txt", None, "deu.txt cannot be read"),
        (".", None, "is a folder or an archive: name the text file in it"),
        ("deu-eng.zip", b"PK", "is a folder or an archive: name the text file in it"),
        ("deu.txt", "Grüße\tLove\n".encode("latin-1"), "deu.txt is not UTF-8 .*: save it as UTF-8"),
        ("deu.txt", b"", "deu.txt holds 0 pairs .* at least 500 are needed"),
        ("deu.csv", b"Go.,Geh.\n" * 900, "deu.csv holds 0 pairs .* with a tab between them"),
        ("deu.txt", b"Go.\tGeh.\n" * 499, "deu.txt holds 499 pairs .* at least 500 are needed"),
        ("deu.txt", b"Go.\tGeh.\n" * 900, "deu.txt holds 900 pairs, .* no validation and no test"),
    ],
)
def test_files_that_are_no_pairs_are_refused_in_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CompanionError, match=message) as refused:
        datasets.load_sentence_pairs(file=path)
    assert "\n" not in str(refused.value)


def test_odd_reviews_are_loaded_one_line_each(tmp_path, monkeypatch, odd_texts):
    monkeypatch.setattr(text_data, "IMDB_FILES", len(odd_texts))
    monkeypatch.setattr(text_data, "REVIEW_COUNTS", {"train": 60, "validation": 20, "test": 60})
    monkeypatch.setenv("COMPANION_DATA", "real")
    for split in ("train", "test"):
        for sentiment in ("neg", "pos"):
            folder = tmp_path / "cache" / "aclImdb" / split / sentiment
            folder.mkdir(parents=True)
            for number, text in enumerate(odd_texts):
                (folder / f"{number}.txt").write_bytes(text.encode("utf-8"))
    reviews = datasets.load_reviews(60, 20, 60)
    breaks = set("\0\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
    expected = {"".join(text.replace("\0", " ").split()) for text in odd_texts}
    for part in (reviews.train, reviews.validation, reviews.test):
        assert not breaks & set("".join(part.texts))
        assert {"".join(text.split()) for text in part.texts} <= expected


def test_the_readme_says_how_texts_of_ones_own_become_reviews():
    readme = (settings.ROOT / "data" / "README.md").read_text(encoding="utf-8")
    lines = readme.split("**Your own.** Put your texts")[1].split("\n\n")[1].splitlines()
    code = "\n".join(line.strip() for line in lines)
    texts = ["good", None, "bad", "...", "fine", "dull"]
    names = {"datasets": datasets, "leave_out_empty": leave_out_empty, "texts": texts}
    names["labels"] = [1, 0, 0, 1, 1, 0]
    exec(code, names)
    reviews = names["reviews"]
    assert reviews.label == "reviews: your file mine.csv"
    assert reviews.train.texts == ["good"] and reviews.train.labels.tolist() == [1]
    assert reviews.validation.texts == ["fine"] and reviews.test.texts == ["bad", "dull"]


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """A file packed as MNIST's is, with other images and the hash of those."""
    folder = tmp_path / "cache"
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 60_000), ("test", 10_000)):
        arrays[f"x_{part}"] = np.broadcast_to(
            rng.integers(0, 256, (1, 28, 28), "uint8"), (count, 28, 28)
        )
        arrays[f"y_{part}"] = rng.integers(0, 10, count, "uint8")
    digest = hashlib.sha256()
    for part in ("train", "test"):
        for kind in "xy":
            digest.update(np.ascontiguousarray(arrays[f"{kind}_{part}"]))
    monkeypatch.setattr(image_data, "MNIST_SHA256", digest.hexdigest())
    np.savez_compressed(folder / "mnist.npz", **arrays)
    return folder / "mnist.npz", arrays


def test_real_digits_are_the_beginning_of_each_part(mnist):
    digits = datasets.load_digits(500, 40)
    assert digits.source == "real" and "MNIST" in digits.label and "LeCun" in digits.card
    for part, count in (("train", 500), ("test", 40)):
        images, labels = getattr(digits, part).images, getattr(digits, part).labels
        np.testing.assert_array_equal(images, mnist[1][f"x_{part}"][:count])
        np.testing.assert_array_equal(labels, mnist[1][f"y_{part}"][:count])


@pytest.mark.parametrize("damage", ["cut", "other", "text", "pickle"])
def test_a_damaged_file_of_digits_gives_the_sample_and_one_line(mnist, monkeypatch, capsys, damage):
    path, arrays = mnist
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5_000])
    elif damage == "text":
        path.write_text("<html>not here</html>")
    elif damage == "pickle":
        np.savez(path, x_train=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        np.savez(path, **arrays | {"y_test": arrays["y_test"][::-1]})
    damaged = path.read_bytes()
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    digits = datasets.load_digits(30, 10)
    output = capsys.readouterr().out
    assert digits.source == "sample" and output.count("\n") == 1
    assert output.startswith("Using the built-in sample of digits: mnist.npz in ")
    assert path.read_bytes() == damaged, "kept until there is a better one"
    monkeypatch.setenv("COMPANION_DATA", "real")
    with pytest.raises(downloads.Unavailable, match=r"mnist\.npz in .* has a wrong sha256"):
        datasets.load_digits(30, 10)


@pytest.fixture
def celeba(tmp_path):
    """Forty images laid out as CelebA's: grey, but for a square of one colour where faces are."""
    folder = tmp_path / "cache" / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for number in range(40):
        image = np.full((218, 178, 3), 128, "uint8")
        left, top, right, bottom = face_data.CELEBA_BOX
        image[top:bottom, left:right] = (6 * number, 255 - 6 * number, 60)
        Image.fromarray(image).save(folder / f"{number:06d}.jpg", quality=95)
    return folder


def test_real_faces_are_cropped_ordered_by_hash_and_split(celeba, capsys):
    faces = datasets.load_faces(size=32)
    assert faces.source == "real" and "CelebA" in faces.label and "research" in faces.card
    assert (len(faces.train), len(faces.test)) == (36, 4) and faces.train.attributes is None
    numbers = []
    for part in (faces.train, faces.test):
        assert part.images.shape[1:] == (32, 32, 3) and part.images.dtype == np.uint8
        inner = part.images[:, 4:-4, 4:-4].astype(float)
        assert inner.std(axis=(1, 2)).max() < 3, "nothing of the grey border is in the crop"
        numbers += (inner.mean(axis=(1, 2))[:, 0] / 6).round().astype(int).tolist()
    names = [f"{number:06d}.jpg" for number in range(40)]
    names.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    expected = [int(name[:6]) for name in names]
    assert numbers == expected[4:] + expected[:4]
    fewer = datasets.load_faces(5, 2, size=32)
    np.testing.assert_array_equal(fewer.train.images, faces.train.images[:5])
    assert capsys.readouterr().out == ""
    datasets.load_faces(500, 2, size=32)
    assert "the train part has 36 images, not 500" in capsys.readouterr().out


def test_a_folder_of_images_works_as_faces(tmp_path, capsys):
    folder = tmp_path / "mine"
    (folder / "deeper").mkdir(parents=True)
    for number in range(5):
        image = np.zeros((60 + 10 * number, 90, 3), "uint8")
        image[:, 20:70] = 40 * number + 40
        Image.fromarray(image).convert("L" if number == 1 else "RGB").save(
            folder / "deeper" / f"{number}.png"
        )
    (folder / "broken.jpg").write_bytes(b"not an image")
    faces = datasets.load_faces(5, 1, size=16, folder=folder)
    output = capsys.readouterr().out
    assert faces.source == "folder" and faces.train.images.shape == (4, 16, 16, 3)
    assert output.count("\n") <= 2 and "broken.jpg" in output
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CompanionError, match="fewer than two images"):
        datasets.load_faces(folder=empty)


def test_without_photographs_faces_are_drawn_with_their_attributes(monkeypatch):
    faces = datasets.load_faces(70, 10, size=32)
    assert faces.source == "sample" and faces.card and "sample" in faces.label
    assert faces.train.images.shape == (70, 32, 32, 3) and faces.train.attributes[
        "smile"
    ].shape == (70,)
    fewer = datasets.load_faces(10, 10, size=32)
    np.testing.assert_array_equal(fewer.train.images, faces.train.images[:10])
    assert not np.array_equal(faces.test.images, faces.train.images[:10])
    monkeypatch.setenv("COMPANION_DATA", "real")
    assert datasets.load_faces(2, 2, source="sample").source == "sample"
    with pytest.raises(downloads.Unavailable, match="CelebA"):
        datasets.load_faces(2, 2)
    with pytest.raises(CompanionError, match="16 to 256"):
        datasets.load_faces(2, 2, size=8)


def test_more_faces_than_can_be_drawn_are_a_smaller_part_and_a_line(monkeypatch, capsys):
    monkeypatch.setattr(face_data, "DRAWN_FACE_COUNTS", {"train": 30, "test": 5})
    faces = datasets.load_faces(50, 5, size=16, source="sample")
    assert (len(faces.train), len(faces.test)) == (30, 5)
    assert capsys.readouterr().out == "faces: the train part has 30 images, not 50.\n"
    with pytest.raises(CompanionError, match="train=0 requested"):
        datasets.load_faces(0, 5, size=16, source="sample")


@pytest.mark.parametrize("count", [1, 2, 3, 25])
def test_a_small_folder_has_a_tenth_for_the_test_or_says_how_many_it_needs(tmp_path, capsys, count):
    for number in range(count):
        Image.fromarray(np.full((20, 20, 3), number, "uint8")).save(tmp_path / f"{number}.png")
    if count == 1:
        with pytest.raises(CompanionError, match=r"fewer than two images in .*A few hundred"):
            datasets.load_faces(800, 200, 16, folder=tmp_path)
        return
    faces = datasets.load_faces(800, 200, 16, folder=tmp_path)
    tenth = {2: 1, 3: 1, 25: 3}[count]
    assert (len(faces.test), len(faces.train)) == (tenth, count - tenth)
    assert f"the test part has {tenth} images, not 200" in capsys.readouterr().out
    seen = np.concatenate([part.images[:, 0, 0, 0] for part in (faces.train, faces.test)])
    assert sorted(seen) == list(range(count))


def small_dataset(label=1, pixel=7, name="spam.txt", source="sample"):
    """Return a data set in which one value of each kind can be changed."""
    attributes = {"smile": np.array([0.5, label], "float32")}
    return datasets.Dataset(
        "faces",
        train=datasets.FaceImages(np.full((2, 4, 4, 3), pixel, "uint8"), attributes),
        validation=datasets.Texts([name, "ham"], np.array([0, label], "uint8")),
        test=datasets.Pairs(["a b"], [name], [((0, label), (1, 0))]),
        source=source,
        card="",
    )


def test_a_fingerprint_follows_the_content_and_nothing_else():
    data = small_dataset()
    assert data.fingerprint == small_dataset(source="real").fingerprint == GOLDEN_FINGERPRINT
    changed = [small_dataset(label=2), small_dataset(pixel=8), small_dataset(name="spam")]
    assert len({item.fingerprint for item in [data, *changed]}) == 4
    data.validation.labels[1] = 0
    assert data.fingerprint != GOLDEN_FINGERPRINT
    data.validation.labels[1] = 1
    assert data.fingerprint == GOLDEN_FINGERPRINT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a", "b"], ['a", "b']),
        ({"a": 1, "b": 23}, {"a": 12, "b": 3}),
        ({"a": [1], "b": []}, {"a": [], "b": [1]}),
        ([np.array([1, 2]), np.array([3])], [np.array([1]), np.array([2, 3])]),
        ([[np.zeros(2, "uint8")]], [[np.zeros(2, "int8")]]),
        (np.zeros(2, "uint8"), [0, 0]),
        ([np.float32(0.5)], [np.float32(0.25)]),
        (np.zeros((2, 3), "uint8"), np.zeros((3, 2), "uint8")),
        (np.zeros(4, "uint8"), np.zeros(2, "uint16")),
        ({"a": np.array([1]), "b": np.array([2])}, {"a": np.array([2]), "b": np.array([1])}),
        (np.array(["a", "b"], dtype=object), np.array(["a", "c"], dtype=object)),
        (np.zeros((0, 2), dtype=object), np.zeros((0, 3), dtype=object)),
        (["1"], [1]),
        (None, []),
        ({}, []),
    ],
)
def test_different_contents_have_different_fingerprints(one, other):
    def fingerprint(part):
        return datasets.Dataset("digits", part, None, "sample", "").fingerprint

    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


def test_a_fingerprint_ignores_how_an_array_lies_in_memory():
    images = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    reordered = np.asfortranarray(images)
    assert reordered.tobytes("A") != images.tobytes("A")
    one, other = (
        datasets.Dataset("digits", datasets.Images(array, np.zeros(2, "uint8")), None, "sample", "")
        for array in (images, reordered)
    )
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("name", "source", "label"),
    [
        ("reviews", "real", "reviews: IMDB (real data)"),
        ("reviews", "sample", "reviews: built-in sample"),
        ("sentence pairs", "real", "sentence pairs: spa-eng (real data)"),
        ("digits", "real", "digits: MNIST (real data)"),
        ("faces", "real", "faces: CelebA (real data)"),
        ("faces", "folder", "faces: your folder"),
        ("flowers", "real", "flowers: real data"),
        ("reviews", "mine.csv", "reviews: your file mine.csv"),
    ],
)
def test_a_label_names_the_data_and_their_source(name, source, label):
    assert datasets.Dataset(name, None, None, source, "").label == label


def test_an_unreadable_image_does_not_empty_the_test_part(tmp_path):
    def key(name):
        return hashlib.sha256(name.encode()).hexdigest()

    good = ["0.png", "1.png", "2.png"]
    # A name that sorts first, so that it alone would be the test part.
    broken = next(f"{n}.jpg" for n in range(1_000) if key(f"{n}.jpg") < min(map(key, good)))
    for name in good:
        Image.fromarray(np.zeros((40, 40, 3), "uint8")).save(tmp_path / name)
    (tmp_path / broken).write_bytes(b"not an image")
    faces = datasets.load_faces(size=16, folder=tmp_path)
    assert (len(faces.train), len(faces.test)) == (2, 1)
