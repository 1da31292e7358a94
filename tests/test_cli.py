"""Whatever is typed wrongly is told in one line that names it, and every command teaches."""

import json
import re
import subprocess
import sys

import pytest
from tiny import make_pictures, tiny_config

from cyclegan_style.commands.main import main
from cyclegan_style.commands.train import parse_training_options, small_recipe_notes
from cyclegan_style.config import Config, flat_fields, to_yaml
from cyclegan_style.data.training_data import name_domains
from cyclegan_style.models.export import export_model
from cyclegan_style.training.config_checks import validate
from cyclegan_style.training.cyclegan import build_generators


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "unknown-field.yaml").write_text("train: {batchsize: 3}\n")
    (tmp_path / "unknown-section.yaml").write_text("trian: {batch_size: 3}\n")
    (tmp_path / "bad-value.yaml").write_text("train: {batch_size: many}\n")
    (tmp_path / "broken.yaml").write_text("train: [1\n")
    (tmp_path / "words.yaml").write_text("just words\n")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    return tmp_path


def exit_status(*arguments: str) -> int:
    """Status that the shell would see."""
    try:
        return main(list(arguments))
    except SystemExit as exited:
        return exited.code


MISTAKES = [
    (["frobnicate"], "frobnicate"),
    (["trian", "--help"], "trian"),
    (["train", "stray"], "stray"),
    (["train", "--nonsense", "1"], "--nonsense"),
    (["train", "--train.batchsize", "1"], "--train.batchsize"),
    (["train", "--train.batch_s", "1"], "--train.batch_s"),
    (["train", "--train.batch_size"], "--train.batch_size"),
    (["train", "--train.batch_size", "two"], "train.batch_size"),
    (["train", "--train.batch_size", "2.5"], "train.batch_size"),
    (["train", "--data.flip", "perhaps"], "data.flip"),
    (["train", "--generator.architecture", "vgg"], "'resnet', 'unet'"),
    (["train", "--generator.architecture", "vgg"], "generator.architecture"),
    (["train", "--discriminator.augment", "[color,blur]"], "discriminator.augment"),
    (["train", "--config", "nowhere.yaml"], "nowhere.yaml"),
    (["train", "--config", "empty"], "empty"),
    (["train", "--config", "unknown-field.yaml"], "batchsize"),
    (["train", "--config", "unknown-section.yaml"], "trian"),
    (["train", "--config", "bad-value.yaml"], "train.batch_size"),
    (["train", "--config", "broken.yaml"], "config"),
    (["train", "--config", "words.yaml"], "just words"),
    (["train", "--config", "binary.yaml"], "config"),
    (["train", "--data.a", "nowhere"], "data.a: nowhere"),
    (["train", "--data.b", "nowhere"], "data.b: nowhere"),
    (["train", "--data.a", "demo:paintings"], "demo:photo"),
    (["train", "--data.a", "empty"], "data.a: empty"),
    (["train", "--train.batch_size", "0"], "train.batch_size"),
    (["train", "--data.crop_size", "30"], "data.crop_size"),
    (["train", "--data.crop_size", "40x"], "data.crop_size: '40x' is neither a side"),
    (["train", "--data.crop_size", "0x5"], "data.crop_size"),  # 5 in YAML
    (["train", "--data.load_size", "40x56x3"], "data.load_size: '40x56x3' is neither a side"),
    (["train", "--loss.adversarial", "wgan_gp", "--loss.gradient_penalty", "r1"], "wgan_gp"),
    (["train", "--run.dir", "unknown-field.yaml"], "run.dir"),
    (["export"], "model"),
    (["export", "empty"], "--onnx"),
    (["export", "empty", "--onnx", "x.onnx"], "empty: no model there"),
    (["export", "empty", "--onnx", "x.onnx", "--direction", "aa"], "direction"),
    (["convert", "empty", "x"], "empty: no model there"),
    (["evaluate", "paintings"], "paintings"),
    (["runs", "list", "nowhere"], "nowhere"),
    (["replay"], "trajectory"),
    (["replay", "nowhere.safetensors"], "nowhere.safetensors"),
    (["replay", "nowhere.safetensors", "--jsn"], "--jsn"),
    (["benchmark"], "subject"),
    (["benchmark", "sleep"], "sleep"),
    (["benchmark", "train", "--size", "wide"], "size"),
    (["benchmark", "all", "--definition", "fid"], "definition"),
    (["benchmark", "translate", "--images", "0"], "images"),
    (["benchmark", "translate", "--size", "30"], "--size must be a multiple of 4"),
    (["benchmark", "translate", "--precision", "fp8"], "precision"),
    (["benchmark", "large", "--side", "30"], "--side must be a multiple of 4"),
    (["benchmark", "stylize", "--size", "16"], "--size must be at least 32"),
]


@pytest.mark.parametrize(("arguments", "named"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_a_mistake_is_told_in_one_line_that_names_it(arguments, named, capsys):
    status = exit_status(*arguments)

    captured = capsys.readouterr()
    assert status == 2
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    assert named in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_all_faulty_fields_are_told_at_once(capsys):
    wrong = ["--train.batch_size", "0", "--optimizer.beta1", "3", "--data.memory_budget", "lots"]

    assert exit_status("train", *wrong) == 2
    message = capsys.readouterr().err
    assert all(name.removeprefix("--") in message for name in wrong[::2])


def test_a_failed_start_over_its_data_leaves_the_folder_free(empty_folder):
    make_pictures(empty_folder / "a", 2)
    wrong = ["--run.dir", "run", "--run.resume", "never", "--data.a", "a", "--data.b", "b"]
    assert exit_status("train", *wrong) == 2

    make_pictures(empty_folder / "b", 2)

    assert exit_status("train", *wrong, *TINY) == 0


TINY = [
    *("--data.load_size", "32", "--data.crop_size", "24", "--data.num_workers", "0"),
    *("--generator.architecture", "resnet", "--generator.channels", "2"),
    *("--generator.blocks", "1", "--generator.full_size_channels", "0"),
    *("--discriminator.channels", "2", "--discriminator.layers", "1"),
    *("--discriminator.feature_layers", "[]", "--train.cpu_threads", "1"),
    *("--train.max_steps", "1", "--train.mixed_precision", "no"),
]


def test_training_ends_stdout_with_one_json_object(empty_folder, capsys):
    make_pictures(empty_folder / "a", 2)
    make_pictures(empty_folder / "b", 2)

    status = exit_status("train", *TINY, "--data.a", "a", "--data.b", "b", "--json")

    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert status == 0
    assert json.loads(lines[-1]) == {"run": "runs/demo", "step": 1, "scores": {}}
    assert len(lines) == 1  # what is meant for people goes to stderr
    assert captured.err.count("no --config: your pictures") == 1


def test_a_folder_in_the_reference_layout_is_named_without_a_config(empty_folder):
    make_pictures(empty_folder / "pictures" / "trainA", 1)
    make_pictures(empty_folder / "pictures" / "trainB", 1)

    _, config = parse_training_options(["--data.root", "pictures"])

    validate(name_domains(config))
    assert name_domains(config).data.a == "pictures/trainA"


OWN_PICTURES = [
    ["--data.a", "photos", "--data.b", "paintings"],
    ["--data.b", "paintings"],
    ["--data.root", "pictures"],
]


@pytest.mark.parametrize("options", OWN_PICTURES, ids=" ".join)
def test_who_chose_no_recipe_for_their_pictures_is_told_of_the_papers(options):
    _, config = parse_training_options(options)

    (note,) = small_recipe_notes(options, config.data)
    _, _, named = note.partition("--config ")

    _, paper = parse_training_options(["--config", named])
    assert config.generator != paper.generator == Config().generator


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--data.a", "demo:painting", "--data.b", "demo:photo"],
        ["--config=mine.yaml", *OWN_PICTURES[0]],
    ],
    ids=" ".join,
)
def test_the_demo_and_a_chosen_recipe_need_no_word(options, empty_folder):
    (empty_folder / "mine.yaml").write_text("train: {seed: 5}\n")
    _, config = parse_training_options(options)

    assert small_recipe_notes(options, config.data) == []


TRANSLATION_NEEDS_NONE_OF = {
    *("torch._dynamo", "torch._inductor", "sympy"),
    *("torchvision", "scipy", "matplotlib", "pandas"),
    *("wandb", "tensorboard", "huggingface_hub", "datasets", "onnx", "onnxruntime", "av"),
}


@pytest.mark.parametrize("command", ["train", "sweep", "convert", "export", "replay", "benchmark"])
def test_every_command_explains_itself(command, capsys):
    assert exit_status(command, "--help") == 0
    text = capsys.readouterr().out
    assert f"usage: cyclegan-style {command}" in text
    assert exit_status("--help") == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        "sweep",
        "translate",
        "stylize",
        "generate",
        "convert",
        "export",
        "data list",
        "data get",
        "runs",
        "replay",
        "benchmark all",
        "benchmark train",
        "benchmark translate",
        "benchmark large",
        "benchmark evaluate",
        "benchmark stylize",
        "benchmark recipes",
        "evaluate folders",
        "evaluate model",
        "evaluate paired",
        "evaluate compare",
        "evaluate stats",
        "data check",
    ],
)
def test_help_explains_every_option(command, capsys):
    assert exit_status(*command.split(), "--help") == 0
    _, _, text = capsys.readouterr().out.partition("options:\n")
    options = re.split(r"(?m)^  (?=-)", text)[1:]
    assert any(option.startswith("--json") for option in options)
    for option in options:
        invocation, _, explanation = re.sub(r"\n +", "  ", option.strip()).partition("  ")
        assert re.match(r" *[A-Za-z0-9]", explanation), invocation
        assert not re.search("null|class|%|default: (auto|False).*default", explanation), option


def test_no_command_waits_for_what_it_does_not_need(empty_folder):
    make_pictures(empty_folder / "in", 1)
    config = tiny_config()
    export_model(empty_folder / "model", build_generators(config), to_yaml(config))
    tries = [["--help"], ["train", "--help"], ["translate"], ["export", "."], ["runs", "--help"]]
    wrong = ["--content", "a", "--style", "b", "--output", "c", "--steps", "0"]
    tries += [["stylize", "--help"], ["stylize", *wrong]]
    tries += [["sweep", "--help"], ["sweep", "--train.seed", "0,none"], ["sweep", "--train.seed=0"]]
    tries += [["generate", "--help"], ["generate", *wrong[4:6], "--model", "m", "--count", "0"]]
    tries += [["data", "list"], ["data", "get", "nothing"]]
    tries += [["data", "check", "--help"], ["data", "check", "--output", "c"]]
    tries += [["convert"], ["replay", "--help"], ["benchmark", "train", "--size", "wide"]]
    program = f"""
import contextlib, sys
from cyclegan_style.commands.main import main
for arguments in {tries}:
    with contextlib.suppress(SystemExit):
        main(arguments)
assert "torch" not in sys.modules
assert main("translate --model model --input in --output out --device cpu".split()) == 0
print(*sorted(sys.modules.keys() & {TRANSLATION_NEEDS_NONE_OF}))
"""

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout.splitlines()[-1:]) == (0, [""]), result.stderr


def test_help_explains_every_field_of_the_configuration(capsys):
    assert exit_status("train", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())

    for name in flat_fields(Config()):
        described = text.split(f" --{name} ")[-1]
        assert len(described.split(" --")[0]) > 25, name
    assert "Processes that prepare samples; 0 prepares them in the training process." in text


def test_no_command_shows_the_commands(capsys):
    assert exit_status() == 0
    assert "train" in capsys.readouterr().out


def test_the_printed_configuration_is_the_one_that_is_read(empty_folder, capsys):
    changes = ["--train.batch_size", "3", "--optimizer.learning_rate", "1e-05"]
    changes += ["--discriminator.augment", "[color,cutout]", "--data.a", "pictures of mine/*.png"]
    assert exit_status("train", *changes, "--print_config") == 0
    (empty_folder / "printed.yaml").write_text(capsys.readouterr().out)

    _, read = parse_training_options(["--config", "printed.yaml"])
    _, meant = parse_training_options(changes)

    assert read == meant
    assert read.train.batch_size == 3
    assert read.optimizer.learning_rate == 1e-5
    assert read.discriminator.augment == ("color", "cutout")


def test_later_options_override_the_file(empty_folder):
    (empty_folder / "mine.yaml").write_text("train: {batch_size: 3, seed: 5}\n")

    _, config = parse_training_options(["--config=mine.yaml", "--train.seed", "7"])

    assert (config.train.batch_size, config.train.seed) == (3, 7)
    assert config.generator == Config().generator
