# SPDX-License-Identifier: Apache-2.0
"""Other unmodified programs under GuestLib: redis, iperf3."""

from __future__ import annotations

import json

import pytest
from lab import HOST_IP, Lab, vf_ip

pytestmark = pytest.mark.e2e


def redis_argv(lab: Lab, port: int = 6379) -> list[str]:
    return [
        "redis-server", "--port", str(port), "--bind", "0.0.0.0", "--protected-mode", "no",
        "--dir", str(lab.work), "--dbfilename", "dump.rdb", "--save", "",
    ]  # fmt: skip


def test_redis_server_on_the_card(lab: Lab):
    """redis-server under GuestLib: redis-cli and redis-benchmark of Linux, and a save in a child."""
    server = lab.start(0, redis_argv(lab))
    lab.reachable(0, 6379, server)
    cli = ["redis-cli", "-h", vf_ip(0)]
    assert lab.host_run([*cli, "set", "key", "value " * 1000], check=True).stdout.strip() == "OK"
    assert lab.host_run([*cli, "get", "key"], check=True).stdout.strip() == "value " * 999 + "value"
    bench = ["redis-benchmark", "-h", vf_ip(0), "-t", "set,get,lpush", "-n", "3000", "-c", "20",
             "-d", "200", "-P", "4", "--csv"]  # fmt: skip
    done = lab.host_run(bench, 240, check=True)
    assert done.stdout.count('"') >= 8, done.stdout
    assert "rror" not in done.stdout + done.stderr
    lab.host_run([*cli, "bgsave"], check=True)
    lab.until(
        lambda: (
            "rdb_bgsave_in_progress:0"
            in lab.host_run([*cli, "info", "persistence"], check=True).stdout
        ),
        30,
        "the background save ends",
    )
    info = lab.host_run([*cli, "info", "persistence"], check=True).stdout
    assert "rdb_last_bgsave_status:ok" in info
    assert (lab.work / "dump.rdb").stat().st_size > 1000
    # The parent served on after its child had ended.
    assert lab.host_run([*cli, "get", "key"], check=True).stdout.startswith("value")


def test_redis_clients_on_the_card(lab: Lab):
    server = lab.host(redis_argv(lab))
    lab.listening(server, 6379, lab.net)
    cli = ["redis-cli", "-h", HOST_IP]
    assert lab.run(0, [*cli, "incr", "n"], check=True).stdout.strip() == "1"
    bench = ["redis-benchmark", "-h", HOST_IP, "-t", "ping,set", "-n", "2000", "-c", "10", "--csv"]
    done = lab.run(0, bench, 240, check=True)
    assert "rror" not in done.stdout + done.stderr


def iperf(argv_result: str) -> dict:
    result = json.loads(argv_result)
    assert "error" not in result, result["error"]
    return dict(result["end"])


@pytest.mark.parametrize("reverse", [False, True], ids=["send", "receive"])
def test_iperf3_client_on_the_card(lab: Lab, reverse):
    server = lab.host(["iperf3", "-4", "-s", "-1", "--forceflush"])
    lab.until(lambda: "listening" in server.output(), 20, "iperf3 listens")
    argv = ["iperf3", "-4", "-c", HOST_IP, "-t", "3", "-J", *(["-R"] if reverse else [])]
    end = iperf(lab.run(0, argv, 60, check=True).stdout)
    assert end["sum_received"]["bytes"] > 1_000_000
    assert server.wait(10) == 0, server.tail()


@pytest.mark.parametrize("reverse", [False, True], ids=["receive", "send"])
def test_iperf3_server_on_the_card(lab: Lab, reverse):
    server = lab.start(0, ["iperf3", "-4", "-s", "-1", "--forceflush"])
    lab.until(lambda: "listening" in server.output(), 20, "iperf3 listens")
    argv = ["iperf3", "-4", "-c", vf_ip(0), "-t", "3", "-J", *(["-R"] if reverse else [])]
    end = iperf(lab.host_run(argv, 60, check=True).stdout)
    assert end["sum_received"]["bytes"] > 1_000_000
    assert server.wait(10) == 0, server.tail()


def test_iperf3_parallel_streams(lab: Lab):
    server = lab.host(["iperf3", "-4", "-s", "-1", "--forceflush"])
    lab.until(lambda: "listening" in server.output(), 20, "iperf3 listens")
    argv = ["iperf3", "-4", "-c", HOST_IP, "-t", "3", "-P", "8", "-J"]
    end = iperf(lab.run(0, argv, 60, check=True).stdout)
    assert len(end["streams"]) == 8
    assert all(s["receiver"]["bytes"] > 0 for s in end["streams"])
