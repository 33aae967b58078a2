"""The cluster: are nodes and pods well, and how full are processors, memory, disks and volumes."""

from __future__ import annotations

from ai_how.stack.dashboards.board import Dashboard, Panel, Query, Row
from ai_how.stack.promql import ROOT_DISKS

BOARD = Dashboard(
    uid="ai-how-cluster",
    title="ai-how / Cluster",
    rows=(
        Row(
            height=4,
            panels=(
                Panel(
                    title="Nodes not ready",
                    kind="stat",
                    red_above=1,
                    queries=(
                        Query(expr='sum(kube_node_status_condition{condition="Ready",status!="true"}) or vector(0)'),
                    ),
                ),
                Panel(
                    title="Pods that do not run",
                    kind="stat",
                    red_above=1,
                    queries=(Query(expr='sum(kube_pod_status_phase{phase=~"Pending|Failed|Unknown"}) or vector(0)'),),
                ),
                Panel(
                    title="Restarts in an hour",
                    kind="stat",
                    red_above=3,
                    queries=(Query(expr="sum(increase(kube_pod_container_status_restarts_total[1h])) or vector(0)"),),
                ),
                Panel(
                    title="Alerts firing",
                    kind="stat",
                    red_above=1,
                    queries=(
                        Query(
                            expr='count(ALERTS{alertstate="firing",alertname!~"Watchdog|InfoInhibitor"}) or vector(0)'
                        ),
                    ),
                ),
            ),
        ),
        Row(
            panels=(
                Panel(
                    title="Processors in use",
                    unit="percentunit",
                    queries=(
                        Query(
                            expr='1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))',
                            legend="{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    title="Memory in use",
                    unit="percentunit",
                    red_above=0.9,
                    queries=(
                        Query(
                            expr="1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
                            legend="{{instance}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            panels=(
                Panel(
                    title="Asked for by pods, of what nodes can give: processors",
                    unit="percentunit",
                    red_above=1,
                    about="At 1 no further pod that asks for a processor finds a place on that node.",
                    queries=(
                        Query(
                            expr='sum by (node) (kube_pod_container_resource_requests{resource="cpu"})'
                            ' / sum by (node) (kube_node_status_allocatable{resource="cpu"})',
                            legend="{{node}}",
                        ),
                    ),
                ),
                Panel(
                    title="Asked for by pods, of what nodes can give: memory",
                    unit="percentunit",
                    red_above=1,
                    queries=(
                        Query(
                            expr='sum by (node) (kube_pod_container_resource_requests{resource="memory"})'
                            ' / sum by (node) (kube_node_status_allocatable{resource="memory"})',
                            legend="{{node}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            panels=(
                Panel(
                    title="Root disks in use",
                    unit="percentunit",
                    red_above=0.85,
                    about="At 0.85 the kubelet removes images, and evicts pods if that is not enough.",
                    queries=(
                        Query(
                            expr=f"1 - node_filesystem_avail_bytes{{{ROOT_DISKS}}} "
                            f"/ node_filesystem_size_bytes{{{ROOT_DISKS}}}",
                            legend="{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    title="Volumes in use",
                    unit="percentunit",
                    red_above=0.85,
                    about="Volumes of local-path are folders that report nothing: see the root disks.",
                    queries=(
                        Query(
                            expr="max by (namespace, persistentvolumeclaim) "
                            "(kubelet_volume_stats_used_bytes / kubelet_volume_stats_capacity_bytes)",
                            legend="{{namespace}}/{{persistentvolumeclaim}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            panels=(
                Panel(
                    title="Network received",
                    unit="Bps",
                    queries=(
                        Query(
                            expr='sum by (instance) (rate(node_network_receive_bytes_total{device!~"lo|cali.*"}[5m]))',
                            legend="{{instance}}",
                        ),
                    ),
                ),
                Panel(
                    title="Network sent",
                    unit="Bps",
                    queries=(
                        Query(
                            expr='sum by (instance) (rate(node_network_transmit_bytes_total{device!~"lo|cali.*"}[5m]))',
                            legend="{{instance}}",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
