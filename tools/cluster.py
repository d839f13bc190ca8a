"""Run notebooks on the machines of a Ray cluster, one task a notebook and seed: `make run RAY_ADDRESS=...`.

What a task does is what `run_notebooks` does here; this module takes the project there and the results back.
"""

import io
import os
import socket
import sys
import tarfile
import tempfile
from pathlib import Path

from tools import run_notebooks
from utils import settings

RETRIES = 3  # how often a task begins anew whose worker or machine was lost
PASSED_ON = (
    "COMPANION_",
    "WANDB_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "TF_NUM_",
    "KERAS_BACKEND",
)


def connect():
    """Connect to the cluster of `RAY_ADDRESS` and take the project there; exit with one line if not."""
    try:
        import ray
    except ImportError:
        sys.exit(
            "RAY_ADDRESS is set, but Ray is not installed: pip install ray, in the cluster's version."
        )
    address = os.environ["RAY_ADDRESS"]
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        sys.exit(
            f"RAY_ADDRESS={address}: no cluster answers there ({error}). Start Ray there, or unset it."
        )
    # What git ignores, such as data and environments, stays here by itself.
    carried = {"working_dir": str(settings.ROOT), "excludes": [".git", "docs"]}
    try:
        ray.init(runtime_env=carried, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        sys.exit(f"RAY_ADDRESS={address}: {reason}. Start Ray there, or unset it.")
    return ray


def run(jobs: list[tuple[Path, int]], profile: str, timeout: int):
    """Run notebooks on the cluster; yield each as soon as it is done.

    Args:
        jobs: notebook and seed.
        profile, timeout: as for `run_notebooks.execute`.

    Yields:
        (notebook, seed), and an `Outcome`. Its runs have been put beside those of notebooks that ran here.
    """
    ray = connect()
    given = {
        name: value for name, value in os.environ.items() if name.upper().startswith(PASSED_ON)
    }
    given.pop("COMPANION_RUNS", None)
    given.setdefault("COMPANION_CACHE", str(settings.cache_dir()))
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    needs = {
        "num_cpus": min(2, max(node.get("CPU", 0) for node in nodes)),
        "num_gpus": 1 if any(node.get("GPU") for node in nodes) else 0,
    }
    remote = ray.remote(max_retries=RETRIES, **needs)(task)
    # Arguments, unlike Ray's `env_vars`, do not show up in its dashboard: there may be a key among them.
    waiting = {
        remote.remote(path.name, seed, given | {"COMPANION_PROFILE": profile}, timeout): (
            path,
            seed,
        )
        for path, seed in jobs
    }
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        path, seed = waiting.pop(done)
        try:
            outcome, packed = ray.get(done)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            outcome, packed = run_notebooks.Outcome(error=f"lost on the cluster: {reason}"), None
        if packed:
            unpack(packed, run_notebooks.folder(profile, seed) / "runs")
        yield (path, seed), outcome
    ray.shutdown()


def task(name: str, seed: int, environment: dict[str, str], timeout: int):
    """Execute one notebook in the copy of the project that Ray brought here.

    Returns:
        Its `Outcome`, and its runs folder as a compressed archive.
    """
    if not Path(environment["COMPANION_CACHE"]).is_dir():
        del environment["COMPANION_CACHE"]  # of another machine: this one keeps its own
    with tempfile.TemporaryDirectory(prefix="companion-") as runs:
        os.environ |= environment | {"COMPANION_RUNS": runs}
        outcome = run_notebooks.execute(settings.ROOT / "notebooks" / name, seed, timeout)
        outcome.machine = socket.gethostname()
        return outcome, pack(Path(runs))


def pack(folder: Path) -> bytes:
    """Make one compressed archive of all that lies in a folder, but for links that lead out of it."""

    def inside(member):
        return None if member.issym() and Path(member.linkname).is_absolute() else member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        archive.add(folder, arcname=".", filter=inside)
    return packed.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Put what `pack` packed into a folder; rows of leaderboards are added to those that stand there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive.getmembers():
            if Path(member.name).match("leaderboard-*.jsonl"):
                with (folder / Path(member.name).name).open("ab") as board:
                    board.write(archive.extractfile(member).read())
            else:
                archive.extract(member, folder, filter="data")
