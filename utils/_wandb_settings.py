"""What the user told W&B: its environment variables, then its settings files.

W&B refuses a whole file for one unknown key, for "Offline" with a capital or for a byte-order mark,
and goes online. It reads the file of the kernel's folder, though `wandb offline` was run in the
project's. Here whatever can be understood counts. Reading takes no import of wandb, which the
banner would wait for.
"""

import configparser
import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit

from utils import settings

SERVER = "https://api.wandb.ai"
# From 0.31 on, `wandb login` files the same account's key under this name.
SERVER_ALIAS = "api.forge.coreweave.com"
# The modes that W&B knows, and what each comes down to.
MODES = {name: name for name in ("online", "offline", "disabled")}
MODES |= {"shared": "online", "run": "online", "dryrun": "offline"}
TRUE = ("1", "on", "t", "true", "y", "yes")


def get(name: str, variable: str = "") -> str:
    """Return a setting of W&B: from the environment, else from the files, else "".

    Args:
        name: the key in the files, such as "base_url".
        variable: the environment variable, if its name is not that of the key after "WANDB_".
    """
    value = os.environ.get(variable or f"WANDB_{name.upper()}", "").strip()
    return value or from_files()[0].get(name, "")


def is_on(name: str) -> bool:
    """Return whether a setting of W&B is switched on, such as "silent"."""
    return get(name).lower() in TRUE


def account() -> tuple[str, str]:
    """Return the server's address and the key for it, which is empty if there is none."""
    server = get("base_url").rstrip("/") or SERVER
    key = os.environ.get("WANDB_API_KEY", "").strip()
    return server, key or _key_in_netrc(server) or _key_in_settings_files(server)


def _key_in_settings_files(server: str) -> str:
    """Return the key that stands beside the server's address in W&B's settings files, or ""."""
    values = from_files()[0]
    belongs = (values.get("base_url", "").rstrip("/") or SERVER) == server
    return values.get("api_key", "") if belongs else ""


def _key_in_netrc(server: str) -> str:
    """Return the key for a server in the user's netrc file, or ""."""
    try:
        path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
        # On Windows `wandb login` writes the second one.
        entries = netrc.netrc(path if path.exists() else path.with_name("_netrc"))
    except (OSError, ValueError, RuntimeError, netrc.NetrcParseError):
        return ""
    for host in (urlsplit(server).netloc, SERVER_ALIAS if server == SERVER else ""):
        entry = entries.authenticators(host) if host else None
        if entry:
            return entry[2] or ""
    return ""


def connection() -> dict:
    """Return how W&B's settings say to reach its server, as arguments of `requests.post`."""
    proxies = {scheme: get(f"{scheme}_proxy") for scheme in ("http", "https")}
    options = {"proxies": {scheme: url for scheme, url in proxies.items() if url}}
    if is_on("insecure_disable_ssl"):
        options["verify"] = False
    return options


def problem() -> str:
    """Say why the settings files cannot be followed, so that nothing may be sent, or return ""."""
    mode = os.environ.get("WANDB_MODE", "").strip().lower()
    if MODES.get(mode) in ("offline", "disabled"):
        return ""
    values, unreadable = from_files()
    if unreadable and not (mode and os.environ.get("WANDB_BASE_URL", "").strip()):
        return f"{unreadable} cannot be read"
    if not mode and values.get("mode", "online").lower() not in MODES:
        return f'"mode = {values["mode"]}" in its settings is none of online, offline, disabled'
    return ""


def from_files() -> tuple[dict[str, str], str]:
    """Return what W&B's settings files say, value by key, and which of them cannot be read."""
    values = {}
    unreadable = ""
    for path in _paths():
        try:
            if path.is_file():
                values |= _read(path)
        except (OSError, ValueError, configparser.Error):
            unreadable = settings.display_path(path)
    return values, unreadable


def as_environment() -> dict[str, str]:
    """Return what the settings files say about where to log as variables, for another machine."""
    values, unreadable = from_files()
    if unreadable or values.get("mode", "online").lower() not in MODES:
        values["mode"] = "offline"
    names = ("mode", "base_url", "entity", "project", "run_group", "run_tags", "silent")
    variables = {name: f"WANDB_{name.upper()}" for name in names} | {"run_tags": "WANDB_TAGS"}
    return {variables[name]: values[name] for name in names if name in values}


def _paths() -> list[Path]:
    """List where settings files may be; a later one wins."""
    folders = [Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")]
    for parent in (settings.ROOT, Path(os.environ.get("WANDB_DIR") or ""), Path()):
        # W&B uses the hidden folder if there is one.
        folders += [parent / "wandb", parent / ".wandb"]
    # Unlike the method of `Path`, this raises nothing where there is no home folder.
    return [Path(os.path.expanduser(folder)) / "settings" for folder in folders]  # noqa: PTH111


def _read(path: Path) -> dict[str, str]:
    """Return the settings of one file, without quotes around a value.

    Raises:
        OSError, ValueError, configparser.Error: it cannot be read.
    """
    # A key that stands there twice has its last value, and "%" in a password is just that.
    parser = configparser.ConfigParser(strict=False, interpolation=None, default_section="")
    parser.read_string(path.read_text(encoding="utf-8-sig"))
    values = {}
    # W&B's own spelling of the section comes last, so that it wins.
    for section in sorted(parser.sections(), key=lambda section: section == "default"):
        if section.strip().lower() == "default":
            for key, value in parser.items(section):
                values[key] = value.strip().strip("\"'").strip()
    return {key: value for key, value in values.items() if value}
