"""Domains in tar shards: the same pictures as in files, by an index, here and in stores."""

import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pictures import make_images, open_domain
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training
from shard_server import FileServer, serving_files

from cyclegan_style.commands.main import main
from cyclegan_style.data import domains, storage
from cyclegan_style.data.domains import ImageDomain
from cyclegan_style.data.listing import DomainError, list_images, open_pictures
from cyclegan_style.data.sampling import UnpairedBatchSampler, UnpairedDataset, training_loader
from cyclegan_style.data.shard_pictures import ShardPictures, expanded, names_shards
from cyclegan_style.data.storage import StorageError
from cyclegan_style.data.tar_index import Shard, build_index, find_index
from cyclegan_style.errors import UserError
from cyclegan_style.runs.origins import fingerprint
from cyclegan_style.runs.run_folder import claim_run_folder


def write_shards(folder: Path, paths: list[Path], each: int = 2) -> str:
    """Shards of so many pictures, among files that are none."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(paths), each)
    for number, start in enumerate(starts):
        with tarfile.open(folder / f"s-{number:02}.tar", "w") as tar:
            tar.add(folder, "./pictures", recursive=False)
            for path in paths[start : start + each]:
                tar.add(path, f"./pictures/{path.name}")
                tar.add(__file__, f"./pictures/{path.stem}.json")
                tar.add(path, f"./pictures/.{path.name}")
    return f"{folder}/s-{{00..{len(starts) - 1:02}}}.tar"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Folders a and b of five pictures each, and folders of shards of the same."""
    root = tmp_path_factory.mktemp("shards")
    for name in ("a", "bb"):
        write_shards(root / f"shards-{name}", make_images(root / name, 5))
    return root


def shards(root: Path, name: str = "a") -> str:
    return f"{root}/shards-{name}/s-{{00..02}}.tar"


@pytest.fixture
def impatient(monkeypatch):
    """Stores are asked three times, without a pause."""
    monkeypatch.setattr(storage, "PAUSES", (0.0, 0.0))


@pytest.fixture
def server(root, impatient) -> Iterator[FileServer]:
    with serving_files() as server:
        for path in root.glob("shards-*/*.tar"):
            server.files[f"/{path.relative_to(root)}"] = path.read_bytes()
        yield server


@pytest.fixture
def memory(root) -> Iterator[str]:
    """A store of fsspec that has what the folder has."""
    store = fsspec.filesystem("memory")
    for path in [*root.glob("shards-*/*.tar"), *root.glob("a/*")]:
        store.pipe(f"/bucket/{path.relative_to(root)}", path.read_bytes())
    yield "memory://bucket"
    store.rm("/bucket", recursive=True)


def assert_same_pictures(domain: ImageDomain, files: ImageDomain) -> None:
    assert len(domain) == len(set(domain.paths)) == len(files)
    for number, name in enumerate(domain.paths):
        assert (domain.pixels(number) == files.pixels(number)).all()
        assert (domain.read(name) == files.pixels(number)).all()
        assert name in domain.paths


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


# On this machine


@pytest.mark.parametrize("memory_budget", [0, 10**9])
@pytest.mark.parametrize("place", ["s-{00..02}.tar", "s-0{0..2}.tar", "s-*.tar"])
def test_pictures_are_those_of_the_files(root, place, memory_budget):
    files = open_domain(root / "a", memory_budget=memory_budget)
    domain = open_domain(f"{root}/shards-a/{place}", memory_budget=memory_budget)

    assert domain.held_count == files.held_count == (len(files) if memory_budget else 0)
    assert_same_pictures(domain, files)
    assert root / "shards-a" / "s-00.tar" not in domain.paths
    found = domain.pictures
    assert [found.find(name) for name in domain.paths] == [0, 1, 2, 3, 4]
    for other in ("s-00.tar/s-00-0000002", "s-00.tar/s-01-0000001", "s-00.tar/1", "x.tar/0000000"):
        assert found.find(root / "shards-a" / other) is None
    with pytest.raises(KeyError):
        domain.read(root / "a" / "000.png")


def test_samples_are_those_of_the_files(root):
    """The same seeds draw the same samples, in any number of workers."""

    def samples(spec: Path | str, workers: int) -> list[np.ndarray]:
        domain = open_domain(spec, memory_budget=0)
        dataset = UnpairedDataset({"a": domain, "b": domain}, (32, 32), flip=True)
        sampler = UnpairedBatchSampler(dataset.sizes, 2, 7, 1)
        loader = training_loader(dataset, sampler, workers, pin_memory=False)
        return [batch[name].numpy() for batch in loader for name in "ab"]

    expected = samples(root / "a", 0)
    for workers in (0, 2):
        for one, other in zip(samples(shards(root), workers), expected, strict=True):
            assert (one == other).all()


def test_pictures_travel_to_workers(root):
    pictures = open_pictures(shards(root))
    sent = pickle.loads(pickle.dumps(pictures))

    assert (len(sent), sent.name(3)) == (5, root / "shards-a/s-01.tar/s-01-0000001")
    assert sent.size(3) == pictures.read(3, 3).shape[:2] == sent.read(3, 1).shape[:2]
    for number in (-1, 5):
        with pytest.raises(IndexError):
            sent.read(number, 3)


def test_only_so_many_files_are_open(root, tmp_path):
    paths = list_images(str(root / "a"))
    many = open_pictures(write_shards(tmp_path, paths * 40, each=1))
    storage._opened.cache_clear()
    before = open_files()

    sizes = [many.size(number) for number in range(200)]

    assert sizes == [many.read(number, 3).shape[:2] for number in range(5)] * 40
    assert open_files() <= before + 128
    assert storage._opened.cache_info().misses > 400


def test_a_file_stays_open_while_it_is_read(root, monkeypatch):
    """Other threads may open so many more meanwhile that it is the first to be closed."""
    pictures = open_pictures(shards(root))
    expected = pictures.read(0, 3)
    read = os.pread

    def read_when_closed_by_others(*arguments: int) -> bytes:
        storage._opened.cache_clear()
        return read(*arguments)

    monkeypatch.setattr(os, "pread", read_when_closed_by_others)
    assert (pictures.read(0, 3) == expected).all()


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("a{08..11}b", ["a08b", "a09b", "a10b", "a11b"]),
        ("{9..11}", ["9", "10", "11"]),
        ("{0..1}-{00..01}", ["0-00", "0-01", "1-00", "1-01"]),
        ("a{b}{1,2}", ["a{b}{1,2}"]),
    ],
)
def test_braces(text, texts):
    assert list(expanded(text)) == texts


def test_what_is_written_as_shards(tmp_path):
    (tmp_path / "folder.tar").mkdir()
    for spec in (
        "a.tar",
        "A.TAR#b.jpg",
        "s3://b/x-*.tar",
        "https://h/x.tar?sign=a%2Fb#jpg",
        "a.tgz",
    ):
        assert names_shards(spec)
    for spec in (
        "a.tar/b",
        "a.jpg",
        "a.tar.jpg",
        "a.tar.index",
        "tar",
        str(tmp_path / "folder.tar"),
    ):
        assert not names_shards(spec)


def test_an_ending_chooses_among_the_pictures_of_a_sample(root, tmp_path):
    paths = list_images(str(root / "a"))
    with tarfile.open(tmp_path / "pairs.tar", "w") as tar:
        for number, path in enumerate(paths):
            tar.add(path, f"{number}.photo.PNG")
            tar.add(paths[-1 - number], f"{number}.painting.png")
            tar.add(path, f"{number}.picture")

    photos, paintings, unnamed = (
        open_domain(f"{tmp_path}/pairs.tar#{ending}")
        for ending in ("photo.png", "painting.png", "picture")
    )

    files = open_domain(root / "a")
    assert_same_pictures(photos, files)
    assert_same_pictures(unnamed, files)
    assert (paintings.pixels(0) == files.pixels(4)).all()
    assert len(open_pictures(f"{tmp_path}/pairs.tar")) == 10
    assert not set(photos.paths) & set(paintings.paths)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("s-{00..03}.tar", r"s-03\.tar: no such file"),
        ("nothing-*.tar", "no such shards"),
        ("s-{2..0}.tar", r"\{2\.\.0\} must count up, as in photos-\{000\.\.099\}\.tar"),
        ("s-{0..99999999}.tar", "must count up"),
        ("s-0{0,0}.tar", r"s-0\{0,0\}\.tar: no such file"),
        ("s-00.tar#", r"after the # stands what the pictures' names end in"),
        ("s-00.tar#webp", r"no picture there; files count that end in \.webp"),
        ("s-00.tar.gz", "no picture of a compressed tar is had by itself"),
        ("../cut.tar", r"cut\.tar: is cut off or damaged"),
        ("../zipped.tar", r"zipped\.tar: is compressed \(gzip\)"),
        ("../empty.tar", r"empty\.tar: is empty"),
        ("../text.tar", r"text\.tar: is not a tar"),
        ("../no-pictures.tar", r"no picture there; files count that end in \.avif"),
        ("\0.tar", "null byte"),
    ],
)
def test_what_gives_no_pictures_is_said_in_one_line(root, place, reason):
    whole = (root / "shards-a/s-00.tar").read_bytes()
    (root / "cut.tar").write_bytes(whole[:3000])
    with tarfile.open(root / "zipped.tar", "w:gz") as tar:
        tar.add(root / "a/000.png")
    (root / "empty.tar").touch()
    (root / "text.tar").write_text("text" * 300)
    with tarfile.open(root / "no-pictures.tar", "w") as tar:
        tar.add(__file__, "a.py")
    spec = f"{root}/shards-a/{place}"

    with pytest.raises(DomainError, match=reason) as caught:
        open_domain(spec, field="data.test_a")

    assert str(caught.value).startswith(f"data.test_a: {spec}: ".replace("\0", "\\x00"))
    assert "\n" not in str(caught.value)
    assert not list(root.glob("**/*.part"))


def test_commands_on_folders_refuse_in_one_line(root):
    for spec in (shards(root), "s3://bucket/folder"):
        with pytest.raises(DomainError, match=r"--real: .*: is for training; name files"):
            list_images(spec, "test", "--real")


def test_a_damaged_picture_is_called_by_its_name_in_the_tar(root, tmp_path, caplog):
    paths = list_images(str(root / "a"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(paths[0].read_bytes()[:-600])
    spec = write_shards(tmp_path / "shards", [paths[0], broken, *paths[1:]])

    domain = open_domain(spec, min_readable=0.8)

    assert len(domain) == 5
    (record,) = caplog.records
    assert "s-00.tar/s-00-0000001 (./pictures/broken.png): damaged" in record.getMessage()
    assert domain.pictures.name(1) not in domain.paths
    with pytest.raises(DomainError, match=r"only 5 of 6 images are readable \(such as .*broken"):
        open_domain(spec, min_readable=0.9)


# The index


def test_an_index_is_built_once_and_anew_when_the_shard_has_changed(root, tmp_path):
    paths = list_images(str(root / "a"))
    spec = write_shards(tmp_path, paths)
    open_pictures(spec)
    files = sorted(tmp_path.glob("*.tar.index"))
    assert len(files) == 3
    indexed = [file.stat().st_mtime_ns for file in files]

    assert len(open_pictures(spec)) == 5
    assert [file.stat().st_mtime_ns for file in files] == indexed

    before = fingerprint(spec, "data.a")
    write_shards(tmp_path, paths[::-1])
    again = open_pictures(spec)
    assert (again.read(4, 3) == open_pictures(str(root / "a")).read(0, 3)).all()
    assert fingerprint(spec, "data.a") != before
    shutil.copytree(tmp_path, tmp_path / "moved")
    moved = f"{tmp_path}/moved/s-*.tar"
    assert fingerprint(moved, "data.a") == fingerprint(spec, "data.a")
    assert fingerprint(spec, "data.a")["pictures"] == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + bytes(16),
        lambda content: content[16:],
        lambda content: content.replace(b'"pictures": 2', b'"pictures": 3'),
        lambda content: content.replace(b'"pictures": 2', b'"pictures":[]'),
        lambda content: content.replace(b'"pictures": 2', b'"pictures": 1e999'),
        lambda content: content.replace(b"index 1", b"index 0"),
        lambda content: b"[" * 511 + content[511:],
        lambda content: b"",
    ],
)
def test_a_damaged_index_is_built_anew(root, tmp_path, damage):
    spec = write_shards(tmp_path, list_images(str(root / "a")))
    open_pictures(spec)
    file = tmp_path / "s-01.tar.index"
    good = file.read_bytes()
    file.write_bytes(damage(good))

    assert len(open_pictures(spec)) == 5
    assert file.read_bytes() == good


def test_indexing_goes_on_where_it_was_interrupted(root, tmp_path, monkeypatch):
    spec = write_shards(tmp_path, list_images(str(root / "a")))
    built = []

    def build(shard: Shard) -> object:
        built.append(shard.address)
        if len(built) == 2:
            raise RuntimeError("killed")
        return build_index(shard)

    monkeypatch.setattr("cyclegan_style.data.shard_pictures.build_index", build)
    monkeypatch.setattr("cyclegan_style.data.shard_pictures._THREADS", 1)
    with pytest.raises(RuntimeError, match="killed"):
        open_pictures(spec)
    assert len(open_pictures(spec)) == 5
    assert built.count(built[0]) == 1
    built.clear()
    open_pictures(spec)
    assert not built


def test_where_nothing_can_be_written_the_index_lies_in_the_cache(root, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    spec = write_shards(tmp_path / "shards", list_images(str(root / "a")))
    for number in range(3):  # what even root cannot replace by a file
        (tmp_path / f"shards/s-{number:02}.tar.index/x").mkdir(parents=True)

    assert len(open_pictures(spec)) == len(open_pictures(spec)) == 5

    assert len(list((tmp_path / "cache").glob("shard-indexes/*.index"))) == 3
    assert not list(tmp_path.glob("**/*.part"))


def test_a_shard_that_is_replaced_while_it_is_read_ends_the_run(root, tmp_path):
    spec = write_shards(tmp_path, list_images(str(root / "a")))
    domain = open_domain(spec, memory_budget=0)
    write_shards(tmp_path, list_images(str(root / "bb")))
    storage._opened.cache_clear()

    with pytest.raises(StorageError, match=r"s-00\.tar: has changed .*; start again"):
        domain.pixels(0)


# In stores


def test_pictures_in_stores_are_those_of_the_files(root, memory, server, capsys):
    files = open_domain(root / "a")
    for place in (memory, server.url):
        domain = open_domain(f"{place}/shards-a/s-{{00..02}}.tar", progress=True)
        assert domain.held_count == 0
        assert_same_pictures(domain, files)
        assert "5 of 5 images were looked at" in capsys.readouterr().err
    assert_same_pictures(open_domain(f"{memory}/shards-a/*.tar"), files)
    assert_same_pictures(open_domain(f"{memory}/a"), files)
    assert_same_pictures(open_domain(f"{memory}/a/*.png"), files)
    assert fingerprint(f"{memory}/a", "data.a") == fingerprint(str(root / "a"), "data.a")


def test_workers_read_from_stores(root, memory, server):
    for place in (memory, server.url):
        domain = open_domain(f"{place}/shards-a/s-{{00..02}}.tar")
        dataset = UnpairedDataset({"a": domain}, (32, 32), flip=False)
        sampler = UnpairedBatchSampler((5,), 1, 7, 1)
        loaders = [training_loader(dataset, sampler, workers, False) for workers in (0, 2)]
        alone, together = ([batch["a"].numpy() for batch in loader] for loader in loaders)
        assert all((one == other).all() for one, other in zip(alone, together, strict=True))


def test_each_process_reads_its_own_pictures_alone(root, server):
    """Two processes of one run: what they ask the server for is disjoint, and together all."""
    pictures = open_pictures(f"{server.url}/shards-a/s-{{00..02}}.tar")
    assert isinstance(pictures, ShardPictures)
    sampler = UnpairedBatchSampler((5,), 1, 7, 1)
    batches = [[key.first for key in batch] for batch in sampler]
    asked = []
    for process in range(2):
        server.asked.clear()
        for batch in batches[process::2]:
            pictures.read(batch[0], 3)
        asked.append(set(server.asked))

    assert not asked[0] & asked[1]
    assert sorted(length for part in asked for _, _, length in part) == sorted(
        path.stat().st_size for path in (root / "a").iterdir()
    )


def test_an_index_beside_a_shard_saves_reading_the_shard(root, server, tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    open_pictures(shards(root))  # which writes them
    for path in root.glob("shards-a/*.index"):
        server.files[f"/shards-a/{path.name}"] = path.read_bytes()

    pictures = open_pictures(f"{server.url}/shards-a/s-{{00..02}}.tar?sign=x")

    assert {length for path, _, length in server.asked if path.endswith(".tar")} == {1}
    assert (pictures.read(3, 3) == open_pictures(str(root / "a")).read(3, 3)).all()
    assert len(list(tmp_path.glob("shard-indexes/*"))) == 3
    server.asked.clear()
    open_pictures(f"{server.url}/shards-a/s-{{00..02}}.tar?sign=y")  # signed anew
    assert [length for _, _, length in server.asked] == [1, 1, 1]


@pytest.mark.parametrize("damage", ["another", "beyond", "short"])
def test_an_index_beside_a_shard_is_not_trusted(root, server, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    index = build_index(Shard(str(root / "shards-a/s-00.tar")))
    content = Path(index.file).read_bytes()
    server.files["/shards-a/s-00.tar.index"] = {
        "another": content.replace(b'"size": ', b'"size": 1'),
        "beyond": content[:-8] + b"\xff" * 8,
        "short": content[:-3],
    }[damage]

    pictures = open_pictures(f"{server.url}/shards-a/s-00.tar")

    assert (pictures.read(1, 3) == open_pictures(str(root / "a")).read(1, 3)).all()


def test_what_breaks_off_or_fails_for_a_moment_is_asked_for_again(root, server):
    pictures = open_pictures(f"{server.url}/shards-a/s-{{00..02}}.tar")
    expected = open_pictures(str(root / "a")).read(2, 3)

    server.breaks_off[:] = [100, 0]
    assert (pictures.read(2, 3) == expected).all()
    server.statuses[:] = [503, 429]
    assert (pictures.read(2, 3) == expected).all()
    server.breaks_off[:] = [100, 0, 7]
    with pytest.raises(StorageError, match=r"s-01\.tar: out of reach, asked 3 times \("):
        pictures.read(2, 3)
    server.statuses[:] = [500] * 3
    with pytest.raises(StorageError, match=r"asked 3 times \(the server answers 500\)"):
        pictures.read(2, 3)


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "the server answers 403 Forbidden"), (404, "no such file there")]
)
def test_what_a_server_refuses_is_said_in_one_line(server, status, reason):
    server.statuses[:] = [status]
    with pytest.raises(DomainError, match=reason):
        open_pictures(f"{server.url}/shards-a/s-00.tar?secret=x")


def test_a_server_without_parts_is_refused(root, server):
    server.knows_range = False
    with pytest.raises(DomainError, match=r"sends whole files only, no parts \(Range\); copy"):
        open_pictures(f"{server.url}/shards-a/s-00.tar")


def test_a_shard_that_changes_in_its_store(root, server):
    spec = f"{server.url}/shards-a/s-00.tar"
    pictures = open_pictures(spec)
    server.files["/shards-a/s-00.tar"] = server.files["/shards-bb/s-01.tar"] + bytes(512)

    with pytest.raises(StorageError, match=r"s-00\.tar: has changed"):
        pictures.read(0, 3)
    assert (open_pictures(spec).read(0, 3) == open_pictures(str(root / "bb")).read(2, 3)).all()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("http://127.0.0.1:9/x.tar", r"out of reach, asked 3 times \(Connection refused\)"),
        ("http://127.0.0.1:9/folder", "web servers list no files: name tar shards"),
        ("memory://bucket/nothing.tar", "no such file there"),
        ("memory://bucket/nothing", "no image there"),
        ("memory://bucket/shards-*/x-*.tar", "no such shards"),
        ("nonsense://bucket/x.tar", "Protocol not known: nonsense"),
        ("smb://bucket/x.tar", r"pip install 'cyclegan-style\[remote\]'"),
    ],
)
def test_what_no_store_has_is_said_in_one_line(memory, impatient, spec, reason):
    with pytest.raises(DomainError, match=reason) as caught:
        open_domain(spec)

    assert str(caught.value).startswith(f"data.a: {spec}: ")
    assert "\n" not in str(caught.value)


def test_stores_may_order_their_arguments_as_they_like(root, memory, monkeypatch):
    """S3's has the version of a file before the place where to begin."""
    read = MemoryFileSystem.cat_file

    def read_version(self, path, version_id=None, start=None, end=None):
        assert version_id is None
        return read(self, path, start=start, end=end)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", read_version)
    domain = open_domain(f"{memory}/shards-a/s-{{00..02}}.tar")
    assert_same_pictures(domain, open_domain(root / "a"))


def test_a_picture_that_is_gone_from_a_store_is_replaced(memory, caplog):
    domain = open_domain(f"{memory}/a")
    fsspec.filesystem("memory").rm("/bucket/a/002.png")

    assert (domain.pixels(2) == domain.pixels(3)).all()
    assert domain.unreadable_count == 1
    assert "002.png: no such file any more" in caplog.text


# Very many


def test_of_very_many_pictures_only_some_are_looked_at(root, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(domains, "MOST_OPENED", 4)
    monkeypatch.setattr(domains, "LOOKED_AT", 3)
    read = []
    decode = ShardPictures.read
    monkeypatch.setattr(
        ShardPictures, "read", lambda self, *which: read.append(which[0]) or decode(self, *which)
    )
    paths = list_images(str(root / "a"))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"x")

    domain = open_domain(write_shards(tmp_path, [*paths, *paths[:3], broken]))
    assert sorted(read) == [0, 3, 6]
    assert (len(domain), domain.held_count, caplog.text) == (9, 0, "")
    assert (domain.pixels(8) == domain.pixels(0)).all()
    assert domain.unreadable_count == 1

    with pytest.raises(DomainError, match=r"only 2 of 3 images are readable \(such as .*broken"):
        open_domain(write_shards(tmp_path, [broken, *paths]))


# Runs


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("{root}/shards-a/s-*.tar", "{server}/shards-bb/s-{{00..02}}.tar"),
        pytest.param("{memory}/a", "{memory}/shards-bb/*.tar", marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_bit_for_bit_where_it_was_killed(
    root, configured, monkeypatch, server, memory, a, b
):
    """And as one that is never killed goes from files."""
    places = {"root": root, "server": server.url, "memory": memory}
    fields = {"data__memory_budget": "0MB", "data__test_a": str(root / "a"), "train__pool_size": 2}
    in_files = configured(data__a=str(root / "a"), data__b=str(root / "bb"), **fields)
    named = {"data__a": a.format(**places), "data__b": b.format(**places)}
    killed = configured("killed", **named, **fields)
    run_training(in_files)
    with killed_in_step(6, monkeypatch):
        run_training(killed)

    run_training(killed)

    assert_equal_state(Path(in_files.run.dir), Path(killed.run.dir), step=6)
    assert metrics_of(Path(killed.run.dir))[-1]["step"] == 6


def test_shards_that_have_changed_under_their_name_are_refused(root, configured, tmp_path):
    paths = list_images(str(root / "a"))
    spec = write_shards(tmp_path / "set", paths)
    config = configured(data__a=spec)
    (claim_run_folder(config) / "metrics.jsonl").write_text('{"step": 2}\n')
    claim_run_folder(config)

    write_shards(tmp_path / "set", paths[::-1])

    with pytest.raises(UserError, match=r"data\.a was .* which has other pictures"):
        claim_run_folder(config)
    shutil.rmtree(tmp_path / "set")
    moved = write_shards(tmp_path / "moved", paths)
    claim_run_folder(configured(data__a=moved))


def test_the_command_that_indexes(root, tmp_path, capsys):
    spec = write_shards(tmp_path, list_images(str(root / "a")))

    assert main(["data", "index", spec, str(tmp_path / "s-01.tar"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == {
        spec: 5,
        str(tmp_path / "s-01.tar"): 2,
    }
    assert len(list(tmp_path.glob("*.index"))) == 3
    assert main(["data", "index", str(root / "a")]) == 2
    assert "name .tar files" in capsys.readouterr().err


def test_no_index_of_a_shard_that_is_not_indexed(root, tmp_path):
    shutil.copy(root / "shards-a/s-00.tar", tmp_path / "x.tar")
    shard = Shard(str(tmp_path / "x.tar"))

    assert find_index(shard) is None
    built = build_index(shard)
    assert find_index(shard) == built
    assert built.pictures == 2
