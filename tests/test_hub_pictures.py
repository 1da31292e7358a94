"""Domains in data sets of the Hub: the same pictures as in files, and errors in one line."""

import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from pictures import make_images, open_domain
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training

from cyclegan_style.data.hub_pictures import HubAddress, HubError, loaded_rows
from cyclegan_style.data.listing import DomainError, list_images, open_pictures
from cyclegan_style.errors import UserError
from cyclegan_style.runs.origins import fingerprint
from cyclegan_style.runs.run_folder import claim_run_folder
from cyclegan_style.training.style_losses import paintings_of

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module", autouse=True)
def own_library(tmp_path_factory):
    """A cache of these tests' own, and no way to the Hub."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        patched.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patched.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        datasets.disable_progress_bars()
        yield
        datasets.enable_progress_bars()


def write_set(folder: Path, split: str = "train", **columns: Any) -> Path:
    """A split in Parquet, as the Hub holds them; lists of paths and None become pictures."""
    pictures = {
        name: [v and {"bytes": v.read_bytes(), "path": v.name} for v in values]
        for name, values in columns.items()
    }
    count = len(next(iter(pictures.values())))
    features = {name: datasets.Image() for name in pictures} | {"label": datasets.Value("string")}
    rows = datasets.Dataset.from_dict(
        pictures | {"label": ["x"] * count}, features=datasets.Features(features)
    )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folders a and b of five pictures; data set ``set`` of both with two of them as its test."""
    root = tmp_path_factory.mktemp("hub")
    columns = {
        "imageA": make_images(root / "a", 5),
        "imageB": make_images(root / "bb", 5, height=44),
    }
    write_set(root / "set", **columns)
    write_set(root / "set", "test", **{name: paths[:2] for name, paths in columns.items()})
    shutil.copytree(root / "a", root / "images" / "train")
    return root


@pytest.mark.parametrize("memory_budget", [0, 10**9])
@pytest.mark.parametrize("place", ["set?split=train&column=imageA", "images?split=train"])
def test_pictures_are_those_of_the_files(root, place, memory_budget):
    files = open_domain(root / "a", memory_budget=memory_budget)
    domain = open_domain(f"hf://{root}/{place}", memory_budget=memory_budget)

    assert domain.held_count == (len(domain) if memory_budget else 0)
    assert len(domain) == len(set(domain.paths)) == 5
    for number, name in enumerate(domain.paths):
        assert (domain.pixels(number) == files.pixels(number)).all()
        assert (domain.read(name) == files.pixels(number)).all()


def test_pictures_travel_to_workers(root):
    pictures = open_pictures(f"hf://{root}/set?split=test&column=imageB")
    sent = pickle.loads(pickle.dumps(pictures))

    assert (len(sent), sent.name(1)) == (2, root / "set/test/imageB/000001")
    assert sent.size(1) == pictures.read(1, 3).shape[:2]
    assert (sent.read(1, 1) == pictures.read(1, 1)).all()


def test_splits_may_be_joined_and_cut(root):
    assert len(open_pictures(f"hf://{root}/set?split=train+test&column=imageA")) == 7
    assert len(open_pictures(f"hf://{root}/set?split=train[1:3]&column=imageA")) == 2


def test_rows_without_a_picture_are_left_out_and_damaged_ones_named(root, tmp_path, caplog):
    paths = list_images(str(root / "a"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:-600])
    place = write_set(tmp_path / "set", image=[paths[0], None, broken, None, *paths[1:]])

    domain = open_domain(f"hf://{place}", min_readable=0.8)

    assert [path.name for path in domain.paths] == ["000000", *(f"00000{n}" for n in "4567")]
    files = open_domain(root / "a")
    assert all((domain.pixels(n) == files.pixels(n)).all() for n in range(5))
    (record,) = caplog.records
    assert "skipping 1 of 6 images" in record.getMessage()
    assert f"{place}/train/image/000002: damaged" in record.getMessage()
    assert fingerprint(f"hf://{place}", "data.a")["pictures"] == 6


def test_addresses():
    parse = HubAddress.parse
    expected = HubAddress("huggan/horse2zebra", "train", "imageA")
    assert parse("hf://datasets/huggan/horse2zebra?split=train&column=imageA") == expected
    assert parse("hf://datasets/mnist") == HubAddress("mnist")
    assert parse("hf:///my%20set?config=x&revision=y") == HubAddress(
        "/my set", config="x", revision="y"
    )
    for spec in ("hf://user/name", "hf://", "hf://datasets/", "hf:///?split=x", "hf:///a?split="):
        with pytest.raises(HubError, match=r"write hf://datasets/user/name\?split"):
            parse(spec)
    with pytest.raises(HubError, match="colum is none of split, column"):
        parse("hf:///a?colum=image")
    for spec in ("hf:///a?split=x&split=y", "hf:///a#b"):
        with pytest.raises(HubError, match=r"after the \? stands each once"):
            parse(spec)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/nowhere?split=train", "no such folder"),
        ("{root}/set?split=nope", r'Unknown split "nope"\. Should be one of'),
        ("{root}/set?config=nope", "'nope' not found"),
        ("{root}/set", "name a column, .* those with pictures are imageA, imageB"),
        ("{root}/set?column=imageC", "no column imageC; there are imageA, imageB, label"),
        ("{root}/set?column=label", "column label holds no pictures; those with pictures are"),
        ("{root}/empty?column=image", r"\w"),
        ("datasets/user/unknown?split=train", "not in the cache, and the Hub is out of reach"),
    ],
)
def test_what_gives_no_pictures_is_said_in_one_line(root, place, reason):
    (root / "empty").mkdir(exist_ok=True)
    spec = f"hf://{place.format(root=root)}"

    with pytest.raises(DomainError, match=reason) as caught:
        open_domain(spec, field="data.test_a")

    assert str(caught.value).startswith(f"data.test_a: {spec}: ")
    assert "\n" not in str(caught.value)


def test_without_the_extra_the_error_says_what_to_install(root, monkeypatch):
    loaded_rows.cache_clear()
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(DomainError, match=r"pip install 'cyclegan-style\[hub-data\]'"):
        open_pictures(f"hf://{root}/set?column=imageA")


def test_commands_on_folders_refuse_in_one_line(root):
    with pytest.raises(DomainError, match=r"--real: hf://.*: a data set for training; name files"):
        list_images(f"hf://{root}/set?column=imageA", "test", "--real")


def test_a_set_in_the_cache_needs_no_hub(root, tmp_path, monkeypatch):
    """The cache as a download from the Hub would have left it."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    builder = datasets.load_dataset_builder(str(root / "set"))
    built = datasets.builder.DatasetBuilder
    assert isinstance(builder, built)
    prepared = type(builder)(
        cache_dir=str(tmp_path),
        config_name="default",
        dataset_name="name",
        hash="a" * 40,
        data_files=builder.config.data_files,
    )
    prepared.download_and_prepare()
    Path(prepared.cache_dir).parents[1].rename(tmp_path / "default")
    (tmp_path / "user___name").mkdir()
    (tmp_path / "default").rename(tmp_path / "user___name" / "default")

    cached = open_pictures("hf://datasets/user/name?split=train&column=imageA")

    assert (cached.read(3, 3) == open_pictures(str(root / "a")).read(3, 3)).all()
    assert cached.name(3) == Path("user/name/train/imageA/000003")


def test_a_run_goes_on_bit_for_bit_where_it_was_killed(root, configured, monkeypatch):
    fields = {
        **{f"data__{domain}": f"hf://{root}/set?column=image{domain.upper()}" for domain in "ab"},
        "data__test_a": f"hf://{root}/set?split=test&column=imageA",
        "data__memory_budget": "0MB",  # rows are read when they are needed
        "evaluation__every_steps": 6,
        "evaluation__metrics": ("swd",),
        "train__pool_size": 2,
    }
    whole, killed = configured("whole", **fields), configured("killed", **fields)
    run_training(whole)
    with killed_in_step(6, monkeypatch):
        run_training(killed)

    run_training(killed)

    first, second = Path(whole.run.dir), Path(killed.run.dir)
    assert_equal_state(first, second, step=6)
    assert metrics_of(first)[-1]["step"] == metrics_of(second)[-1]["step"] == 6
    assert any("swd_ab" in line for line in metrics_of(first))


def test_a_set_that_has_changed_under_its_name_is_refused(root, configured, tmp_path):
    paths = list_images(str(root / "a"))
    place = write_set(tmp_path / "set", image=paths)
    config = configured(data__a=f"hf://{place}")
    (claim_run_folder(config) / "metrics.jsonl").write_text('{"step": 2}\n')
    claim_run_folder(config)

    write_set(place, image=paths[::-1])
    loaded_rows.cache_clear()  # as a new process begins

    with pytest.raises(UserError, match=r"data\.a was hf://.* which has other pictures"):
        claim_run_folder(config)


def test_a_fingerprint_knows_the_sizes_of_pictures(root):
    of_rows = fingerprint(f"hf://{root}/set?column=imageA", "data.a")

    assert of_rows == fingerprint(f"hf://{root}/images", "data.a")
    assert of_rows == fingerprint(str(root / "a"), "data.a")
    assert of_rows != fingerprint(f"hf://{root}/set?column=imageB", "data.a")


def test_paintings_of_one_style(root, configured):
    config = configured(data__b=f"hf://{root}/set?column=imageB", style__paintings=2)

    paintings = paintings_of(config)

    assert [painting.name for painting in paintings] == ["000000", "000002"]
    assert paintings[0].picture.shape[:2] == (1, 3)
