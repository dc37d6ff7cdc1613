"""The files that need an engine which is not here: against their schemas, and by what they promise."""

import json
import re
import shlex
import subprocess
import sys

import jsonschema
import kubernetes_validate
import pathspec
import pytest
import yaml
from prefect.client.schemas.actions import WorkPoolCreate
from tiny import ROOT

from stages.params.file import load_params

COMPOSE = (ROOT / "docker-compose.yaml").read_text()
SERVICES = yaml.safe_load(COMPOSE)["services"]
POOL = json.loads((ROOT / "deploy/kubernetes-pool.json").read_text())
DOCKER_POOL = json.loads((ROOT / "deploy/docker-pool.json").read_text())
SECRET = re.compile(r"PASSWORD|SECRET|AUTH")


def variants():
    file = yaml.safe_load((ROOT / "deploy/prefect-containers.yaml").read_text())
    return {one["name"]: one for one in file["deployments"]}


def worker_schema(kind):
    """What Prefect says of a kind of worker's job variables."""
    from prefect.server.api.collections_data import views

    (folder,) = views.__path__
    with open(f"{folder}/aggregate-worker-metadata.json") as file:
        known = {name: worker for package in json.load(file).values() for name, worker in package.items()}
    return known[kind]["default_base_job_configuration"]["variables"]


def test_the_compose_file_is_one_by_the_specification(tmp_path):
    def checked(path):
        words = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)

    assert checked(ROOT / "docker-compose.yaml").returncode == 0
    (tmp_path / "wrong.yaml").write_text(COMPOSE.replace("depends_on:", "depend_on:"))
    assert "depend_on" in checked(tmp_path / "wrong.yaml").stdout


def test_no_password_has_a_default_and_each_is_required():
    for service, settings in SERVICES.items():
        for name, value in settings.get("environment", {}).items():
            if SECRET.search(name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.*\}", value), (service, name, value)
            elif "://" in value and "@" in value:
                login = re.search(r"://(.*?)@", value)[1]
                assert re.fullmatch(r"([a-z]+|\$\{[A-Z_]+:\?\}):\$\{[A-Z_]+:\?\}", login), (service, name, value)


def test_administrators_passwords_reach_what_creates_users_alone():
    administrators = {
        "POSTGRES_PASSWORD": ["postgres"],
        "MINIO_ROOT_PASSWORD": ["minio", "buckets"],
        "MLFLOW_ADMIN_PASSWORD": ["mlflow", "users"],
    }
    for password, allowed in administrators.items():
        assert [name for name, settings in SERVICES.items() if password in json.dumps(settings)] == allowed
    script = (ROOT / "deploy/minio.sh").read_text()
    for name, bucket in (("mlflow", "mlflow"), ("worker", "dvc"), ("dvc", "dvc")):
        assert re.search(rf'^user {name} "\$\{{MINIO_{name.upper()}_PASSWORD:\?.*\}}" {bucket}$', script, re.MULTILINE)


def test_a_container_has_no_rights_that_it_does_not_need():
    for service, settings in SERVICES.items():
        assert settings["cap_drop"] == ["ALL"], service
        assert settings["security_opt"] == ["no-new-privileges:true"], service
        assert settings["read_only"] is True, service
        assert re.fullmatch(r"\d+[mg]|\$\{WORKER_MEMORY:-\d+g\}", settings["mem_limit"]), service
    networks = yaml.safe_load(COMPOSE)["networks"]
    assert networks == {"data": {"internal": True}}
    reaching = [name for name, settings in SERVICES.items() if "data" in settings.get("networks", ())]
    assert reaching == ["postgres", "prefect", "mlflow"]


@pytest.mark.parametrize("script", ["deploy/minio.sh", "deploy/mlflow.sh"])
def test_a_script_is_one_for_a_plain_shell(script):
    subprocess.run(["sh", "-n", script], cwd=ROOT, check=True)


def test_ports_are_open_to_this_machine_alone_and_images_are_pinned():
    for service, said in SERVICES.items():
        assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in said.get("ports", ())), service
        name, _, tag = said["image"].rpartition(":")
        assert name, service
        assert re.search(r"\d", tag), service


def test_the_example_of_the_environment_names_all_that_is_asked_for_and_no_more():
    asked = set(re.findall(r"\$\{([A-Z_]+):\?", COMPOSE))
    may_be_set = set(re.findall(r"\$\{([A-Z_]+):-", COMPOSE))
    example = (ROOT / "deploy/env.example").read_text()
    assert set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE)) == asked
    assert set(re.findall(r"^# ([A-Z_]+)=", example, re.MULTILINE)) == may_be_set


def test_the_image_installs_what_is_pinned():
    said = (ROOT / "deploy/Dockerfile").read_text()
    assert "--constraint constraints.txt" in said
    assert "--editable '.[cluster,team]'" in said


def test_no_password_comes_into_the_image():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    anchored = [f"/{line}" for line in lines if line and not line.startswith("#")]  # git's patterns hold at any depth
    left_out = pathspec.GitIgnoreSpec.from_lines(anchored).match_file
    for name in (".env", ".env.local", "deploy/.env", ".dvc/config.local", ".dvc/cache/files/md5/00", ".dvc/tmp/lock"):
        assert left_out(name), name
    for name in ("deploy/env.example", "deploy/mlflow.sh", ".dvc/config", "constraints.txt", "flows/cli/app.py"):
        assert not left_out(name), name


def test_no_deployment_has_a_password_which_prefect_would_show_in_clear():
    for deployment, said in variants().items():
        variables = said["work_pool"]["job_variables"]
        assert not [name for name in variables["env"] if SECRET.search(name)], deployment
        assert "prefect.blocks" not in json.dumps(variables), deployment


def test_the_pool_for_docker_asks_prefects_worker_for_what_it_knows():
    WorkPoolCreate(name="g2rpo-docker", type="docker", base_job_template=DOCKER_POOL)
    known, own = worker_schema("docker")["properties"], DOCKER_POOL["variables"]["properties"]
    assert {name: said["type"] for name, said in own.items()} == {name: known[name]["type"] for name in own}
    assert DOCKER_POOL["job_configuration"] == {name: f"{{{{ {name} }}}}" for name in own}
    for schema in (worker_schema("docker"), DOCKER_POOL["variables"]):
        defaults = {name: said["default"] for name, said in own.items() if "default" in said}
        jsonschema.validate(defaults, schema | {"additionalProperties": False})
    secret = own["env"]["default"]["MLFLOW_TRACKING_PASSWORD"]
    block = re.fullmatch(r"\{\{ prefect\.blocks\.secret\.([a-z0-9-]+) \}\}", secret)[1]
    assert f'save("{block}"' in (ROOT / "docs/team.md").read_text()


def test_job_variables_for_docker_are_those_of_prefects_worker():
    schema = worker_schema("docker")
    variables = variants()["nightly-docker"]["work_pool"]["job_variables"]
    jsonschema.validate(variables, schema | {"additionalProperties": False})
    jsonschema.validate(variables, DOCKER_POOL["variables"] | {"additionalProperties": False})
    with pytest.raises(jsonschema.ValidationError, match="volumes|image"):
        jsonschema.validate(variables | {"volumes": "store:/store"}, schema)


def test_a_job_for_kubernetes_is_one_by_the_api_with_the_deployments_variables():
    WorkPoolCreate(name="g2rpo-kubernetes", type="kubernetes", base_job_template=POOL)
    schema, given = POOL["variables"], variants()["nightly-kubernetes"]["work_pool"]["job_variables"]
    jsonschema.validate(given, schema | {"additionalProperties": False})
    by_prefect = {
        "name": "train",
        "labels": {"prefect.io/flow-run-id": "1"},
        "command": ["prefect", "flow-run", "execute"],
    }
    defaults = {name: said["default"] for name, said in schema["properties"].items() if "default" in said}
    values = defaults | given | by_prefect
    values["env"] = [{"name": name, "value": value} for name, value in given["env"].items()]
    assert set(values) >= set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(POOL["job_configuration"])))
    job = filled(POOL["job_configuration"]["job_manifest"], values)
    kubernetes_validate.validate(job, "1.33", strict=True)
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    restricted(job["spec"]["template"]["spec"])
    assert job["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    job["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.33", strict=True)


def restricted(pod):
    """Check a pod against the level "restricted" of Kubernetes' Pod Security Standards."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        rights = container["securityContext"]
        assert (rights["allowPrivilegeEscalation"], rights["capabilities"]) == (False, {"drop": ["ALL"]})


def test_network_policies_are_some_by_the_api_and_close_the_metadata_service():
    policies = list(yaml.safe_load_all((ROOT / "deploy/network-policy.yaml").read_text()))
    for policy in policies:
        kubernetes_validate.validate(policy, "1.33", strict=True)
    assert {kind for policy in policies for kind in policy["spec"]["policyTypes"]} == {"Ingress", "Egress"}
    (https,) = (to["ipBlock"] for to in policies[-1]["spec"]["egress"][-1]["to"])
    assert "169.254.0.0/16" in https["except"]


def filled(template, values):
    """A template with its placeholders replaced, as a worker does it."""
    if isinstance(template, dict):
        return {key: filled(value, values) for key, value in template.items()}
    if isinstance(template, list):
        return [filled(value, values) for value in template]
    if not isinstance(template, str):
        return template
    whole = re.fullmatch(r"\{\{ (\w+) \}\}", template)
    return values[whole[1]] if whole else re.sub(r"\{\{ (\w+) \}\}", lambda found: str(values[found[1]]), template)


def test_the_pods_of_the_ray_job_are_some_by_the_api_and_run_the_shipped_preset():
    job = yaml.safe_load((ROOT / "deploy/kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, "1.33", strict=True)
        restricted(pod["spec"])
        pod["spec"]["containers"][0]["volumeMount"] = []
        with pytest.raises(kubernetes_validate.ValidationError, match="volumeMount"):
            kubernetes_validate.validate(pod, "1.33", strict=True)
    assert "ray[default]" in (ROOT / "pyproject.toml").read_text()  # a RayJob wants Ray's job server
    words = shlex.split(shlex.split(job["spec"]["entrypoint"])[-1])
    params = load_params(ROOT / words[words.index("--params") + 1], [words[words.index("--set") + 1]])
    (workers,) = cluster["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert params.placement.num_runners == workers["replicas"] * int(limits["nvidia.com/gpu"])
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text().split()
