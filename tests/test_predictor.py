"""Pictures of any kind and size in, pictures of the same size out."""

import io
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.ExifTags import Base
from tiny import enlarge_weights, stray, tiny_config
from torch import nn

from cyclegan_style import Predictor
from cyclegan_style.config import to_yaml
from cyclegan_style.data.images import (
    ImageError,
    normalised,
    quantised,
    resize,
    to_pixels,
    to_tensor,
    write_image,
)
from cyclegan_style.errors import UserError
from cyclegan_style.models.export import export_model
from cyclegan_style.models.model_files import load_generator
from cyclegan_style.training.cyclegan import build_generators

pytestmark = pytest.mark.numeric

ARCHITECTURES = {
    "resnet": {},
    "unet": {"generator__architecture": "unet", "generator__levels": 5},
    "batch": {"generator__norm": "batch"},
}


def export(folder, **fields):
    config = tiny_config(**fields)
    generators = build_generators(config).eval()
    enlarge_weights(generators)
    export_model(folder, generators, to_yaml(config))
    return generators


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {name: (root / name, export(root / name, **f)) for name, f in ARCHITECTURES.items()}


@pytest.fixture
def predictor(models):
    return Predictor.load(models["resnet"][0], device="cpu", precision="fp32")


def exactly(generator: nn.Module, image: torch.Tensor) -> torch.Tensor:
    return deepcopy(generator).double()(image.double())


def noise(height: int, width: int, channels: int = 3, seed: int = 0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_pictures_of_a_fitting_size_go_through_the_network_alone(models, architecture, direction):
    folder, generators = models[architecture]
    predictor = Predictor.load(folder, direction, precision="fp32", device="cpu")
    image = torch.rand(2, 3, 64, 32) * 2 - 1
    with torch.inference_mode():
        expected, exact = generators[direction](image), exactly(generators[direction], image)
    assert stray(predictor.translate_tensor(image), exact) < 5 * stray(expected, exact)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (7, 50), (33, 31), (3000, 1)])
def test_any_size(models, architecture, size):
    predictor = Predictor.load(models[architecture][0], device="cpu")
    output = predictor.translate(noise(*size))
    assert output.mode == "RGB"
    assert (output.height, output.width) == size


def test_padding_reflects_and_is_cropped_away(predictor):
    pixels = noise(22, 18)
    mirrored = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = np.asarray(predictor.translate(mirrored))[1:-1, 1:-1]
    assert np.array_equal(np.asarray(predictor.translate(pixels)), expected)


def test_paths_images_and_pixels_are_one(predictor, tmp_path):
    pixels = noise(20, 30)
    path = tmp_path / "sea, größer\nthan.png"
    write_image(path, pixels)
    outputs = [
        np.asarray(predictor.translate(picture))
        for picture in (path, str(path), Image.fromarray(pixels), pixels)
    ]
    assert all(np.array_equal(output, outputs[0]) for output in outputs)


def test_mixed_sizes_and_kinds_keep_their_order(predictor):
    pictures = [noise(20, 30), noise(8, 8, 1), noise(20, 30, 4, seed=3), noise(1, 5, 2)]
    together = predictor.translate_batch(pictures)
    for picture, output in zip(pictures, together, strict=True):
        alone = np.asarray(predictor.translate(picture)).astype(int)
        assert np.abs(np.asarray(output).astype(int) - alone).max() <= 1
    assert predictor.translate_batch([]) == []


def test_pictures_of_one_fitting_size_go_through_the_network_together(predictor):
    seen = []
    predictor.core.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    predictor.translate_batch([noise(24, 24), noise(21, 22), noise(40, 24), noise(23, 24, 4)])
    assert [tuple(shape) for shape in seen] == [(3, 3, 24, 24), (1, 3, 40, 24)]


def test_grey_models(tmp_path):
    export(
        tmp_path,
        data__channels_a=1,
        data__channels_b=3,
        loss__identity_a=0.0,
        loss__identity_b=0.0,
    )
    assert Predictor.load(tmp_path).translate(noise(9, 9)).mode == "RGB"
    back = Predictor.load(tmp_path, direction="ba")
    assert back.translate(noise(9, 9)).mode == "L"
    assert back.translate_tensor(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_small_budget_gives_the_same_picture(models, architecture):
    folder, generators = models[architecture]
    whole = Predictor.load(folder, precision="fp32", device="cpu", memory_budget="1GB")
    striped = Predictor.load(folder, precision="fp32", device="cpu", memory_budget="4MB")
    image = torch.rand(2, 3, 416, 224) * 2 - 1
    assert striped.core.whole_bytes(416, 224) > 4e6
    with torch.inference_mode():
        exact = exactly(generators["ab"], image)
    usual = stray(whole.translate_tensor(image), exact)
    assert stray(striped.translate_tensor(image), exact) < 3 * usual


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_budget_that_cannot_be_kept(models, architecture):
    tight = Predictor.load(models[architecture][0], device="cpu", memory_budget=10_000)
    with pytest.raises(UserError, match=r"more than the budget of 0\.01 MB"):
        tight.translate(noise(64, 64))


def test_many_threads_share_a_predictor(predictor):
    pictures = [noise(16 + i % 3, 16, seed=i) for i in range(24)]
    alone = [np.asarray(predictor.translate(picture)) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(predictor.translate, pictures))
    for one, other in zip(alone, together, strict=True):
        # New threads may share out a sum among more processors.
        assert np.abs(np.asarray(other).astype(int) - one).max() <= 1


def test_what_a_pass_holds_is_no_reason_to_refuse_the_next_picture(models, monkeypatch):
    """By default the budget is what is free, which a pass of another thread makes less."""
    predictor = Predictor.load(models["resnet"][0], device="cpu", precision="fp32")
    passing = threading.Event()
    network = predictor.core.network

    def slowly(inputs: torch.Tensor) -> torch.Tensor:
        passing.set()
        time.sleep(0.2)
        output = network(inputs)
        passing.clear()
        return output

    monkeypatch.setattr(predictor.core, "network", slowly)
    monkeypatch.setattr(
        "cyclegan_style.applying.prepared.free_memory",
        lambda _: 1000 if passing.is_set() else 10**9,
    )
    picture = noise(64, 64)
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(predictor.translate, [picture] * 4))
    assert len({output.tobytes() for output in outputs}) == 1


def test_predictors_of_one_loaded_generator(models):
    generator = load_generator(models["resnet"][0])
    cpu = torch.device("cpu")
    exact, rounded = (Predictor(generator, cpu, t) for t in (torch.float32, torch.bfloat16))
    picture = noise(32, 32)
    expected = Predictor.load(models["resnet"][0], device="cpu", precision="fp32")
    assert exact.translate(picture).tobytes() == expected.translate(picture).tobytes()
    assert rounded.core.network is not exact.core.network


def test_a_trial_of_compiling_that_fails_changes_nothing(models, monkeypatch, caplog):
    predictor = Predictor.load(models["resnet"][0], device="cpu", precision="bf16")

    def out_of_memory(*_: object) -> float:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.setattr(predictor.core, "_seconds", out_of_memory)
    assert not predictor.core.compile_if_faster(1, 32, 32)
    assert caplog.messages == ["not compiled: out of memory"]
    assert predictor.translate(noise(32, 32)).size == (32, 32)


@pytest.mark.parametrize(("offset", "kept"), [(0.0, True), (0.02, False), (0.05, False)])
def test_a_compiled_network_must_be_as_near_to_float32_as_the_plain_one(
    models, monkeypatch, offset, kept
):
    predictor = Predictor.load(models["resnet"][0], device="cpu", precision="bf16")
    plain = predictor.core.network

    def seconds(network: object, _: torch.Tensor) -> float:
        return 2.0 if network is plain else 1.0

    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda x: network(x) + offset)
    monkeypatch.setattr(predictor.core, "_seconds", seconds)
    assert predictor.core.compile_if_faster(2, 32, 32) == kept


def test_pixels_become_the_numbers_and_levels_of_single_pictures(predictor):
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    assert torch.equal(normalised(torch.from_numpy(levels)).permute(2, 0, 1), to_tensor(levels))
    values = torch.linspace(-1.01, 1.01, 4096).view(1, 64, 64)
    assert np.array_equal(quantised(values).permute(1, 2, 0).numpy(), to_pixels(values))
    pictures = [noise(20, 30, seed=seed) for seed in range(3)]
    outputs = predictor.translate_pixels(pictures)
    tensors = predictor.translate_tensor(torch.stack([to_tensor(p) for p in pictures]))
    assert all(np.array_equal(o, to_pixels(t)) for o, t in zip(outputs, tensors, strict=True))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bits_stray_no_further_than_the_network_itself(models, precision):
    folder, generators = models["resnet"]
    rounded = Predictor.load(folder, precision=precision, device="cpu")
    image = to_tensor(noise(64, 64))[None]
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with torch.inference_mode():
        exact = exactly(generators["ab"], image)
        usual = stray(deepcopy(generators["ab"]).to(dtype)(image.to(dtype)), exact)
    assert stray(rounded.translate_tensor(image), exact) < 2 * usual
    assert to_pixels(rounded.translate_tensor(image)[0]).shape == (64, 64, 3)


def test_outputs_can_be_trained_on(predictor):
    weight = torch.ones(1, requires_grad=True)
    (predictor.translate_tensor(torch.zeros(1, 3, 8, 8)) * weight).sum().backward()
    assert weight.grad is not None


def test_bad_input_is_named(predictor, tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        predictor.translate(tmp_path / "missing.png")
    for pixels in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(UserError, match="pixels must be"):
            predictor.translate(pixels)
    for tensor in (torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 0, 8)):
        with pytest.raises(UserError, match="takes tensors of"):
            predictor.translate_tensor(tensor)
    for other in (np.zeros((1, 3, 8, 8)), torch.zeros((1, 3, 8, 8), dtype=torch.uint8)):
        with pytest.raises(UserError, match="takes a tensor of floats"):
            predictor.translate_tensor(other)
    for other in (io.BytesIO(), None, [[0]]):
        with pytest.raises(UserError, match="a picture must be a path"):
            predictor.translate(other)
    for one in ("photo.jpg", Image.new("RGB", (8, 8))):
        with pytest.raises(UserError, match="takes a list of pictures"):
            predictor.translate_batch(one)


def test_weights_that_compute_no_numbers_give_no_picture(predictor):
    next(predictor.core.network.parameters()).data.fill_(torch.nan)
    with pytest.raises(UserError, match=r"output is no number; .* too large for float32"):
        predictor.translate(noise(16, 16))


def test_bad_options_are_named(models):
    folder, _ = models["resnet"]
    for options, message in (
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"device": "abacus"}, "device 'abacus'"),
        ({"memory_budget": "much"}, "memory budget: 'much'"),
        ({"memory_budget": float("inf")}, "memory budget: .*infinity"),
        ({"memory_budget": "0"}, "memory budget must be more than 0, not 0"),
        ({"device": "meta"}, "device 'meta' cannot be used"),
        ({"device": "hpu"}, "device 'hpu' cannot be used"),
        ({"direction": "aa"}, "direction 'aa'"),
    ):
        with pytest.raises(UserError, match=message):
            Predictor.load(folder, **options)


def test_importing_the_package_is_cheap():
    code = "import sys, cyclegan_style; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_alpha_is_kept_where_asked(models, predictor):
    keeping = Predictor.load(models["resnet"][0], device="cpu", precision="fp32", keep_alpha=True)
    for channels, mode in ((2, "RGBA"), (3, "RGB"), (4, "RGBA")):
        picture = noise(9, 12, channels)
        kept, laid = keeping.translate(picture), predictor.translate(picture)
        assert (kept.mode, laid.mode) == (mode, "RGB")
        assert np.array_equal(np.asarray(kept)[:, :, :3], np.asarray(laid))
        if mode == "RGBA":
            assert np.array_equal(np.asarray(kept)[:, :, 3], picture[:, :, -1])
    assert keeping.translate(np.full((8, 8, 4), 255, np.uint8)).mode == "RGB"


def test_metadata_goes_along(predictor, tmp_path):
    exif = Image.Exif()
    exif[Base.Copyright], exif[Base.Orientation] = "mine", 6
    Image.fromarray(noise(8, 12)).save(tmp_path / "photo.png", exif=exif)
    with Image.open(tmp_path / "photo.png") as photo:
        outputs = predictor.translate_batch([photo, tmp_path / "photo.png", noise(8, 12)])
    for output in outputs[:2]:
        assert output.size == (8, 12)
        output.save(tmp_path / "painting.jpg", exif=output.getexif())
        with Image.open(tmp_path / "painting.jpg") as painting:
            assert painting.size == (8, 12)
            assert dict(painting.getexif()) == {Base.Copyright: "mine", Base.Orientation: 1}
    assert outputs[2].info == {}


def test_a_working_size(models, predictor):
    folder, _ = models["resnet"]
    working = Predictor.load(folder, device="cpu", precision="fp32", working_size=16)
    picture = noise(32, 64)
    small = resize(np.asarray(predictor.translate(resize(picture, (16, 32)))), (32, 64))
    assert np.array_equal(np.asarray(working.translate(picture)), small)
    assert working.translate(noise(1, 700)).size == (700, 1)
    with pytest.raises(UserError, match="working size"):
        Predictor.load(folder, working_size=0)


def test_an_empty_batch(predictor):
    assert predictor.translate_tensor(torch.zeros(0, 3, 10, 12)).shape == (0, 3, 10, 12)


def test_what_surrounds_a_prediction_does_not_change_it(models, predictor):
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    expected = predictor.translate_tensor(image)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(predictor.translate_tensor(image), expected)
    torch.set_default_dtype(torch.float64)
    try:
        again = Predictor.load(models["resnet"][0], device="cpu", precision="fp32")
        assert torch.equal(again.translate_tensor(image), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_group_of_pictures_keeps_to_the_budget(models, monkeypatch):
    folder = models["resnet"][0]
    predictor = Predictor.load(folder, device="cpu", precision="fp32", memory_budget="2MB")
    sizes = []
    network = predictor.core.network

    def counted(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return network(batch)

    monkeypatch.setattr(predictor.core, "network", counted)
    pictures = [noise(64, 64, seed=seed) for seed in range(10)]
    outputs = predictor.translate_batch(pictures)
    assert sizes == [predictor.require_memory(64, 64)] * (len(sizes) - 1) + sizes[-1:]
    assert 1 < max(sizes) < 10
    alone = Predictor.load(folder, device="cpu", precision="fp32").translate(pictures[7])
    assert np.abs(np.asarray(outputs[7]).astype(int) - np.asarray(alone)).max() <= 1


def test_the_weights_of_a_prepared_network_are_those_of_a_generator(models):
    folder, generators = models["resnet"]
    state = Predictor.load(folder, device="cpu", precision="fp32").core.network.state_dict()
    generators["ab"].load_state_dict(state)
