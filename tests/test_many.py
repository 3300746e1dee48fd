# SPDX-License-Identifier: Apache-2.0
"""Many connections: at the same time, on two VFs at the same time, and one after the other."""

from __future__ import annotations

import sys

import pytest
from lab import HOST_IP, Lab, vf_ip

pytestmark = pytest.mark.e2e
PY = sys.executable


def echo_on_host(lab: Lab, programs, port: int = 7000):
    server = lab.host([PY, str(programs / "echo_server.py"), HOST_IP, str(port)])
    lab.listening(server, port, lab.net)
    return server


def test_sixty_four_clients_on_one_vf(lab: Lab, programs):
    echo_on_host(lab, programs)
    argv = [PY, str(programs / "echo_many.py"), HOST_IP, "7000", "64", "40000", "1"]
    done = lab.run(0, argv, 240, check=True)
    assert "good 64" in done.stdout
    assert int(done.stdout.split()[-1]) >= 32, f"hardly at the same time: {done.stdout}"


def test_sixty_four_connections_to_one_vf(lab: Lab, programs):
    server = lab.start(0, [PY, str(programs / "echo_server.py"), "0.0.0.0", "7000"])
    lab.reachable(0, 7000, server)
    argv = [PY, str(programs / "echo_many.py"), vf_ip(0), "7000", "64", "40000", "2"]
    done = lab.host_run(argv, 240, check=True)
    assert "good 64" in done.stdout


@pytest.mark.parametrize("lab", [{"vfs": 2}], indirect=True, ids=["vfs"])
def test_two_vfs_at_the_same_time(lab: Lab, programs):
    """Two tenants with the same ports, each with a crowd of clients and a server."""
    echo_on_host(lab, programs)
    argv = [PY, str(programs / "echo_many.py"), HOST_IP, "7000", "32", "30000"]
    runs = [lab.start(vf, [*argv, str(10 + vf)]) for vf in (0, 1)]
    for run in runs:
        assert run.wait(240) == 0, run.tail()
    servers = [
        lab.start(vf, [PY, str(programs / "echo_server.py"), "0.0.0.0", "7000"]) for vf in (0, 1)
    ]
    for vf, server in enumerate(servers):
        lab.reachable(vf, 7000, server)
    many = str(programs / "echo_many.py")
    runs = [lab.host([PY, many, vf_ip(vf), "7000", "32", "30000", str(20 + vf)]) for vf in (0, 1)]
    for run in runs:
        assert run.wait(240) == 0, run.tail()
    vfs = lab.nk_json("stats")["vfs"]
    assert all(vfs[str(vf)]["rx_bytes"] > 1_900_000 for vf in (0, 1))


def test_two_thousand_connections_in_a_row(lab: Lab, programs):
    """1,000 opened by the tenant and 1,000 by the host; every flow and ring entry is free again."""
    echo_on_host(lab, programs)
    lab.nk("nsm", "time_wait_us=1000")
    lab.run(0, [PY, str(programs / "churn.py"), HOST_IP, "7000", "1000"], 300, check=True)
    server = lab.start(0, [PY, str(programs / "echo_server.py"), "0.0.0.0", "7000"])
    lab.reachable(0, 7000, server)
    lab.host_run([PY, str(programs / "churn.py"), vf_ip(0), "7000", "1000"], 300, check=True)
    server.stop()
    lab.all_free()
    c = lab.counters()
    assert c["flows_opened"] >= 2000
    assert c["flows_opened"] == c["flows_closed"]
