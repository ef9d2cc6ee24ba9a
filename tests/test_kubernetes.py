"""The example for Kubernetes: its files fit each other, the program and the commands of the manual.

`make test-kubernetes` also validates them against Kubernetes' own schemas.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

import pytest
from click.testing import CliRunner

from orchestrator.broker.queues import parts_of
from orchestrator.client import submit_cli
from orchestrator.settings import LOG_QUEUE, QUEUE, Settings
from orchestrator.worker import server_cli
from tests.assets import ROOT

yaml = pytest.importorskip("yaml")

FOLDER = ROOT / "docs/kubernetes"
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
METRICS = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")


def documents() -> dict[str, dict]:
    """Every object, by its kind and name."""
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            meta = document.get("metadata", {})
            key = f"{document['kind']} {meta.get('name') or meta.get('generateName') or path.stem}"
            assert key not in found
            found[key] = document
    return found


OBJECTS = documents()
WITH_PODS = [key for key, each in OBJECTS.items() if "template" in each.get("spec", {})]
WORKER = OBJECTS["Deployment yolo-worker"]["spec"]["template"]["spec"]
SCALED = OBJECTS["ScaledObject yolo-worker"]["spec"]


def pod_of(key: str) -> dict:
    return OBJECTS[key]["spec"]["template"]["spec"]


def test_what_is_applied_is_there():
    applied = OBJECTS["Kustomization kustomization"]["resources"]
    left = {path.name for path in FOLDER.glob("*.yaml")} - set(applied)
    assert left == {"kustomization.yaml", "submit.yaml"}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_kustomize_builds_it():
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {each["metadata"]["namespace"] for each in built} == {"yolo"}
    images = {
        each["spec"]["template"]["spec"]["containers"][0]["image"] for each in built if each["kind"] == "Deployment"
    }
    assert images == {pod_of("Job yolo-submit-")["containers"][0]["image"]}


@pytest.mark.parametrize(
    "key", [key for key, each in OBJECTS.items() if "." not in each["apiVersion"].partition("/")[0]]
)
def test_kubernetes_own_schemas(key):
    if os.environ.get("YOLO_ENGINE_REQUIRE_KUBERNETES"):
        import kubernetes_validate
    else:
        kubernetes_validate = pytest.importorskip("kubernetes_validate")
    kubernetes_validate.validate(OBJECTS[key], kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("key", WITH_PODS)
def test_pods_fit_what_they_refer_to(key):
    pod, labels = pod_of(key), OBJECTS[key]["spec"]["template"]["metadata"]["labels"]
    selector = OBJECTS[key]["spec"].get("selector")
    assert selector is None or selector["matchLabels"].items() <= labels.items()
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    volumes |= {each["metadata"]["name"]: {} for each in OBJECTS[key]["spec"].get("volumeClaimTemplates", [])}
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == volumes.keys()
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert f"PersistentVolumeClaim {volume['persistentVolumeClaim']['claimName']}" in OBJECTS
        if "configMap" in volume:
            assert f"ConfigMap {volume['configMap']['name']}" in OBJECTS
    for each in container.get("env", []):
        path = each.get("value", "/")
        assert any(path.startswith(place) for place in mounts.values()) or path == "/", each


@pytest.mark.parametrize("key", WITH_PODS)
def test_pods_have_no_rights_that_they_don_t_need(key):
    pod = pod_of(key)
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"]


def test_a_worker_has_time_for_its_checkpoint():
    assert WORKER["terminationGracePeriodSeconds"] > Settings().grace_s + 30


def test_its_settings_are_settings():
    Settings(**tomllib.loads(OBJECTS["ConfigMap yolo-settings"]["data"]["settings.toml"]))


def test_its_commands_have_these_options():
    commands = {"yolo-server": server_cli.server, "yolo-submit": submit_cli.submit}
    for key in ("Deployment yolo-worker", "Job yolo-submit-"):
        program, *options = pod_of(key)["containers"][0]["command"]
        told = CliRunner().invoke(commands[program], ["--help"]).output
        assert all(option in told for option in options if option.startswith("--")), options
    assert "--drain" in CliRunner().invoke(server_cli.server, ["--help"]).output


def test_the_scaler_counts_every_list_of_the_queues():
    lists = {each["metadata"]["listName"] for each in SCALED["triggers"] if each["type"] == "redis"}
    assert lists == {LOG_QUEUE, *parts_of(QUEUE)}, "the log queue has no priorities"
    (query,) = (each["metadata"]["query"] for each in SCALED["triggers"] if each["type"] == "prometheus")
    for metric in re.findall(r"yolo_\w+", query):
        assert f"`{metric}" in METRICS
    named = {each["authenticationRef"]["name"] for each in SCALED["triggers"] if "authenticationRef" in each}
    assert {f"TriggerAuthentication {name}" for name in named} <= OBJECTS.keys()
    assert SCALED["scaleTargetRef"]["name"] == OBJECTS["Deployment yolo-worker"]["metadata"]["name"]
    assert "replicas" not in OBJECTS["Deployment yolo-worker"]["spec"], "that is the scaler's"


def test_the_manual_makes_the_secrets():
    used = {
        (secret["name"], secret["key"])
        for key in WITH_PODS
        for each in pod_of(key)["containers"][0].get("env", [])
        if (secret := each.get("valueFrom", {}).get("secretKeyRef"))
    }
    keda = OBJECTS["TriggerAuthentication yolo-redis"]["spec"]["secretTargetRef"]
    used |= {(each["name"], each["key"]) for each in keda}
    made = OPERATIONS.replace("\\\n", " ")
    for name, key in used:
        assert re.search(rf"create secret generic {name} .*--from-literal={key}=", made), (name, key)
    configuration = pod_of("StatefulSet redis")["containers"][0]["command"][1]
    assert (
        f"create secret generic yolo-redis --from-file={configuration.rpartition('/')[2]}=docs/redis/redis.conf" in made
    )


def test_the_probe_asks_where_the_worker_answers():
    (container,) = WORKER["containers"]
    (port,) = container["ports"]
    assert container["livenessProbe"]["httpGet"]["port"] == port["name"]
    assert f"0.0.0.0:{port['containerPort']}" in container["command"]
    annotations = OBJECTS["Deployment yolo-worker"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
