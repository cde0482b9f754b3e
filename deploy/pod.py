#!/usr/bin/env python3
"""The Deployment of rendered manifests as a Pod, with its ConfigMaps, for `podman kube play`.

podman 4.3 refuses annotations longer than 63 characters, and starts containers again only by
itself: the annotations go, and nothing is restarted. All else stays as it is.
"""

import sys

import yaml

things = [thing for thing in yaml.safe_load_all(sys.stdin) if thing]
[deployment] = [thing for thing in things if thing["kind"] == "Deployment"]
template = deployment["spec"]["template"]
pod = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": deployment["metadata"]["name"], "labels": template["metadata"]["labels"]},
    "spec": {**template["spec"], "restartPolicy": "Never"},
}
maps = [thing for thing in things if thing["kind"] == "ConfigMap"]
yaml.safe_dump_all([*maps, pod], sys.stdout)
