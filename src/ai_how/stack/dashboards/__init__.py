"""Grafana's dashboards as code: one module a dashboard, and the names of metrics that their queries may use."""
