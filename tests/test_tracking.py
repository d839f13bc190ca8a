import configparser
import http.server
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from utils import _wandb_settings, settings, tracking
from utils.errors import CompanionError

KEY = "0123456789" * 4
real_tear_down = tracking._tear_down  # the fixture `fake` replaces it
LIMIT = 40  # seconds; only a guard, for a busy machine

# Trains with Keras, so that the callback is compared with the History.
KERAS = """
import json, sys
import keras, matplotlib, numpy as np
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from types import SimpleNamespace
from utils import tracking

keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(64, 2)).astype("float32")
y = x @ np.array([[2.0], [-3.0]], "float32")
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.Adam(0.1), "mse")
with tracking.start("tiny", SimpleNamespace(units=1, learning_rate=0.1)) as run:
    options = {"validation_split": 0.25, "epochs": 3, "verbose": 0}
    history = model.fit(x, y, callbacks=[run.callback()], **options)
    run.log_table("words", [{"word": "sí", "count": 3}, {"word": "no"}])
    run.log_image("array", np.linspace(0, 1, 60, dtype="float32").reshape(5, 12), caption="ramp")
    figure = plt.figure(figsize=(3, 2), dpi=50)
    run.log_image("figure", figure)
    run.log({"late": 7}, step=0)
try:
    with tracking.start("broken") as broken:
        raise ArithmeticError("mine")
except ArithmeticError as error:
    raised = str(error)
run.finish()
print(json.dumps([history.history, run.location, broken.location, raised]))
"""

# Gradient descent by hand: its result is known, and the program starts in a second.
PLAIN = """
import json, sys, time
from utils import tracking

weight, began = 5.0, time.perf_counter()
for name in ("first", "second"):
    with tracking.start(name, {"learning_rate": 0.5}) as run:
        for epoch in range(20):
            weight -= 0.5 * (weight - 3)
            run.log({"weight": weight})
        run.log_table("table", [{"weight": weight}])
    print("where", run.location)
print("done", round(weight, 3), tracking.mode(), time.perf_counter() - began)
"""


def environment(runs, **variables):
    """Return this process's environment with `runs` as home, without our settings and W&B's."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB", "COMPANION"))
    }
    return inherited | {
        "HOME": str(runs),
        "USERPROFILE": str(runs),
        "NETRC": str(runs / "netrc"),
        "COMPANION_RUNS": str(runs),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **variables,
    }


def run_program(program, runs, **variables):
    """Return the lines that a program prints, its stderr, and its seconds."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=settings.ROOT,
        env=environment(runs, **variables),
        capture_output=True,
        text=True,
        timeout=LIMIT * 2,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr, time.perf_counter() - began


def inspect(folder, *options):
    """Read the log of a run with wandb's own tool."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(folder), timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def summary_of(folder):
    return json.loads(inspect(folder, "--summary"))


def history_of(folder):
    rows = [json.loads(line) for line in inspect(folder).splitlines()]
    return [row["history"]["item"] for row in rows if row["type"] == "history"]


def folders(runs, kind="offline-run"):
    """List the folders of W&B runs, oldest first."""
    return sorted(runs.glob(f"*/wandb/{kind}-*"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    runs = tmp_path_factory.mktemp("offline")
    out, err, _ = run_program(KERAS, runs, WANDB_MODE="offline")
    history, location, _, raised = json.loads(out[-1])
    name = re.search(r"offline-run-[\w-]+", location).group()
    return SimpleNamespace(
        runs=runs,
        name=name,
        folder=runs / "scratch" / "wandb" / name,
        location=location,
        history=history,
        raised=raised,
        out=out,
        err=err,
    )


def media(offline, pattern):
    (path,) = (offline.folder / "files" / "media").glob(pattern)
    return path


def test_offline_run_holds_the_config_and_every_epoch_as_the_history_has_it(offline):
    about = summary_of(offline.folder)
    assert about["config"] == {"units": 1, "learning_rate": 0.1}
    assert (about["name"], about["project"], about["state"]) == (
        "tiny",
        tracking.PROJECT,
        "finished",
    )
    rows = history_of(offline.folder)
    epochs = [row for row in rows if "epoch/epoch" in row]
    assert [row["epoch/epoch"] for row in epochs] == [0, 1, 2]
    for name, values in offline.history.items():
        assert [row[f"epoch/{name}"] for row in epochs] == values
    assert offline.history["loss"][-1] < offline.history["loss"][0]
    assert sum(row.get("late") == 7 for row in rows) == 1, "a step that has passed was dropped"


def test_offline_run_holds_tables_and_images(offline):
    from PIL import Image

    about = summary_of(offline.folder)
    logged = about["summary"]
    assert [logged["words"][name] for name in ("_type", "nrows", "ncols")] == ["table-file", 2, 2]
    assert [logged["array"][name] for name in ("_type", "width", "height")] == ["image-file", 12, 5]
    assert logged["array"]["caption"] == "ramp"
    table = json.loads(media(offline, "table/words_*.json").read_text(encoding="utf-8"))
    assert table == {"columns": ["word", "count"], "data": [["sí", 3], ["no", None]]}
    pixels = np.asarray(Image.open(media(offline, "images/array_*.png")))
    assert np.array_equal(pixels, np.round(np.linspace(0, 255, 60)).reshape(5, 12))
    assert Image.open(media(offline, "images/figure_*.png")).size == (150, 100)


def test_offline_run_says_nothing_but_where_it_is(offline):
    assert len(offline.out) == 1, "wandb or tracking printed something"
    assert "wandb" not in offline.err
    path = f"~/scratch/wandb/{offline.name}"
    view = f"view it with `wandb leet {path}`"
    upload = f"upload it with `wandb sync {path}`"
    assert offline.location == f"W&B log in {path}: {view}, {upload}"


def test_error_of_the_block_is_raised_and_marks_the_run_failed(offline):
    assert offline.raised == "mine"
    about = summary_of(folders(offline.runs)[-1])
    assert (about["name"], about["exit_code"]) == ("broken", 1)


class Server(http.server.ThreadingHTTPServer):
    """Answers what wandb asks a W&B server; it dies after the request that `last` names."""

    daemon_threads = True

    def __init__(self, status=200, last=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.last = last
        self.requests = []
        self.variables = {}  # of the first request that begins a run
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = json.loads(body) if self.path == "/graphql" else {"query": ""}
        operation = re.search(r"(?:query|mutation) (\w+)", request["query"])
        self.server.requests.append(operation.group(1) if operation else self.path)
        answer = self.answer(request["query"], request.get("variables"))
        content = json.dumps({"data": answer}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        if self.server.last and self.server.requests[-1] == self.server.last:
            self.close_connection = True
            threading.Thread(target=self.die, daemon=True).start()

    def answer(self, query, variables):
        if "upsertBucket" in query:
            self.server.variables = self.server.variables or variables
            project = {"id": "y", "name": "p", "entity": {"id": "z", "name": "e"}}
            bucket = {"id": "x", "name": variables["name"], "displayName": "n", "config": "{}"}
            return {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
        if "createRunFiles" in query:
            files = [
                {"name": name, "uploadUrl": f"{self.server.url}/{name}"}
                for name in variables["files"]
            ]
            return {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        if "viewer" in query:
            return {"viewer": {"id": "1", "entity": "e", "username": "u", "flags": "{}"}}
        return {}

    do_PUT = do_GET = do_POST

    def die(self):
        self.server.shutdown()
        self.server.server_close()


def assert_offline(out, runs, reason):
    """One line gives the reason, both trainings are logged on disk, and the key is in no file."""
    (line,) = [line for line in out if line.startswith("W&B:")]
    assert re.fullmatch(rf"W&B: {reason}; logging offline instead\.", line), line
    assert out[-1].startswith("done 3.0 offline")
    first, second = folders(runs)
    for folder in (first, second):
        assert len([row for row in history_of(folder) if "weight" in row]) == 20
    assert not any(KEY.encode() in path.read_bytes() for path in runs.rglob("*") if path.is_file())


def test_malformed_key_is_not_even_sent(tmp_path):
    server = Server()
    out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY="abc", WANDB_BASE_URL=server.url)
    assert_offline(out, tmp_path, r"the key has 3 characters, .*WANDB_API_KEY\)")
    assert server.requests == [] and seconds < LIMIT


def test_wrong_key_costs_one_line_and_the_keras_training_goes_on(tmp_path, offline):
    server = Server(status=401)
    out, _, seconds = run_program(KERAS, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert (
        len(out) == 2
        and "refused the key" in out[0]
        and out[0].endswith("logging offline instead.")
    )
    assert json.loads(out[1])[0] == offline.history
    assert server.requests == ["Viewer"], "wandb asked again, or the second run did"
    assert len(folders(tmp_path)) == 2 and seconds < LIMIT


def test_refused_connection(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, not listening: it refuses
        variables = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": url, "WANDB_MODE": "online"}
        out, _, seconds = run_program(PLAIN, tmp_path, **variables)
    assert_offline(out, tmp_path, r"127\.0\.0\.1:\d+ cannot be reached")
    assert seconds < LIMIT


def test_server_that_accepts_and_says_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert_offline(out, tmp_path, r"127\.0\.0\.1:\d+ did not answer in 3 s")
    assert float(out[-1].split()[-1]) < LIMIT / 2 and seconds < LIMIT


def test_server_that_dies_before_the_run_has_begun(tmp_path):
    server = Server(last="Viewer")
    out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert_offline(out, tmp_path, r"(?i:.*timed out.*)")
    assert seconds < LIMIT, "wandb waits for the dead server when the program ends"


def test_server_that_dies_half_way(tmp_path):
    server = Server(last="UpsertBucket")
    out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    (line,) = [line for line in out if line.startswith("W&B:")]
    (first,) = folders(tmp_path, "run")
    (second,) = folders(tmp_path)
    path = f"~/scratch/wandb/{first.name}"
    assert f"the log is safe in {path}, `wandb sync {path}` uploads it" in line
    for folder in (first, second):
        assert len([row for row in history_of(folder) if "weight" in row]) == 20
    assert out[-1].startswith("done 3.0 offline") and seconds < LIMIT


def test_online_run_sends_its_metrics_where_the_settings_file_says_and_names_its_address(tmp_path):
    server = Server()
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    in_file = {"mode": "online", "base_url": server.url, "entity": "team", "project": "file's"}
    in_file |= {"insecure_disable_ssl": "false", "run_group": "ours"}
    write_settings(tmp_path / ".config" / "wandb", **in_file)
    (tmp_path / "netrc").write_text(
        f"machine {server.url.removeprefix('http://')} login user password {KEY}\n"
    )
    program = PLAIN.replace('run.log_table("table", [{"weight": weight}])', "pass")
    variables = {"COMPANION_PROFILE": "live", "WANDB_PROJECT": "mine", "WANDB_TAGS": "a,b"}
    out, _, _ = run_program(program, tmp_path, **variables)
    keys = ("entity", "project", "groupName", "displayName", "tags")
    sent = [server.variables[key] for key in keys]
    assert sent == ["team", "mine", "ours", "first", ["live", "a", "b"]]
    assert re.fullmatch(rf"where W&B log: {server.url}/e/p/runs/\w+", out[0]), out
    assert len(out) == 3 and out[-1].startswith("done 3.0 online")
    assert sum(path.endswith("file_stream") for path in server.requests) >= 2


UNFINISHED = """
from utils import tracking
run = tracking.start("unfinished", {})
for step in range(200):
    run.log({"value": step})
"""


def test_a_run_that_nobody_finishes_is_logged_to_its_end(tmp_path):
    out, _, _ = run_program(UNFINISHED, tmp_path, WANDB_MODE="offline")
    assert out == []
    (folder,) = folders(tmp_path)
    assert [row["value"] for row in history_of(folder)] == list(range(200))
    assert summary_of(folder)["state"] == "finished"


class FakeRun:
    """Stands in for wandb's run: it records the calls, which wait while `free` is not set."""

    url = "https://example.org/run"
    step = 5

    def __init__(self, folder, offline):
        self.dir = str(folder / "run-1" / "files")
        self.offline = offline
        self.free = threading.Event()
        self.free.set()
        self.calls = []
        self.threads = set()

    def log(self, values, step=None):
        self.free.wait(LIMIT)
        self.threads.add(threading.current_thread())
        if "error" in values:
            raise values["error"]
        self.calls.append((values, step))

    def define_metric(self, *args, **options):
        pass

    def finish(self, exit_code):
        self.free.wait(LIMIT)
        self.calls.append(exit_code)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Make a function that starts a fake run; nothing of wandb is called."""
    started = []
    monkeypatch.setattr(tracking, "_session", SimpleNamespace(failed=None, run=None, reported=""))
    monkeypatch.setattr(tracking, "_tear_down", lambda: None)
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 0)  # and one second of grace

    def start(offline=True):
        started.append(FakeRun(tmp_path, offline))
        return started[-1], tracking.Run(started[-1])

    yield start
    for fake_run in started:
        fake_run.free.set()


def test_logging_returns_at_once_and_one_thread_keeps_the_order(fake):
    fake_run, run = fake()
    fake_run.free.clear()
    began = time.perf_counter()
    values = {}
    for number in range(100):
        values["number"] = number  # one dict: what counts is its content at the call
        run.log(values)
    assert time.perf_counter() - began < 1 and fake_run.calls == []
    fake_run.free.set()
    run.finish()
    assert fake_run.calls == [*(({"number": number}, None) for number in range(100)), 0]
    assert len(fake_run.threads) == 1 and threading.main_thread() not in fake_run.threads


def test_a_step_that_has_passed_becomes_the_current_one(fake):
    fake_run, run = fake()
    for step in (2, 9, None):
        run.log({"a": 1}, step=step)
    run.finish()
    assert [call[1] for call in fake_run.calls[:-1]] == [5, 9, None]


def test_the_callback_logs_the_learning_rate_of_its_epoch(fake):
    fake_run, run = fake()
    fake_run.free.clear()
    callback = run.callback()
    optimizer = SimpleNamespace(learning_rate=0.5)
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_epoch_end(0, {"loss": 2.0})
    optimizer.learning_rate = 0.25
    callback.on_epoch_end(1, {"loss": 1.0})
    callback.set_model(SimpleNamespace())  # without an optimizer
    callback.on_epoch_end(2, {"loss": 0.5})
    fake_run.free.set()
    run.finish()
    assert [values for values, _ in fake_run.calls[:-1]] == [
        {"epoch/loss": 2.0, "epoch/epoch": 0, "epoch/learning_rate": 0.5},
        {"epoch/loss": 1.0, "epoch/epoch": 1, "epoch/learning_rate": 0.25},
        {"epoch/loss": 0.5, "epoch/epoch": 2},
    ]


def test_an_entry_that_fails_costs_one_line_and_no_other_entry(fake, capsys):
    fake_run, run = fake()
    run.log({"error": ValueError("the table is too long. See the manual.\nAnd call us.")})
    run.log({"a": 1})
    run.log({"error": KeyError("second")})
    while not fake_run.calls:  # the worker has met the first error
        time.sleep(0.01)
    run.log_image("image", "not an image")
    with pytest.raises(ArithmeticError), run:
        raise ArithmeticError
    assert capsys.readouterr().out == "W&B: the table is too long; part of the log is lost.\n"
    assert fake_run.calls == [({"a": 1}, None), 1]
    run.log({"a": 2})
    run.finish()
    assert capsys.readouterr().out == "", "a second line"


def test_logging_after_the_end_costs_one_line(fake, capsys):
    fake_run, run = fake()
    run.finish()
    for _ in range(2):
        run.log({"a": 1})
    assert fake_run.calls == [0]
    out = capsys.readouterr().out
    assert out == "W&B: the run has finished; what is logged after that is lost.\n"


@pytest.mark.parametrize("offline", [True, False])
def test_a_run_that_hangs_delays_its_end_by_a_second_and_the_line_says_what_is_lost(
    fake, capsys, offline
):
    fake_run, run = fake(offline)
    run.log({"a": 1})
    while not fake_run.calls:
        time.sleep(0.01)
    fake_run.free.clear()
    run.log({"a": 2})
    run.log({"a": 3})
    began = time.perf_counter()
    run.finish()
    assert 1 <= time.perf_counter() - began < 5
    path = settings.display_path(Path(fake_run.dir).parent)
    line = capsys.readouterr().out
    if offline:
        assert line == f"W&B: writing the log takes too long; it is in {path}, without 2 entries.\n"
    else:
        upload = f"`wandb sync {path}` uploads it, without 2 entries"
        reason = "the server stopped answering"
        assert line == f"W&B: {reason}; the log is safe in {path}, {upload}.\n"
    # Only a server that died keeps later runs offline.
    assert tracking._session.failed == (None if offline else _wandb_settings.account())
    assert run.location.startswith(f"W&B log in {path}: ")


def test_disabled_does_nothing(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracking.start("model", {"a": 1}) as run:
        run.log({"loss": 1})
        run.log_table("table", [{"a": 1}])
        run.log_image("image", np.zeros((2, 2)))
    run.finish()
    assert run.location == "W&B: not logged" and capsys.readouterr().out == ""
    assert not settings.runs_dir().exists()


def test_folder_that_cannot_be_written_costs_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "file"))
    monkeypatch.setattr(settings, "_spare_places", list)
    with tracking.start("model") as run:
        run.log({"loss": 1})
    # Without the folder's path, in which there may be a user name.
    assert capsys.readouterr().out == "W&B: Not a directory; model is not logged.\n"


class BrokenImport(ModuleType):
    """Stands in for a wandb that fails while it is imported, as with two versions of protobuf."""

    def __getattr__(self, name):
        raise TypeError("Descriptors cannot be created directly. Downgrade.\nSee the manual.")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (None, "import of wandb halted"),
        (BrokenImport("wandb"), "Descriptors cannot be created directly"),
    ],
)
def test_a_wandb_that_cannot_be_imported_costs_one_line(monkeypatch, capsys, broken, reason):
    monkeypatch.setitem(sys.modules, "wandb", broken)
    with tracking.start("model", {"a": 1}) as run:
        run.log({"loss": 1})
        run.log_image("image", np.zeros((2, 2)))
    out = capsys.readouterr().out
    assert out.startswith(f"W&B: {reason}") and out.endswith("; model is not logged.\n")
    assert out.count("\n") == 1


def test_a_run_that_hangs_is_torn_down_though_no_thread_can_be_started_at_exit(monkeypatch, fake):
    torn_down = threading.Event()
    monkeypatch.setattr(tracking, "_tear_down", real_tear_down)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(teardown=torn_down.set))
    fake_run, run = fake()
    fake_run.free.clear()
    run.log({"a": 1})

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with monkeypatch.context() as exiting:
        exiting.setattr(threading.Thread, "start", refuse)  # as Python 3.12.1 does
        run.finish()
    assert torn_down.is_set()


def test_a_run_that_ends_well_leaves_no_thread_and_wandb_as_it_is(fake, monkeypatch):
    torn_down = []
    monkeypatch.setattr(tracking, "_tear_down", lambda: torn_down.append(True))
    _, run = fake()
    threads = [run._worker, run._cleaner]
    assert all(thread.is_alive() for thread in threads)
    run.finish()
    assert not any(thread.is_alive() for thread in threads) and torn_down == []


@pytest.mark.parametrize(
    ("wandb_mode", "key", "profile", "expected"),
    [
        ("online", "", "quick", "online"),
        ("shared", "", "live", "online"),
        ("offline", KEY, "live", "offline"),
        ("dryrun", KEY, "live", "offline"),
        (" Disabled ", KEY, "live", "disabled"),
        ("", KEY, "live", "online"),
        ("", KEY, "full", "online"),
        ("", KEY, "quick", "offline"),
        ("", "", "live", "offline"),
    ],
)
def test_mode(monkeypatch, wandb_mode, key, profile, expected):
    environ = {"WANDB_MODE": wandb_mode, "WANDB_API_KEY": key, "COMPANION_PROFILE": profile}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", os.devnull)
    assert tracking.mode() == expected


def test_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(CompanionError, match="onlin is not known"):
        tracking.mode()


@pytest.mark.parametrize(
    ("machine", "server", "expected"),
    [
        ("api.wandb.ai", "", "online"),
        ("api.forge.coreweave.com", "", "online"),
        ("wandb.example.org", "https://wandb.example.org/", "online"),
        ("api.wandb.ai", "https://wandb.example.org", "offline"),
        ("example.org", "", "offline"),
    ],
)
def test_key_in_netrc(monkeypatch, tmp_path, machine, server, expected):
    (tmp_path / "netrc").write_text(f"machine {machine}\n  login user\n  password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.delenv("WANDB_MODE")
    assert tracking.mode() == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([".netrc"], "online"),
        (["_netrc"], "online"),  # where `wandb login` writes it on Windows
        ([".netrc", "_netrc"], "online"),
        ([], "offline"),
    ],
)
def test_key_in_the_home_folder(monkeypatch, tmp_path, names, expected):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("NETRC", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in names:
        (tmp_path / name).write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert tracking.mode() == expected


@pytest.fixture
def folders_of_wandb(monkeypatch, tmp_path):
    """Return the folders in which W&B's settings files may be, by what they belong to."""
    places = {name: tmp_path / name for name in ("global", "project", "kernel", "variable")}
    for folder in places.values():
        (folder / "wandb").mkdir(parents=True)
    monkeypatch.setattr(settings, "ROOT", places["project"])
    monkeypatch.chdir(places["kernel"])
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(places["global"] / "wandb"))
    monkeypatch.delenv("WANDB_MODE")
    session = SimpleNamespace(failed=None, run=None, reported="")
    monkeypatch.setattr(tracking, "_session", session)
    return {name: folder / "wandb" for name, folder in places.items()}


def write_settings(folder, **values):
    lines = [f"{name} = {value}" for name, value in values.items()]
    (folder / "settings").write_text("\n".join(["[default]", *lines, ""]), encoding="utf-8")


def test_environment_wins_over_the_kernels_file_the_projects_and_the_users(
    monkeypatch, folders_of_wandb
):
    read = []
    for name in ("global", "project", "variable", "kernel"):
        monkeypatch.setenv("WANDB_DIR", str(folders_of_wandb["variable"].parent))
        write_settings(folders_of_wandb[name], entity=name, **{name: "yes"})
        read.append(_wandb_settings.get("entity"))
    monkeypatch.setenv("WANDB_ENTITY", "mine")
    assert [*read, _wandb_settings.get("entity")] == [
        "global",
        "project",
        "variable",
        "kernel",
        "mine",
    ]
    assert all(_wandb_settings.is_on(name) for name in ("global", "project", "variable", "kernel"))


@pytest.mark.parametrize("file", ["global", "project", "kernel"])
@pytest.mark.parametrize(
    ("value", "environment", "profile", "expected"),
    [
        ("offline", "", "live", "offline"),
        ("disabled", "", "quick", "disabled"),
        ("dryrun", "", "live", "offline"),
        ("Offline", "", "live", "offline"),
        ('"disabled"', "", "live", "disabled"),
        ("online", "", "quick", "offline"),
        ("online", "online", "quick", "online"),
        ("offline", "online", "live", "online"),
        ("online", "disabled", "live", "disabled"),
        ("of", "", "live", "offline"),
        ("of", "online", "live", "online"),
        ("", "", "live", "online"),
    ],
)
def test_mode_in_settings_files(
    monkeypatch, folders_of_wandb, file, value, environment, profile, expected
):
    write_settings(folders_of_wandb[file], mode=value, unknown_to_wandb=1)
    variables = {
        "WANDB_MODE": environment,
        "WANDB_API_KEY": KEY,
        "COMPANION_PROFILE": profile,
        "NETRC": os.devnull,
    }
    for name, content in variables.items():
        monkeypatch.setenv(name, content)
    assert tracking.mode() == expected


@pytest.mark.parametrize(
    ("in_file", "variables", "expected"),
    [
        ({"base_url": "https://w.example"}, {}, ("https://w.example", "")),
        ({"base_url": "https://w.example/"}, {"NETRC": "netrc"}, ("https://w.example", KEY)),
        ({"base_url": "https://other.example"}, {"NETRC": "netrc"}, ("https://other.example", "")),
        ({"base_url": "https://w.example", "api_key": KEY}, {}, ("https://w.example", KEY)),
        ({"api_key": KEY}, {}, (_wandb_settings.SERVER, KEY)),
        # A key that is filed for one server is not sent to another one.
        (
            {"base_url": "https://w.example", "api_key": KEY},
            {"WANDB_BASE_URL": "https://other.example"},
            ("https://other.example", ""),
        ),
        (
            {"base_url": "https://w.example", "api_key": KEY},
            {"WANDB_API_KEY": KEY[::-1]},
            ("https://w.example", KEY[::-1]),
        ),
    ],
)
def test_server_and_key_in_settings_files(
    monkeypatch, folders_of_wandb, in_file, variables, expected
):
    Path("netrc").write_text(f"machine w.example login user password {KEY}\n")
    write_settings(folders_of_wandb["global"], **in_file)
    for name, value in ({"NETRC": os.devnull} | variables).items():
        monkeypatch.setenv(name, value)
    assert _wandb_settings.account() == expected


def test_what_the_projects_file_says_reaches_wandb_which_does_not_read_it(
    monkeypatch, folders_of_wandb
):
    server = {"base_url": "https://w.example", "api_key": KEY}
    way = {"https_proxy": "http://u:p%40s@proxy:1", "insecure_disable_ssl": "true"}
    write_settings(folders_of_wandb["project"], entity="team", project="p", **server, **way)

    class Settings(SimpleNamespace):
        model_fields = ()

    wandb = SimpleNamespace(Settings=Settings, setup=lambda _: None, init=lambda **given: given)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    given = tracking._init("online", "model", {})
    assert (given["entity"], given["project"], given["mode"]) == ("team", "p", "online")
    assert (server | way).items() <= vars(given["settings"]).items()


def test_another_machine_is_told_what_the_settings_files_say(folders_of_wandb):
    write_settings(folders_of_wandb["global"], mode="offline", entity="team", api_key=KEY)
    write_settings(folders_of_wandb["project"], run_tags="a,b", base_url="https://w.example")
    told = {"WANDB_MODE": "offline", "WANDB_ENTITY": "team", "WANDB_TAGS": "a,b"}
    assert _wandb_settings.as_environment() == told | {"WANDB_BASE_URL": "https://w.example"}
    for content in ("[default]\nmode = of", "no section"):
        (folders_of_wandb["global"] / "settings").write_text(content)
        assert _wandb_settings.as_environment()["WANDB_MODE"] == "offline"


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([["offline"]], ("offline", _wandb_settings.SERVER)),
        ([["disabled"]], ("disabled", _wandb_settings.SERVER)),
        (
            [["login", "--no-verify", "--host=https://w.example", KEY]],
            ("online", "https://w.example"),
        ),
    ],
)
def test_commands_of_wandb_are_followed(
    monkeypatch, tmp_path, folders_of_wandb, commands, expected
):
    variables = {"NETRC": str(tmp_path / "netrc"), "COMPANION_PROFILE": "live"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    program = "from wandb.cli.cli import cli\n"
    for command in commands:
        program += f"cli({command}, standalone_mode=False)\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=settings.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # `wandb` ran in the project's folder, the kernel in another one.
    assert (tracking.mode(), _wandb_settings.account()[0]) == expected
    assert _wandb_settings.account()[1] == KEY


def random_settings_file(rng):
    """Return the settings that somebody meant, and a file with them: right, untidy or broken."""
    meant = {}
    for name, values in {
        "mode": ["offline", "disabled", "online", "dryrun"],
        "base_url": ["https://w.example", "https://w.example/path/", "http://127.0.0.1:8080"],
        "entity": ["team", "équipe", "a b", "t%20"],
        "project": ["project", "my project"],
    }.items():
        if rng.random() < 0.7:
            meant[name] = rng.choice(values)
    untidy = rng.random() < 0.6
    lines = [rng.choice(["[default]", "[Default]", "[ default ]"]) if untidy else "[default]"]
    for name, value in meant.items():
        if untidy:
            name = rng.choice([name, name.upper()])
            value = rng.choice([value, f'"{value}"', value.upper() if name == "mode" else value])
        lines.append(name + rng.choice(["=", " = ", ": "]) + value)
        if untidy and rng.random() < 0.3:
            lines.append(rng.choice(["", "# a comment", "; mode = x", "unknown = 1", lines[-1]]))
    content = rng.choice(["\n", "\r\n"]).join([*lines, ""]).encode()
    if untidy and rng.random() < 0.3:
        content = b"\xef\xbb\xbf" + content
    broken = rng.random() < 0.2
    if broken:
        position = rng.randrange(len(content))
        content = rng.choice(
            [
                content.decode().encode("utf-16"),
                content[:position] + b"\xff\xfe\x00" + content[position:],
                content.replace(b"[", b""),
                b"\x00" * 20,
            ]
        )
    return meant, content, broken


def as_wandb_reads(path):
    """Return what W&B itself makes of a settings file; None if it refuses it or part of it."""
    import wandb

    read = wandb.Settings(settings_system=str(path), root_dir=str(path.parent / "nowhere"))
    before = set(read.model_fields_set)
    try:
        written = read.read_system_settings().all()
        read.update_from_system_settings()
    except (ValueError, configparser.Error):
        return None
    names = read.model_fields_set - before
    if not written or not set(written) <= names:
        return None
    # Quotes around a value W&B takes for a part of it, and then finds no such team or project.
    return {name: str(getattr(read, name)).strip('"') for name in written}


def test_settings_files_are_read_as_wandb_reads_them_and_those_that_it_refuses_never_mislead(
    monkeypatch, folders_of_wandb
):
    for name, value in {"WANDB_API_KEY": KEY, "COMPANION_PROFILE": "live"}.items():
        monkeypatch.setenv(name, value)
    path = folders_of_wandb["global"] / "settings"
    rng = random.Random(0)
    followed, refused, unreadable = 0, 0, 0
    for _ in range(200):
        meant, content, broken = random_settings_file(rng)
        path.write_bytes(content)
        values, problem = _wandb_settings.from_files()
        theirs = as_wandb_reads(path)
        if theirs is not None:
            followed += 1
            values = {name: value.rstrip("/") for name, value in values.items()}
            assert (values, problem) == (theirs, ""), content
        elif not broken:
            refused += 1
            assert {name: values.get(name) for name in meant if name != "mode"} == {
                name: value for name, value in meant.items() if name != "mode"
            }, content
        else:
            unreadable += 1
        # What counts: nothing goes online, or elsewhere, against what was meant.
        expected = _wandb_settings.MODES[meant.get("mode", "online")]
        server = meant.get("base_url", _wandb_settings.SERVER).rstrip("/")
        assert tracking.mode() == expected or (broken and tracking.mode() == "offline"), content
        assert tracking.mode() != "online" or _wandb_settings.account()[0] == server, content
    assert min(followed, refused, unreadable) > 20


def test_a_file_that_cannot_be_read_costs_one_line_and_nothing_is_sent(
    monkeypatch, folders_of_wandb, capsys
):
    (folders_of_wandb["kernel"] / "settings").write_bytes(b"mode = offline\n")
    begun = []
    monkeypatch.setattr(tracking, "_init", lambda mode, *_: begun.append(mode))
    monkeypatch.setattr(tracking, "Run", lambda run: "run")
    monkeypatch.setattr(tracking, "_why_not_online", lambda: pytest.fail("the server was asked"))
    for name, value in {"WANDB_API_KEY": KEY, "COMPANION_PROFILE": "live"}.items():
        monkeypatch.setenv(name, value)
    tracking.start("first")
    tracking.start("second")
    # Another file may have named another server.
    monkeypatch.setenv("WANDB_MODE", "online")
    tracking.start("third")
    assert begun == ["offline"] * 3
    line = capsys.readouterr().out
    assert line == f"W&B: {settings.display_path(folders_of_wandb['kernel'] / 'settings')} " + (
        "cannot be read; logging offline.\n"
    )


@pytest.mark.parametrize("silencer", ["environment", "file"])
def test_silent_mode_silences_our_lines_too(monkeypatch, folders_of_wandb, capsys, silencer):
    if silencer == "file":
        write_settings(folders_of_wandb["global"], silent="true")
    else:
        monkeypatch.setenv("WANDB_SILENT", "True")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", os.devnull)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(tracking, "_init", fail)
    tracking.start("model")
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("WANDB_SILENT", "False")
    tracking.start("model")
    assert capsys.readouterr().out == "W&B: disk full; model is not logged.\n"


class Proxy(http.server.BaseHTTPRequestHandler):
    """Asks for a password, unless it gets one."""

    def log_message(self, *args):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        content = b'{"data": {"viewer": {"id": "1"}}}'
        allowed = "proxy-authorization" in self.headers
        self.send_response(200 if allowed else 407)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_CONNECT = do_POST


@pytest.fixture
def proxy():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("place", ["file", "WANDB_{}_PROXY", "{}_PROXY"])
def test_a_proxy_that_asks_for_a_password_is_named(
    monkeypatch, folders_of_wandb, proxy, scheme, place
):
    for name in ("http", "https", "no", "all"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name.upper()}_PROXY", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"{scheme}://w.example")
    address = f"http://{proxy}"
    if place == "file":
        write_settings(folders_of_wandb["global"], **{f"{scheme}_proxy": address})
    else:
        monkeypatch.setenv(place.format(scheme.upper()), address)
    reason = "the proxy asks for a password (HTTPS_PROXY=http://user:password@host:port)"
    assert tracking._why_not_online() == reason
    if scheme == "http":
        address = f"http://user:p%40ss@{proxy}"
        if place == "file":
            write_settings(folders_of_wandb["global"], http_proxy=address)
        else:
            monkeypatch.setenv(place.format("HTTP"), address)
        assert tracking._why_not_online() == ""
