"""Record optimisation steps of a CycleGAN that is written down as plainly as possible.

This is the other side of ``cyclegan_style.training.replay`` for the recipes that the recording of
the reference in ``tests/data`` does not have: networks and step are written here a second time,
from the description of the reference implementation and in its own terms, and share no code with
the package.

The names are the reference's: ``G_A`` maps A to B, ``D_A`` judges domain B, ``cycle_A`` is
‖G_B(G_A(A)) − A‖ and ``idt_A`` is ‖G_A(B) − B‖, both with their weights.

Tensors of the safetensors file:
    init.<net>.<key>        weights before the first step, float64
    final.<net>.<key>       weights after the last step, float64
    input.<step>.A|B        images in [-1, 1], float32
    step0.fake_B|rec_A|fake_A|rec_B    outputs of the first step, float64
Object of the JSON file:
    config                  ngf, ndf, netG, netD, n_layers_D, normG, normD, lambda_A, lambda_B,
                            lambda_identity, pool_size, gan_mode, lr, beta1
    batch, height, width, steps
    losses                  one object per step: D_A, G_A, cycle_A, idt_A, D_B, G_B, cycle_B, idt_B
"""

import itertools
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

RECIPE = {
    "ngf": 2,
    "ndf": 2,
    "netG": "resnet_2blocks",
    "netD": "basic",
    "n_layers_D": 3,
    "normG": "instance",
    "normD": "instance",
    "lambda_A": 8.0,
    "lambda_B": 12.0,
    "lambda_identity": 0.4,
    "pool_size": 0,
    "gan_mode": "lsgan",
    "lr": 0.0005,
    "beta1": 0.5,
}


def make_norm(name: str, channels: int) -> nn.Module:
    if name == "instance":
        return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)
    if name == "batch":
        return nn.BatchNorm2d(channels, affine=True, track_running_stats=True)
    return nn.Identity()


class ResnetBlock(nn.Module):
    def __init__(self, dim: int, norm: str, use_dropout: bool) -> None:
        super().__init__()
        use_bias = norm == "instance"
        block: list[nn.Module] = []
        block += [nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, kernel_size=3, bias=use_bias)]
        block += [make_norm(norm, dim), nn.ReLU(True)]
        if use_dropout:
            block += [nn.Dropout(0.5)]
        block += [nn.ReflectionPad2d(1), nn.Conv2d(dim, dim, kernel_size=3, bias=use_bias)]
        block += [make_norm(norm, dim)]
        self.conv_block = nn.Sequential(*block)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Resnet(nn.Module):
    def __init__(
        self, input_nc: int, output_nc: int, ngf: int, norm: str, use_dropout: bool, n_blocks: int
    ) -> None:
        super().__init__()
        use_bias = norm == "instance"
        model: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(input_nc, ngf, kernel_size=7, padding=0, bias=use_bias),
            make_norm(norm, ngf),
            nn.ReLU(True),
        ]
        for i in range(2):
            mult = 2**i
            model += [
                nn.Conv2d(ngf * mult, ngf * mult * 2, 3, stride=2, padding=1, bias=use_bias),
                make_norm(norm, ngf * mult * 2),
                nn.ReLU(True),
            ]
        for _ in range(n_blocks):
            model += [ResnetBlock(ngf * 4, norm, use_dropout)]
        for i in range(2):
            mult = 2 ** (2 - i)
            out = ngf * mult // 2
            model += [
                nn.ConvTranspose2d(
                    ngf * mult, out, 3, stride=2, padding=1, output_padding=1, bias=use_bias
                ),
                make_norm(norm, out),
                nn.ReLU(True),
            ]
        model += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7, padding=0), nn.Tanh()]
        self.model = nn.Sequential(*model)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UnetBlock(nn.Module):
    """A level whose LeakyReLU works in place, also on the tensor that the skip hands on."""

    def __init__(
        self,
        outer_nc: int,
        inner_nc: int,
        norm: str,
        input_nc: int | None = None,
        submodule: nn.Module | None = None,
        use_dropout: bool = False,
    ) -> None:
        super().__init__()
        use_bias = norm == "instance"
        self.outermost = input_nc is not None
        downconv = nn.Conv2d(input_nc or outer_nc, inner_nc, 4, stride=2, padding=1, bias=use_bias)
        downrelu, uprelu = nn.LeakyReLU(0.2, True), nn.ReLU(True)
        width = inner_nc if submodule is None else inner_nc * 2
        bias = True if self.outermost else use_bias
        upconv = nn.ConvTranspose2d(width, outer_nc, 4, stride=2, padding=1, bias=bias)
        model: list[nn.Module]
        if self.outermost:
            assert submodule is not None
            model = [downconv, submodule, uprelu, upconv, nn.Tanh()]
        elif submodule is None:
            model = [downrelu, downconv, uprelu, upconv, make_norm(norm, outer_nc)]
        else:
            model = [downrelu, downconv, make_norm(norm, inner_nc), submodule]
            model += [uprelu, upconv, make_norm(norm, outer_nc)]
            if use_dropout:
                model += [nn.Dropout(0.5)]
        self.model = nn.Sequential(*model)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    def __init__(
        self, input_nc: int, output_nc: int, num_downs: int, ngf: int, norm: str, use_dropout: bool
    ) -> None:
        super().__init__()
        block = UnetBlock(ngf * 8, ngf * 8, norm)
        for _ in range(num_downs - 5):
            block = UnetBlock(ngf * 8, ngf * 8, norm, submodule=block, use_dropout=use_dropout)
        block = UnetBlock(ngf * 4, ngf * 8, norm, submodule=block)
        block = UnetBlock(ngf * 2, ngf * 4, norm, submodule=block)
        block = UnetBlock(ngf, ngf * 2, norm, submodule=block)
        self.model = UnetBlock(output_nc, ngf, norm, input_nc=input_nc, submodule=block)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class NLayerDiscriminator(nn.Module):
    def __init__(self, input_nc: int, ndf: int, n_layers: int, norm: str) -> None:
        super().__init__()
        use_bias = norm == "instance"
        sequence: list[nn.Module] = [
            nn.Conv2d(input_nc, ndf, kernel_size=4, stride=2, padding=1),
            nn.LeakyReLU(0.2, True),
        ]
        nf_mult = 1
        for n in range(1, n_layers + 1):
            nf_mult_prev, nf_mult = nf_mult, min(2**n, 8)
            stride = 1 if n == n_layers else 2
            sequence += [
                nn.Conv2d(ndf * nf_mult_prev, ndf * nf_mult, 4, stride, padding=1, bias=use_bias),
                make_norm(norm, ndf * nf_mult),
                nn.LeakyReLU(0.2, True),
            ]
        sequence += [nn.Conv2d(ndf * nf_mult, 1, kernel_size=4, stride=1, padding=1)]
        self.model = nn.Sequential(*sequence)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PixelDiscriminator(nn.Module):
    def __init__(self, input_nc: int, ndf: int, norm: str) -> None:
        super().__init__()
        use_bias = norm == "instance"
        self.net = nn.Sequential(
            nn.Conv2d(input_nc, ndf, kernel_size=1),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(ndf, ndf * 2, kernel_size=1, bias=use_bias),
            make_norm(norm, ndf * 2),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(ndf * 2, 1, kernel_size=1, bias=use_bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def make_generator(recipe: dict[str, Any], input_nc: int, output_nc: int) -> nn.Module:
    family, _, size = recipe["netG"].partition("_")
    if family == "resnet":
        n_blocks = int(size.removesuffix("blocks"))
        return Resnet(input_nc, output_nc, recipe["ngf"], recipe["normG"], False, n_blocks)
    num_downs = {"32": 5, "64": 6, "128": 7, "256": 8}[size]
    return Unet(input_nc, output_nc, num_downs, recipe["ngf"], recipe["normG"], False)


def make_discriminator(recipe: dict[str, Any], input_nc: int) -> nn.Module:
    if recipe["netD"] == "pixel":
        return PixelDiscriminator(input_nc, recipe["ndf"], recipe["normD"])
    return NLayerDiscriminator(input_nc, recipe["ndf"], recipe["n_layers_D"], recipe["normD"])


class PlainCycleGAN:
    """The reference's model: ``optimize_parameters`` is one step, ``losses`` what it logged."""

    def __init__(self, recipe: dict[str, Any], nc_a: int = 3, nc_b: int = 3) -> None:
        self.recipe = recipe
        self.nets = {
            "G_A": make_generator(recipe, nc_a, nc_b).double(),
            "G_B": make_generator(recipe, nc_b, nc_a).double(),
            "D_A": make_discriminator(recipe, nc_b).double(),
            "D_B": make_discriminator(recipe, nc_a).double(),
        }
        self.optimizer_g = self._adam("G_A", "G_B")
        self.optimizer_d = self._adam("D_A", "D_B")
        self.losses: dict[str, float] = {}
        self.outputs: dict[str, Tensor] = {}

    def _adam(self, first: str, second: str) -> torch.optim.Adam:
        parameters = itertools.chain(self.nets[first].parameters(), self.nets[second].parameters())
        return torch.optim.Adam(
            parameters, lr=self.recipe["lr"], betas=(self.recipe["beta1"], 0.999), fused=False
        )

    def criterion_gan(self, prediction: Tensor, target_is_real: bool) -> Tensor:
        if self.recipe["gan_mode"] == "lsgan":
            return ((prediction - float(target_is_real)) ** 2).mean()
        probability = torch.sigmoid(prediction)  # vanilla
        return -torch.log(probability if target_is_real else 1 - probability).mean()

    def optimize_parameters(self, real_a: Tensor, real_b: Tensor) -> None:
        g_a, g_b, d_a, d_b = (self.nets[name] for name in ("G_A", "G_B", "D_A", "D_B"))
        lambda_a, lambda_b = self.recipe["lambda_A"], self.recipe["lambda_B"]
        lambda_idt = self.recipe["lambda_identity"]
        fake_b = g_a(real_a)
        rec_a = g_b(fake_b)
        fake_a = g_b(real_b)
        rec_b = g_a(fake_a)

        self._let_discriminators_learn(False)
        self.optimizer_g.zero_grad()
        idt_a = idt_b = torch.zeros((), dtype=torch.float64)
        if lambda_idt > 0:
            idt_a = (g_a(real_b) - real_b).abs().mean() * lambda_b * lambda_idt
            idt_b = (g_b(real_a) - real_a).abs().mean() * lambda_a * lambda_idt
        loss_g_a = self.criterion_gan(d_a(fake_b), True)
        loss_g_b = self.criterion_gan(d_b(fake_a), True)
        cycle_a = (rec_a - real_a).abs().mean() * lambda_a
        cycle_b = (rec_b - real_b).abs().mean() * lambda_b
        (loss_g_a + loss_g_b + cycle_a + cycle_b + idt_a + idt_b).backward()
        self.optimizer_g.step()

        self._let_discriminators_learn(True)
        self.optimizer_d.zero_grad()
        loss_d_a = self._backward_d(d_a, real_b, fake_b)
        loss_d_b = self._backward_d(d_b, real_a, fake_a)
        self.optimizer_d.step()

        losses = {"D_A": loss_d_a, "G_A": loss_g_a, "cycle_A": cycle_a, "idt_A": idt_a}
        losses |= {"D_B": loss_d_b, "G_B": loss_g_b, "cycle_B": cycle_b, "idt_B": idt_b}
        self.losses = {name: loss.item() for name, loss in losses.items()}
        outputs = {"fake_B": fake_b, "rec_A": rec_a, "fake_A": fake_a, "rec_B": rec_b}
        self.outputs = {name: output.detach() for name, output in outputs.items()}

    def _let_discriminators_learn(self, learn: bool) -> None:
        for name in ("D_A", "D_B"):
            self.nets[name].requires_grad_(learn)

    def _backward_d(self, net: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        loss_real = self.criterion_gan(net(real), True)
        loss_fake = self.criterion_gan(net(fake.detach()), False)
        loss = (loss_real + loss_fake) * 0.5
        loss.backward()
        return loss

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value.detach().clone()
            for name, net in self.nets.items()
            for key, value in net.state_dict().items()
        }


def draw_weights(model: PlainCycleGAN, generator: torch.Generator) -> None:
    """Weights larger than those that training begins with, so that every layer counts."""
    for net in model.nets.values():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            with torch.no_grad():
                parameter.copy_(noise * 0.2)


def record(
    path: Path,
    recipe: dict[str, Any],
    *,
    steps: int = 3,
    batch: int = 2,
    height: int = 24,
    width: int = 32,
    nc_a: int = 3,
    nc_b: int = 3,
) -> None:
    """Train from drawn weights on drawn images and write the two files of the trajectory."""
    generator = torch.Generator().manual_seed(11)
    model = PlainCycleGAN(recipe, nc_a, nc_b)
    draw_weights(model, generator)
    tensors = {f"init.{key}": value for key, value in model.weights().items()}
    losses = []
    for step in range(steps):
        images = {
            name: torch.rand((batch, nc, height, width), generator=generator) * 2 - 1
            for name, nc in (("A", nc_a), ("B", nc_b))
        }
        tensors |= {f"input.{step}.{name}": image for name, image in images.items()}
        model.optimize_parameters(images["A"].double(), images["B"].double())
        losses.append(model.losses)
        if step == 0:
            tensors |= {f"step0.{name}": output for name, output in model.outputs.items()}
    tensors |= {f"final.{key}": value for key, value in model.weights().items()}
    facts = {"config": recipe, "batch": batch, "height": height, "width": width, "steps": steps}
    save_file(tensors, path)
    path.with_suffix(".json").write_text(json.dumps(facts | {"losses": losses}, indent=1) + "\n")
