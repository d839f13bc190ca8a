"""What the proofs of `tests/proofs` count as a loss."""

import textwrap

import nbformat
import pytest

from tests.proofs import common, devices, kills, network, repeats


@pytest.mark.parametrize(
    ("name", "depends_on_time"),
    [
        ("seconds", True),
        ("training_seconds", True),
        ("reviews per second", True),
        ("throughput", True),
        ("optimisers: Adam: seconds", True),
        ("sentences/s", True),
        ("times_as_fast", True),
        ("latent space", False),
        ("share of the second", False),
        ("second notebook", False),
    ],
)
def test_only_names_of_times_are_left_out(name, depends_on_time):
    assert common.differences({name: 1}, {name: 2}) == ([] if depends_on_time else [name])
    # So it is in the rows of a table that a summary holds.
    table, other = ({"rows": [{"optimizer": "Adam", name: number}]} for number in (1, 2))
    assert common.differences(table, other) == ([] if depends_on_time else ["rows"])


def test_a_notebook_that_fails_is_a_loss_even_if_it_is_the_first():
    assert network.compare_numbers("the notebook: no", None) == "the notebook: no"
    assert network.compare_numbers("the notebook: no", {"loss": 1}) == "the notebook: no"
    assert network.compare_numbers({"loss": 1}, {"loss": 1}) == "nothing"
    assert network.compare_numbers({"loss": 2}, {"loss": 1}) == "the numbers differ"


def test_of_an_archive_with_a_member_the_hash_is_of_the_member(monkeypatch, tmp_path):
    """The host may pack again; a spoiled member is refused."""
    monkeypatch.setattr(network.downloads, "sources", network.downloads.sources)
    monkeypatch.setattr(network.downloads, "locate", network.downloads.locate)
    monkeypatch.setattr(network.downloads, "STALL_SECONDS", 20)
    monkeypatch.setattr(network.images, "MNIST_SHA256", "")
    for name in common.NO_NETWORK:
        monkeypatch.delenv(name, raising=False)
    pairs = "\n".join(f"Hello {number}.\tHola {number}." for number in range(1000))
    good = network.packed_zip({"spa-eng/spa.txt": pairs})
    repacked = network.packed_zip({"spa-eng/spa.txt": pairs, "README": "new"})
    for number, body in enumerate((repacked, network.spoiled(good))):
        with network.hosts(body, "normal") as server, network.cache(tmp_path / str(number)):
            network.redirect(network.facts_about({"spa_eng": good}, server.url, ""))
            if body is repacked:
                path = network.downloads.locate("spa_eng") / "spa.txt"
                assert path.read_text() == pairs
                assert [file.name for file in path.parent.iterdir()] == ["spa.txt"]
            else:
                with pytest.raises(network.downloads.Unavailable, match="wrong sha256"):
                    network.downloads.locate("spa_eng")


TRAINED = ["Epoch 1/1", "38/38 - <time> - loss: 0.61", "words: 75.8% right"]
LOADED = ["words: trained before (1 epochs, <time>, <time>), loaded from <runs>/words.npz"]


@pytest.mark.parametrize(
    ("plain", "first", "second", "changed"),
    [
        (["BLEU 2.0"], ["BLEU 2.0"], ["BLEU 2.0"], []),
        (["BLEU 2.0"], ["BLEU 2.0"], ["BLEU 2.2"], ["BLEU 2.2"]),
        (["BLEU 2.0"], ["BLEU 2.2"], ["BLEU 2.2"], ["BLEU 2.2", "BLEU 2.2"]),
        (["BLEU 2.0"], ["BLEU 2.0"], [], ["BLEU 2.0"]),
        (["BLEU 2.0"], ["BLEU 2.0"], ["BLEU 2.0", "chrF 3"], ["chrF 3"]),
        (TRAINED, TRAINED, LOADED + TRAINED[2:], []),
        (TRAINED, TRAINED, [*LOADED, "words: 75.9% right"], ["words: 75.9% right"]),
        (TRAINED, TRAINED, TRAINED[2:], ["words: 75.8% right", *TRAINED[1:]]),
    ],
)
def test_a_cell_that_prints_something_else_the_second_time_is_a_loss(plain, first, second, changed):
    assert repeats.changed_lines(plain, first, second) == changed


NUMBERS_BY_CELL = """
    import json, os
    from pathlib import Path
    rows = [3, 4]
    ---
    {change}
    print(len(rows), "rows")
    ---
    folder = Path(os.environ["COMPANION_RUNS"]) / "99_changes"
    folder.mkdir(exist_ok=True)
    claim = {{"statement": "Few", "holds": len(rows) < 2, "details": f"{{len(rows)}} rows"}}
    summary = {{"numbers": {{"rows": len(rows)}}, "claims": [claim]}}
    text = json.dumps(summary)
    (folder / "summary.json").write_text(text)
"""


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ("some = rows[1:]", "nothing"),
        ("rows = rows[1:]", "cell 2: '0 rows'; number 'claim: Few'; number 'rows'"),
    ],
)
def test_a_cell_that_changes_what_it_reads_is_a_loss(monkeypatch, tmp_path, change, lost):
    sources = textwrap.dedent(NUMBERS_BY_CELL.format(change=change)).split("---")
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    path = tmp_path / "99_changes.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    monkeypatch.setattr(common, "notebook", lambda number: path)
    monkeypatch.setattr(common, "WORK", tmp_path)
    repeats.once.cache_clear()
    assert repeats.twice("99")["lost"] == lost
    repeats.once.cache_clear()


def test_numbers_on_two_devices_may_differ_by_the_tolerance_only():
    one = {"baseline": 0.5, "encoder": 0.62, "GRU, BLEU": 0.7, "seconds": 1.0}
    near = {"baseline": 0.5, "encoder": 0.66, "GRU, BLEU": 2.5, "seconds": 9.0}
    assert devices.far_apart(one, near) == []
    assert devices.far_apart(one, near | {"encoder": 0.75}) == ["encoder"]
    assert devices.far_apart(one, near | {"GRU, BLEU": 4.0}) == ["GRU, BLEU"]
    assert devices.far_apart(one, near | {"encoder": None}) == ["encoder"]
    assert devices.far_apart(one, {"baseline": 0.5, "GRU, BLEU": 0.7}) == ["encoder"]


@pytest.fixture
def sleeper(tmp_path):
    """A notebook whose second code cell takes a while, and its runs folder."""
    sources = ["import time", "time.sleep(3)", "print('the end')"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = tmp_path / "99_sleeps.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path, tmp_path / "runs"


def test_a_kill_says_where_it_landed_and_whether(sleeper):
    assert kills.killed(*sleeper, at=(1, 0.5)) == 1
    assert kills.killed(*sleeper, at=(2, 60)) is None


def test_a_notebook_that_no_kill_meets_is_tried_again_and_fails(monkeypatch, tmp_path):
    shares = []

    def too_late(path, runs, at):
        shares.append(at[1])
        return None

    monkeypatch.setattr(common, "WORK", tmp_path)
    monkeypatch.setattr(kills, "undisturbed", lambda path, runs: [(4, 10.0)])
    monkeypatch.setattr(kills, "killed", too_late)
    monkeypatch.setattr(common, "run_notebook", lambda number, env: "")
    monkeypatch.setattr(kills, "compare", lambda *_: {"lost": "nothing"})
    assert kills.prove("01")["lost"].startswith("no kill landed")
    assert len(shares) == kills.TRIES * kills.KILLS
    assert shares[kills.KILLS] == pytest.approx(shares[0] / 2)
    monkeypatch.setattr(kills, "killed", lambda path, runs, at: 4)
    assert kills.prove("01")["lost"] == "nothing"


def test_an_image_that_differs_is_a_different_state(tmp_path):
    folder = tmp_path / "07_deepdream" / "pictures" / "dream"
    folder.mkdir(parents=True)
    (folder / "000.png").write_bytes(b"one")
    before = kills.states(tmp_path)
    (folder / "000.png").write_bytes(b"two")
    assert kills.states(tmp_path).keys() == before.keys()
    assert kills.states(tmp_path) != before
