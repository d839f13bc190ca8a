import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from utils import results, settings, tracking
from utils.errors import CompanionError

KEY = "0123456789" * 4
LIMIT = 40  # seconds; only a guard, for a busy machine

# Trains with Keras, so that the callback is tested against the History.
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
with tracking.start("tiny", SimpleNamespace(units=1, rate=0.1)) as run:
    history = model.fit(x, y, validation_split=0.25, epochs=3, verbose=0, callbacks=[run.callback()])
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

# Gradient descent by hand: its result is known, and it starts in a second.
PLAIN = """
import json, sys, time
from utils import tracking

weight, began = 5.0, time.perf_counter()
for name in ("first", "second"):
    with tracking.start(name, {"rate": 0.5}) as run:
        for epoch in range(20):
            weight -= 0.5 * (weight - 3)
            run.log({"weight": weight})
        run.log_table("table", [{"weight": weight}])
    print("where", run.location)
print("done", round(weight, 3), tracking.mode(), time.perf_counter() - began)
"""


def environment(runs, **more):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB", "COMPANION"))
    }
    home = {name: str(runs) for name in ("HOME", "USERPROFILE")} | {"NETRC": str(runs / "netrc")}
    return kept | home | {"COMPANION_RUNS": str(runs), "TF_CPP_MIN_LOG_LEVEL": "3"} | more


def run_program(program, runs, **more):
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=settings.ROOT,
        env=environment(runs, **more),
        capture_output=True,
        text=True,
        timeout=LIMIT * 2,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr, time.perf_counter() - began


def inspect(folder, *options):
    """Read a run back with wandb's own tool."""
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
    return sorted(runs.glob(f"*/wandb/{kind}-*"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    runs = tmp_path_factory.mktemp("offline")
    out, err, _ = run_program(KERAS, runs, WANDB_MODE="offline")
    history, where, broken, raised = json.loads(out[-1])
    name = re.search(r"offline-run-[\w-]+", where).group()
    folder = runs / "scratch" / "wandb" / name
    return SimpleNamespace(**locals())


def media(offline, pattern):
    (path,) = (offline.folder / "files" / "media").glob(pattern)
    return path


def test_offline_run_holds_the_config_and_every_epoch_as_the_history_has_it(offline):
    about = summary_of(offline.folder)
    assert about["config"] == {"units": 1, "rate": 0.1}
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


def test_offline_run_holds_tables_and_pictures(offline):
    from PIL import Image

    about = summary_of(offline.folder)
    shown = about["summary"]
    assert [shown["words"][name] for name in ("_type", "nrows", "ncols")] == ["table-file", 2, 2]
    assert [shown["array"][name] for name in ("_type", "width", "height")] == ["image-file", 12, 5]
    assert shown["array"]["caption"] == "ramp"
    table = json.loads(media(offline, "table/words_*.json").read_text(encoding="utf-8"))
    assert table == {"columns": ["word", "count"], "data": [["sí", 3], ["no", None]]}
    pixels = np.asarray(Image.open(media(offline, "images/array_*.png")))
    assert np.array_equal(pixels, np.round(np.linspace(0, 255, 60)).reshape(5, 12))
    assert Image.open(media(offline, "images/figure_*.png")).size == (150, 100)


def test_offline_run_says_nothing_but_where_it_is(offline):
    assert len(offline.out) == 1, "wandb or tracking printed something"
    assert "wandb" not in offline.err
    place = f"~/scratch/wandb/{offline.name}"
    look, upload = f"look at it with `wandb leet {place}`", f"upload it with `wandb sync {place}`"
    assert offline.where == f"W&B log in {place}: {look}, {upload}"


def test_error_of_the_block_is_raised_and_marks_the_run_failed(offline):
    assert offline.raised == "mine"
    about = summary_of(folders(offline.runs)[-1])
    assert (about["name"], about["exit_code"]) == ("broken", 1)


class Server(http.server.ThreadingHTTPServer):
    """Answers as a W&B server does, as far as wandb asks; `last` names the request after which it dies."""

    daemon_threads = True

    def __init__(self, status=200, last=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.last, self.asked = status, last, []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked = json.loads(body) if self.path == "/graphql" else {"query": ""}
        query, variables = asked["query"], asked.get("variables")
        self.server.asked.append((re.findall(r"(?:query|mutation) (\w+)", query) or [self.path])[0])
        answer = {}
        if "upsertBucket" in query:
            project = {"id": "y", "name": "p", "entity": {"id": "z", "name": "e"}}
            bucket = {"id": "x", "name": variables["name"], "displayName": "n", "config": "{}"}
            answer = {"upsertBucket": {"bucket": bucket | {"project": project}, "inserted": True}}
        elif "createRunFiles" in query:
            files = [
                {"name": name, "uploadUrl": f"{self.server.url}/{name}"}
                for name in variables["files"]
            ]
            answer = {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}
        elif "viewer" in query:
            answer = {"viewer": {"id": "1", "entity": "e", "username": "u", "flags": "{}"}}
        out = json.dumps({"data": answer}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)
        if self.server.last and self.server.asked[-1] == self.server.last:
            self.close_connection = True
            threading.Thread(target=self.die, daemon=True).start()

    do_PUT = do_GET = do_POST

    def die(self):
        self.server.shutdown()
        self.server.server_close()


def assert_offline(out, runs, reason):
    told = [line for line in out if line.startswith("W&B:")]
    assert len(told) == 1 and reason in told[0] and told[0].endswith("logging offline instead."), (
        out
    )
    assert out[-1].startswith("done 3.0 offline")
    first, second = folders(runs)
    for folder in (first, second):
        assert len([row for row in history_of(folder) if "weight" in row]) == 20
    assert not any(KEY.encode() in path.read_bytes() for path in runs.rglob("*") if path.is_file())


def test_malformed_key_is_not_even_sent(tmp_path):
    server = Server()
    out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY="abc", WANDB_BASE_URL=server.url)
    assert_offline(out, tmp_path, "the key has 3 characters")
    assert server.asked == [] and seconds < LIMIT


def test_wrong_key_costs_one_line_and_the_keras_training_goes_on(tmp_path, offline):
    server = Server(status=401)
    out, _, seconds = run_program(KERAS, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert (
        len(out) == 2
        and "refused the key" in out[0]
        and out[0].endswith("logging offline instead.")
    )
    assert json.loads(out[1])[0] == offline.history
    assert server.asked == ["Viewer"], "wandb asked again, or the second run did"
    assert len(folders(tmp_path)) == 2 and seconds < LIMIT


def test_refused_connection(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, not listening: it refuses
        more = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": url, "WANDB_MODE": "online"}
        out, _, seconds = run_program(PLAIN, tmp_path, **more)
    assert_offline(out, tmp_path, "cannot be reached")
    assert seconds < LIMIT


def test_server_that_accepts_and_says_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=url)
    assert_offline(out, tmp_path, "did not answer in 3 s")
    assert float(out[-1].split()[-1]) < LIMIT / 2 and seconds < LIMIT


def test_server_that_dies_before_the_run_has_begun(tmp_path):
    server = Server(last="Viewer")
    out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert_offline(out, tmp_path, "")
    assert seconds < LIMIT, "wandb waits for the dead server when the program ends"


def test_server_that_dies_half_way(tmp_path):
    server = Server(last="UpsertBucket")
    out, _, seconds = run_program(PLAIN, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    (told,) = [line for line in out if line.startswith("W&B:")]
    (begun,), (second,) = folders(tmp_path, "run"), folders(tmp_path)
    place = f"~/scratch/wandb/{begun.name}"
    assert f"the log is safe in {place}, `wandb sync {place}` uploads it" in told
    assert len([row for row in history_of(begun) if "weight" in row]) == 20
    assert len([row for row in history_of(second) if "weight" in row]) == 20
    assert out[-1].startswith("done 3.0 offline") and seconds < LIMIT


def test_online_run_sends_its_metrics_and_names_its_address(tmp_path):
    server = Server()
    program = PLAIN.replace('run.log_table("table", [{"weight": weight}])', "pass")
    out, _, _ = run_program(program, tmp_path, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    assert re.fullmatch(rf"where W&B log: {server.url}/e/p/runs/\w+", out[0]), out
    assert len(out) == 3 and out[-1].startswith("done 3.0 online")
    assert sum(path.endswith("file_stream") for path in server.asked) >= 2


def test_disabled_does_nothing(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with tracking.start("model", {"a": 1}) as run:
        run.log({"loss": 1})
        run.log_table("table", [{"a": 1}])
        run.log_image("picture", np.zeros((2, 2)))
    run.finish()
    assert run.location == "W&B: not logged" and capsys.readouterr().out == ""
    assert not settings.runs_dir().exists()


def test_folder_that_cannot_be_written_costs_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "file"))
    monkeypatch.setattr(settings, "_spare_places", list)
    with tracking.start("model") as run:
        run.log({"loss": 1})
    out = capsys.readouterr().out
    assert (
        out.count("\n") == 1 and out.startswith("W&B: ") and out.endswith("model is not logged.\n")
    )


@pytest.mark.parametrize(
    ("said", "key", "profile", "where"),
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
def test_mode(monkeypatch, said, key, profile, where):
    environ = {"WANDB_MODE": said, "WANDB_API_KEY": key, "COMPANION_PROFILE": profile}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", os.devnull)
    assert tracking.mode() == where


def test_unknown_mode_is_refused(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(CompanionError, match="onlin is not known"):
        tracking.mode()


@pytest.mark.parametrize(
    ("machine", "server", "where"),
    [
        ("api.wandb.ai", "", "online"),
        ("api.forge.coreweave.com", "", "online"),
        ("wandb.example.org", "https://wandb.example.org/", "online"),
        ("api.wandb.ai", "https://wandb.example.org", "offline"),
        ("example.org", "", "offline"),
    ],
)
def test_key_in_netrc(monkeypatch, tmp_path, machine, server, where):
    (tmp_path / "netrc").write_text(f"machine {machine}\n  login user\n  password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", server)
    monkeypatch.delenv("WANDB_MODE")
    assert tracking.mode() == where


def test_leaderboard_shows_the_newest_row_of_each_model(monkeypatch):
    monkeypatch.setattr(settings._session, "notebook", "02_second")
    results.add_score("late", data="sample", accuracy=0.5)
    monkeypatch.setattr(settings._session, "notebook", "01_first")
    results.add_score("old", data="sample", accuracy=0.1)
    results.add_score("other", data="sample", accuracy=np.float32(0.25), parameters=np.int64(7))
    results.add_score("old", data="sample", accuracy=0.9)
    results.add_score("old", data="real", accuracy=0.2)
    results.add_score("old", data="sample", board="digits", accuracy=0.3)
    monkeypatch.setenv("COMPANION_PROFILE", "quick")
    results.add_score("old", data="sample", accuracy=0.4)
    monkeypatch.setenv("COMPANION_PROFILE", "live")
    rows = results.leaderboard(data="sample")
    assert [(row["model"], row["accuracy"]) for row in rows] == [
        ("old", 0.9),
        ("other", 0.25),
        ("late", 0.5),
    ]
    about = {"notebook": "01_first", "profile": "live", "data": "sample"}
    assert rows[1] == about | {"model": "other", "accuracy": 0.25, "parameters": 7}
    assert [row["accuracy"] for row in results.leaderboard("digits", data="sample")] == [0.3]
    assert results.leaderboard("faces", data="sample") == []


def test_row_that_was_cut_off_spoils_no_other(tmp_path):
    results.add_score("first", data="sample", accuracy=0.1)
    path = tmp_path / "runs" / "leaderboard-reviews.jsonl"
    with path.open("ab") as file:
        file.write(path.read_bytes()[:30])
    assert [row["model"] for row in results.leaderboard(data="sample")] == ["first"]
    results.add_score("second", data="sample", accuracy=0.2)
    assert [row["model"] for row in results.leaderboard(data="sample")] == ["first", "second"]


def test_two_processes_append_at_once_and_lose_no_row(tmp_path):
    program = """
import sys
from utils import results
for number in range(200):
    results.add_score(f"{sys.argv[1]} {number}", data="sample", text="x" * 300)
"""
    runs = tmp_path / "runs"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program, name], cwd=settings.ROOT, env=environment(runs)
        )
        for name in "ab"
    ]
    assert [process.wait(LIMIT) for process in both] == [0, 0]
    rows = results.leaderboard(data="sample")
    assert {row["model"] for row in rows} == {f"{name} {n}" for name in "ab" for n in range(200)}
    lines = (runs / "leaderboard-reviews.jsonl").read_text().splitlines()
    assert len([json.loads(line) for line in lines if line]) == 400


def test_summary(tmp_path, capsys):
    results.save_summary("old", data="sample")
    assert (
        results.save_summary(
            "90.1% vs 50.0%", data="real", accuracy=np.float64(0.901), counts=np.arange(2)
        )
        is None
    )
    assert capsys.readouterr().out == ""
    (path,) = (tmp_path / "runs").rglob("summary*")
    found = json.loads(path.read_text(encoding="utf-8"))
    versions = found.pop("versions")
    assert found == {
        "notebook": settings.notebook_name(),
        "profile": "live",
        "data": "real",
        "headline": "90.1% vs 50.0%",
        "numbers": {"accuracy": 0.901, "counts": [0, 1]},
    }
    assert versions["python"] == ".".join(str(part) for part in sys.version_info[:3])
