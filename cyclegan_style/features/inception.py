"""The Inception network whose features the Fréchet Inception distance compares.

It is the TensorFlow network of December 2015 under the names that its PyTorch conversions use. It
differs from torchvision's: average pools do not count the padding, the last block pools by the
maximum, and batch norms have an epsilon of 1e-3.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cyclegan_style.features.trained import Input, TrainedNetwork
from cyclegan_style.features.weights import Published

FEATURES = 2048
SIDE = 299
"""Height and width of the images that the network takes."""
WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"

_EPSILON = 1e-3


class Convolution(nn.Module):
    """Convolution without bias, batch norm at rest, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs, eps=_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        """Apply the three in turn."""
        normalised: Tensor = self.bn(self.conv(images))
        return F.relu(normalised, inplace=True)

    def fold(self) -> None:
        """Move the batch norm into the convolution's weights, which leaves the function as is."""
        norm = self.bn
        if not isinstance(norm, nn.BatchNorm2d):
            return
        if norm.running_mean is None or norm.running_var is None:
            raise ValueError("a batch norm without running statistics cannot be folded")
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = self.conv.weight.double() * scale[:, None, None, None]
        bias = norm.bias.double() - norm.running_mean.double() * scale
        self.conv.weight = nn.Parameter(weight.to(self.conv.weight.dtype), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.to(self.conv.weight.dtype), requires_grad=False)
        self.bn = nn.Identity()


class MixedA(nn.Module):
    """Branches of 1×1, 5×5, twice 3×3 and pooling at 35 × 35."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1 = Convolution(inputs, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Concatenate the branches."""
        five = self.branch5x5_2(self.branch5x5_1(images))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(images)))
        pooled = self.branch_pool(_average(images))
        return torch.cat([self.branch1x1(images), five, three, pooled], 1)


class MixedB(nn.Module):
    """From 35 × 35 to 17 × 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """Concatenate the branches."""
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(images)))
        return torch.cat([self.branch3x3(images), three, F.max_pool2d(images, 3, 2)], 1)


class MixedC(nn.Module):
    """Branches of 1×1, 7×7 and twice 7×7, each split into a row and a column, at 17 × 17."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1 = Convolution(inputs, inner, 1)
        self.branch7x7_2 = _row(inner, inner, 7)
        self.branch7x7_3 = _column(inner, 192, 7)
        self.branch7x7dbl_1 = Convolution(inputs, inner, 1)
        self.branch7x7dbl_2 = _column(inner, inner, 7)
        self.branch7x7dbl_3 = _row(inner, inner, 7)
        self.branch7x7dbl_4 = _column(inner, inner, 7)
        self.branch7x7dbl_5 = _row(inner, 192, 7)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Concatenate the branches."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(images)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(images)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        pooled = self.branch_pool(_average(images))
        return torch.cat([self.branch1x1(images), once, twice, pooled], 1)


class MixedD(nn.Module):
    """From 17 × 17 to 8 × 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = _row(192, 192, 7)
        self.branch7x7x3_3 = _column(192, 192, 7)
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        """Concatenate the branches."""
        three = self.branch3x3_2(self.branch3x3_1(images))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(images)))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(images, 3, 2)], 1)


class MixedE(nn.Module):
    """Branches that fork into a row and a column at 8 × 8."""

    def __init__(self, inputs: int, max_pool: bool) -> None:
        super().__init__()
        self.max_pool = max_pool
        self.branch1x1 = Convolution(inputs, 320, 1)
        self.branch3x3_1 = Convolution(inputs, 384, 1)
        self.branch3x3_2a = _row(384, 384, 3)
        self.branch3x3_2b = _column(384, 384, 3)
        self.branch3x3dbl_1 = Convolution(inputs, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _row(384, 384, 3)
        self.branch3x3dbl_3b = _column(384, 384, 3)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Concatenate the branches."""
        once = self.branch3x3_1(images)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(images))
        pooled = F.max_pool2d(images, 3, 1, 1) if self.max_pool else _average(images)
        branches = [
            self.branch1x1(images),
            self.branch3x3_2a(once),
            self.branch3x3_2b(once),
            self.branch3x3dbl_3a(twice),
            self.branch3x3dbl_3b(twice),
            self.branch_pool(pooled),
        ]
        return torch.cat(branches, 1)


class Inception(nn.Module):
    """N×3×299×299 images of about [-1, 1] → N×2048 features of the last pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = MixedA(192, 32)
        self.Mixed_5c = MixedA(256, 64)
        self.Mixed_5d = MixedA(288, 64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b = MixedC(768, 128)
        self.Mixed_6c = MixedC(768, 160)
        self.Mixed_6d = MixedC(768, 160)
        self.Mixed_6e = MixedC(768, 192)
        self.Mixed_7a = MixedD(768)
        self.Mixed_7b = MixedE(1280, max_pool=False)
        self.Mixed_7c = MixedE(2048, max_pool=True)

    def forward(self, images: Tensor) -> Tensor:
        """Features of images that have been brought to size and range by a definition."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(self.Mixed_6e(x))))
        features: Tensor = x.float().mean((2, 3))
        return features

    def fold(self) -> "Inception":
        """Fold all batch norms; the state dict then has other keys."""
        for module in self.modules():
            if isinstance(module, Convolution):
                module.fold()
        return self


def build_inception(state: dict[str, Tensor], fold: bool = True) -> Inception:
    """The network with these weights, at rest; those of its classifier are left out."""
    with torch.device("meta"):
        network = Inception()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    # Older conversions lack the counters of batches, which mean nothing here.
    counters = {
        name: torch.zeros((), dtype=torch.int64)
        for name in network.state_dict()
        if name.endswith("num_batches_tracked")
    }
    network.load_state_dict(counters | kept, assign=True)
    network.eval().requires_grad_(False)
    return network.fold() if fold else network


class HalfPrecision(nn.Module):
    """A folded network that computes in bfloat16 and averages in float32."""

    def __init__(self, network: Inception) -> None:
        super().__init__()
        # Processors and GPUs alike have their 16-bit convolutions in this order.
        self.network = network.fold().to(torch.bfloat16).to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Features in float32, a little off."""
        halved = images.to(torch.bfloat16, memory_format=torch.channels_last)
        features: Tensor = self.network(halved)
        return features.float()


def _row(inputs: int, outputs: int, length: int) -> Convolution:
    return Convolution(inputs, outputs, (1, length), padding=(0, length // 2))


def _column(inputs: int, outputs: int, length: int) -> Convolution:
    return Convolution(inputs, outputs, (length, 1), padding=(length // 2, 0))


def _average(images: Tensor) -> Tensor:
    return F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


INCEPTION = TrainedNetwork(
    "the FID Inception",
    ("pool3",),
    Input(smallest=SIDE, side=SIDE, mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5)),
    Published(
        "Inception weights",
        (
            WEIGHTS_FILE,
            "weights-inception-2015-12-05-6726825d.pth",
        ),  # pytorch-fid's, torch-fidelity's
        f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{WEIGHTS_FILE}",
        "6726825d",
        "Apache-2.0 (TensorFlow; their conversion as well)",
    ),
    build_inception,
)
