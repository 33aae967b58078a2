"""MLflow and what it stands on: its requests, its database, the object store."""

from __future__ import annotations

from ai_how.stack.dashboards.board import Dashboard, Panel, Query, Row

BOARD = Dashboard(
    uid="ai-how-mlflow",
    title="ai-how / MLflow",
    rows=(
        Row(
            panels=(
                Panel(
                    title="Requests to MLflow",
                    unit="reqps",
                    queries=(
                        Query(
                            expr="sum by (method, status) (rate(mlflow_http_request_total[5m]))",
                            legend="{{method}} {{status}}",
                        ),
                    ),
                ),
                Panel(
                    title="Latency, P95",
                    unit="s",
                    queries=(
                        Query(
                            expr="histogram_quantile(0.95, sum by (le, method) "
                            "(rate(mlflow_http_request_duration_seconds_bucket[5m])))",
                            legend="{{method}}",
                        ),
                    ),
                ),
            )
        ),
        Row(
            panels=(
                Panel(
                    title="Size of databases",
                    unit="bytes",
                    queries=(Query(expr="max by (datname) (cnpg_pg_database_size_bytes)", legend="{{datname}}"),),
                ),
                Panel(
                    title="Connections to PostgreSQL",
                    queries=(Query(expr="sum by (state) (cnpg_backends_total)", legend="{{state}}"),),
                ),
            )
        ),
        Row(
            panels=(
                Panel(
                    title="Requests to the object store",
                    unit="reqps",
                    queries=(
                        Query(
                            expr="sum by (type, code) (rate(SeaweedFS_s3_request_total[5m]))",
                            legend="{{type}} {{code}}",
                        ),
                    ),
                ),
                Panel(
                    title="Latency of the object store, P95",
                    unit="s",
                    queries=(
                        Query(
                            expr="histogram_quantile(0.95, sum by (le, type) "
                            "(rate(SeaweedFS_s3_request_seconds_bucket[5m])))",
                            legend="{{type}}",
                        ),
                    ),
                ),
            )
        ),
    ),
)
