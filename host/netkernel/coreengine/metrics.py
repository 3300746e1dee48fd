# SPDX-License-Identifier: Apache-2.0
"""CoreEngine's counters for Prometheus: an HTTP endpoint in a thread of its own.

The thread asks CoreEngine over its socket, as any client does, so the card has one user. A scrape
that CoreEngine cannot answer gives `netkernel_up 0` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from netkernel.coreengine import schema as sc
from netkernel.coreengine.client import CoreEngineClient
from netkernel.errors import BadRequest, NkError, PortInUse

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_TIMEOUT_S: Final = 10.0  # Prometheus gives up by itself then


def metrics_address(text: str) -> tuple[str, int]:
    """[HOST:]PORT; without a host only this machine can ask."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
        raise BadRequest(f"{text!r} is not [HOST:]PORT", "Example: --metrics 127.0.0.1:9464")
    return host.strip("[]") or "127.0.0.1", int(port)


class _Collector:
    """Asks CoreEngine at each scrape."""

    def __init__(self, rundir: Path) -> None:
        self._rundir = rundir

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        try:
            with CoreEngineClient(self._rundir, timeout=_TIMEOUT_S) as client:
                status = sc.StatusResult.model_validate(client.request(sc.StatusRequest()))
                rows = client.request(sc.VfList())["vfs"]
                vfs = [sc.VfInfo.model_validate(row) for row in rows]
                stats = client.request(sc.StatsRequest(vf=None, queue_sets=True))
        except NkError:
            yield GaugeMetricFamily("netkernel_up", "1: CoreEngine answers", 0)
            return
        yield GaugeMetricFamily("netkernel_up", "1: CoreEngine answers", 1)
        yield from families(status, vfs, sc.StatsResult.model_validate(stats))


def families(
    status: sc.StatusResult, vfs: Iterable[sc.VfInfo], stats: sc.StatsResult
) -> Iterator[Metric]:
    """Counters and gauges, by name and label."""
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        InfoMetricFamily,
    )

    for name, value in stats.counters.items():
        yield CounterMetricFamily(f"netkernel_{name}", f"{name} of the card", value)
    nqes = CounterMetricFamily("netkernel_nqes", "NQEs by opcode", labels=["op"])
    for op, value in stats.nqes.items():
        nqes.add_metric([op], value)
    yield nqes
    yield GaugeMetricFamily("netkernel_flows_in_use", "sockets", status.card.flows_in_use)
    yield GaugeMetricFamily("netkernel_flows", "sockets built in", status.card.flows)
    yield GaugeMetricFamily("netkernel_leases", "VFs that processes hold", status.leases)

    info = InfoMetricFamily("netkernel_vf", "settings of a VF", labels=["vf"])
    sockets = GaugeMetricFamily("netkernel_vf_sockets", "sockets not free", labels=["vf"])
    for row in vfs:
        label = [str(row.vf)]
        info.add_metric(label, {"ip": row.ip, "nsm": row.nsm, "state": row.state})
        sockets.add_metric(label, row.sockets)
    yield info
    yield sockets
    names = next(iter(stats.vfs.values()), {})
    for name in names:
        family = CounterMetricFamily(f"netkernel_vf_{name}", f"{name} of a VF", labels=["vf"])
        for vf, values in sorted(stats.vfs.items()):
            family.add_metric([str(vf)], values[name])
        yield family
    sets = [
        (str(vf), str(qs), values)
        for vf, of_vf in sorted(stats.queue_sets.items())
        for qs, values in sorted(of_vf.items())
    ]
    for name in sets[0][2] if sets else ():
        family = CounterMetricFamily(
            f"netkernel_queue_set_{name}", f"{name} of a queue set", labels=["vf", "queue_set"]
        )
        for vf_label, qs_label, values in sets:
            family.add_metric([vf_label, qs_label], values[name])
        yield family


class MetricsServer:
    """The endpoint, until `close`."""

    def __init__(self, rundir: Path, host: str, port: int) -> None:
        # Only who wants the endpoint needs the library.
        from prometheus_client import CollectorRegistry, start_http_server

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(rundir))
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            raise PortInUse(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """No more scrapes."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(_TIMEOUT_S)
