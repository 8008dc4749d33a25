"""What can be checked of the deployment without a container engine."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import trustme
import yaml

from hivewire.cli.app import run
from hivewire.context import VARIABLES
from hivewire_service.embedded import binaries
from hivewire_service.keyring import make_keys
from hivewire_service.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if "hivewire" in service["image"]}


def test_it_has_every_service_and_server():
    assert set(OURS) == {"keys", "broker", "agent-gateway", "tick-engine", "conversation"}
    profiles = {name: service.get("profiles") for name, service in COMPOSE["services"].items()}
    assert {name for name, wanted in profiles.items() if wanted == ["cluster"]} == {"nats-2", "nats-3"}
    assert {name for name, wanted in profiles.items() if wanted == ["monitoring"]} == {"prometheus", "grafana"}


@pytest.mark.parametrize("name", OURS)
def test_its_commands_exist(name, capsys):
    assert run([*OURS[name]["command"], "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_its_environment_is_what_the_services_read():
    known = {f"HIVEWIRE_{field.upper()}" for field in Settings.model_fields} | set(VARIABLES.values())
    assert {name for service in OURS.values() for name in service["environment"]} <= known


def test_its_files_exist():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_nobody_is_root_and_nothing_of_ours_is_written():
    assert "\nUSER 10001:10001\n" in (ROOT / "deploy" / "Dockerfile").read_text()
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in OURS.values())


def test_every_image_is_of_one_version_and_every_server_tells_its_health():
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    images = [service["image"] for service in COMPOSE["services"].values() if "hivewire" not in service["image"]]
    images += re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+\.\d+(\.\d+)?[-\w]*}?$", image)] == []
    assert "\nHEALTHCHECK " in dockerfile
    others = [service for name, service in COMPOSE["services"].items() if name not in OURS]
    assert all("healthcheck" in service for service in others)


def test_no_password_has_a_default_and_every_port_is_of_this_machine():
    text = (ROOT / "docker-compose.yml").read_text()
    assert re.findall(r"\$\{\w*(?:PASSWORD|SECRET|TOKEN)\w*:-[^}]", text) == []
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert [port for port in ports if "127.0.0.1:" not in port] == []


@pytest.mark.parametrize("name", ["single", "cluster", "single-tls", "cluster-tls"])
def test_nats_server_takes_its_configuration(name, tmp_path):
    make_keys(tmp_path, "hive")
    for file in (ROOT / "deploy" / "nats").glob("*.conf"):
        shutil.copy(file, tmp_path)
    shown = trustme.CA().issue_cert("nats-1")
    shown.cert_chain_pems[0].write_to_path(tmp_path / "nats.pem")
    shown.private_key_pem.write_to_path(tmp_path / "nats.key")
    values = {
        name: value.replace("${NATS_CLUSTER_PASSWORD:-}", "a-password")
        for name, value in COMPOSE["x-nats-environment"].items()
    }
    values["NATS_NAME"] = "nats-1"
    values |= {"NATS_TLS_CERT": str(tmp_path / "nats.pem"), "NATS_TLS_KEY": str(tmp_path / "nats.key")}
    values |= {"NATS_ACCOUNTS": str(tmp_path / "accounts"), "NATS_STORE": str(tmp_path / "store")}
    command = [binaries.nats_server(), "-t", "--config", tmp_path / f"{name}.conf"]
    checked = subprocess.run(command, env=os.environ | values, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
