# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs under GuestLib, on the software NSM; their peers are the kernel's."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

SIZE = 6_000_001


def need(program: str) -> str:
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed (make apt)")
    return path


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run_ok(*argv: str | Path, timeout: float = 20) -> str:
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """The kernel's web server, on all loopback addresses: (its folder, port)."""
    root = tmp_path / "www"
    root.mkdir()
    (root / "f.bin").write_bytes(os.urandom(SIZE))
    server = http.server.ThreadingHTTPServer(
        ("0.0.0.0", 0), partial(QuietHandler, directory=str(root))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield root, server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_curl(guest: Any, web: tuple[Path, int], tmp_path: Path) -> None:
    root, port = web
    url = f"http://10.99.0.1:{port}/f.bin"
    run = guest(need("curl"), "-sS", "-o", "a.bin", url, "-o", "b.bin", url, "-o", "c.bin", url)
    code, out = run.wait()
    assert code == 0, out
    assert {sha(tmp_path / f"{n}.bin") for n in "abc"} == {sha(root / "f.bin")}
    run.assert_clean()
    assert run.stats("card")["opened"] == 1  # keep-alive


def test_curl_parallel(guest: Any, web: tuple[Path, int], tmp_path: Path) -> None:
    root, port = web
    run = guest(
        need("curl"), "-sS", "--parallel", "--parallel-max", "20", "--parallel-immediate",
        "-o", "f#1.bin", f"http://10.99.0.1:{port}/f.bin?[1-20]",
    )  # fmt: skip
    code, out = run.wait()
    assert code == 0, out
    assert {sha(tmp_path / f"f{n}.bin") for n in range(1, 21)} == {sha(root / "f.bin")}
    run.assert_clean()


def test_exit_codes(guest: Any) -> None:
    assert guest("sh", "-c", "exit 42").wait()[0] == 42
    assert guest("sh", "-c", "kill -9 $$").wait()[0] == 128 + 9
    code, out = guest("/no/such/program").wait()
    assert code == 127
    assert "/no/such/program" in out
    assert guest("/dev/null").wait()[0] == 126
    code, out = guest(need("curl"), "-sS", "http://10.99.0.1:1/").wait()
    assert code == 7, out  # connection refused


def test_signal_is_forwarded(guest: Any) -> None:
    run = guest("python3", "-c", "import signal,time\nprint('up', flush=True)\ntime.sleep(30)")
    assert run.process.stdout.readline() == "up\n"
    run.process.send_signal(signal.SIGTERM)
    assert run.wait()[0] == 128 + signal.SIGTERM


def test_python_http_server(guest: Any, tmp_path: Path) -> None:
    (tmp_path / "f.bin").write_bytes(os.urandom(SIZE))
    run = guest("python3", "-m", "http.server", "8000")
    run.wait_port(8000)
    for n in range(3):
        run_ok(need("curl"), "-sS", "-o", tmp_path / f"o{n}.bin", f"http://{run.vf}:8000/f.bin")
        assert sha(tmp_path / f"o{n}.bin") == sha(tmp_path / "f.bin")
    run.process.send_signal(signal.SIGINT)
    run.wait()
    run.assert_clean()


def test_python_asyncio(guest: Any, web: tuple[Path, int]) -> None:
    """selectors over epoll, with asyncio's self-pipe beside; 24 connections at a time, a subprocess between."""
    root, port = web
    script = f"""
import asyncio, hashlib
async def fetch(i):
    r, w = await asyncio.open_connection("10.99.0.1", {port})
    w.write(b"GET /f.bin HTTP/1.0\\r\\n\\r\\n")
    data = await r.read(-1)
    w.close()
    return hashlib.sha256(data.split(b"\\r\\n\\r\\n", 1)[1]).hexdigest()
async def main():
    sums = await asyncio.gather(*(fetch(i) for i in range(24)))
    p = await asyncio.create_subprocess_exec("true")
    assert await p.wait() == 0
    print(*set(sums))
asyncio.run(main())
"""
    run = guest("python3", "-c", script)
    code, out = run.wait()
    assert code == 0, out
    assert out.split() == [sha(root / "f.bin")]
    run.assert_clean()


NGINX = """
daemon {daemon}; master_process on; worker_processes 2; pid nginx.pid; error_log error.log info; user root;
events {{ worker_connections 64; }}
http {{
    access_log off; sendfile {sendfile}; tcp_nopush on; keepalive_timeout 5;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    server {{ listen 8080; root .; location /up/ {{ proxy_pass http://10.99.0.1:{upstream}/; proxy_buffering off; }} }}
}}
"""


def start_nginx(
    guest: Any, tmp_path: Path, daemon: str = "off", sendfile: str = "on", upstream: int = 9
) -> Any:
    nginx = need("nginx")
    (tmp_path / "big.bin").write_bytes(os.urandom(SIZE))
    (tmp_path / "nginx.conf").write_text(
        NGINX.format(daemon=daemon, sendfile=sendfile, upstream=upstream)
    )
    run = guest(
        nginx, "-p", tmp_path, "-c", "nginx.conf", "-e", "error.log", card=("--sockets", "64")
    )
    run.wait_port(8080)
    return run


def stop_nginx(run: Any, tmp_path: Path) -> None:
    os.kill(int((tmp_path / "nginx.pid").read_text()), signal.SIGQUIT)
    code, out = run.wait()
    assert code == 0, out + (tmp_path / "error.log").read_text()
    run.assert_clean()


@pytest.mark.parametrize("sendfile", ["on", "off"])
def test_nginx(guest: Any, tmp_path: Path, sendfile: str) -> None:
    """Master and two workers: epoll edge-triggered, accept from a shared listener, writev or sendfile."""
    run = start_nginx(guest, tmp_path, sendfile=sendfile)
    run_ok(
        need("curl"), "-sS", "--parallel", "--parallel-immediate", "--parallel-max", "8",
        "-o", tmp_path / "o#1.bin", f"http://{run.vf}:8080/big.bin?[1-8]",
    )  # fmt: skip
    assert {sha(tmp_path / f"o{n}.bin") for n in range(1, 9)} == {sha(tmp_path / "big.bin")}
    stop_nginx(run, tmp_path)


def test_nginx_reload_and_proxy(guest: Any, web: tuple[Path, int], tmp_path: Path) -> None:
    """Reload replaces the workers under load; as a proxy both of its sides are ours."""
    root, port = web
    run = start_nginx(guest, tmp_path, upstream=port)
    os.kill(int((tmp_path / "nginx.pid").read_text()), signal.SIGHUP)
    for n in range(3):
        run_ok(need("curl"), "-sS", "-o", tmp_path / f"p{n}.bin", f"http://{run.vf}:8080/up/f.bin")
        assert sha(tmp_path / f"p{n}.bin") == sha(root / "f.bin")
    stop_nginx(run, tmp_path)


def test_nginx_as_daemon(guest: Any, tmp_path: Path) -> None:
    """The program itself exits; its descendants are served on until they end."""
    run = start_nginx(guest, tmp_path, daemon="on")
    time.sleep(0.3)
    run_ok(need("curl"), "-sS", "-o", tmp_path / "o.bin", f"http://{run.vf}:8080/big.bin")
    assert sha(tmp_path / "o.bin") == sha(tmp_path / "big.bin")
    stop_nginx(run, tmp_path)


def test_redis(guest: Any) -> None:
    run = guest(
        need("redis-server"), "--port", "6400", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "",
        card=("--sockets", "128"),
    )  # fmt: skip
    run.wait_port(6400)
    out = run_ok(
        need("redis-benchmark"),
        "-h",
        run.vf,
        "-p",
        "6400",
        "-n",
        "4000",
        "-c",
        "40",
        "-q",
        "-t",
        "set,get,lpush",
    )
    assert out.count("requests per second") == 3
    cli = [need("redis-cli"), "-h", run.vf, "-p", "6400"]
    run_ok(*cli, "set", "k", "v" * 100_000)
    assert "started" in run_ok(*cli, "bgsave")
    for _ in range(100):
        if "rdb_bgsave_in_progress:0" in run_ok(*cli, "info", "persistence"):
            break
        time.sleep(0.05)
    assert "rdb_last_bgsave_status:ok" in run_ok(*cli, "info", "persistence")
    assert run_ok(*cli, "get", "k").strip() == "v" * 100_000
    subprocess.run([*cli, "shutdown", "nosave"], check=False, capture_output=True, timeout=10)
    code, text = run.wait()
    assert code == 0, text
    run.assert_clean()


def test_redis_client(guest: Any, tmp_path: Path) -> None:
    """redis-benchmark is the guest: 30 connections out of one event loop."""
    port = 6500 + os.getpid() % 500
    server = subprocess.Popen(
        [
            need("redis-server"),
            "--port",
            str(port),
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--save",
            "",
        ],
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    try:
        time.sleep(0.5)
        run = guest(
            need("redis-benchmark"), "-h", "10.99.0.1", "-p", str(port), "-n", "4000", "-c", "30", "-q", "-t", "set,get",
            card=("--sockets", "48"),
        )  # fmt: skip
        code, out = run.wait()
        assert code == 0, out
        assert out.count("requests per second") == 2
        run.assert_clean()
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize("reverse", [False, True])
def test_iperf3_server(guest: Any, reverse: bool) -> None:
    """iperf3 listens on the dual-stack wildcard and selects."""
    run = guest(need("iperf3"), "-s", "-1", "-p", "5201")
    time.sleep(0.4)
    out = run_ok(
        "iperf3", "-c", run.vf, "-p", "5201", "-n", "20M", "-P", "3", *(["-R"] if reverse else [])
    )
    assert "receiver" in out
    code, text = run.wait()
    assert code == 0, text
    run.assert_clean()


@pytest.mark.parametrize("reverse", [False, True])
def test_iperf3_client(guest: Any, reverse: bool) -> None:
    port = 5300 + os.getpid() % 300 * 2 + reverse
    server = subprocess.Popen(
        [need("iperf3"), "-s", "-1", "-p", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(0.4)
        run = guest(
            "iperf3", "-c", "10.99.0.1", "-p", str(port), "-n", "20M", *(["-R"] if reverse else [])
        )
        code, out = run.wait()
        assert code == 0, out
        assert "receiver" in out
        run.assert_clean()
        server.wait(10)
    finally:
        server.kill()
        server.wait()


def test_killed_server_frees_everything(guest: Any, tmp_path: Path) -> None:
    """kill -9 of master and workers in the middle of transfers: no socket stays held."""
    run = start_nginx(guest, tmp_path)
    load = subprocess.Popen(
        [
            need("curl"),
            "-sS",
            "--limit-rate",
            "2M",
            "-o",
            "/dev/null",
            f"http://{run.vf}:8080/big.bin",
        ],
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.3)
    children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()
    assert len(children) == 1  # the supervisor
    master = int((tmp_path / "nginx.pid").read_text())
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    for pid in [master, *map(int, workers)]:
        os.kill(pid, signal.SIGKILL)
    code, out = run.wait()
    assert code == 128 + 9, out
    load.kill()
    load.wait()
    guestd = run.stats("guestd")
    assert guestd["held"] == 0
    assert guestd["violations"] == 0
