"""What tests of the report share: a configuration, a history, and a text that no page may take for markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dl4ds_core.config import Config, parse

TEMPLATE = Path(__file__).resolve().parents[1] / "workflow" / "report" / "report.html.j2"
NASTY = "<script>alert(1)</script> & \"quotes\" 'too'"


def config(**changes: Any) -> Config:
    content: dict[str, Any] = {
        "experiment": "trial",
        "title": "A trial",
        "seeds": [1, 2, 3],
        "sources": {"src": {"paths": ["data/a.nc"], "citation": "Somebody (2020)", "licence": "CC-BY 4.0"}},
        "data": {"predictands": {"t2m": {"source": "src", "variable": "t2m"}}, "scale": 4},
        "split": {"train": ["2001", "2002"], "validation": ["2003", "2003"], "test": ["2004", "2004"]},
        "models": {
            "net": {"backbone": "resnet", "upsampling": "spc"},
            "other": {"backbone": "unet", "upsampling": "pin", "filters": 7},
        },
        "verification": {"baselines": ["bicubic", "nearest"]},
    }
    return parse(content | changes)


def history(best: int = 2) -> pd.DataFrame:
    rmse = [0.5 if epoch == best else 1.0 for epoch in (1, 2, 3)]
    return pd.DataFrame({"epoch": [1, 2, 3], "validation_rmse": rmse, "seconds": [30.0, 20.0, 20.0]}).assign(
        kept=lambda table: (table["validation_rmse"] == table["validation_rmse"].min()).astype(int)
    )
