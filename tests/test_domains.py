"""Domains are found, checked and brought to size as said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import make_images, open_domain
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

from cyclegan_style import synthetic
from cyclegan_style.data import domains
from cyclegan_style.data.images import read_image, write_image
from cyclegan_style.data.listing import DomainError, list_images, reference_layout

# Finding images


def test_a_folder_is_searched_recursively_in_order(tmp_path):
    for name in (
        "b/2.JPG",
        "b/10.jpeg",
        "a.TiFf",
        "c.jfif",
        ".hidden.png",
        ".cache/x.png",
        "b/.x/y.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "ünï code\n.webp").touch()
    names = [str(path.relative_to(tmp_path)) for path in list_images(str(tmp_path))]
    assert names == ["a.TiFf", "b/10.jpeg", "b/2.JPG", "c.jfif", "folder.png/ünï code\n.webp"]


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    make_images(tmp_path / "elsewhere", 2)
    make_images(tmp_path / "root" / "deep", 1)
    (tmp_path / "root" / "deep" / "up").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    names = [str(path.relative_to(tmp_path)) for path in list_images(str(tmp_path / "root"))]
    assert names == ["root/deep/000.png", "root/linked/000.png", "root/linked/001.png"]


def test_glob_patterns_and_single_files(tmp_path, monkeypatch):
    for name in ("p/1.JPG", "p/q/2.JPG", "p/q/3.png", "p/.h/4.JPG", "p/text.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert list_images("p/**/*.JPG") == [Path("p/1.JPG"), Path("p/q/2.JPG")]
    assert list_images(f"{tmp_path}/p/*/[23].*") == [tmp_path / "p/q/2.JPG", tmp_path / "p/q/3.png"]
    assert list_images("p/.h/*") == [Path("p/.h/4.JPG")]
    assert list_images("p/q/3.png") == [Path("p/q/3.png")]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("missing", "no such file or folder"),
        ("", "no such file or folder"),
        ("empty", r"files count that end in \.avif \.bmp \.heic \.heif \.jfif"),
        ("empty/*.jpg", r"no image there"),
        ("empty/**.jpg", "cannot be searched"),
        ("demo:statue", "there are demo:photo, demo:painting, demo:summer, demo:winter"),
    ],
)
def test_nothing_found_is_said_in_one_line(tmp_path, monkeypatch, spec, reason):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DomainError, match=reason) as caught:
        list_images(spec, field="data.test_b")
    assert str(caught.value).startswith(f"data.test_b: {spec}: ")


def test_a_list_of_files_is_a_domain(tmp_path, monkeypatch):
    first, second, third = make_images(tmp_path / "pictures", 3)
    renamed = first.rename(tmp_path / "no ending")
    lines = ["\ufeffpictures/002.png", "", f"{second}\r", "lists/../pictures/001.png", "no ending"]
    (tmp_path / "fine.TXT").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path / "pictures")
    assert list_images("../fine.TXT") == [renamed, second, third]
    assert len(open_domain("../fine.TXT")) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("gone.png", "line 3: gone.png: no such file"),
        ("..", "line 3: ..: is a folder"),
        ("x" * 9999, f"line 3: {'x' * 200}…: no such file"),
        ("\0\x1b[2J", r"line 3: \x00\x1b[2J: no such file"),
        ("", "no image there"),
    ],
)
def test_a_list_of_what_is_not_there_names_the_line(tmp_path, line, reason):
    (tmp_path / "list.txt").write_text(f"\n\n{line}")
    with pytest.raises(DomainError) as caught:
        list_images(str(tmp_path / "list.txt"), field="data.b")
    assert f"data.b: {tmp_path / 'list.txt'}: {reason}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_demo_domains(tmp_path, monkeypatch):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path))
    monkeypatch.setitem(synthetic.DEMO_COUNTS, "test", 2)
    domain = open_domain("demo:painting", split="test")
    assert len(domain) == 2
    assert all(tmp_path in path.parents for path in domain.paths)


def test_reference_layout(tmp_path):
    for name in ("trainA", "trainB", "testB"):
        (tmp_path / name).mkdir()
    expected = {"a": "trainA", "b": "trainB", "test_b": "testB"}
    assert reference_layout(tmp_path) == {key: tmp_path / name for key, name in expected.items()}
    (tmp_path / "trainB").rmdir()
    with pytest.raises(DomainError, match=r"^data\.root: .* no folder trainB in it;"):
        reference_layout(tmp_path)
    with pytest.raises(DomainError, match=r"^data\.root: .*missing: no such folder"):
        reference_layout(tmp_path / "missing")


# Unreadable files


def test_unreadable_files_are_named_and_skipped(tmp_path, caplog):
    paths = make_images(tmp_path, 10)
    paths[3].write_bytes(b"")
    paths[5].write_bytes(paths[5].read_bytes()[:-600])
    domain = open_domain(tmp_path, min_readable=0.8)
    assert list(domain.paths) == [path for path in paths if path not in (paths[3], paths[5])]
    assert domain.unreadable_count == 2
    (record,) = caplog.records
    assert "skipping 2 of 10" in record.getMessage()
    assert f"{paths[3]}: the file is empty" in record.getMessage()
    assert f"{paths[5]}: damaged" in record.getMessage()
    # What is left is still the right picture at each index.
    for index, path in enumerate(domain.paths):
        expected = functional.resize(Image.fromarray(read_image(path)), (36, 36), interpolation=3)
        assert (domain.pixels(index) == np.asarray(expected)).all()


@pytest.mark.parametrize("memory_budget", [0, 10**9])
@pytest.mark.parametrize("broken", [2, 10])
def test_too_few_readable_files_stop_the_run(tmp_path, broken, memory_budget):
    for path in make_images(tmp_path, 10)[:broken]:
        path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(DomainError, match=f"data.b: .* only {10 - broken} of 10 .*000.png: damag"):
        open_domain(tmp_path, field="data.b", memory_budget=memory_budget)


def test_a_file_that_goes_bad_later_is_replaced_by_the_next(tmp_path, caplog):
    paths = make_images(tmp_path, 4)
    domain = open_domain(tmp_path, memory_budget=0)
    expected = domain.pixels(3)
    paths[1].unlink()
    paths[2].write_bytes(b"gone")
    for _ in range(3):
        assert (domain.pixels(1) == expected).all()
    assert domain.unreadable_count == 2
    assert [str(paths[1]) in record.getMessage() for record in caplog.records] == [True, False]
    for path in paths:
        path.unlink(missing_ok=True)
    with pytest.raises(DomainError, match="none of its images can be read any more"):
        domain.pixels(0)


def test_huge_domains_are_checked_by_their_headers(tmp_path, monkeypatch):
    monkeypatch.setattr(domains, "FULLY_CHECKED", 3)
    paths = make_images(tmp_path, 4)
    paths[0].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:-600])  # its header is sound
    assert len(open_domain(tmp_path, memory_budget=0, min_readable=0.1).paths) == 2
    monkeypatch.setattr(domains, "FULLY_CHECKED", 2)
    assert len(open_domain(tmp_path, memory_budget=0, min_readable=0.1).paths) == 3
    held = open_domain(tmp_path, memory_budget=3 * 36 * 36 * 2, min_readable=0.1)
    assert list(held.paths) == paths[2:]  # what is kept in memory is decoded, hence checked
    assert held.held_count == 1


# Size and memory


@pytest.mark.parametrize("resize", ["square", "shortest", "none"])
@pytest.mark.parametrize("channels", [1, 4])
def test_memory_changes_nothing_but_speed(tmp_path, resize, channels):
    paths = make_images(tmp_path, 4)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, so that its header has the sides the other way round
    Image.open(paths[1]).save(paths[1], exif=exif)
    options = {"resize": resize, "channels": channels}
    domain = open_domain(tmp_path, **options)
    sizes = sorted(domain.pixels(index).size for index in range(4))
    for held in range(5):  # the smallest first, of which the most fit
        exactly = open_domain(tmp_path, memory_budget=sum(sizes[:held]), **options)
        assert exactly.held_count == held
        for index in range(4):
            assert (domain.pixels(index) == exactly.pixels(index)).all()
    assert open_domain(tmp_path, memory_budget=sum(sizes) - 1, **options).held_count == 3


@pytest.mark.parametrize(("resize", "size"), [("square", (36, 36)), ("shortest", 36)])
def test_resizing_equals_torchvisions(tmp_path, resize, size):
    paths = make_images(tmp_path, 6)
    domain = open_domain(tmp_path, resize=resize)
    for index, path in enumerate(paths):
        image = Image.fromarray(read_image(path))
        expected = functional.resize(image, size, transforms.InterpolationMode.BICUBIC)
        assert (domain.pixels(index) == np.asarray(expected)).all()


@pytest.mark.parametrize(("resize", "shape"), [("shortest", (36, 40)), ("none", (40, 48))])
def test_test_pictures_are_cut_to_divisible_sides(tmp_path, resize, shape):
    (path,) = make_images(tmp_path, 1, height=43, width=50)
    domain = open_domain(path, resize=resize)
    pixels = domain.pixels(0)
    tensor = domain.test_tensor(0, divisor=4)
    assert tensor.shape == (3, *shape)
    top, left = ((side - kept) // 2 for side, kept in zip(pixels.shape, shape, strict=False))
    image = Image.fromarray(pixels).crop((left, top, left + shape[1], top + shape[0]))
    assert torch.equal(tensor, functional.to_tensor(image).sub(0.5).div(0.5))


def test_test_pictures_of_the_reference_are_whole(tmp_path):
    (path,) = make_images(tmp_path, 1)
    domain = open_domain(path, sizes=[(32, 32)])
    image = Image.fromarray(read_image(path)).resize((32, 32), Image.Resampling.BICUBIC)
    expected = functional.to_tensor(image).sub(0.5).div(0.5)
    assert torch.equal(domain.test_tensor(0, divisor=4), expected)


def test_tiny_pictures_are_enlarged(tmp_path):
    write_image(tmp_path / "a.png", np.full((3, 9, 3), 77, dtype=np.uint8))
    domain = open_domain(tmp_path, resize="none")
    assert domain.test_tensor(0, divisor=8).shape == (3, 8, 24)


# Large JPEGs


@pytest.mark.parametrize("orientation", [1, 6])
def test_large_jpegs_are_decoded_at_reduced_size_to_nearly_the_same_picture(tmp_path, orientation):
    smooth = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, size in (
        ("large.jpg", (480, 296)),
        ("less.jpg", (140, 142)),
        ("odd.jpg", (481, 297)),
        ("large.png", (480, 296)),
    ):
        picture = Image.fromarray(smooth).resize(size, Image.Resampling.BICUBIC)
        picture.save(tmp_path / name, exif=exif)
    for resize in ("square", "shortest"):
        whole = open_domain(tmp_path, resize=resize)
        reduced = open_domain(tmp_path, resize=resize, fast_jpeg=True)
        on_access = open_domain(tmp_path, resize=resize, fast_jpeg=True, memory_budget=0)
        for index, path in enumerate(reduced.paths):
            pixels, exact = reduced.pixels(index), whole.pixels(index)
            assert (pixels == on_access.pixels(index)).all()
            difference = np.abs(pixels.astype(int) - exact)
            assert difference.mean() < 0.7
            assert (difference.max() > 0) == (path.name == "large.jpg")
