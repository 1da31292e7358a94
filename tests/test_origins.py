"""A run goes on with the pictures it began with, wherever they lie and however they are named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny import make_pictures

from cyclegan_style.config import Config
from cyclegan_style.errors import UserError
from cyclegan_style.runs.origins import ORIGINS_FILE, fingerprint
from cyclegan_style.runs.run_folder import claim_run_folder


@pytest.fixture
def begun(configured, tmp_path, monkeypatch):
    """A run that has measured a step, on pictures below the working directory."""
    monkeypatch.chdir(tmp_path)
    make_pictures(tmp_path / "pics" / "a", 3, seed=0)
    make_pictures(tmp_path / "pics" / "b", 2, seed=1)
    config = configured(data__a="pics/a", data__b="pics/b")
    (claim_run_folder(config) / "metrics.jsonl").write_text('{"step": 2}\n')
    return config


def with_a(config: Config, spec: str) -> Config:
    return replace(config, data=replace(config.data, a=spec))


@pytest.mark.parametrize("spelling", ["pics/a/", "./pics/../pics/a", "{here}/pics/a", "link"])
def test_a_path_may_be_spelled_in_another_way(begun, tmp_path, spelling, capsys):
    (tmp_path / "link").symlink_to("pics/a")

    claim_run_folder(with_a(begun, spelling.format(here=tmp_path)))

    assert capsys.readouterr().err == ""


def test_home_may_be_spelled_in_another_way(begun, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    claim_run_folder(with_a(begun, "~/pics/a"))


def test_paths_are_those_of_the_working_directory_the_run_began_in(begun, tmp_path, monkeypatch):
    make_pictures(tmp_path / "elsewhere" / "pics" / "a", 4, seed=2)
    monkeypatch.chdir(tmp_path / "elsewhere")

    with pytest.raises(UserError, match=r"a was /.* now /.*elsewhere/pics/a, which has other"):
        claim_run_folder(replace(begun, data=replace(begun.data, b="../pics/b")))
    claim_run_folder(replace(begun, data=replace(begun.data, a="../pics/a", b="../pics/b")))


@pytest.mark.parametrize("spec", ["moved", "moved/*.png"])
def test_pictures_may_move(begun, tmp_path, spec, capsys):
    shutil.move(tmp_path / "pics" / "a", tmp_path / "moved")

    claim_run_folder(with_a(begun, spec))
    told = capsys.readouterr().err
    claim_run_folder(with_a(begun, spec))

    assert told == f"data.a: going on with {spec}, which has the same 3 pictures\n"
    assert capsys.readouterr().err == ""
    assert json.loads((tmp_path / "run" / ORIGINS_FILE).read_text())["data.a"]["path"] == str(
        tmp_path / spec
    )


def test_other_pictures_are_refused(begun, tmp_path):
    shutil.copytree(tmp_path / "pics" / "a", tmp_path / "copy")
    with (tmp_path / "copy" / "001.png").open("ab") as file:
        file.write(b"one byte more")

    for spec in ("copy", "pics/b", "demo:photo"):
        with pytest.raises(UserError, match=f"data.a was pics/a and is now {spec}, which has oth"):
            claim_run_folder(with_a(begun, spec))
    claim_run_folder(begun)


def test_a_run_that_began_without_origins_knows_its_paths_alone(begun, tmp_path):
    shutil.copytree(tmp_path / "pics" / "a", tmp_path / "copy")
    (tmp_path / "run" / ORIGINS_FILE).unlink()

    with pytest.raises(UserError, match=r"data\.a was pics/a and is now copy\)"):
        claim_run_folder(with_a(begun, "copy"))
    claim_run_folder(with_a(begun, "./pics/a"))
    claim_run_folder(with_a(begun, "copy"))  # known from here on


def test_damaged_origins_are_as_none(begun, tmp_path):
    for rubbish in ('{"data.a"', "[1]", '{"data.a": {}}', '{"data.a": {"path": 3}}'):
        (tmp_path / "run" / ORIGINS_FILE).write_text(rubbish)
        claim_run_folder(begun)


def test_a_model_to_start_from_may_be_spelled_in_another_way(begun, tmp_path, monkeypatch):
    config = replace(begun, run=replace(begun.run, dir=str(tmp_path / "tuned")))
    tuned = {name: replace(config, train=replace(config.train, start_from=name)) for name in NAMES}
    (claim_run_folder(tuned["model"]) / "metrics.jsonl").write_text('{"step": 2}\n')

    claim_run_folder(tuned["./model/"])
    with pytest.raises(UserError, match=r"train\.start_from was ./model/ and is now other"):
        claim_run_folder(tuned["other"])


NAMES = ("model", "./model/", "other")


def test_the_configuration_keeps_the_words_of_the_user(begun, tmp_path):
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())

    assert written["data"]["a"] == "pics/a"


def test_a_fingerprint_knows_names_sizes_and_order_and_not_the_place(tmp_path):
    make_pictures(tmp_path / "one" / "deep" / "x", 2)
    make_pictures(tmp_path / "one" / "deep" / "y", 1)
    shutil.copytree(tmp_path / "one" / "deep", tmp_path / "two")
    one = fingerprint(str(tmp_path / "one"), "data.a")

    assert one == fingerprint(str(tmp_path / "two"), "data.a")
    assert one["pictures"] == 3
    (tmp_path / "two" / "y").rename(tmp_path / "two" / "w")
    assert one["sha256"] != fingerprint(str(tmp_path / "two"), "data.a")["sha256"]


def test_what_killed_writers_left_is_cleared(begun, tmp_path):
    left = [tmp_path / "run" / place / f".{'0' * 32}.part" for place in (".", "model")]
    (tmp_path / "run" / "model").mkdir()
    for path in left:
        path.write_bytes(b"half")

    claim_run_folder(begun)

    assert not any(map(Path.exists, left))
