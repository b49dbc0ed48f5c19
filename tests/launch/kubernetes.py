# SPDX-License-Identifier: Apache-2.0
"""kubernetes.py FILE: the manifest is YAML, and what one part of it names the others have."""

import sys

try:
    import yaml
except ImportError:
    print("needs PyYAML (Debian: python3-yaml)")
    sys.exit(77)


def main(path):
    with open(path, encoding="utf-8") as file:
        objects = {document["kind"]: document for document in yaml.safe_load_all(file)}
    service, job = objects["Service"], objects["Job"]
    assert (service["apiVersion"], job["apiVersion"]) == ("v1", "batch/v1")
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    variables = {entry["name"]: entry for entry in container["env"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    service_name, job_name = service["metadata"]["name"], job["metadata"]["name"]

    assert spec["completionMode"] == "Indexed" and pod["restartPolicy"] == "Never"
    assert spec["completions"] == spec["parallelism"] == int(variables["WORLD_SIZE"]["value"])
    # A headless service that pods of this job belong to, whether ready or not.
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["selector"] == {"job-name": job_name}
    assert pod["subdomain"] == service_name
    assert variables["MASTER_ADDR"]["value"] == f"{job_name}-0.{service_name}"
    assert service["spec"]["ports"][0]["port"] == int(variables["WEFT_PORT"]["value"])
    field = variables["RANK"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    # The key lies where the variable says, for its owner alone; YAML 1.1 reads 0400 as octal.
    assert variables["WEFT_KEY_FILE"]["value"] == mounts["key"] + "/key"
    assert volumes["key"]["secret"]["defaultMode"] == 0o400
    assert set(mounts) == set(volumes)
    print(f"{path}: {spec['completions']} ranks fit together")


main(sys.argv[1])
