"""Make `.venv` what requirements.lock says: what `make` calls before anything else.

It runs with the Python that the environment gets, so it uses the standard library only. Packages
are installed with uv, ten times as fast as pip; where that fails, with pip.

An environment that works is never emptied. uv and pip download all packages before they change
one, so without a network the old ones stay, and make goes on with them. `.venv/ready` holds the
digest of the requirements.lock that was installed last; it is missing while packages change.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
READY = ENVIRONMENT / "ready"


def runs(command: list) -> bool:
    """Say whether a command can be started and succeeds; its output is discarded."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def watch(command: list) -> str:
    """Run a command; on a terminal, show the latest line of its output.

    Returns:
        The last line if it failed, else "".
    """
    width = shutil.get_terminal_size().columns - 1 if sys.stdout.isatty() else 0
    # Only a Python that is there already, where uv would fetch one of its own; and the certificates
    # of the system, as pip does, a company's among them. The last name is that of older versions.
    uv_settings = {"UV_PYTHON_DOWNLOADS": "never", "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
    variables = os.environ | uv_settings
    last = "no message"
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        return str(error)
    with process:
        for line in process.stdout:
            if not line.strip():
                continue
            last = line.strip()
            if width:
                print(f"\r{last[:width]:{width}}", end="", flush=True)
    if width:
        print("\r" + " " * width, end="\r", flush=True)
    return last if process.returncode else ""


def install() -> str:
    """Install the packages of requirements.lock over those that are there.

    Returns:
        "" if all of them are there now, else why not.
    """
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install"]
    uv = shutil.which("uv")
    own_uv = ENVIRONMENT / "bin" / "uv"
    if not uv and (own_uv.is_file() or not watch([*pip, "--retries", "1", "-c", LOCK, "uv"])):
        uv = own_uv
    if uv and not watch([uv, "pip", "install", "--python", PYTHON, "-r", LOCK]):
        return ""
    return watch([*pip, "-r", LOCK])


def installed_packages() -> list[str]:
    """List the packages of the environment with their versions."""
    return sorted(path.name for path in ENVIRONMENT.glob("lib/python3*/site-packages/*.dist-info"))


def check_link(digest: str) -> int:
    """Use an environment that `.venv` links to, and never change it: others may use it too."""
    target = ENVIRONMENT.readlink()
    remedy = "Remove the link (rm .venv), and make sets up an environment of this folder's own."
    if not runs([PYTHON, "-c", ""]):
        print(f".venv is a link to {target}, which holds no Python that starts. {remedy}")
        return 1
    if not READY.is_file() or READY.read_text() != digest:
        print(
            f".venv is a link to {target}, used as it is: its packages may be other ones than "
            f"those of requirements.lock. {remedy}"
        )
    return 0


def main() -> int:
    """Set up or update the environment; return the exit status."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if ENVIRONMENT.is_symlink():
        return check_link(digest)

    works = runs([PYTHON, "-c", ""])
    previous = READY.read_text() if works and READY.is_file() else None
    if previous == digest:
        READY.touch()
        return 0
    if works:
        print("Updating .venv to requirements.lock ...", flush=True)
    else:
        print("Setting up .venv once: about 3 GB, a minute or a few ...", flush=True)
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT])
        if made.returncode:  # it has said why, such as a package of Debian's that is missing
            shutil.rmtree(ENVIRONMENT, ignore_errors=True)
            return 1

    before = installed_packages()
    READY.unlink(missing_ok=True)
    problem = "interrupted"
    unchanged = False
    try:
        problem = install()
    except KeyboardInterrupt:
        print()
    finally:
        if not problem:
            READY.write_text(digest)
        elif previous is not None and installed_packages() == before:
            unchanged = True
            READY.write_text(previous)
            os.utime(READY, (0, 0))  # older than the lock, so that the next make tries again

    if problem == "interrupted":
        return 130
    if unchanged:
        print(
            f"requirements.lock has changed, but its packages cannot be had ({problem}). "
            "Going on with the packages of before; the next make tries again."
        )
        return 0
    if problem:
        print(
            f"The packages of requirements.lock cannot be installed ({problem}). This one step "
            "needs a package index and 3 GB of disk; with both, make goes on from here."
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
