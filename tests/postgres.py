"""A real PostgreSQL server for the tests, from Debian's package: in a temporary folder, on a socket of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

ACCOUNT = "postgres"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a running server's own database; the server ends with the session."""
    with running() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a fresh, empty database on the session's server."""
    with fresh_database(postgres_server) as url:
        yield url


@contextmanager
def running() -> Iterator[str]:
    """Start a server, and stop it at the end; skips where the package or a user to run it as is lacking."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="needs psycopg (pip install 'psycopg[binary]')")
    as_account = _as_account()
    folder = Path(tempfile.mkdtemp(prefix="clens-pg-"))  # short: the path of a socket has at most 107 bytes
    data, log = folder / "data", folder / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        # The server would keep a pipe open, so its words go to a file.
        with (folder / "out").open("ab") as out:
            done = subprocess.run(
                [*as_account, str(binaries / program), *arguments], stdout=out, stderr=out, cwd="/", check=False
            )
        if done.returncode != 0:
            told = "".join(path.read_text() for path in (folder / "out", log) if path.is_file())
            raise RuntimeError(f"{program} ended with {done.returncode}: {told}")

    if as_account:
        account = pwd.getpwnam(ACCOUNT)
        os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        call("initdb", "-D", str(data), "-U", ACCOUNT, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        call("pg_ctl", "-D", str(data), "-w", "-t", "60", "-l", str(log), "-o", options, "start")
        try:
            yield f"postgresql://{ACCOUNT}@127.0.0.1:{port}/{ACCOUNT}"
        finally:
            call("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server: str) -> Iterator[str]:
    """Make a database with a name of its own, and drop it at the end, whoever is still connected."""
    import psycopg

    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a fresh database, once of SQLite and once of PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ratings.sqlite'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def _binaries() -> Path | None:
    """Return the folder of the newest server's programs."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found and (other := shutil.which("initdb")) is not None:
        found = [Path(other).parent]
    return max(found, key=lambda path: [int(part) for part in path.parts if part.isdigit()], default=None)


def _as_account() -> list[str]:
    """Return the words that run a program as another user, for PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        pytest.skip(f"PostgreSQL refuses root, and there is no user '{ACCOUNT}'")
    if shutil.which("runuser") is None:
        pytest.skip("PostgreSQL refuses root, and there is no runuser")
    return ["runuser", "-u", ACCOUNT, "--"]
