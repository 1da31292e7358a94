"""Features of other networks than the Inception."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from inception_weights import write_soft_pictures
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import ConvNeXt_Tiny_Weights, VisionTransformer, convnext_tiny

from cyclegan_style.commands.main import main
from cyclegan_style.evaluation.definitions import imagenet_bicubic
from cyclegan_style.evaluation.frechet import frechet_of_features
from cyclegan_style.features.dinov2 import DINOV2, Dinov2, build_dinov2, resampled_places
from cyclegan_style.system.whole_files import checksum

ROOT = Path(__file__).parent.parent


def random_dinov2(width: int, depth: int) -> dict[str, Tensor]:
    """A state dict as the authors publish it, whose places are of images of 37 × 37 patches."""
    generator = torch.Generator().manual_seed(width)
    shapes = {name: tensor.shape for name, tensor in Dinov2(width, depth).state_dict().items()}
    shapes["pos_embed"] = torch.Size([1, 1 + 37**2, width])
    state = {
        name: torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        for name, shape in shapes.items()
    }
    return state | {"mask_token": torch.zeros(1, width)}


def of_torchvision(state: dict[str, Tensor], width: int, depth: int) -> VisionTransformer:
    """Its transformer with these weights; what it lacks, the scales of layers, is in them."""
    other = VisionTransformer(224, 14, depth, width // 64, width, 4 * width).double()
    other.heads = nn.Identity()
    renamed = {
        "class_token": state["cls_token"],
        "encoder.pos_embedding": resampled_places(state["pos_embed"], 16),
    }
    state = {name: tensor.double() for name, tensor in state.items()}
    for kind in ("weight", "bias"):
        renamed[f"conv_proj.{kind}"] = state[f"patch_embed.proj.{kind}"]
        renamed[f"encoder.ln.{kind}"] = state[f"norm.{kind}"]
        for index in range(depth):
            block, layer = f"blocks.{index}", f"encoder.layers.encoder_layer_{index}"
            scales = [state[f"{block}.ls{number}.gamma"] for number in (1, 2)]
            first, second = (scale[:, None] if kind == "weight" else scale for scale in scales)
            renamed |= {
                f"{layer}.ln_1.{kind}": state[f"{block}.norm1.{kind}"],
                f"{layer}.ln_2.{kind}": state[f"{block}.norm2.{kind}"],
                f"{layer}.self_attention.in_proj_{kind}": state[f"{block}.attn.qkv.{kind}"],
                f"{layer}.self_attention.out_proj.{kind}": first
                * state[f"{block}.attn.proj.{kind}"],
                f"{layer}.mlp.0.{kind}": state[f"{block}.mlp.fc1.{kind}"],
                f"{layer}.mlp.3.{kind}": second * state[f"{block}.mlp.fc2.{kind}"],
            }
    other.load_state_dict(renamed)
    return other.eval()


def test_dinov2_is_a_vision_transformer():
    state = random_dinov2(128, 3)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1)).double()

    with torch.no_grad():
        ours = build_dinov2(state).double()(images)
        expected = of_torchvision(state, 128, 3)(images)

    assert ours.shape == (2, 128)
    assert (ours - expected).abs().max() < 1e-10 * expected.std()


def cubic(distance: np.ndarray) -> np.ndarray:
    """Kernel of cubic convolution (Keys 1981, eq. 8) with the slope that torch has."""
    x, a = np.abs(distance), -0.75
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def test_places_are_resampled_with_the_tenth_that_the_published_code_adds():
    known, side = 37, 16
    rows = torch.arange(known, dtype=torch.float64)
    places = torch.stack([rows.repeat_interleave(known), rows.repeat(known)], 1)[None]
    of_class = torch.tensor([[[-1.0, -2.0]]], dtype=torch.float64)
    found = resampled_places(torch.cat([of_class, places], 1), side)

    assert torch.equal(found[:, :1], of_class)
    centres = (np.arange(side) + 0.5) * known / (side + 0.1) - 0.5
    taps = np.arange(known)
    expected = (cubic(centres[:, None] - taps) * taps).sum(1)[1:-1]  # the border is repeated there
    square = found[0, 1:].unflatten(0, (side, side))[1:-1, 1:-1].numpy()
    assert np.abs(square[:, 0, 0] - expected).max() < 1e-10
    assert np.abs(square[0, :, 1] - expected).max() < 1e-10


def test_dinov2_is_given_what_dgm_eval_gives_it(tmp_path):
    (path,) = write_soft_pictures(tmp_path, 1, seed=2).iterdir()
    picture = Image.open(path)
    steps = [
        transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]

    expected = transforms.Compose(steps)(picture)
    # Four last places of values up to 2.6 in float32.
    assert (imagenet_bicubic(np.asarray(picture)) - expected).abs().max() < 1e-6


def test_dinov2_by_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    real, fake = (write_soft_pictures(tmp_path / name, 3, seed) for seed, name in enumerate("rf"))
    command = ["evaluate", "folders", "--real", str(real), "--fake", str(fake), "--json"]
    command += ["--definition", "dinov2", "--metrics", "fid"]
    assert main(command) == 2
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    assert f"put {DINOV2.weights.names[0]} into {folder} or name it" in capsys.readouterr().err

    torch.save(random_dinov2(64, 1), folder / DINOV2.weights.names[0])
    assert main(command) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["definition"], scores["fid"] > 0) == ("dinov2", True)
    assert scores["weights"] == checksum(folder / DINOV2.weights.names[0])
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    assert main([*command, "--weights", str(tmp_path / "other.pth")]) == 2
    assert "not the weights of DINOv2" in capsys.readouterr().err
    assert main([*command, "--precision", "bf16"]) == 2


def test_the_documented_network_of_ones_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CYCLEGAN_STYLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = ConvNeXt_Tiny_Weights.DEFAULT
    torch.manual_seed(3)
    network = convnext_tiny()
    for module in network.modules():
        if hasattr(module, "layer_scale"):
            nn.init.ones_(module.layer_scale)  # or the layers would hardly count
    file = tmp_path / "torch" / "hub" / "checkpoints" / Path(weights.url).name
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    folders = [write_soft_pictures(tmp_path / name, 2, len(name)) for name in ("photos", "fakes")]
    (example,) = re.findall(
        r"## Features of your own.*?```python\n(.*?)```",
        (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    monkeypatch.chdir(tmp_path)
    exec(example, names := {})

    features = []
    network.classifier[2] = nn.Identity()
    for folder in folders:
        pictures = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
        tensors = [transforms.functional.pil_to_tensor(picture) for picture in pictures]
        batch = torch.stack([weights.transforms()(tensor) for tensor in tensors])
        with torch.no_grad():
            features.append(network.eval()(batch).numpy())
    scores = names["scores"].to_dict()
    assert scores["fid"] == pytest.approx(frechet_of_features(*features), rel=1e-4)  # in float32
    assert scores["definition"] == "convnext_tiny"
    assert scores["weights"] == weights.url
