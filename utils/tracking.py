"""What a notebook leaves behind: the Weights & Biases log of each training, leaderboard rows, a summary.

How models are trained, saved or drawn does not belong here.
"""

import contextlib
import errno
import hashlib
import io
import json
import netrc
import os
import platform
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np

from utils import settings

PROJECT = "deep-learning-companion"
SERVER = "https://api.wandb.ai"
# From 0.31 on, `wandb login` files the same account's key under this name.
SERVER_ALIAS = "api.forge.coreweave.com"
# A talk cannot wait longer: for the server's first word, for a run to begin, for a table (which asks the
# server whether it takes tables), and for the last upload.
ANSWER_SECONDS, BEGIN_SECONDS, LOG_SECONDS, FINISH_SECONDS = 3, 5, 5, 8
FLUSH_SECONDS = 0.1
MODES = {
    "online": "online",
    "shared": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}

_session = SimpleNamespace(failed=None, run=None, unsaved={})


def mode() -> str:
    """Say where runs go: "online", "offline" or "disabled".

    `WANDB_MODE` wins. Else the quick profile is offline, as it never touches the network, and the other
    ones are online if there is a key: in `WANDB_API_KEY`, or in netrc for the server, which is W&B's own
    or the one that `WANDB_BASE_URL` names. Once a server failed, the session stays offline, until it is
    given another key or server.

    Raises:
        settings.Stop: `WANDB_MODE` has a value that W&B does not know.
    """
    if os.environ.get("WANDB_MODE", "").strip():
        asked = MODES[settings.one_of("WANDB_MODE", tuple(MODES), "online")]
    else:
        asked = "online" if settings.profile() != "quick" and _account()[1] else "offline"
    return "offline" if asked == "online" and _session.failed == _account() else asked


def start(name: str, config=None) -> "Run":
    """Begin the W&B run of one trained model; use it in a `with` block, which finishes it.

    Trouble with the key, the network or the disk never raises: within seconds it costs one printed line,
    and the log is kept on this machine, or not at all.

    Args:
        name: of the model, as a reader knows it.
        config: dict or namespace of the knobs.

    Raises:
        settings.Stop: `WANDB_MODE` or `COMPANION_PROFILE` has an unknown value.
    """
    if _session.run:
        _session.run.finish()
    where = mode()
    if where == "disabled":
        return Run(None)
    config = vars(config) if isinstance(config, SimpleNamespace) else dict(config or {})
    if where == "online":
        reason = _why_not_online()
        try:
            if not reason:
                return Run(_begin("online", name, config))
        except Exception as error:
            reason = _one_line(error)
            _forget_service()
        _session.failed = _account()
        print(f"W&B: {reason}; logging offline instead.")
    for _ in range(2):
        try:
            return Run(_begin("offline", name, config))
        except Exception as error:
            reason = _one_line(error)
            _forget_service()
    print(f"W&B: {reason}; {name} is not logged.")
    return Run(None)


class Run:
    """One W&B run. No method raises for trouble of W&B's, and without W&B they do nothing."""

    def __init__(self, run):
        self._run, self._finished = run, run is None
        self._told = self._given_up = False
        if run is not None:
            self._offline, self._folder = run.offline, Path(run.dir).parent
            _session.run = self

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.finish(exit_code=1 if kind else 0)

    @property
    def where(self) -> str:
        """Say in one line where the log is, how to look at it and how to upload it."""
        if self._run is None:
            return "W&B: not logged"
        if not self._offline:
            return f"W&B log: {self._run.url}"
        path = settings.shorten(self._folder)
        return f"W&B log in {path}: look at it with `wandb leet {path}`, upload it with `wandb sync {path}`"

    def log(self, values: dict, step: int | None = None) -> None:
        """Log numbers by name, or whatever else W&B takes.

        Args:
            values: what to log.
            step: W&B counts one step for each call, so for each epoch; it drops values of a step that has
                passed, so these go to the current one.
        """
        self._try(
            lambda: self._run.log(values, step=None if step is None else max(step, int(self._run.step)))
        )

    def table(self, key: str, rows: list[dict]) -> None:
        """Log a table.

        Args:
            key: its name.
            rows: dicts whose keys become the columns; what a row lacks stays empty.
        """

        def log():
            import wandb

            columns = list(dict.fromkeys(key for row in rows for key in row))
            data = [[row.get(column) for column in columns] for row in rows]
            # Otherwise one empty cell in a column of numbers makes W&B refuse the table.
            self._run.log({key: wandb.Table(columns=columns, data=data, allow_mixed_types=True)})

        self._try(log)

    def picture(self, key: str, picture, caption: str | None = None) -> None:
        """Log a picture.

        Args:
            key: its name.
            picture: matplotlib figure, or array of (height, width) or (height, width, channels), of bytes
                or of floats between 0 and 1.
            caption: a line that is shown with it.
        """

        def log():
            import wandb

            self._run.log({key: wandb.Image(_bytes(picture), caption=caption)})

        self._try(log)

    def callback(self):
        """Return the Keras callback that logs the metrics of every epoch, or does nothing without W&B."""
        import keras

        made = []
        self._try(lambda: made.append(self._logger()))
        return made[0] if made else keras.callbacks.Callback()

    def _logger(self):
        from wandb.integration.keras import WandbMetricsLogger

        attempt = self._try

        class Logger(WandbMetricsLogger):
            def on_epoch_end(self, epoch, logs=None):
                attempt(lambda: WandbMetricsLogger.on_epoch_end(self, epoch, logs))

        return Logger()

    def finish(self, exit_code: int = 0) -> None:
        """End the run, once; a server that died delays this by seconds at most, and the log stays on disk.

        Args:
            exit_code: anything but 0 marks the run as failed.
        """
        if self._finished:
            return
        self._finished, _session.run = True, None
        try:
            # wandb keeps to FINISH_SECONDS itself; a server that is known to be dead is not waited for again.
            limit = 2 if self._given_up else FINISH_SECONDS + 1
            settings.within(limit, lambda: self._run.finish(exit_code=exit_code))
        except TimeoutError:
            self._give_up()
        except Exception as error:
            self._tell(f"{_one_line(error)}; a part of the log is lost")

    def _try(self, action):
        if self._run is None or self._given_up:
            return
        try:
            settings.within(LOG_SECONDS, action)
        except TimeoutError:
            self._give_up()
        except Exception as error:
            self._tell(f"{_one_line(error)}; a part of the log is lost, training goes on")

    def _give_up(self):
        """Wait no more for a server that died, in this run and in those that follow."""
        if not self._offline:
            _session.failed = _account()
        self._given_up = self._offline = True
        path = settings.shorten(self._folder)
        self._tell(f"the server stopped answering; the log is safe in {path}, `wandb sync {path}` uploads it")
        if self._finished:
            _forget_service()

    def _tell(self, line):
        if not self._told:
            self._told = True
            print(f"W&B: {line}.")


def kept(name: str, make, run: Run, **facts) -> list[np.ndarray]:
    """Return pictures that were made before from the same facts, else make them, keeping each at once.

    They stand in the notebook's run folder, so that a dead kernel loses none that was made. A row of pictures
    that was cut short is made anew, over the old ones.

    Args:
        name: of the pictures, as a reader knows it.
        make: takes nothing and yields pictures (height, width, 3) of values from 0 to 255, the result last.
        run: gets each new picture, by step.
        facts: everything else that the pictures depend on; the profile counts without being named.

    Returns:
        All of them, (height, width, 3) of uint8.
    """
    from PIL import Image

    told = json.dumps([facts, settings.profile()], sort_keys=True, default=_plain)
    label = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
    number = hashlib.sha256(told.encode()).hexdigest()[:10]
    folder = settings.runs_folder() / settings.notebook() / "pictures" / f"{label}-{number}"
    finished = folder / "finished"
    try:
        count = int(finished.read_text())
        return [_read_picture(folder / f"{number:03d}.png") for number in range(count)]
    except (OSError, ValueError, SyntaxError):
        pass  # not made yet, or cut short
    found, full = [], None
    for number, picture in enumerate(make()):
        found.append(np.clip(np.round(np.asarray(picture)), 0, 255).astype("uint8"))
        run.picture(name, found[-1], f"step {number}")
        try:
            finished.unlink(missing_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(found[-1]).save(folder / f"{number:03d}.png")
        except OSError as error:
            full = error
    try:
        if full is None:
            finished.write_text(str(len(found)))
    except OSError as error:
        full = error
    if full is not None:
        print(f"{name} is not saved ({full.strerror}), the notebook goes on.")
    return found


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def record(model: str, *, data: str, board: str = "reviews", **numbers) -> None:
    """Add a model's results to the leaderboard file; the newest row of a model counts.

    Args:
        model: name of the row.
        data: "real" or "sample"; the two are never shown together.
        board: which leaderboard.
        numbers: the columns, for example accuracy, parameters and seconds.

    Where the file cannot be written, a line says so and the row counts in this kernel alone.
    """
    about = {"model": model, "notebook": settings.notebook(), "profile": settings.profile(), "data": data}
    line = json.dumps(about | numbers, default=_plain).encode() + b"\n"
    path = _board(board)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # One unbuffered append: notebooks that run side by side lose no row, a kill spoils its own at most.
        with path.open("ab+", buffering=0) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = (
                        b"\n" + line
                    )  # behind a row that a kill cut off, or one being written: a blank line at most
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        _session.unsaved.setdefault(path, []).append(line.decode())
        print(f"{model} is not saved to {settings.shorten(path)} ({error.strerror}), the notebook goes on.")


def leaderboard(board: str = "reviews", *, data: str) -> list[dict]:
    """Return the newest row of each model for the profile in force and these data.

    Args:
        board: which leaderboard.
        data: "real" or "sample".

    Returns:
        Dicts with model, notebook, profile, data and the numbers that were recorded, in the order of the
        notebooks, and within one in the order in which the models first appeared.
    """
    rows = {}
    path = _board(board)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in [*lines, *_session.unsaved.get(path, ())]:
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

    Where the file cannot be written, a line says so.
    """
    loaded = {name: sys.modules[name].__version__ for name in ("keras", "tensorflow") if name in sys.modules}
    found = {
        "notebook": settings.notebook(),
        "profile": settings.profile(),
        "data": data,
        "headline": headline,
        "numbers": numbers,
        "versions": {"python": platform.python_version()} | loaded,
    }
    path = settings.run_folder() / "summary.json"
    partial = path.with_suffix(".part")
    try:
        partial.write_text(json.dumps(found, indent=1, default=_plain) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        print(f"summary.json is not saved ({error.strerror}), the notebook goes on.")


def _board(board: str) -> Path:
    return settings.runs_folder() / f"leaderboard-{board}.jsonl"


def _plain(value):
    """Turn a number or an array of NumPy or TensorFlow into one that JSON knows."""
    return value.tolist() if hasattr(value, "tolist") else float(value)


def _bytes(picture):
    """Scale floats ourselves: wandb 0.28 guesses their range, 0.31 cuts them off, so that 0 to 1 is black."""
    if hasattr(picture, "savefig"):
        return picture
    array = np.asarray(picture)
    if np.issubdtype(array.dtype, np.integer):
        return np.clip(array, 0, 255).astype("uint8")
    return np.round(np.clip(np.nan_to_num(array.astype("float32")), 0, 1) * 255).astype("uint8")


def _one_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first.split(". ")[0].rstrip(".")  # what follows is advice for those who call wandb themselves


def _account() -> tuple[str, str]:
    """Return the server's address and the key for it, which is empty if there is none."""
    server = os.environ.get("WANDB_BASE_URL", "").strip().rstrip("/") or SERVER
    if key := os.environ.get("WANDB_API_KEY", "").strip():
        return server, key
    try:
        kept = netrc.netrc(Path(os.environ.get("NETRC") or "~/.netrc").expanduser())
    except (OSError, ValueError, RuntimeError, netrc.NetrcParseError):
        return server, ""
    for host in (urlsplit(server).netloc, SERVER_ALIAS if server == SERVER else ""):
        if host and (found := kept.authenticators(host)):
            return server, found[2] or ""
    return server, ""


def _why_not_online() -> str:
    """Ask the server who we are, before wandb does: its own attempts take minutes to give up."""
    import requests

    server, key = _account()
    host = urlsplit(server).netloc or server
    if not key:
        return "no key (set WANDB_API_KEY, or run `wandb login`)"
    if len(key) < 40:
        return f"the key has {len(key)} characters, a valid one has at least 40 (check WANDB_API_KEY)"

    def ask():
        query = {"query": "query Viewer { viewer { id } }"}
        answer = requests.post(f"{server}/graphql", json=query, auth=("api", key), timeout=ANSWER_SECONDS)
        if answer.status_code in (401, 403) or (answer.ok and not answer.json()["data"]["viewer"]):
            return f"{host} refused the key (check WANDB_API_KEY)"
        return "" if answer.ok else f"{host} answered {answer.status_code}"

    try:
        return settings.within(ANSWER_SECONDS, ask)
    except (TimeoutError, requests.Timeout):
        return f"{host} did not answer in {ANSWER_SECONDS} s"
    except requests.ConnectionError:
        return f"{host} cannot be reached"
    except Exception as error:  # such as the sign-in page of a hotel's network
        return f"{host} did not answer as a W&B server does ({type(error).__name__})"


def _begin(where: str, name: str, config: dict):
    # Error reports would go over the network, from an offline run too. Without the notebook's name, wandb
    # asks every Jupyter server that it knows of. Both are read when it is imported or set up.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_NOTEBOOK_NAME", f"{settings.notebook()}.ipynb")
    folder = settings.run_folder()
    folder.mkdir(exist_ok=True)  # raises where wandb would turn to a folder of its own without a word
    server, key = _account()
    # The key is handed over, because wandb prompts for one that it does not find.
    online = {"base_url": server, "api_key": key} if where == "online" else {}
    # Left to itself, wandb 0.31 keeps 15 seconds of the log in memory, and a killed kernel takes them along.
    flush = {"x_transaction_log_flush_interval": FLUSH_SECONDS}
    # Before wandb knows that it is to be silent, it prints coloured warnings. Not by WANDB_SILENT: that would
    # silence a `wandb sync` in the notebook too.
    with contextlib.redirect_stderr(io.StringIO()):
        import wandb

        wandb.setup(wandb.Settings(silent=True))
        flush = {name: value for name, value in flush.items() if name in wandb.Settings.model_fields}
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=settings.notebook(),
            name=name,
            tags=[settings.profile()],
            config=config,
            mode=where,
            dir=folder,
            save_code=False,
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                x_disable_stats=True,
                init_timeout=BEGIN_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
                **online,
                **flush,
            ),
        )


def _forget_service() -> None:
    """Let go of wandb's background process.

    If it has died, every later run would fail; if it still tries to begin a run, wandb 0.28 would wait for
    it for minutes when the notebook ends.
    """
    import wandb

    with contextlib.suppress(Exception):
        settings.within(1, wandb.teardown)
