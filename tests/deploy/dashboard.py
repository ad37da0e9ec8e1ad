"""The shipped Grafana dashboard: its panels, and their queries as Grafana would send them."""

from __future__ import annotations

import json
from typing import Any

from tests.deploy.prometheus import SHIPPED

DASHBOARD: dict[str, Any] = json.loads(
    (SHIPPED.parent / "grafana" / "dashboards" / "triptych.json").read_text()
)


def filled(query: str, window: str = "20s") -> str:
    """A query with its variables replaced: every model, and a window of at least four scrapes."""
    return query.replace("$__rate_interval", window).replace("$model", ".*")


def panel_queries() -> dict[str, str]:
    """Every query by its panel's title."""
    return {
        f"{panel['title']} {target['refId']}": filled(target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    }


def note_queries() -> dict[str, str]:
    """Every query of an annotation by its name."""
    return {note["name"]: filled(note["expr"]) for note in DASHBOARD["annotations"]["list"]}
