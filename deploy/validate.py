#!/usr/bin/env python3
"""Checks rendered manifests: `deploy/validate.py FILE.yaml...`, and first, that it can tell.

Built-in kinds by kubernetes-validate (PyPI) in its strict mode, the two kinds it has no schema for by
deploy/schemas. Then what no schema says: that the objects refer to each other by their right names,
and that the pod asks for what the documentation says and no more.
"""

import copy
import json
import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.32"
SCHEMAS = pathlib.Path(__file__).parent / "schemas"
OURS = {
    kind: json.loads((SCHEMAS / f"{kind.lower()}.json").read_text())
    for kind in ("NetworkAttachmentDefinition", "SecurityContextConstraints")
}


class Wrong(Exception):
    """What is wrong with the manifests."""


def demand(truth, sentence):
    if not truth:
        raise Wrong(sentence)


def check_object(thing):
    kind = thing["kind"]
    try:
        if kind not in OURS:
            kubernetes_validate.validate(thing, KUBERNETES, strict=True)
            return
        schema = OURS[kind]
        jsonschema.validate(thing, schema)
        if kind == "NetworkAttachmentDefinition":
            config = json.loads(thing["spec"]["config"])
            jsonschema.validate(config, schema["$defs"]["macvlan"])
    except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
        where = "/".join(map(str, error.path))
        raise Wrong(f"{kind} {thing['metadata'].get('name')}: {where}: {error.message}") from error
    except json.JSONDecodeError as error:
        raise Wrong(f"{kind}: spec/config is not JSON: {error}") from error


def check_together(things):
    by_kind = {}
    for thing in things:
        by_kind.setdefault(thing["kind"], {})[thing["metadata"]["name"]] = thing
    [deployment] = by_kind["Deployment"].values()
    template = deployment["spec"]["template"]
    pod = template["spec"]
    [container] = pod["containers"]

    demand("initContainers" not in pod, "the pod has an init container")
    demand(deployment["spec"]["strategy"]["type"] == "Recreate", "two pods would share an address")
    demand(pod["serviceAccountName"] in by_kind["ServiceAccount"], "the service account is missing")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for volume in volumes.values():
        name = volume.get("configMap", {}).get("name")
        demand(name is None or name in by_kind["ConfigMap"], f"the ConfigMap {name} is missing")
    for mount in container["volumeMounts"]:
        demand(mount["name"] in volumes, f"the volume {mount['name']} is missing")
        demand("subPath" not in mount, f"{mount['name']}: a subPath never sees an update")
    network = template["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"].split("@")[0]
    demand(network in by_kind["NetworkAttachmentDefinition"], f"the network {network} is missing")

    rights = {**pod["securityContext"], **container["securityContext"]}
    expected = {
        "runAsNonRoot": True,
        "runAsUser": 10000,
        "runAsGroup": 10000,
        "seccompProfile": {"type": "RuntimeDefault"},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]},
    }
    demand(rights == expected, f"the pod's rights are {rights}")

    [namespace] = by_kind["Namespace"].values()
    level = namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
    demand(level == "privileged", "the namespace's Pod Security level refuses NET_RAW")
    for name, role in by_kind.get("ClusterRole", {}).items():
        for rule in role["rules"]:
            for constraint in rule["resourceNames"]:
                known = constraint in by_kind["SecurityContextConstraints"]
                demand(known, f"ClusterRole {name}: the SCC {constraint} is missing")
    for name, binding in by_kind.get("RoleBinding", {}).items():
        demand(binding["roleRef"]["name"] in by_kind["ClusterRole"], f"{name}: no such role")
        for subject in binding["subjects"]:
            known = by_kind["ServiceAccount"].get(subject["name"])
            demand(known, f"{name}: no such service account")
            same = known["metadata"]["namespace"] == subject["namespace"]
            demand(same, f"{name}: the service account is in another namespace")
    for scc in by_kind.get("SecurityContextConstraints", {}).values():
        used = {next(key for key in volume if key != "name") for volume in volumes.values()}
        demand(used <= set(scc["volumes"]), f"the SCC forbids {used - set(scc['volumes'])}")
        demand(scc["runAsUser"]["uid"] == rights["runAsUser"], "the SCC has another user")
        demand(scc["allowedCapabilities"] == ["NET_RAW"], "the SCC allows other capabilities")
        demand(scc["allowPrivilegeEscalation"], "the SCC makes the file capability void")


def check(things):
    for thing in things:
        check_object(thing)
    check_together(things)


# Mistakes that must be found: the kind, the path to the key, what is put there (None: removed).
MISTAKES = [
    ("Deployment", "spec/template/spec/containers/0/securityContext/runAsNonRooot", True),
    ("Deployment", "spec/template/spec/containers/0/securityContext/capabilities/add", ["NET_ADMIN"]),
    ("Deployment", "spec/template/spec/containers/0/securityContext/allowPrivilegeEscalation", False),
    ("Deployment", "spec/template/spec/volumes/0/configMap/name", "nowhere"),
    ("Deployment", "spec/template/metadata/annotations/k8s.v1.cni.cncf.io~1networks", "eth7@macvlan0"),
    ("NetworkAttachmentDefinition", "spec/config", '{"cniVersion": "0.3.1", '),
    ("NetworkAttachmentDefinition", "spec/config",
     '{"cniVersion": "0.3.1", "name": "a", "type": "macvlan", "master": "${MACVLAN_MASTER}"}'),
    ("NetworkAttachmentDefinition", "spec/config",
     '{"cniVersion": "0.3.1", "name": "a", "type": "macvlan", "master": "eth0", "mod": "bridge"}'),
    ("NetworkAttachmentDefinition", "spec/configuration", "{}"),
    ("SecurityContextConstraints", "allowPrivilegedContainers", False),
    ("SecurityContextConstraints", "allowedCapabilities", ["CAP_NET_RAW"]),
    ("SecurityContextConstraints", "runAsUser/type", "MustRunAsNobody"),
    ("SecurityContextConstraints", "allowHostPID", None),
    ("SecurityContextConstraints", "volumes", ["configMap"]),
    ("ClusterRole", "rules/0/resourceNames", ["dataplane-4f7chc7h2c"]),
    ("RoleBinding", "subjects/0/namespace", "default"),
    ("Namespace", "metadata/labels/pod-security.kubernetes.io~1enforce", "baseline"),
]


def put(things, kind, path, value):
    """The manifests with one mistake."""
    things = copy.deepcopy(things)
    at = next(thing for thing in things if thing["kind"] == kind)
    *way, last = (part.replace("~1", "/") for part in path.split("/"))
    for part in way:
        at = at[int(part)] if isinstance(at, list) else at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return things


def main(files):
    for file in files:
        things = [thing for thing in yaml.safe_load_all(pathlib.Path(file).read_text()) if thing]
        try:
            check(things)
        except Wrong as error:
            sys.exit(f"{file}: {error}")
        kinds = {thing["kind"] for thing in things}
        mistakes = [mistake for mistake in MISTAKES if mistake[0] in kinds]
        for mistake in mistakes:
            try:
                check(put(things, *mistake))
            except Wrong:
                continue
            sys.exit(f"{file}: this mistake was not found: {mistake}")
        print(f"{file}: {len(things)} objects are right; {len(mistakes)} mistakes were found")


if __name__ == "__main__":
    main(sys.argv[1:])
