"""Rules and dashboards look at what there is, and alerts fire and resolve when they should."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = [PROMETHEUS / f"{name}.yml" for name in ("thresholds", "recording", "alerts")]
NAME = re.compile(r"\bhivewire[_:][\w:]*")


def rules() -> list[dict]:
    return [rule for file in RULES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def script(path: str) -> ModuleType:
    """One of the programs that write generated files."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@cache
def known() -> set[str]:
    """Every name that a query may use: of a metric or of a rule."""
    return script("docs/metrics_reference.py").names() | {rule["record"] for rule in rules() if "record" in rule}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record") or rule["alert"])
def test_rules_look_at_metrics_that_exist(rule: dict):
    assert set(NAME.findall(rule["expr"])) <= known()


@pytest.mark.parametrize("name", ["operator", "agents", "internals"])
def test_dashboards_look_at_metrics_that_exist(name: str):
    written = (ROOT / "deploy" / "grafana" / "dashboards" / f"{name}.json").read_text()
    assert written == script("deploy/grafana/dashboards.py").text(name), "run `make docs`"
    queries = [target["expr"] for panel in json.loads(written)["panels"] for target in panel["targets"]]
    assert len(queries) > 10
    assert {metric for query in queries for metric in NAME.findall(query)} <= known()


def test_every_threshold_is_read_by_an_alert():
    read = {name for rule in rules() if "alert" in rule for name in NAME.findall(rule["expr"])}
    assert {rule["record"] for rule in rules() if "threshold" in rule.get("record", "")} <= read


def test_alerts_fire_and_resolve():
    if shutil.which("promtool") is None:
        pytest.skip("promtool is missing: install Debian's package prometheus")
    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_shown_firing_and_resolved():
    shown = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    checks = [check for test in shown for check in test["alert_rule_test"]]
    for name in (rule["alert"] for rule in rules() if "alert" in rule):
        assert {bool(check.get("exp_alerts")) for check in checks if check["alertname"] == name} == {True, False}, name
