"""The results page: what it shows of summaries, claims and evidence, and in which order."""

import json
import re
import tomllib

import pytest

from tools import results
from utils import settings

NAME = "01_text_vectorization"
RUN = {"notebook": NAME, "profile": "live", "data": "real", "headline": "bigrams win"}
CLAIM = {"statement": "Bigrams beat unigrams", "holds": True, "details": "by 1.2 points"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty docs/results."""
    monkeypatch.setattr(results, "SUMMARIES", tmp_path)
    (tmp_path / "evidence").mkdir()
    return tmp_path


def save(path, numbers, **more):
    path.write_text(json.dumps(RUN | {"numbers": numbers} | more))


def save_evidence(folder, runs, **more):
    facts = {name: RUN[name] for name in ("notebook", "profile", "data")}
    (folder / "evidence" / "01.json").write_text(json.dumps(facts | {"runs": runs} | more))


def tables():
    """Read the tables of the page: lists of rows, each a list of cells, the head first."""
    found = []
    inside = False
    for line in results.page().splitlines():
        if line.startswith("| "):
            if not inside:
                found.append([])
            if not line.startswith("| ---"):
                found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        inside = line.startswith("| ")
    return found


def test_results_flatten_to_named_numbers():
    nested = {"dogs": {"cat": [0.5, 0.25]}, "rows": [{"way": "Adam", "steps": 18}], "kid": 0.123456}
    assert results.flat(nested) == {
        "dogs: cat": [0.5, 0.25],
        "rows: Adam: steps": 18,
        "kid": 0.123456,
    }
    values = ([0.5, 2], 0.123456, 3000.0, 259.2, "InceptionV3", None, "", [0.5, None])
    texts = ["0.5, 2", "0.123", "3,000", "259.2", "InceptionV3", "-", "-", "0.5, -"]
    assert [results.formatted(value) for value in values] == texts
    assert results.formatted(45.98, decimals=1) == "46.0"


def test_chosen_rows_are_shown_in_words_and_only_shares_in_percent(folder):
    (folder / "rows.toml").write_text(
        f"{NAME} = [\n"
        '{ name = "top: bigrams", what = "accuracy", better = "higher", '
        'percent = true, book = "90.4%" },\n'
        '{ name = "loss", what = "loss in nats", better = "lower" },\n'
        '{ name = "ratio", what = "a ratio that only looks like a share", percent = true },\n'
        '{ name = "new", what = "in no run yet" },\n'
        "]\n"
    )
    save(folder / "01.json", {"top": {"bigrams": 0.8877}, "loss": 0.5, "ratio": 1.5, "other": 7})
    (head, *rows) = tables()[-1]
    assert head == ["result", "live, real data", "the book"]
    assert rows == [
        ["accuracy\N{NO-BREAK SPACE}↑", "88.8%", "90.4%"],
        ["loss in nats\N{NO-BREAK SPACE}↓", "0.5", ""],
        ["a ratio that only looks like a share", "1.5", ""],
        ["in no run yet", "-", ""],
    ]


def test_an_answer_is_filled_with_the_numbers_of_the_run(folder):
    (folder / "rows.toml").write_text(
        f'{NAME} = [{{ name = "a: b, c", what = "x", percent = true }}]\n'
        f'[answers]\n{NAME} = "Bigrams have {{a: b, c}} right."\n'
    )
    save(folder / "01.json", {"a": {"b, c": 0.5}})
    assert "\n\nLive, real data: Bigrams have 50.0% right.\n" in results.page()


def test_without_chosen_rows_the_first_dozen_is_shown(folder):
    save(folder / "01.json", {f"number_{n}": n for n in range(40)})
    (_, *rows) = tables()[-1]
    assert rows == [[f"number {n}", str(n)] for n in range(12)]


def test_the_question_is_that_of_the_readme_and_the_answer_that_of_the_live_run_on_real_data(
    folder,
):
    save(folder / "a.json", {"x": 1}, profile="quick", data="sample", headline="bigrams lose")
    save(folder / "b.json", {"x": 3}, profile="full", data="real", headline="it is level")
    save(folder / "c.json", {"x": 2})
    page = results.page()
    question = "How much of a review's opinion survives without word order?"
    assert question in (settings.ROOT / "README.md").read_text()
    assert f"**{question}**\n\nLive, real data: bigrams win.\n" in page
    assert "it is level" not in page and "bigrams lose" not in page
    (head, row) = tables()[-1]
    assert head[1:] == ["live, real data", "full, real data", "quick, sample data"]
    assert row == ["x", "2", "3", "1"]
    for file in "abc":
        assert f"](results/{file}.json)" in page


def test_claims_stand_with_their_state_in_each_run(folder):
    fallen = {"statement": "TF-IDF helps", "holds": False, "details": "by -0.6 points | 95%"}
    save(folder / "a.json", {"x": 1}, claims=[CLAIM, fallen])
    save(folder / "b.json", {"x": 1}, profile="quick", data="sample", claims=[CLAIM])
    assert "No executed claims yet" not in results.page()
    # A bar in a cell is escaped, so that it does not end the cell.
    assert tables()[0] == [
        ["claim", "live, real data", "quick, sample data"],
        ["Bigrams beat unigrams", "holds, by 1.2 points", "holds, by 1.2 points"],
        ["TF-IDF helps", r"does not hold: by -0.6 points \| 95%", "-"],
    ]


def test_a_summary_without_claims_says_so_in_one_line(folder):
    save(folder / "01.json", {"x": 1})
    assert "\nNo executed claims yet.\n" in results.page() and len(tables()) == 1


def test_evidence_shows_counts_of_claims_and_the_interval_of_the_mean(folder):
    save(folder / "01.json", {"right": 0.8, "path": [1, 2]}, claims=[CLAIM])
    (folder / "rows.toml").write_text(
        f'{NAME} = [{{ name = "right", what = "right", percent = true }}, '
        '{ name = "path", what = "path" }, { name = "gone", what = "gone" }]\n'
    )
    runs = []
    for seed, right in enumerate((0.80, 0.81, 0.82, 0.83, 0.84)):
        claims = [CLAIM | {"holds": seed != 3}]
        runs.append(
            {"seed": seed, "numbers": {"right": right, "path": [seed, 5]}, "claims": claims}
        )
    save_evidence(folder, runs)
    claims, numbers = tables()
    assert claims[0] == ["claim", "live, real data", "live, real data, 5 seeds"]
    assert claims[1][2] == "holds with 4 of 5 seeds"
    # By hand: the standard deviation of 0 to 4 is sqrt(2.5), so the standard error is
    # sqrt(2.5 / 5) = 0.7071; times 2.776, the quantile of Student's t for 4 degrees of freedom.
    assert [row[2].replace("\N{NO-BREAK SPACE}", " ") for row in numbers[1:]] == [
        "82 ± 2%",
        "2 ± 2, 5",
        "-",
    ]
    assert "[live, real data, 5 seeds](results/evidence/01.json)" in results.page()


def test_the_interval_is_rounded_to_its_first_digit():
    spread = [0.9, 0.9004, 0.9008, 0.9012, 0.9016]  # a hundredth of 0.8 times 1.963
    assert (
        results.over_seeds(spread, share=True).replace("\N{NO-BREAK SPACE}", " ") == "90.08 ± 0.08%"
    )
    assert results.over_seeds([0.5, 0.5], share=True) == "50.0%"
    assert results.over_seeds([0.5]) == results.over_seeds(["a", "b"]) == "-"


def test_evidence_without_a_summary_is_shown_alone(folder):
    save_evidence(folder, [{"seed": n, "numbers": {"x": n}, "claims": []} for n in (1, 2)])
    (folder / "rows.toml").write_text(f'{NAME} = [{{ name = "x", what = "x" }}]\n')
    (head, row) = tables()[-1]
    assert head == ["result", "live, real data, 2 seeds"] and row[1].startswith("2")


def test_results_page_is_up_to_date_with_the_summaries():
    page = (settings.ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert page == results.page(), "run `make results`"


def test_each_chosen_row_is_a_number_of_the_live_run():
    path = settings.ROOT / "docs" / "results" / "rows.toml"
    chosen = tomllib.loads(path.read_text(encoding="utf-8"))
    keys = {"name", "what", "better", "percent", "decimals", "book"}
    answers = chosen.pop("answers")
    assert set(answers) == set(chosen)
    for notebook, rows in chosen.items():
        named = set(re.findall(r"\{(.+?)\}", answers[notebook]))
        assert named and named <= {row["name"] for row in rows}, notebook
        file = path.parent / f"{notebook}-live-real.json"
        numbers = results.flat(json.loads(file.read_text(encoding="utf-8"))["numbers"])
        missing = [row["name"] for row in rows if row["name"] not in numbers]
        assert not missing, f"{notebook}: the live summary has no {missing}, see rows.toml"
        assert len(rows) <= results.MOST_ROWS, notebook
        assert not [row for row in rows if set(row) - keys], notebook
