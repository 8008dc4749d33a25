"""A real Prometheus that scrapes a hive, with the project's rules and thresholds of a test's choosing."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

import yaml

from e2e.up import eventually
from ports import free_port

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
PATIENCE_S = 90.0
_WINDOW = re.compile(r"\[15m\]")


class Prometheus:
    """Scrapes every three seconds. Alerts fire at once, and what looks back minutes looks back ten seconds."""

    def __init__(self, folder: Path, targets: dict[str, str], **thresholds: float) -> None:
        """`targets`: URL of the metrics by service."""
        self._folder = folder
        self._thresholds: dict[str, float] = thresholds
        self._url = f"http://127.0.0.1:{free_port()}"
        self._write("prometheus.yml", self._configuration(targets))
        self._write("recording.yml", _read("recording.yml"))
        self._write("alerts.yml", _hurried(_read("alerts.yml")))
        self._write_thresholds()

    def __enter__(self) -> Self:
        address = self._url.removeprefix("http://")
        options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
        with (self._folder / "prometheus.log").open("w") as log:
            self._process = subprocess.Popen(
                ["prometheus", *options, "--web.enable-lifecycle"], cwd=self._folder, stdout=log, stderr=log
            )
        eventually(self._is_ready)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def expect(self, **thresholds: float) -> None:
        """Other thresholds from now on."""
        self._thresholds |= thresholds
        self._write_thresholds()
        urllib.request.urlopen(urllib.request.Request(f"{self._url}/-/reload", method="POST"), timeout=10).close()

    def value(self, query: str) -> float:
        """What a query gives, as soon as it gives something."""
        found = eventually(lambda: self._get("query", query=query)["result"], PATIENCE_S)
        return float(found[0]["value"][1])

    def firing(self) -> set[str]:
        """The alerts that fire now, with what they are about."""
        alerts = [alert for alert in self._get("alerts")["alerts"] if alert["state"] == "firing"]
        return {f"{alert['labels']['alertname']} {alert['labels'].get('service', '')}".strip() for alert in alerts}

    def fires(self, *names: str) -> None:
        """Wait until these alerts fire."""
        eventually(lambda: set(names) <= self.firing(), PATIENCE_S)

    def resolves(self, *names: str) -> None:
        """Wait until none of these alerts fires."""
        eventually(lambda: not set(names) & self.firing(), PATIENCE_S)

    def _is_ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self._url}/-/ready", timeout=5).status == 200
        except OSError:
            assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
            return False

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def _configuration(self, targets: dict[str, str]) -> dict[str, Any]:
        configuration = _read("prometheus.yml")
        configuration["global"] = {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "1s"}
        (job,) = configuration["scrape_configs"]
        job["static_configs"] = [
            {"targets": [url.removeprefix("http://").removesuffix("/metrics")], "labels": {"service": service}}
            for service, url in targets.items()
        ]
        return configuration

    def _write_thresholds(self) -> None:
        rules = _read("thresholds.yml")
        for rule in rules["groups"][0]["rules"]:
            name = rule["record"].rpartition(":")[2]
            if name in self._thresholds:
                rule["expr"] = f"vector({self._thresholds[name]!r})"
        self._write("thresholds.yml", rules)

    def _write(self, name: str, content: object) -> None:
        (self._folder / name).write_text(yaml.safe_dump(content))


def _read(name: str) -> dict[str, Any]:
    return yaml.safe_load((RULES / name).read_text())


def _hurried(rules: dict[str, Any]) -> dict[str, Any]:
    for rule in rules["groups"][0]["rules"]:
        rule.pop("for", None)
        rule["expr"] = _WINDOW.sub("[10s]", rule["expr"])
    return rules
