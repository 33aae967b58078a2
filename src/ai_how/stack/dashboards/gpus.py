"""The GPUs, as DCGM sees them: how busy, how full, how warm, and what went wrong."""

from __future__ import annotations

from ai_how.stack.dashboards.board import Dashboard, Panel, Query, Row, Unit, Variable

_OF = '{Hostname=~"$node"}'
_NAME = "{{Hostname}} GPU {{gpu}}"


def _panel(title: str, expr: str, unit: Unit = "short", red_above: float | None = None, about: str = "") -> Panel:
    return Panel(title=title, unit=unit, red_above=red_above, about=about, queries=(Query(expr=expr, legend=_NAME),))


BOARD = Dashboard(
    uid="ai-how-gpus",
    title="ai-how / GPUs",
    variables=(Variable(name="node", query="label_values(DCGM_FI_DEV_GPU_UTIL, Hostname)"),),
    rows=(
        Row(
            panels=(
                _panel(
                    "Utilization",
                    f"DCGM_FI_DEV_GPU_UTIL{_OF}",
                    "percent",
                    about="The share of time in which a kernel ran at all. The resource requirements want above 70 % "
                    "at peak load.",
                ),
                _panel(
                    "Memory in use",
                    f"DCGM_FI_DEV_FB_USED{_OF} / (DCGM_FI_DEV_FB_USED{_OF} + DCGM_FI_DEV_FB_FREE{_OF})",
                    "percentunit",
                    about="vLLM takes nearly all of it at its start: full is normal.",
                ),
            )
        ),
        Row(
            panels=(
                _panel("Temperature", f"DCGM_FI_DEV_GPU_TEMP{_OF}", "celsius", 85),
                _panel("Power", f"DCGM_FI_DEV_POWER_USAGE{_OF}", "watt"),
            )
        ),
        Row(
            panels=(
                _panel("SM clock, MHz", f"DCGM_FI_DEV_SM_CLOCK{_OF}", about="It falls when a card is too warm."),
                _panel("Memory copies", f"DCGM_FI_DEV_MEM_COPY_UTIL{_OF}", "percent"),
            )
        ),
        Row(
            panels=(
                _panel(
                    "Last XID error",
                    f"DCGM_FI_DEV_XID_ERRORS{_OF}",
                    about="0 is none. NVIDIA's documentation says what each number means.",
                ),
                _panel("PCIe replays in 5 minutes", f"increase(DCGM_FI_DEV_PCIE_REPLAY_COUNTER{_OF}[5m])"),
            )
        ),
    ),
)
