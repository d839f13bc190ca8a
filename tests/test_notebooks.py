"""The contract that every notebook keeps. It is checked in the files; nothing is executed."""

import ast
import base64
import re
from unittest.mock import MagicMock

import nbformat
import pytest

from tools.execution import notebooks
from utils import settings
from utils.errors import CompanionError
from utils.synthetic.faces import ATTRIBUTE_RANGES

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


def choose_settings(source, **changed):
    """Run a settings cell up to its last check, with some settings changed before the first one."""
    statements = ast.parse(source).body
    checks = [n for n, node in enumerate(statements) if "settings.require" in ast.unparse(node)]
    imports = ast.Import | ast.ImportFrom
    before = [node for node in statements[: checks[0]] if not isinstance(node, imports)]
    names = {"settings": settings, "keras": MagicMock(), "seed": 0}
    names |= {"ATTRIBUTE_RANGES": ATTRIBUTE_RANGES}  # 09 draws faces
    for part in (before, statements[checks[0] : checks[-1] + 1]):
        exec(compile(ast.Module(part, []), "settings", "exec"), names)
        vars(names["cfg"]).update(changed)
        changed = {}
    return names["cfg"]


def minima_of(source):
    """Return the smallest value of each setting that a settings cell has one for."""
    minima = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "settings.require_at_least":
            minima |= {word.arg: ast.literal_eval(word.value) for word in node.keywords}
    return minima


@pytest.mark.parametrize("profile", settings.PROFILES)
def test_settings_that_cannot_be_are_refused_in_their_cell(notebook, monkeypatch, profile):
    monkeypatch.setenv("COMPANION_PROFILE", profile)
    source = settings_cell(notebook).source
    minima = minima_of(source)
    chosen = vars(choose_settings(source))  # what is stored is possible
    checks = source[source.index("settings.require") :]
    free = ("seed", "correlation")  # any number is possible; the second one is a claim's threshold
    for name, value in chosen.items():
        if type(value) in (int, float) and name not in free:
            assert name in minima or f"cfg.{name}" in checks, f"nothing is said about cfg.{name}"
    for name, smallest in minima.items():
        for value in (smallest - 1, None, "3"):
            with pytest.raises(CompanionError, match=rf"^cfg\.{name} = "):
                choose_settings(source, **{name: value})


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


# A cell gives the same when it is executed again if it changes nothing that it reads, and draws
# from generators that it has made or seeded itself.
CHANGES_ITS_OBJECT = ("append", "add", "clear", "extend", "insert", "pop", "remove", "update")
MODULES = {"keras", "np", "ops", "plt", "tf"}  # `np.sort` changes nothing
MAKES_A_GENERATOR = {"default_rng", "RandomState", "Random", "SeedGenerator", "from_seed"}
# Layers draw from the global seed when they are made, even if their weights follow later.
DRAWS = re.compile(
    r"keras\.layers\.\w*(Attention|Cell|Conv|Dense|Dropout|Embedding|GRU|LSTM|RNN)\w*"
    r"|keras\.random\.[a-z]\w*|keras\.initializers\.\w*(Normal|Uniform|Orthogonal)"
    r"|transformer\.\w+|seq2seq\.build_\w+"
)
FUNCTIONS = (ast.FunctionDef, ast.Lambda, ast.ClassDef)


class CellNames(ast.NodeVisitor):
    """Go through a cell in the order of execution, without the bodies of functions.

    `read` are the names that it takes from other cells, `changed` those that it changes after it
    has read them, and `unseeded` the calls that draw from the global seed before the cell sets it.
    """

    def __init__(self, source, builders=()):
        self.builders = set(builders)
        self.bound = set()
        self.read = set()
        self.changed = []
        self.unseeded = []
        self.seeded = False
        self.visit(ast.parse(source))

    def visit_Name(self, node):
        if not isinstance(node.ctx, ast.Load):
            if node.id in self.read:
                self.changed.append(node.id)
            self.bound.add(node.id)
        elif node.id not in self.bound:
            self.read.add(node.id)

    def visit_Assign(self, node):
        self.visit(node.value)
        for target in node.targets:
            self.store(target)

    def visit_AugAssign(self, node):
        self.visit(node.value)
        name = root_name(node.target)
        if name not in self.bound:
            self.changed.append(name)

    def visit_For(self, node):
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    def store(self, target):
        """Store a value; into an attribute or an item only if the cell has not read its object."""
        read = self.read - self.bound
        for part in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            name = root_name(part)
            if not isinstance(part, ast.Name) and name in read:
                self.changed.append(name)
            self.visit(part)

    def visit_comprehension_expression(self, node):
        outside = set(self.bound)
        for generator in node.generators:
            self.visit(generator.iter)
            self.bound |= {n.id for n in ast.walk(generator.target) if isinstance(n, ast.Name)}
            for condition in generator.ifs:
                self.visit(condition)
        for part in ("key", "value", "elt"):
            if hasattr(node, part):
                self.visit(getattr(node, part))
        self.bound = outside

    visit_ListComp = visit_comprehension_expression
    visit_SetComp = visit_comprehension_expression
    visit_DictComp = visit_comprehension_expression
    visit_GeneratorExp = visit_comprehension_expression

    def visit_FunctionDef(self, node):
        self.bound.add(node.name)
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)

    def visit_ClassDef(self, node):
        self.bound.add(node.name)

    def visit_Lambda(self, node):
        pass

    def visit_alias(self, node):
        self.bound.add((node.asname or node.name).split(".")[0])

    def visit_Call(self, node):
        self.generic_visit(node)
        function = ast.unparse(node.func)
        if function == "keras.utils.set_random_seed":
            self.seeded = True
        elif not self.seeded and draws(node, self.builders):
            self.unseeded.append(function)
        if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES_ITS_OBJECT:
            name = root_name(node.func)
            if name is not None and name not in self.bound | MODULES:
                self.changed.append(name)


def root_name(node):
    """Return the variable of an expression such as `cfg.units`, `rows[0]`, `rows[0].append`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def draws(call, builders):
    """Say whether a call makes a layer, or calls a function of the notebook that does."""
    if any(word.arg == "seed" for word in call.keywords):
        return False
    return makes_a_layer(call.func, builders)


def makes_a_layer(function, builders):
    name = ast.unparse(function)
    return bool(DRAWS.fullmatch(name)) or name in builders


def builders_of(sources):
    """Name the notebook's functions and classes that make layers and do not set the seed."""
    definitions = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                definitions[node.name] = node
    builders = set()
    for _ in definitions:  # a builder may call another one
        for name, node in definitions.items():
            calls = [part for part in ast.walk(node) if isinstance(part, ast.Call)]
            bases = [makes_a_layer(base, builders) for base in getattr(node, "bases", [])]
            seeds = "set_random_seed(" in ast.unparse(node)
            if not seeds and any(bases + [draws(call, builders) for call in calls]):
                builders.add(name)
    return builders


def free_names(function):
    """Return the names that a function takes from outside."""
    nodes = [*ast.walk(function)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    own = {name.id for name in names if not isinstance(name.ctx, ast.Load)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {name.id for name in names} - own


def shared_generators(sources):
    """Name the random generators that another cell, or a function, uses than the cell of theirs."""
    generators = set()
    for source in sources:
        assignments = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
        for node in assignments:
            function = ast.unparse(getattr(node.value, "func", node.value))
            if function.split(".")[-1] in MAKES_A_GENERATOR:
                generators |= {root_name(target) for target in node.targets}
    shared = []
    for source in sources:
        functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, FUNCTIONS)]
        used = CellNames(source).read.union(*map(free_names, functions))
        shared += sorted(used & generators)
    return shared


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("pairs = filter_pairs(pairs, 3)", ["pairs"]),
        ("total += 1", ["total"]),
        ("runs |= {name: train(name) for name in names}", ["runs"]),
        ("for row in rows:\n    best = max(best, row)", ["best"]),
        ("print(rows)\nrows = rows[:3]", ["rows"]),
        ("tables['a'] += 1", ["tables"]),
        ("scores['GRU'] = score(scores)", ["scores"]),
        ("cfg.units = 2 * cfg.units", ["cfg"]),
        ("rows.append(3)", ["rows"]),
        ("a, pairs = 1, pairs[1:]", ["pairs"]),
        ("GAN.play, GAN.train = play, train", []),
        ("rows = [1]\nrows.append(2)\nrows += [3]\nrows = rows[1:]", []),
        ("scores['GRU'] = score(model)", []),
        ("short = [word for word in words if word]\nword = 3", []),
        ("def f(x):\n    total = x\n    total += 1\n    return total", []),
        ("for count in (1, 2):\n    text = str(count)\n    text += '!'", []),
        ("import numpy as np\nx = np.ones(3)\nx *= 2", []),
    ],
)
def test_knows_a_cell_that_changes_what_it_reads(source, changed):
    assert CellNames(source).changed == changed


@pytest.mark.parametrize(
    ("sources", "shared"),
    [
        (["rng = np.random.default_rng(0)", "x = rng.normal()"], ["rng"]),
        (["rng = np.random.default_rng(0)\ndef draw():\n    return rng.normal()"], ["rng"]),
        (["rng = np.random.default_rng(0)\nx = rng.normal()", "rng = f(1)\nrng.normal()"], []),
        (["rng = np.random.default_rng(0)\ndef draw(rng):\n    return rng.normal()"], []),
    ],
)
def test_knows_a_generator_that_cells_share(sources, shared):
    assert shared_generators(sources) == shared


@pytest.mark.parametrize(
    ("source", "unseeded"),
    [
        ("layer = keras.layers.Dense(3)", ["keras.layers.Dense"]),
        ("result = train('a', keras.layers.LSTM(3))", ["keras.layers.LSTM"]),
        ("model = network(3)\nkeras.utils.set_random_seed(cfg.seed)", ["network"]),
        ("noise = keras.random.normal((3,))", ["keras.random.normal"]),
        ("keras.utils.set_random_seed(cfg.seed)\nmodel = network(keras.layers.GRU(2))", []),
        ("noise = keras.random.normal((3,), seed=cfg.seed)", []),
        ("make = lambda: keras.layers.Dense(3)", []),
        ("layer = Scaled(3)", ["Scaled"]),
        ("layer = keras.layers.TextVectorization(3)", []),
    ],
)
def test_knows_a_cell_that_draws_from_a_seed_set_elsewhere(source, unseeded):
    sources = [
        "def dense():\n    return keras.layers.Dense(2)",
        "def network(layer):\n    return keras.Model(layer, dense())",
        "def train(layer):\n    keras.utils.set_random_seed(0)\n    return network(layer)",
        "class Scaled(keras.layers.Embedding):\n    pass",
    ]
    assert CellNames(source, builders_of(sources)).unseeded == unseeded


def test_every_cell_may_run_twice(notebook):
    sources = [cell.source for cell in code(notebook)]
    builders = builders_of(sources)
    for source in sources:
        cell = CellNames(source, builders)
        assert cell.changed == [], f"changes what it has read:\n{source}"
        assert cell.unseeded == [], f"draws before it calls set_random_seed:\n{source}"
    assert shared_generators(sources) == []


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
        # The settings cell holds the imports too, and says which settings are possible.
        limit = 48 if "settings.choose(" in cell.source else 32
        assert len(cell.source.splitlines()) <= limit, cell.source


def test_code_stays_quiet_for_nbval(notebook):
    for cell in code(notebook):
        last = cell.source.strip().splitlines()[-1]
        assert not last.endswith(";"), cell.source


def test_cell_ids_are_unique(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)


def registered_names(source):
    """List what a source registers with Keras for loading, such as "notebook05>Decoder"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for decorator in getattr(node, "decorator_list", []):
            if "register_keras_serializable" in ast.unparse(decorator):
                given = {"package": "Custom", "name": node.name}
                for argument, value in zip(given, decorator.args, strict=False):
                    given[argument] = value.value
                for word in decorator.keywords:
                    given[word.arg] = word.value.value
                found.append(f"{given['package']}>{given['name']}")
    return found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('@keras.saving.register_keras_serializable("a")\nclass B: pass', ["a>B"]),
        ('@register_keras_serializable(name="c", package="a")\ndef b(): pass', ["a>c"]),
        ("@keras.saving.register_keras_serializable()\ndef b(): pass", ["Custom>b"]),
        ("@cache\ndef b(): pass", []),
    ],
)
def test_knows_what_is_registered(source, names):
    assert registered_names(source) == names


def test_what_is_registered_replaces_nothing_of_utils_or_of_another_notebook():
    """A later class of the same name would be built when a model of the earlier one is loaded."""
    sources = [path.read_text(encoding="utf-8") for path in settings.ROOT.glob("utils/**/*.py")]
    names = [name for source in sources for name in registered_names(source)]
    assert len(names) >= 5
    for path in PATHS:
        cells = code(nbformat.read(path, as_version=4))
        own = [name for cell in cells for name in registered_names(cell.source)]
        assert {name.split(">")[0] for name in own} <= {f"notebook{path.stem[:2]}"}, path.stem
        names += own
    assert len(names) >= 14
    assert sorted(set(names)) == sorted(names)


def test_every_layer_is_registered_and_no_class_is_defined_twice(notebook):
    """Else a model that holds one could be saved, and not be loaded again."""
    classes = []
    for cell in code(notebook):
        classes += [node for node in ast.parse(cell.source).body if isinstance(node, ast.ClassDef)]
    names = [node.name for node in classes]
    assert sorted(set(names)) == sorted(names)
    layers = set()
    for node in classes:
        bases = [ast.unparse(base) for base in node.bases]
        if any(base.startswith("keras.layers.") or base in layers for base in bases):
            layers.add(node.name)
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            assert any("register_keras_serializable" in text for text in decorators), node.name
