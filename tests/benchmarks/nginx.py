"""An nginx of the bench's own that serves one folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
error_log {folder}/error.log;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    types {{ video/mp4 mp4; }}
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
PATIENCE_S = 5.0


def missing() -> str | None:
    """Return what is missing for a measure that needs nginx and curl."""
    return next((f"{name} missing" for name in ("nginx", "curl") if shutil.which(name) is None), None)


@contextmanager
def serving(root: Path, folder: Path) -> Iterator[str]:
    """Serve *root*, with nginx's own files in *folder*; give the URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = folder / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    configuration.write_text(CONFIGURATION.format(user=user, folder=folder, port=port, root=root), encoding="utf-8")
    with subprocess.Popen(["nginx", "-p", folder, "-e", folder / "error.log", "-c", configuration]) as process:  # noqa: S607 found on the path
        try:
            _await(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _await(port: int) -> None:
    """Return when somebody listens."""
    until = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket() as knock:
            if not knock.connect_ex(("127.0.0.1", port)):
                return
        if time.monotonic() > until:
            raise TimeoutError("nginx did not start")
        time.sleep(0.02)
