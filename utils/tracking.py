"""The Weights & Biases log of each training.

What a notebook found belongs in `results`.
"""

import contextlib
import io
import netrc
import os
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np

from utils import settings
from utils._timeouts import within

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

_session = SimpleNamespace(failed=None, run=None)


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
        asked = MODES[settings.read_environment("WANDB_MODE", tuple(MODES), "online")]
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
    def location(self) -> str:
        """Say in one line where the log is, how to look at it and how to upload it."""
        if self._run is None:
            return "W&B: not logged"
        if not self._offline:
            return f"W&B log: {self._run.url}"
        path = settings.display_path(self._folder)
        return f"W&B log in {path}: look at it with `wandb leet {path}`, upload it with `wandb sync {path}`"

    def log(self, values: dict, step: int | None = None) -> None:
        """Log numbers by name, or whatever else W&B takes.

        Args:
            values: what to log.
            step: W&B counts one step for each call, so for each epoch; it drops values of a step that has
                passed, so these go to the current one.
        """
        self._try(
            lambda: self._run.log(
                values, step=None if step is None else max(step, int(self._run.step))
            )
        )

    def log_table(self, key: str, rows: list[dict]) -> None:
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

    def log_image(self, key: str, picture, caption: str | None = None) -> None:
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
            within(limit, lambda: self._run.finish(exit_code=exit_code))
        except TimeoutError:
            self._give_up()
        except Exception as error:
            self._tell(f"{_one_line(error)}; a part of the log is lost")

    def _try(self, action):
        if self._run is None or self._given_up:
            return
        try:
            within(LOG_SECONDS, action)
        except TimeoutError:
            self._give_up()
        except Exception as error:
            self._tell(f"{_one_line(error)}; a part of the log is lost, training goes on")

    def _give_up(self):
        """Wait no more for a server that died, in this run and in those that follow."""
        if not self._offline:
            _session.failed = _account()
        self._given_up = self._offline = True
        path = settings.display_path(self._folder)
        self._tell(
            f"the server stopped answering; the log is safe in {path}, `wandb sync {path}` uploads it"
        )
        if self._finished:
            _forget_service()

    def _tell(self, line):
        if not self._told:
            self._told = True
            print(f"W&B: {line}.")


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
    return first.split(". ")[0].rstrip(
        "."
    )  # what follows is advice for those who call wandb themselves


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
        return (
            f"the key has {len(key)} characters, a valid one has at least 40 (check WANDB_API_KEY)"
        )

    def ask():
        query = {"query": "query Viewer { viewer { id } }"}
        answer = requests.post(
            f"{server}/graphql", json=query, auth=("api", key), timeout=ANSWER_SECONDS
        )
        if answer.status_code in (401, 403) or (answer.ok and not answer.json()["data"]["viewer"]):
            return f"{host} refused the key (check WANDB_API_KEY)"
        return "" if answer.ok else f"{host} answered {answer.status_code}"

    try:
        return within(ANSWER_SECONDS, ask)
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
    os.environ.setdefault("WANDB_NOTEBOOK_NAME", f"{settings.notebook_name()}.ipynb")
    folder = settings.output_dir()
    folder.mkdir(
        exist_ok=True
    )  # raises where wandb would turn to a folder of its own without a word
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
        flush = {
            name: value for name, value in flush.items() if name in wandb.Settings.model_fields
        }
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=settings.notebook_name(),
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
        within(1, wandb.teardown)
