# SPDX-License-Identifier: Apache-2.0
"""Servers that several tests start, and random files."""

from __future__ import annotations

import hashlib
import random
import sys
from pathlib import Path

from lab import HOST_IP, Lab, Program


def random_file(path: Path, size: int, seed: int = 1) -> str:
    """Write a file of random bytes; its SHA-256."""
    r = random.Random(seed)
    digest = hashlib.sha256()
    with path.open("wb") as out:
        while size:
            block = r.randbytes(min(size, 1 << 20))
            digest.update(block)
            out.write(block)
            size -= len(block)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def nginx_argv(folder: Path, root: Path, port: int, workers: int = 1) -> list[str]:
    """An nginx of our own: foreground, everything below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    temp = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; master_process on; worker_processes {workers}; user root;
pid {folder}/nginx.pid; error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
access_log {folder}/access.log; sendfile on; keepalive_timeout 20;
{temp}
server {{ listen {port}; root {root}; location / {{ }} }}
}}
"""
    )
    return ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)]


def http_server(lab: Lab, port: int = 8000) -> Program:
    """A web server on the Linux host that serves the lab's work folder."""
    server = lab.host([sys.executable, "-m", "http.server", str(port), "--bind", HOST_IP])
    lab.listening(server, port, lab.net)
    return server
