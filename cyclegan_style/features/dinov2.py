"""DINOv2 (Oquab et al. 2023), by whose features Stein et al. 2023 compare images: FD-DINOv2."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.features.trained import Input, TrainedNetwork
from cyclegan_style.features.weights import Published

SIDE = 224
"""Height and width of the images that the network takes."""

_PATCH = 14
_HEAD = 64  # values per head in networks of all sizes
_EPSILON = 1e-6


class Block(nn.Module):
    """Attention between all tokens, then two layers for each, both scaled and added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = nn.ModuleDict(
            {"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)}
        )
        self.ls1 = nn.ParameterDict({"gamma": torch.ones(width)})
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        )
        self.ls2 = nn.ParameterDict({"gamma": torch.ones(width)})

    def forward(self, tokens: Tensor) -> Tensor:
        """N×T×width to the same."""
        tokens = tokens + self.ls1["gamma"] * self.attended(self.norm1(tokens))
        inner = F.gelu(self.mlp["fc1"](self.norm2(tokens)))
        outer: Tensor = tokens + self.ls2["gamma"] * self.mlp["fc2"](inner)
        return outer

    def attended(self, tokens: Tensor) -> Tensor:
        """Each token as a mean of all, in every head by another likeness."""
        count, length, width = tokens.shape
        parts = self.attn["qkv"](tokens).view(count, length, 3, width // _HEAD, _HEAD)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.attn["proj"](mixed.transpose(1, 2).reshape(count, length, width))
        return joined


class Dinov2(nn.Module):
    """N×3×224×224 images, normalised as for ImageNet → the features of the class token."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (SIDE // _PATCH) ** 2, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, _PATCH, _PATCH)})
        self.blocks = nn.ModuleList([Block(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images that have been brought to size and range."""
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        features: Tensor = self.norm(tokens[:, 0])
        return features


def build_dinov2(state: dict[str, Tensor]) -> Dinov2:
    """The network of these weights: ViT-L/14, or the smaller ViT-S/14 and ViT-B/14."""
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    with torch.device("meta"):
        network = Dinov2(state["cls_token"].shape[-1], depth)
    kept = {name: tensor for name, tensor in state.items() if name != "mask_token"}
    kept["pos_embed"] = resampled_places(state["pos_embed"], SIDE // _PATCH)
    network.load_state_dict(kept, assign=True)
    return network.float().eval().requires_grad_(False)


def resampled_places(embedding: Tensor, side: int) -> Tensor:
    """Embeddings of the places in a square for one of another side, as the authors' code does."""
    of_class, of_patches = embedding[:, :1], embedding[:, 1:]
    known = round(of_patches.shape[1] ** 0.5)
    if known == side:
        return embedding
    square = of_patches.transpose(1, 2).unflatten(2, (known, known))
    # The tenth once kept rounding from losing a row; the published numbers have it.
    scale = (side + 0.1) / known
    resampled = F.interpolate(square, scale_factor=(scale, scale), mode="bicubic")
    return torch.cat([of_class, resampled.flatten(2).transpose(1, 2)], 1)


DINOV2 = TrainedNetwork(
    "DINOv2",
    ("class token",),
    Input(smallest=SIDE, side=SIDE),
    Published(
        "DINOv2 weights",
        ("dinov2_vitl14_pretrain.pth",),
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
        "",
        "Apache-2.0",
    ),
    build_dinov2,
)
