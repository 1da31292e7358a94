"""What the image and the cluster are told is there, and is understood."""

import shlex
from fnmatch import fnmatch
from pathlib import Path

import yaml

from cyclegan_style.commands.serve import parse_serve_options

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()


def instructions(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in DOCKERFILE if line.startswith(f"{name} ")]


def test_all_that_is_copied_into_the_image_exists():
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [
        word
        for line in instructions("COPY")
        for word in shlex.split(line)[:-1]
        if not word.startswith("--")
    ]
    assert {"pyproject.toml", "cyclegan_style", "configs", "scripts", "train.py"} <= {*sources}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not any(fnmatch(source, pattern) for pattern in left_out), source


def test_the_image_serves_by_options_that_there_are():
    serve, _ = (yaml.safe_load(line) for line in instructions("ENTRYPOINT"))
    models, _ = (yaml.safe_load(line) for line in instructions("CMD"))
    options = parse_serve_options([*serve, *models][2:])
    assert (serve[:2], options.host, options.port) == (["cyclegan-style", "serve"], "0.0.0.0", 8000)
    assert instructions("EXPOSE") == [str(options.port)]
    assert f"http://127.0.0.1:{options.port}/healthz" in instructions("HEALTHCHECK")[0]


def test_the_cluster_gives_a_server_time_to_end():
    deployment, service = yaml.safe_load_all((ROOT / "docs/kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = parse_serve_options(container["args"])
    assert pod["terminationGracePeriodSeconds"] > options.body_timeout + options.timeout
    assert container["ports"][0]["containerPort"] == options.port
    probes = [container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness")]
    assert probes == ["/healthz", "/readyz"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
