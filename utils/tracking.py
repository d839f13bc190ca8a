"""The Weights & Biases log of each training.

The results of a notebook belong in `results`.
"""

import atexit
import contextlib
import io
import os
import queue
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np

from utils import _wandb_settings, settings
from utils._timeouts import within

PROJECT = "deep-learning-companion"
PROXY_ASKS = "the proxy asks for a password (HTTPS_PROXY=http://user:password@host:port)"
# A talk cannot wait longer.
ANSWER_SECONDS = 3  # for the first answer of the server
INIT_SECONDS = 5  # for a run to start
FINISH_SECONDS = 8  # for the last upload
FLUSH_SECONDS = 0.1

# The account whose server failed, the run that has not finished, the problem that was reported.
_session = SimpleNamespace(failed=None, run=None, reported="")


def mode() -> str:
    """Return where runs are logged: "online", "offline" or "disabled".

    `WANDB_MODE` wins, then what W&B's settings files say, as after `wandb offline`. They cannot
    send the quick profile online, which never touches the network. Where they say nothing, the
    others are online if there is a key for the server: in `WANDB_API_KEY`, netrc or the files.
    Nothing is online if one of these files cannot be followed, or once the server has failed, until
    there is another key or server.

    Raises:
        CompanionError: `WANDB_MODE` has a value that W&B does not know.
    """
    modes = _wandb_settings.MODES
    account = _wandb_settings.account()
    if os.environ.get("WANDB_MODE", "").strip():
        requested = modes[settings.read_environment("WANDB_MODE", tuple(modes), "online")]
    else:
        by_default = "online" if account[1] else "offline"
        requested = modes.get(_wandb_settings.get("mode").lower(), by_default)
        if requested == "online" and settings.profile() == "quick":
            requested = "offline"
    stopped = _session.failed == account or _wandb_settings.problem()
    return "offline" if requested == "online" and stopped else requested


def start(name: str, config=None) -> "Run":
    """Start the W&B run of one trained model; use it in a `with` block, which finishes it.

    Trouble with the key, the network or the disk never raises: within seconds it costs one printed
    line, and the log is written on this machine, or not at all. What W&B's own settings say about
    mode, server, entity, project, group, tags, proxy and silence is followed.

    Args:
        name: of the model, as a reader knows it.
        config: dict or namespace of the settings.

    Raises:
        CompanionError: `WANDB_MODE` or `COMPANION_PROFILE` has an unknown value.
    """
    if _session.run:
        _session.run.finish()
    current_mode = mode()
    if current_mode == "disabled":
        return Run(None)
    config = vars(config) if isinstance(config, SimpleNamespace) else dict(config or {})
    if current_mode == "online":
        reason = _why_not_online()
        if not reason:
            run, reason = _try_init("online", name, config)
            if run:
                return run
        _session.failed = _wandb_settings.account()
        _say(f"{reason}; logging offline instead.")
    problem = _wandb_settings.problem()
    if problem and problem != _session.reported:
        _session.reported = problem
        _say(f"{problem}; logging offline.")
    for _ in range(2):  # the first attempt may meet a background process that has died
        run, reason = _try_init("offline", name, config)
        if run:
            return run
    _say(f"{reason}; {name} is not logged.")
    return Run(None)


class Run:
    """One W&B run, or none if W&B is disabled or failed.

    No method raises because of W&B. Logging returns at once, since a thread passes the entries on
    in their order; only `finish` waits, for seconds at most.
    """

    def __init__(self, run):
        self._run = run
        self._finished = run is None
        self._problem = ""  # of the first entry that was lost
        self._lost = 0
        self._timed_out = False
        self._reported = False
        if run is None:
            return
        self._offline = run.offline
        self._folder = Path(run.dir).parent
        self._queue = queue.SimpleQueue()
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()
        # Another one stands by to tear wandb down: Python 3.12 starts no thread while it exits.
        self._hangs = queue.SimpleQueue()  # of one boolean
        self._cleaner = threading.Thread(target=self._clean_up, daemon=True)
        self._cleaner.start()
        atexit.register(self.finish)
        _session.run = self

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.finish(exit_code=1 if kind else 0)

    @property
    def location(self) -> str:
        """One line: where the log is, how to view it and how to upload it."""
        if self._run is None:
            return "W&B: not logged"
        if not self._offline:
            return f"W&B log: {self._run.url}"
        path = settings.display_path(self._folder)
        return (
            f"W&B log in {path}: view it with `wandb leet {path}`, "
            f"upload it with `wandb sync {path}`"
        )

    def log(self, values: dict, step: int | None = None) -> None:
        """Log numbers by name, or whatever else W&B accepts.

        Args:
            values: what to log.
            step: W&B counts one step per call. It drops values of a step that has passed, so these
                are logged at the current one.
        """
        values = dict(values)

        def write():
            current = None if step is None else max(step, int(self._run.step))
            self._run.log(values, step=current)

        self._add(write)

    def log_table(self, key: str, rows: list[dict]) -> None:
        """Log a table.

        Args:
            key: its name.
            rows: dicts whose keys become the columns; a cell that a row lacks stays empty.
        """
        columns = list(dict.fromkeys(name for row in rows for name in row))
        data = [[row.get(column) for column in columns] for row in rows]
        # Without mixed types, one empty cell in a column of numbers makes W&B refuse the table.
        self._log_media(key, lambda wandb: wandb.Table(columns, data, allow_mixed_types=True))

    def log_image(self, key: str, image, caption: str | None = None) -> None:
        """Log an image.

        Args:
            key: its name.
            image: matplotlib figure, or array (height, width) or (height, width, channels) of
                integers from 0 to 255 or of floats from 0 to 1.
            caption: a line that is shown with it.
        """
        self._log_media(key, lambda wandb: wandb.Image(_to_bytes(image), caption=caption))

    def callback(self):
        """Return a Keras callback that logs the metrics and the learning rate of every epoch."""
        import keras

        run = self

        # Not W&B's own callback: it reads the model where it logs, which here is another thread.
        class EpochLogger(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                values = {f"epoch/{name}": value for name, value in (logs or {}).items()}
                values["epoch/epoch"] = epoch
                with contextlib.suppress(Exception):  # a GAN has two optimizers, under other names
                    values["epoch/learning_rate"] = float(self.model.optimizer.learning_rate)
                run.log(values)

        # W&B draws metrics over its own step, unless it knows another axis.
        self._add(lambda: self._run.define_metric("epoch/epoch"))
        self._add(lambda: self._run.define_metric("epoch/*", step_metric="epoch/epoch"))
        return EpochLogger()

    def finish(self, exit_code: int = 0) -> None:
        """End the run, once. A dead server delays this by seconds, and the log stays on disk.

        Args:
            exit_code: anything but 0 marks the run as failed.
        """
        if self._finished:
            return
        self._finished = True
        _session.run = None
        atexit.unregister(self.finish)
        self._queue.put(lambda: self._run.finish(exit_code=exit_code))
        self._queue.put(None)
        # wandb itself keeps to FINISH_SECONDS, unless an entry before the end has to wait.
        self._worker.join(FINISH_SECONDS + 1)
        hangs = self._worker.is_alive() or self._timed_out
        if hangs:
            self._give_up()
        elif self._problem:
            self._report(f"{self._problem}; part of the log is lost")
        self._hangs.put(hangs)
        self._cleaner.join(1)

    def _log_media(self, key, build):
        """Queue a table or an image as it is now; what follows in the notebook may change it."""
        if self._run is None:
            return
        with self._catch():
            import wandb

            media = build(wandb)
            self._add(lambda: self._run.log({key: media}))

    def _add(self, write):
        """Queue an entry for the worker thread."""
        if not self._finished:
            self._queue.put(write)
        elif self._run is not None:
            self._report("the run has finished; what is logged after that is lost")

    def _work(self):
        for write in iter(self._queue.get, None):
            with self._catch():
                write()

    def _clean_up(self):
        if self._hangs.get():  # waits for `finish`
            _tear_down()

    @contextlib.contextmanager
    def _catch(self):
        """Keep an error for `finish` to report, instead of raising it into the training."""
        try:
            yield
        except TimeoutError:
            self._timed_out = True
        except Exception as error:
            self._lost += 1
            self._problem = self._problem or _first_sentence(error)

    def _give_up(self):
        """Wait no longer, and log the runs that follow offline if it was a server that died."""
        path = settings.display_path(self._folder)
        # If an entry still waits, the queue holds those behind it and the end of the run.
        lost = self._lost + max(0, self._queue.qsize() - 1)
        extent = f", without {lost} {'entry' if lost == 1 else 'entries'}" if lost else ""
        if self._offline:
            self._report(f"writing the log takes too long; it is in {path}{extent}")
        else:
            _session.failed = _wandb_settings.account()
            self._offline = True
            upload = f"`wandb sync {path}` uploads it{extent}"
            self._report(f"the server stopped answering; the log is safe in {path}, {upload}")

    def _report(self, line):
        if not self._reported:
            self._reported = True
            _say(f"{line}.")


def _say(line):
    """Print a line, unless the user has silenced W&B."""
    if not _wandb_settings.is_on("silent"):
        print(f"W&B: {line}")


def _to_bytes(image):
    """Scale floats to bytes: wandb 0.28 guesses their range, 0.31 clips them, 1 being black."""
    if hasattr(image, "savefig"):
        return image
    pixels = np.asarray(image)
    if np.issubdtype(pixels.dtype, np.integer):
        return np.clip(pixels, 0, 255).astype("uint8")
    unit = np.clip(np.nan_to_num(pixels.astype("float32")), 0, 1)
    return np.round(255 * unit).astype("uint8")


def _first_sentence(error: Exception) -> str:
    """Shorten an error of wandb; what follows is advice for those who call wandb themselves."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # without a path, which may hold a user name
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0].rstrip(".")


def _why_not_online() -> str:
    """Ask the server who we are, before wandb does: its own attempts take minutes to give up."""
    import requests

    server, key = _wandb_settings.account()
    host = urlsplit(server).netloc or server
    if not key:
        return "no key (set WANDB_API_KEY, or run `wandb login`)"
    if len(key) < 40:
        return f"the key has {len(key)} characters, not at least 40 (check WANDB_API_KEY)"

    def query_viewer():
        options = {"json": {"query": "query Viewer { viewer { id } }"}, "auth": ("api", key)}
        options |= _wandb_settings.connection()
        answer = requests.post(f"{server}/graphql", timeout=ANSWER_SECONDS, **options)
        if answer.status_code == 407:
            return PROXY_ASKS
        if answer.status_code in (401, 403) or (answer.ok and not answer.json()["data"]["viewer"]):
            return f"{host} refused the key (check WANDB_API_KEY)"
        return "" if answer.ok else f"{host} answered {answer.status_code}"

    try:
        return within(ANSWER_SECONDS, query_viewer)
    except (TimeoutError, requests.Timeout):
        return f"{host} did not answer in {ANSWER_SECONDS} s"
    except requests.exceptions.ProxyError as error:
        return PROXY_ASKS if "407" in str(error) else "the proxy cannot be reached"
    except requests.exceptions.SSLError:
        return f"the certificate of {host} is not trusted (name it in REQUESTS_CA_BUNDLE)"
    except requests.ConnectionError:
        return f"{host} cannot be reached"
    except Exception as error:  # such as the sign-in page of a hotel's network
        return f"{host} did not answer as a W&B server does ({type(error).__name__})"


def _try_init(mode: str, name: str, config: dict) -> tuple[Run | None, str]:
    """Start a run; return it, or None and why it cannot be started."""
    try:
        return Run(_init(mode, name, config)), ""
    except Exception as error:
        with contextlib.suppress(TimeoutError):
            within(1, _tear_down)
        return None, _first_sentence(error)


def _init(mode: str, name: str, config: dict):
    """Call `wandb.init` silently, online or offline."""
    # Error reports would go over the network, from an offline run too. Without the notebook's name,
    # wandb asks every Jupyter server that it knows of. Both are read when it is imported or set up.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_NOTEBOOK_NAME", f"{settings.notebook_name()}.ipynb")
    folder = settings.output_dir()
    # This raises if the folder cannot be created; wandb would silently use one of its own.
    folder.mkdir(exist_ok=True)
    tags = _wandb_settings.get("run_tags", "WANDB_TAGS").split(",")
    options = {}
    if mode == "online":
        # wandb prompts for a key that it does not find.
        options["base_url"], options["api_key"] = _wandb_settings.account()
        # It does not read the settings file of the project's folder.
        for key in ("http_proxy", "https_proxy", "insecure_disable_ssl"):
            if _wandb_settings.get(key):
                options[key] = _wandb_settings.get(key)
    # wandb prints coloured warnings before it knows that it is to be silent. WANDB_SILENT is no way
    # out, as it would silence a `wandb sync` in the notebook too.
    with contextlib.redirect_stderr(io.StringIO()):
        import wandb

        own = {"silent": True}
        if _wandb_settings.from_files()[1]:
            own["settings_system"] = os.devnull  # what cannot be read would stop wandb too
        wandb.setup(wandb.Settings(**own))
        # By default wandb 0.31 holds 15 seconds of the log in memory: a killed kernel loses them.
        if "x_transaction_log_flush_interval" in wandb.Settings.model_fields:
            options["x_transaction_log_flush_interval"] = FLUSH_SECONDS
        return wandb.init(
            entity=_wandb_settings.get("entity") or None,
            project=_wandb_settings.get("project") or PROJECT,
            group=_wandb_settings.get("run_group") or settings.notebook_name(),
            name=name,
            tags=[settings.profile(), *filter(None, tags)],
            config=config,
            mode=mode,
            dir=folder,
            save_code=False,
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                x_disable_stats=True,
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
                **options,
            ),
        )


def _tear_down() -> None:
    """Stop wandb's background process.

    If it has died, every later run would fail; if it still tries to start a run, wandb 0.28 would
    wait for it for minutes when the notebook ends.
    """
    with contextlib.suppress(Exception):
        import wandb  # which may be what failed

        wandb.teardown()
