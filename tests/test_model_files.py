"""Every kind of model that people have, and what is said about the others."""

from dataclasses import replace
from pathlib import Path

import pytest
import record_trajectory as plain
import torch
from tiny import enlarge_weights, equal_tensors, tiny_config
from torch import Tensor, nn

from cyclegan_style.config import DiscriminatorConfig, GeneratorConfig, model_yaml, to_yaml
from cyclegan_style.errors import UserError
from cyclegan_style.models.discriminator_files import read_discriminator_file
from cyclegan_style.models.export import export_model
from cyclegan_style.models.model_files import LoadedGenerator, load_generator
from cyclegan_style.networks import build_discriminator, build_generator
from cyclegan_style.training.cyclegan import build_generators

RESNET = GeneratorConfig(channels=4, blocks=2)


def saved(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


def generator(config: GeneratorConfig, channels: tuple[int, int] = (3, 3)) -> nn.Module:
    network = build_generator(config, *channels).eval()
    enlarge_weights(network)
    return network


def reference_file(folder: Path, network: nn.Module) -> Path:
    """A file of a network that was written down apart from ours, with weights that count."""
    enlarge_weights(network)
    return saved(folder / "latest_net_G.pth", network.eval().state_dict())


def assert_equal_outputs(ours: nn.Module, theirs: nn.Module, channels: int, side: int) -> None:
    image = torch.rand(1, channels, side, side) * 2 - 1
    assert (ours(image) - theirs(image)).abs().max() < 1e-5


@pytest.fixture
def exported(tmp_path):
    config = tiny_config()
    generators = build_generators(config)
    export_model(tmp_path / "run" / "model", generators, to_yaml(config))
    return tmp_path / "run", generators


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_run_folders_and_exported_folders(exported, direction):
    run, generators = exported
    for model in (run, str(run), run / "model"):
        loaded = load_generator(model, direction)
        assert loaded.direction == direction
        assert not loaded.network.training
        assert equal_tensors(loaded.network.state_dict(), generators[direction].state_dict())


def test_an_exported_file_alone(exported):
    run, generators = exported
    loaded = load_generator(run / "model" / "generator_ba.safetensors")
    assert loaded.direction == "ba"
    assert equal_tensors(loaded.network.state_dict(), generators["ba"].state_dict())


@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_layers_that_the_tensors_do_not_tell_are_those_of_the_configuration(architecture, tmp_path):
    config = GeneratorConfig(
        architecture,
        channels=2,
        blocks=1,
        levels=5,
        upsampling="nearest",
        downsampling="blurred",
        skip=True,
        full_size_channels=0 if architecture == "resnet" else 3,
    )
    networks = {"ab": generator(config)}
    enlarge_weights(networks["ab"])
    export_model(tmp_path, networks, model_yaml(config, 3, 3))
    for model in (tmp_path, tmp_path / "generator_ab.safetensors"):
        loaded = load_generator(model)
        assert loaded.config == config
        assert_equal_outputs(loaded.network, networks["ab"], 3, 32)


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_enlarged_maps_are_not_taken_for_the_reference_s_layers(upsampling, tmp_path):
    for config in (RESNET, GeneratorConfig("unet", channels=2, levels=5)):
        network = generator(replace(config, upsampling=upsampling))
        with pytest.raises(UserError, match=r"fits no known generator|does not fit"):
            load_generator(saved(tmp_path / "latest_net_G_A.pth", network.state_dict()))


def test_a_configuration_of_another_version(exported):
    run, _ = exported
    path = run / "model" / "config.yaml"
    text = path.read_text().replace("  norm: instance\n", "", 1) + "new_section: {field: 1}\n"
    path.write_text(text.replace("  levels: 8\n", "  unheard_of: 8\n", 1))
    assert load_generator(run).config.norm == "instance"


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("channels", [(3, 3), (1, 1), (1, 3)])
@pytest.mark.parametrize("architecture", ["resnet", "unet"])
def test_reference_files_tell_their_architecture(tmp_path, architecture, channels, dropout, norm):
    network = (
        plain.Resnet(*channels, 4, norm, dropout, n_blocks=2)
        if architecture == "resnet"
        else plain.Unet(*channels, 6, 2, norm, dropout)
    )
    loaded = load_generator(reference_file(tmp_path, network))
    assert (loaded.in_channels, loaded.out_channels) == channels
    assert loaded.config.norm == norm
    assert_equal_outputs(loaded.network, network, channels[0], 64)


@pytest.mark.parametrize("blocks", [0, 6, 9])
def test_reference_files_tell_their_blocks(tmp_path, blocks):
    network = plain.Resnet(3, 3, 2, "instance", False, blocks)
    loaded = load_generator(reference_file(tmp_path, network))
    assert loaded.config == GeneratorConfig(channels=2, blocks=blocks)
    assert_equal_outputs(loaded.network, network, 3, 32)


@pytest.mark.parametrize(("name", "levels"), [("unet_128", 7), ("unet_256", 8)])
def test_reference_files_tell_their_levels(tmp_path, name, levels):
    network = plain.make_generator(plain.RECIPE | {"netG": name}, 3, 3)
    loaded = load_generator(reference_file(tmp_path, network))
    assert loaded.config == GeneratorConfig("unet", channels=2, levels=levels)
    assert_equal_outputs(loaded.network, network, 3, 2**levels)


def test_old_reference_files(tmp_path):
    network = generator(RESNET)
    state = {f"module.{key}": tensor for key, tensor in network.state_dict().items()}
    for place in ("model.2", "model.10.conv_block.2"):
        state[f"module.{place}.running_mean"] = torch.zeros(4)
        state[f"module.{place}.running_var"] = torch.ones(4)
        state[f"module.{place}.num_batches_tracked"] = torch.tensor(0)
    loaded = load_generator(saved(tmp_path / "latest_net_G_A.pth", state))
    assert equal_tensors(loaded.network.state_dict(), network.state_dict())


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("latest_net_G.pth", "ab"),
        ("latest_net_G_A.pth", "ab"),
        ("10_net_G_B.pth", "ba"),
        ("monet.pth", "ab"),
    ],
)
def test_the_name_tells_the_direction(tmp_path, name, direction):
    path = saved(tmp_path / name, generator(RESNET).state_dict())
    assert load_generator(path).direction == direction
    other = "ba" if direction == "ab" else "ab"
    with pytest.raises(UserError, match=f"translates {direction}, but {other}"):
        load_generator(path, other)


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("/tmp/never-created"),)


def test_files_with_more_than_tensors_are_refused(tmp_path):
    for content in (Evil(), {"a": Evil()}, generator(RESNET)):
        with pytest.raises(UserError, match="refused"):
            load_generator(saved(tmp_path / "x.pth", content))
    for content in ([1, 2], {"epoch": 3}, {1: torch.zeros(1)}, torch.zeros(1)):
        with pytest.raises(UserError, match="no plain dictionary"):
            load_generator(saved(tmp_path / "x.pth", content))


def test_files_that_fit_no_generator(tmp_path):
    with pytest.raises(UserError, match=r"expected were .*model\.1\.weight.*found 1: conv\.weight"):
        load_generator(saved(tmp_path / "x.pth", {"conv.weight": torch.zeros(1)}))
    state = generator(RESNET).state_dict()
    state["model.4.weight"] = torch.zeros(8, 4, 5, 5)
    with pytest.raises(UserError, match=r"model\.4\.weight: expected 8×4×3×3, found 8×4×5×5"):
        load_generator(saved(tmp_path / "x.pth", state))


def test_damaged_files(tmp_path):
    whole = saved(tmp_path / "x.pth", generator(RESNET).state_dict()).read_bytes()
    path = tmp_path / "latest\nnet_G.pth"
    for content in (b"", b"no tensors", whole[: len(whole) // 2], whole[:100]):
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            load_generator(path)
        assert "\n" not in str(caught.value)
    (tmp_path / "x.safetensors").write_bytes(b"1234")
    with pytest.raises(UserError, match="cannot be read"):
        load_generator(tmp_path / "x.safetensors")


def test_folders_without_a_model(tmp_path):
    with pytest.raises(UserError, match="no model there"):
        load_generator(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        load_generator(tmp_path / "missing" / "deep")


def test_the_hub_offline_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"user/name: .*the Hub gave no model") as caught:
        load_generator("user/name")
    assert "\n" not in str(caught.value)


def test_the_hub_gives_a_model(monkeypatch, exported):
    run, generators = exported
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(run / "model"))
    loaded = load_generator("user/name", "ba")
    assert equal_tensors(loaded.network.state_dict(), generators["ba"].state_dict())


def test_what_lies_in_a_folder_of_this_machine_is_not_looked_for_on_the_hub(monkeypatch, tmp_path):
    def unexpected(*_: object, **__: object) -> str:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unexpected)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for model in ("photos/monet", "runs/demo"):  # the latter also before the first run
        with pytest.raises(UserError, match=rf"^{model}: no such file or folder, and not looked"):
            load_generator(model)
    for model in ("./user/name", "../user/name", "/user/name", "user/name/", "~/user/name"):
        with pytest.raises(UserError, match=r"no such file or folder, and no repository id"):
            load_generator(model)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("blocks: 1000000", r"its depth is 1,000,000, and there are 16 tensors"),
        ("blocks: .inf", r"its depth is inf"),
        ("blocks: many", "no resnet generator can be built"),
        ("channels: 1000000000", "no resnet generator can be built|does not fit"),
        (f"channels: {10**30}", "no resnet generator can be built"),
        ("channels: -1", "no resnet generator can be built"),
        ("architecture: unet\n  levels: 1000000", "its depth is 1,000,000"),
        ("upsampling: shuffled", "can be built for it: generator.upsampling is 'shuffled'"),
        ("downsampling: pooled", "can be built for it: generator.downsampling is 'pooled'"),
    ],
)
def test_a_configuration_beyond_its_tensors_is_refused_at_once(exported, change, complaint):
    run, _ = exported
    (run / "model" / "config.yaml").write_text(f"generator:\n  {change}\n")
    with pytest.raises(UserError, match=complaint) as caught:
        load_generator(run)
    assert "\n" not in str(caught.value)


def test_keys_beyond_their_tensors_are_refused_at_once(tmp_path):
    state = build_discriminator(DiscriminatorConfig(channels=4, layers=1)).state_dict()
    path = saved(tmp_path / "D.pth", state | {"model.3000000.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="its depth is 999,999, and there are 7 tensors"):
        read_discriminator_file(path)


def test_a_checksum_tells_weights_apart():
    checksums = {
        LoadedGenerator(generator(RESNET), RESNET, 3, 3, d).checksum() for d in ("ab", "ba")
    }
    assert len(checksums) == 1
    other = generator(RESNET)
    next(other.parameters()).data[0, 0, 0, 0] += 1e-6
    assert LoadedGenerator(other, RESNET, 3, 3, "ab").checksum() not in checksums


def test_an_unknown_direction():
    with pytest.raises(UserError, match="neither ab nor ba"):
        load_generator("x", "xy")  # type: ignore[arg-type]


def test_batch_norm_from_before_it_counted(tmp_path):
    config = GeneratorConfig(channels=4, blocks=1, norm="batch")
    network = generator(config)
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    loaded = load_generator(saved(tmp_path / "latest_net_G.pth", state))
    assert_equal_outputs(loaded.network, network, 3, 16)


@pytest.mark.parametrize(
    "change", [Tensor.to_sparse, Tensor.int, lambda tensor: tensor.to(torch.complex64)]
)
def test_tensors_of_other_kinds_are_refused(tmp_path, change):
    state = generator(RESNET).state_dict()
    state["model.1.weight"] = change(state["model.1.weight"])
    with pytest.raises(UserError, match=r"model\.1\.weight is no dense tensor of floats"):
        load_generator(saved(tmp_path / "latest_net_G.pth", state))


@pytest.mark.parametrize("model", ["n" * 300, "~nobody-of-that-name/model"])
def test_paths_that_cannot_be(model):
    with pytest.raises(UserError, match=r"too long|home directory"):
        load_generator(model)
