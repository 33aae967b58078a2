"""Inference: what vLLM says of its requests, and whether KServe keeps up."""

from __future__ import annotations

from ai_how.stack.dashboards.board import Dashboard, Panel, Query, Row, Variable

_OF = '{model_name=~"$model"}'


def _quantiles(metric: str) -> tuple[Query, ...]:
    return tuple(
        Query(
            expr=f"histogram_quantile({share}, sum by (le, model_name) (rate({metric}_bucket{_OF}[5m])))",
            legend=f"{{{{model_name}}}} P{int(share * 100)}",
        )
        for share in (0.5, 0.95)
    )


def _by_model(function: str) -> tuple[Query, ...]:
    return (Query(expr=f"sum by (model_name) ({function})", legend="{{model_name}}"),)


BOARD = Dashboard(
    uid="ai-how-inference",
    title="ai-how / Inference",
    variables=(Variable(name="model", query="label_values(vllm:num_requests_running, model_name)"),),
    rows=(
        Row(
            panels=(
                Panel(
                    title="Requests finished",
                    unit="reqps",
                    about="The resource requirements want above 50 a second for each GPU.",
                    queries=_by_model(f"rate(vllm:request_success_total{_OF}[5m])"),
                ),
                Panel(
                    title="Whole answer",
                    unit="s",
                    red_above=0.5,
                    about="The resource requirements want P95 below 500 ms.",
                    queries=_quantiles("vllm:e2e_request_latency_seconds"),
                ),
            )
        ),
        Row(
            panels=(
                Panel(title="First token", unit="s", queries=_quantiles("vllm:time_to_first_token_seconds")),
                Panel(title="Between tokens", unit="s", queries=_quantiles("vllm:inter_token_latency_seconds")),
            )
        ),
        Row(
            panels=(
                Panel(
                    title="Requests running and waiting",
                    about="Waiting requests are what scaling out is decided by.",
                    queries=(
                        Query(
                            expr=f"sum by (model_name) (vllm:num_requests_running{_OF})",
                            legend="{{model_name}} running",
                        ),
                        Query(
                            expr=f"sum by (model_name) (vllm:num_requests_waiting{_OF})",
                            legend="{{model_name}} waiting",
                        ),
                    ),
                ),
                Panel(title="In the queue", unit="s", queries=_quantiles("vllm:request_queue_time_seconds")),
            )
        ),
        Row(
            panels=(
                Panel(
                    title="KV cache in use",
                    unit="percentunit",
                    red_above=0.95,
                    about="At 1 requests are put back and computed again.",
                    queries=(
                        Query(
                            expr=f"max by (model_name, pod) (vllm:kv_cache_usage_perc{_OF})",
                            legend="{{model_name}} {{pod}}",
                        ),
                    ),
                ),
                Panel(
                    title="Tokens a second",
                    unit="ops",
                    queries=(
                        Query(
                            expr=f"sum by (model_name) (rate(vllm:prompt_tokens_total{_OF}[5m]))",
                            legend="{{model_name}} read",
                        ),
                        Query(
                            expr=f"sum by (model_name) (rate(vllm:generation_tokens_total{_OF}[5m]))",
                            legend="{{model_name}} written",
                        ),
                    ),
                ),
            )
        ),
        Row(
            panels=(
                Panel(
                    title="KServe: reconciliations",
                    unit="ops",
                    queries=(
                        Query(
                            expr="sum by (controller, result) "
                            '(rate(controller_runtime_reconcile_total{namespace="kserve"}[5m]))',
                            legend="{{controller}} {{result}}",
                        ),
                    ),
                ),
                Panel(
                    title="Replicas of models",
                    queries=(
                        Query(
                            expr='kube_deployment_status_replicas_available{namespace="models"}',
                            legend="{{deployment}} ready",
                        ),
                        Query(expr='kube_deployment_spec_replicas{namespace="models"}', legend="{{deployment}} wanted"),
                    ),
                ),
            )
        ),
    ),
)
