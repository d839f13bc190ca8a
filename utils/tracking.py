"""What a run leaves behind: its Weights & Biases log, its row on the leaderboard, its summary.

Logging never gets in the way: whatever fails here costs one printed line, and training goes on.
"""

import json
import os
import queue
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

from utils import settings

PROJECT = "deep-learning-companion"
# A talk cannot wait longer: for the server's first word, for a run to begin, and for its last upload.
ANSWER_SECONDS, BEGIN_SECONDS, FINISH_SECONDS = 4, 8, 10

_session = SimpleNamespace(offline_because="")


def mode() -> str:
    """Say where runs go: "online", "offline" or "disabled".

    `WANDB_MODE` wins. Else runs are online if there is a key (in `WANDB_API_KEY` or netrc) and the profile
    is not quick, which stays off the network. Once the server has failed, this session stays offline.
    """
    known = {"online": "online", "shared": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
    asked = known.get(os.environ.get("WANDB_MODE", "").strip().lower())
    if asked is None:
        asked = "online" if settings.profile() != "quick" and _key() else "offline"
    return "offline" if asked == "online" and _session.offline_because else asked


def start(name: str, config=None) -> "Run":
    """Begin the W&B run of one training; use it in a `with` block, which finishes it.

    A missing or wrong key and a server that cannot be reached are known within seconds; the run is then
    kept on this machine.

    Args:
        name: of the model, as a reader knows it.
        config: dict or namespace of the knobs.
    """
    if mode() == "online" and (reason := _why_not_online()):
        _go_offline(reason)
    config = vars(config) if isinstance(config, SimpleNamespace) else dict(config or {})
    try:
        return Run(_begin(mode(), name, config))
    except Exception as error:
        if mode() == "online":
            _go_offline(_one_line(error))
            return start(name, config)
        print(f"W&B: {_one_line(error)}; this run is not logged.")
        return Run(None)


class Run:
    """One W&B run whose methods never raise; without W&B they do nothing."""

    def __init__(self, run):
        self._run = run

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.finish(exit_code=1 if kind else 0)

    @property
    def where(self) -> str:
        """Say in one line where the log is, how to look at it and how to upload it."""
        if self._run is None or self._run.disabled:
            return "W&B: not logged."
        if not self._run.offline:
            return f"W&B: {self._run.url}"
        path = settings.shorten(Path(self._run.dir).parent)
        return f"W&B: offline, log in {path}; look at it with `wandb leet {path}`, upload it with `wandb sync {path}`"

    def log(self, values: dict) -> None:
        """Log numbers, or whatever else W&B takes."""
        self._try(lambda: self._run.log(values))

    def table(self, key: str, rows: list[dict]) -> None:
        """Log rows as a table whose columns are the keys of the first row."""
        import wandb

        columns = list(rows[0])
        data = [[row[column] for column in columns] for row in rows]
        self._try(lambda: self._run.log({key: wandb.Table(columns=columns, data=data)}))

    def picture(self, key: str, picture, caption: str = "") -> None:
        """Log a matplotlib figure or an array of (height, width) or (height, width, channels)."""
        import wandb

        self._try(lambda: self._run.log({key: wandb.Image(picture, caption=caption)}))

    def callback(self):
        """Return the Keras callback that logs the metrics of every epoch, or None if nothing is logged."""
        if self._run is None or self._run.disabled:
            return None
        from wandb.integration.keras import WandbMetricsLogger

        outer = self

        class Logger(WandbMetricsLogger):
            def on_epoch_end(self, epoch, logs=None):
                outer._try(lambda: super(Logger, self).on_epoch_end(epoch, logs))

        return Logger()

    def finish(self, exit_code: int = 0) -> None:
        """End the run; a server that has died delays this by seconds at most, and nothing logged is lost."""
        self._try(lambda: self._run.finish(exit_code=exit_code))

    def _try(self, action):
        if self._run is None:
            return
        try:
            action()
        except Exception as error:
            print(f"W&B: {_one_line(error)}; the rest of this run is not logged.")
            self._run = None


def record(model: str, *, data: str, board: str = "reviews", **numbers) -> None:
    """Add a model's results to the leaderboard file; the newest row of a model counts.

    Args:
        model: name of the row.
        data: "real" or "sample"; boards of different data are never mixed.
        board: which leaderboard.
        numbers: the columns, for example accuracy, parameters and seconds.
    """
    about = {"model": model, "notebook": settings.notebook(), "profile": settings.profile(), "data": data}
    # One short append: notebooks that run side by side lose no row, and a kill spoils its own at most.
    with _board(board).open("a", encoding="utf-8") as file:
        file.write(json.dumps(about | numbers) + "\n")


def leaderboard(*, data: str, board: str = "reviews") -> list[dict]:
    """Return the newest row of each model for the profile in force and these data, by notebook."""
    rows = {}
    if _board(board).is_file():
        for line in _board(board).read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # cut off by a kill
            if (row["profile"], row["data"]) == (settings.profile(), data):
                rows[row["model"]] = row
    return sorted(rows.values(), key=lambda row: row["notebook"])


def summary(headline: str, *, data: str, **numbers) -> None:
    """Write what the notebook found to `summary.json` in its run folder.

    Args:
        headline: the result in a few words, with its baseline.
        data: "real" or "sample".
        numbers: every number that the notebook claims.
    """
    import keras

    about = {"notebook": settings.notebook(), "profile": settings.profile(), "data": data, "headline": headline}
    about["versions"] = {"python": sys.version.split()[0], "keras": keras.__version__}
    path = settings.run_folder() / "summary.json"
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(about | {"numbers": numbers}, indent=1), encoding="utf-8")
    partial.replace(path)


def _board(board: str) -> Path:
    settings.runs_folder().mkdir(parents=True, exist_ok=True)
    return settings.runs_folder() / f"leaderboard-{board}.jsonl"


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rstrip("/")


def _key() -> str | None:
    from requests.utils import get_netrc_auth

    return os.environ.get("WANDB_API_KEY") or (get_netrc_auth(_server()) or (None, None))[1]


def _go_offline(reason: str) -> None:
    _session.offline_because = reason
    print(f"W&B: {reason}; logging offline instead.")


def _why_not_online() -> str:
    """Ask the server who we are, before wandb does: its own attempts take minutes to give up."""
    import requests

    if not _key():
        return "no key (set WANDB_API_KEY, or run `wandb login`)"
    answers = queue.Queue()

    def ask():
        query = {"query": "query Viewer { viewer { id } }"}
        try:
            address = f"{_server()}/graphql"
            answers.put(requests.post(address, json=query, auth=("api", _key()), timeout=ANSWER_SECONDS))
        except requests.RequestException as error:
            answers.put(error)

    # In a thread because no timeout covers a name look-up that hangs.
    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        return f"{_server()} did not answer in {ANSWER_SECONDS} s"
    if isinstance(answer, Exception):
        return f"{_server()} cannot be reached"
    if answer.status_code in (401, 403) or '"viewer":null' in answer.text.replace(" ", ""):
        return f"{_server()} refused the key (check WANDB_API_KEY)"
    return "" if answer.ok else f"{_server()} answered {answer.status_code}"


def _begin(where: str, name: str, config: dict):
    import wandb

    return wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=name,
        group=settings.notebook(),
        tags=[settings.profile()],
        config=config,
        mode=where,
        dir=settings.run_folder(),
        reinit="finish_previous",
        settings=wandb.Settings(
            silent=True,
            console="off",
            save_code=False,
            x_disable_stats=True,
            init_timeout=BEGIN_SECONDS,
            finish_timeout=FINISH_SECONDS,
        ),
    )
