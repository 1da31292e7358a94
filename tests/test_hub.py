"""A model goes to the Hub and comes back; a Hub that refuses or is not there costs one line.

The Hub is a server on this machine that answers the client's requests as the real one does for
small files, which travel inside of the commit.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import yaml
from tiny import enlarge_weights, equal_tensors, tiny_config

from cyclegan_style import Predictor
from cyclegan_style.commands.main import main
from cyclegan_style.config import GeneratorConfig, to_yaml
from cyclegan_style.models.export import export_model
from cyclegan_style.models.model_files import LoadedGenerator, load_generator
from cyclegan_style.models.publish import model_card
from cyclegan_style.networks import build_generator
from cyclegan_style.training.cyclegan import build_generators

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Keeps the files of one repository, or refuses every request with a status."""

    refusal: int | None = None
    files: dict[str, bytes]
    created: list[dict[str, object]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.refusal:
            self.answer(self.server.refusal, {"error": "Invalid credentials"})
        elif self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            self.answer(200, {"url": f"{self.server.url}/user/name"})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif self.path == "/api/models/user/name/preupload/main":
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]
            self.answer(200, {"files": modes})
        elif self.path == "/api/models/user/name/commit/main":
            self.commit(body)
        else:
            self.answer(404, {"error": self.path})

    def commit(self, body: bytes) -> None:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                content = base64.b64decode(line["value"]["content"])
                self.server.files[line["value"]["path"]] = content
        url = f"{self.server.url}/user/name/commit/{COMMIT}"
        self.answer(200, {"commitUrl": url, "commitOid": COMMIT, "pullRequestUrl": None})

    def do_GET(self) -> None:
        if self.server.refusal:
            self.answer(self.server.refusal, {"error": "Invalid credentials"})
        elif self.path.startswith("/api/models/user/name/revision/"):
            names = [{"rfilename": name} for name in self.server.files]
            self.answer(200, {"id": "user/name", "sha": COMMIT, "siblings": names})
        elif self.path.startswith("/api/models/user/name/tree/"):
            self.answer(200, [self.entry(name) for name in self.server.files])
        elif file := re.match(r"/user/name/resolve/\w+/(.*)", self.path):
            self.send_file(file[1])
        else:
            self.answer(404, {"error": self.path})

    def do_HEAD(self) -> None:
        self.do_GET()

    def entry(self, name: str) -> dict[str, object]:
        content = self.server.files[name]
        oid = hashlib.sha1(content).hexdigest()
        return {"type": "file", "path": name, "size": len(content), "oid": oid}

    def send_file(self, name: str) -> None:
        if name not in self.server.files:
            self.answer(404, {"error": name}, {"X-Error-Code": "EntryNotFound"})
            return
        content = self.server.files[name]
        etag = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        self.reply(200, content, etag)

    def answer(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        self.reply(status, json.dumps(value).encode(), headers or {})

    def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """A running server that this process takes for the Hub."""
    server = Hub(("127.0.0.1", 0), Handler)
    server.files, server.created = {}, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    use_hub(monkeypatch, server.url, tmp_path)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str, folder) -> None:
    """What HF_ENDPOINT and HF_HUB_CACHE do, which the client reads when it is imported."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.chdir(folder)


@pytest.fixture
def model(tmp_path):
    config = tiny_config(data__a="/home/someone/private", generator__blocks=2)
    generators = build_generators(config)
    enlarge_weights(generators)
    export_model(tmp_path / "run" / "model", generators, to_yaml(config))
    return tmp_path / "run"


def test_a_model_goes_to_the_hub_and_comes_back(hub, model, capsys):
    assert main(["export", str(model), "--push", "user/name", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {"push": f"{hub.url}/user/name"}
    assert hub.created[0]["name"] == "name"
    names = {"README.md", "config.yaml", "generator_ab.safetensors", "generator_ba.safetensors"}
    assert hub.files.keys() == names
    for direction in ("ab", "ba"):
        here, there = load_generator(model, direction), load_generator("user/name", direction)
        assert here.config == there.config
        assert equal_tensors(here.network.state_dict(), there.network.state_dict())
    image = torch.rand(1, 3, 8, 12) * 2 - 1
    predictors = [Predictor.load(m, "ba", "cpu", "fp32") for m in (str(model), "user/name")]
    assert torch.equal(*(predictor.translate_tensor(image) for predictor in predictors))


def test_what_is_published_says_what_the_model_is_and_nothing_of_this_machine(hub, model):
    assert main(["export", str(model), "--push", "user/name", "--private"]) == 0

    # The client has changed the name under which it says so.
    assert hub.created[0].get("private") or hub.created[0].get("visibility") == "private"
    assert not any(b"someone" in content for content in hub.files.values())
    config = yaml.safe_load(hub.files["config.yaml"])
    assert config["generator"]["blocks"] == 2
    card = hub.files["README.md"].decode()
    _, header, text = card.split("---\n")
    assert yaml.safe_load(header)["pipeline_tag"] == "image-to-image"
    assert "resnet with 2 blocks" in text
    assert "--model user/name --direction ab" in text


def test_a_model_card_names_layers_that_the_reference_has_not():
    config = GeneratorConfig(channels=2, blocks=1, upsampling="nearest", skip=True)
    loaded = LoadedGenerator(build_generator(config), config, 3, 3, "ab")

    card = model_card("user/name", {"ab": loaded})

    assert "resnet with 1 blocks, generator.upsampling nearest, generator.skip true," in card


def test_a_model_card_that_someone_wrote_stays(hub, model):
    hub.files["README.md"] = b"my own words"

    assert main(["export", str(model), "--push", "user/name"]) == 0

    assert hub.files["README.md"] == b"my own words"
    assert "generator_ab.safetensors" in hub.files


@pytest.mark.parametrize("trouble", ["unauthorised", "offline", "unreachable"])
def test_a_hub_that_does_not_answer_costs_one_line(hub, model, monkeypatch, capsys, trouble):
    if trouble == "unauthorised":
        hub.refusal = 401
    elif trouble == "offline":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    else:
        use_hub(monkeypatch, "http://127.0.0.1:1", model.parent)
    for arguments in (
        ["export", str(model), "--push", "user/name"],
        ["export", "user/name", "--folder", "mine"],
    ):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        assert "user/name" in printed.err
    assert hub.files == {}
    assert not (model.parent / "mine").exists()


def test_a_name_that_cannot_be_a_repository_costs_one_line(hub, model, capsys):
    assert main(["export", str(model), "--push", "no/such/name"]) == 2
    assert "--push: no/such/name" in capsys.readouterr().err
    assert hub.created == []
