"""Postgres of the distribution's package, with the roles and databases that docker-compose.yaml gives it."""

import getpass
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from tiny import ROOT

from flows.common.processes import free_port

PASSWORDS = {"postgres": "of-the-administrator", "prefect": "of-prefect", "mlflow": "of-mlflow"}
"""By role."""


class Postgres:
    def __init__(self, port):
        self.port = port

    def address(self, role, database, driver="postgresql"):
        return f"{driver}://{role}:{PASSWORDS[role]}@127.0.0.1:{self.port}/{database}"

    def psql(self, role, database, *words):
        """Run psql as a role; return the finished process."""
        environment = os.environ | {"PGPASSWORD": PASSWORDS[role]}
        environment |= {f"{name.upper()}_DB_PASSWORD": PASSWORDS[name] for name in ("prefect", "mlflow")}
        where = ["--host=127.0.0.1", f"--port={self.port}", f"--username={role}", f"--dbname={database}"]
        command = ["psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *where, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def postgres():
    """Yield a fresh server on the loopback, set up by deploy/postgres.sql; it and its files are gone at the end."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    assert initdb, "Postgres is required, got none. Install it: apt install postgresql."
    user = "postgres" if getpass.getuser() == "root" else None  # Postgres refuses root
    folder, server = Path(tempfile.mkdtemp(prefix="postgres-")), Postgres(free_port())
    folder.chmod(0o755)
    data, password = folder / "data", folder / "password"
    password.write_text(PASSWORDS["postgres"])
    data.mkdir(mode=0o700)
    if user:
        shutil.chown(data, user)
    quiet = {"user": user, "cwd": "/", "stdout": subprocess.DEVNULL}
    making = [initdb, f"--pgdata={data}", "--username=postgres", "--auth=scram-sha-256", f"--pwfile={password}"]
    listening = f"-h 127.0.0.1 -p {server.port} -k {data} -c fsync=off"
    control = [Path(initdb).with_name("pg_ctl"), f"--pgdata={data}", "--wait", "--timeout=600"]
    try:
        subprocess.run([*making, "--no-sync"], check=True, **quiet)
        subprocess.run([*control, "start", f"--log={data / 'log'}", f"--options={listening}"], check=True, **quiet)
        try:
            made = server.psql("postgres", "postgres", f"--file={ROOT / 'deploy/postgres.sql'}")
            assert made.returncode == 0, made.stderr
            yield server
        finally:
            subprocess.run([*control, "stop", "--mode=immediate"], check=True, **quiet)
    finally:
        shutil.rmtree(folder)
