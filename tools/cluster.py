"""Run notebooks on a Ray cluster, one task per notebook and seed: `make run RAY_ADDRESS=...`.

A task executes a notebook as `make run` does on one machine; this module uploads the project and
brings the results back. Use only machines that you trust: Ray unpickles whatever a worker sends,
which can run any code here, and each of them receives your W&B key.
"""

import io
import os
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools.execution import Outcome, build_folder, execute
from utils import _wandb_settings, settings

RETRIES = 3  # how often a task starts again after its worker or machine was lost
FORWARDED_PREFIXES = (
    "COMPANION_",
    "WANDB_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "TF_NUM_",
    "KERAS_BACKEND",
)


def excluded_patterns(root: Path, notebooks: list[Path]) -> list[str]:
    """List what stays on this machine, as patterns of a .gitignore file.

    These are hidden files (.env), the docs, and files that git does not track: `git add` a module
    that your notebook imports. Without git, Ray leaves out what .gitignore lists.

    Args:
        root: folder of the project.
        notebooks: those to run, which need not be tracked.
    """
    patterns = [".?*", "/docs"]  # ".*" would match the folder itself, "."
    others = ["--others", "--exclude-standard"]
    # What git ignores may be huge, so that whole folders are listed by their name alone.
    ignored = [*others, "--ignored", "--directory"]
    listed = []
    try:
        for options in (["utils"], others, ignored):
            command = ["git", "ls-files", "-z", *options]
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
            listed.append(done.stdout)
    except (OSError, subprocess.CalledProcessError):
        return patterns  # no git on this machine, or the project was downloaded as an archive
    tracked, *names = listed
    if not tracked:
        return patterns  # an archive that was unpacked inside another project
    needed = {path.relative_to(root).as_posix() for path in notebooks}
    for name in filter(None, "".join(names).split("\0")):
        if name not in needed:
            patterns.append("/" + re.sub(r"([\\*?\[\]!# ])", r"\\\1", name))
    return patterns


def connect(notebooks: list[Path]):
    """Connect to the cluster of `RAY_ADDRESS` and upload the project, or exit with one line."""
    try:
        import ray
    except ImportError:
        sys.exit(
            "RAY_ADDRESS is set, but Ray is not installed: "
            "pip install ray, in the cluster's version."
        )
    address = os.environ["RAY_ADDRESS"]
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        sys.exit(
            f"RAY_ADDRESS={address}: no cluster answers there ({error}). "
            "Start Ray there, or unset it."
        )
    project = {
        "working_dir": str(settings.ROOT),
        "excludes": excluded_patterns(settings.ROOT, notebooks),
    }
    try:
        ray.init(runtime_env=project, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        sys.exit(f"RAY_ADDRESS={address}: {reason}. Start Ray there, or unset it.")
    return ray


def run(jobs: list[tuple[Path, int]], profile: str, timeout: int):
    """Run notebooks on the cluster; yield each as soon as it is done.

    Args:
        jobs: notebook and seed of each.
        profile: its name.
        timeout: seconds that one cell may take.

    Yields:
        (notebook, seed), and an `Outcome`. What it wrote while running lies in its `build_folder`.
    """
    ray = connect([path for path, _ in jobs])
    # The files of this machine's W&B settings are not on the others.
    environment = _wandb_settings.as_environment()
    environment |= {
        name: value
        for name, value in os.environ.items()
        if name.upper().startswith(FORWARDED_PREFIXES)
    }
    environment.pop("COMPANION_RUNS", None)
    environment.setdefault("COMPANION_CACHE", str(settings.cache_dir()))
    environment["COMPANION_PROFILE"] = profile
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    resources = {
        "num_cpus": min(2, max(node.get("CPU", 0) for node in nodes)),
        "num_gpus": 1 if any(node.get("GPU") for node in nodes) else 0,
    }
    remote_task = ray.remote(max_retries=RETRIES, **resources)(task)
    # There may be a key among them: the dashboard shows Ray's `env_vars`, but no arguments.
    waiting = {}
    for path, seed in jobs:
        waiting[remote_task.remote(path.name, seed, environment, timeout)] = (path, seed)
    while waiting:
        (finished,), _ = ray.wait(list(waiting), num_returns=1)
        path, seed = waiting.pop(finished)
        try:
            outcome, packed = ray.get(finished)
            unpack(packed, build_folder(profile, seed) / "runs")
        except ray.exceptions.RayError as error:
            # Of a traceback that came from there, the last line says what happened.
            lines = str(error).strip().splitlines()
            reason = lines[-1] if "ray::" in lines[0] else lines[0]
            outcome = Outcome(error=f"lost on the cluster: {reason}")
        except (tarfile.TarError, OSError) as error:
            outcome.error = outcome.error or f"its results cannot be unpacked: {error}"
        yield (path, seed), outcome
    ray.shutdown()


def task(name: str, seed: int, environment: dict[str, str], timeout: int) -> tuple[Outcome, bytes]:
    """Execute one notebook in the copy of the project that Ray brought here.

    Returns:
        Its `Outcome`, and what it wrote while running, as a compressed archive.
    """
    environment = dict(environment)
    if not Path(environment["COMPANION_CACHE"]).is_dir():
        del environment["COMPANION_CACHE"]  # a path of another machine: this one uses its own cache
    with tempfile.TemporaryDirectory(prefix="companion-") as runs:
        environment["COMPANION_RUNS"] = runs
        outcome = execute(settings.ROOT / "notebooks" / name, seed, timeout, environment)
        outcome.machine = socket.gethostname()
        return outcome, pack(Path(runs))


def pack(folder: Path) -> bytes:
    """Make a compressed archive of a folder, without absolute links, which lead out of it."""

    def without_absolute_links(member):
        return None if member.issym() and Path(member.linkname).is_absolute() else member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".", filter=without_absolute_links)
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Extract an archive of `pack` into a folder; rows of leaderboards are appended.

    Raises:
        tarfile.TarError: a member would be written outside the folder, or a leaderboard is a link.
            Members before it have been extracted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive.getmembers():
            name = Path(member.name)
            if name.match("leaderboard-*.jsonl"):
                board = folder / name.name
                # Writing through a link would append to whatever file it points to.
                if not member.isfile() or board.is_symlink():
                    raise tarfile.ExtractError(f"{name} is not a regular file")
                rows = archive.extractfile(member).read()
                if board.is_file() and board.read_bytes()[-1:] not in (b"", b"\n"):
                    rows = b"\n" + rows  # a kill cut the last row off
                with board.open("ab") as file:
                    file.write(rows)
            else:
                archive.extract(member, folder, filter="data")
