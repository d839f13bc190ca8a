"""The contract that every notebook keeps. It is checked in the files; nothing is executed."""

import ast
import base64
import re

import nbformat
import pytest

from tools.execution import notebooks
from utils import settings

PATHS = notebooks()
RECORDING_ENDS = "01:18:57"
TIME = re.compile(r"\d\d:\d\d:\d\d")
AT_A_GLANCE = ("You will build", "Session", "Book", "Time on two CPU cores", "Data", "Read before")
SECRETS = re.compile(r"[0-9a-f]{40}|(?i:api[_-]?key|password|token)\s*[=:]\s*['\"]\w+")


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def notebook(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook):
    return [(cell, output) for cell in code(notebook) for output in cell.outputs]


def text_of(output):
    """The text of an output, as a reader sees it: printed, plain or HTML, never base64."""
    data = output.get("data", {})
    return "\n".join(
        [output.get("text", ""), *(data.get(kind, "") for kind in ("text/plain", "text/html"))]
    )


def test_there_are_notebooks():
    assert PATHS


def test_begins_with_title_and_glance(path, notebook):
    title = notebook.cells[0].source
    assert title.startswith(f"# {path.stem[:2]} ")
    assert "<!-- badge -->" in title
    assert [row for row in AT_A_GLANCE if f"| {row} |" not in title] == []
    assert "QUICK" not in title and "LIVE" not in title


def test_set_up_cell_is_the_same_everywhere(path, notebook):
    first = nbformat.read(PATHS[0], as_version=4)
    assert code(notebook)[0].source.replace(path.stem, PATHS[0].stem) == code(first)[0].source
    assert f'notebook.start("{path.stem}")' in code(notebook)[0].source


def settings_cell(notebook):
    (cell,) = [cell for cell in code(notebook) if "settings.choose(" in cell.source]
    return cell


def test_all_settings_stand_in_the_second_cell(notebook):
    cell = settings_cell(notebook)
    assert "cfg = settings.choose(" in cell.source
    # It follows the set-up cell, or one more cell that only imports.
    number = code(notebook).index(cell)
    assert number == 1 or (number == 2 and code(notebook)[1].source.startswith(("import", "from")))


def test_takes_the_seed_that_papermill_injects_below_the_set_up_cell(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code(notebook)[:1]
    assert re.search(r"^seed = 0\b", tagged[0].source, re.MULTILINE)
    assert takes_the_seed(settings_cell(notebook).source)
    # Nothing else is called `seed`, so the settings cell may be run again.
    for cell in code(notebook)[1:]:
        names = [
            node for node in ast.parse(cell.source).body if isinstance(node, ast.Assign | ast.For)
        ]
        for node in names:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                stored = [name.id for name in ast.walk(target) if isinstance(name, ast.Name)]
                assert "seed" not in stored, cell.source


def takes_the_seed(source):
    """Say whether a settings cell sets cfg.seed to `seed`, and only then seeds Keras with it."""
    given = False
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            targets = target.elts if isinstance(target, ast.Tuple) else [target]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for target, value in zip(targets, values, strict=False):
                if ast.unparse(target) == "cfg.seed":
                    given = ast.unparse(value) == "seed"
        if given and ast.unparse(node) == "keras.utils.set_random_seed(cfg.seed)":
            return True
    return False


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("cfg.seed = seed\nkeras.utils.set_random_seed(cfg.seed)", True),
        ("cfg.units, cfg.seed = 3, seed\nkeras.utils.set_random_seed(cfg.seed)", True),
        ("cfg.seed = 0  # not = seed\nkeras.utils.set_random_seed(cfg.seed)", False),
        ("cfg.seed, cfg.units = 3, seed\nkeras.utils.set_random_seed(cfg.seed)", False),
        ("cfg.seed = seed\nkeras.utils.set_random_seed(0)", False),
        ("keras.utils.set_random_seed(cfg.seed)\ncfg.seed = seed", False),
    ],
)
def test_knows_a_settings_cell_that_takes_the_seed(source, taken):
    assert takes_the_seed(source) == taken


# Functions that take a seed, with its position where it may come without its name.
SEED_POSITIONS = {
    "default_rng": 0,
    "set_random_seed": 0,
    "SeedGenerator": 0,
    "shuffle": 1,
    "bucket_by_length": 3,
    "teacher_forcing_batches": 3,
    "sample": 5,
}
NEED_A_SEED = ("default_rng", "set_random_seed")  # without one, every run differs


def is_constant(node):
    """Say whether an expression holds numbers only, such as 0, -1 or [1, 2]; None is no number."""
    leaves = [leaf for leaf in ast.walk(node) if isinstance(leaf, ast.Constant | ast.Name)]
    return all(isinstance(leaf, ast.Constant) and leaf.value is not None for leaf in leaves)


def constant_seeds(source):
    """List the expressions of a cell whose random numbers stay the same whatever `seed` is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        seeds = []
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).split(".")[-1]
            position = SEED_POSITIONS.get(name, len(node.args))
            seeds = [word.value for word in node.keywords if word.arg in ("seed", "random_state")]
            seeds += node.args[position : position + 1]
            if name in NEED_A_SEED and not seeds:
                found.append(ast.unparse(node))
        elif isinstance(node, ast.arguments):
            names = [*node.posonlyargs, *node.args][::-1]
            defaults = [*zip(names, node.defaults[::-1], strict=False)]
            defaults += [*zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            seeds = [value for name, value in defaults if name.arg == "seed" and value is not None]
        elif isinstance(node, ast.For | ast.comprehension) and ast.unparse(node.target) == "seed":
            seeds_in_turn = ast.unparse(node.iter)
            if not re.search(r"seed\b|SEEDS\b", seeds_in_turn):
                found.append(seeds_in_turn)
        found += [ast.unparse(node) for value in seeds if is_constant(value)]
    return found


@pytest.mark.parametrize(
    "source",
    [
        "np.random.default_rng(0)",
        "np.random.default_rng()",
        "np.random.default_rng([1, 2]).normal(size=cfg.units)",
        "keras.utils.set_random_seed(1)",
        "keras.initializers.RandomNormal(seed=0)",
        "PCA(random_state=0)",
        "dataset.shuffle(len(rows), 0)",
        "bucket_by_length(tokens, labels, 32, 7)",
        "decoding.sample(step, state, prompt, END, 20, 0, temperature=cfg.seed)",
        "def train(name, seed=0, epochs=cfg.epochs): pass",
        "def train(name, *, seed=0): pass",
        "runs = [train(name, seed) for seed in range(cfg.seeds)]",
    ],
)
def test_knows_a_constant_seed(source):
    assert len(constant_seeds(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "np.random.default_rng(cfg.seed)",
        "np.random.default_rng([cfg.seed, 2])",
        "keras.utils.set_random_seed(seed)",
        "dataset.shuffle(len(rows), seed=cfg.seed).batch(1)",
        "bucket_by_length(tokens, labels, 256)",
        "decoding.sample(step, state, prompt, END, 20, cfg.seed + 1)",
        "def train(name, seed=cfg.seed, epochs=1): pass",
        "def __init__(self, seed=None, **options): pass",
        "runs = [train(name, seed) for seed in SEEDS[:1]]",
        "for seed in range(cfg.seed, cfg.seed + 3): pass",
    ],
)
def test_knows_a_seed_that_follows_the_settings(source):
    assert constant_seeds(source) == []


def test_random_numbers_follow_the_seed(notebook):
    for cell in code(notebook):
        assert constant_seeds(cell.source) == [], cell.source


def test_has_exercises_with_folded_solutions_and_a_recap(notebook):
    headings = re.findall(r"^## (.+)$", prose(notebook), re.MULTILINE)
    assert any("Exercises" in heading for heading in headings)
    assert headings[-1] == "Recap"
    exercises = len(re.findall(r"^\*\*\d+\. ", prose(notebook), re.MULTILINE))
    solutions = [cell for cell in code(notebook) if cell.source.startswith("# @title Solution")]
    # A solution may go on in a second cell.
    numbers = {re.match(r"# @title Solution (\d+)", cell.source)[1] for cell in solutions}
    assert exercises == len(numbers) >= 2
    assert prose(notebook).count("<details><summary>Hint") == exercises
    for cell in solutions:
        assert cell.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
        assert "solution" in cell.metadata["tags"]


def test_session_times_are_well_formed(notebook):
    headings = [
        line
        for line in prose(notebook).splitlines()
        if line.startswith("## ") and "session" in line
    ]
    assert headings
    for heading in headings:
        assert re.search(r"\(session [\d:, -]+\)$", heading), heading
    for first, second in re.findall(r"(\d\d:\d\d:\d\d)-(\d\d:\d\d:\d\d)", prose(notebook)):
        assert first < second, f"{first}-{second} runs backwards"
    for time in TIME.findall(prose(notebook)):
        assert time <= RECORDING_ENDS and max(time[3:5], time[6:]) < "60", time


def test_outputs_are_complete_in_order_and_without_error(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), (
        "run `make render`: outputs are not from one run in one go"
    )
    for cell, output in outputs(notebook):
        assert output.output_type != "error", cell.source
        assert output.get("name") != "stderr", f"{output.text[:200]!r} below\n{cell.source}"


def test_outputs_come_from_the_live_profile(notebook):
    assert any("live profile" in text_of(output) for _, output in outputs(notebook))


def test_every_image_has_an_alt_text(notebook):
    for cell, output in outputs(notebook):
        for kind in (kind for kind in output.get("data", {}) if kind.startswith("image/")):
            assert len(output.metadata[kind]["alt"].split()) >= 8, cell.source
    for alt in re.findall(r"!\[(.*?)\]\(", prose(notebook)):
        assert alt.strip()


def test_nothing_private_in_sources_and_outputs(notebook):
    text = "\n".join(
        [cell.source for cell in notebook.cells]
        + [text_of(output) for _, output in outputs(notebook)]
    )
    # An absolute path names a machine; /content is Colab's and would do the same.
    assert not re.search(r"(?<![\w.:/<])/(?:home|root|Users|tmp|work|content|usr|opt|var)\b", text)
    assert not SECRETS.search(text)
    assert "\x1b[" not in text


def test_no_warnings_and_no_escape_codes_in_outputs(notebook):
    for _, output in outputs(notebook):
        assert not re.search(r"\b\w*Warning\b", text_of(output)), text_of(output)[:300]


def test_exported_images_are_those_of_the_stored_outputs(notebook):
    for cell in code(notebook):
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("picture-"):
                name = tag.removeprefix("picture-")
                kind, stored = next(
                    (kind, content)
                    for output in cell.outputs
                    for kind, content in output.get("data", {}).items()
                    if kind.startswith("image/")
                )
                exported = (
                    settings.ROOT / "docs" / "pictures" / f"{name}.{kind.removeprefix('image/')}"
                )
                assert exported.read_bytes() == base64.b64decode(stored), (
                    f"run `make render` for {exported.name}"
                )


def test_size(path):
    limit = 2_000_000 if path.stem < "07" else 4_000_000
    assert path.stat().st_size <= limit


def test_cells_are_short_and_parse(notebook):
    for cell in code(notebook):
        ast.parse(cell.source)
        assert len(cell.source.splitlines()) <= 32, cell.source


def test_code_stays_quiet_for_nbval(notebook):
    for cell in code(notebook):
        last = cell.source.strip().splitlines()[-1]
        assert not last.endswith(";"), cell.source


def test_cell_ids_are_unique(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
