"""Two processes take the steps that one takes on their images together, and go on exactly."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from accelerate import Accelerator
from distributed_steps import ONE_SIDED, ONE_WAY_BACK, weights_after_steps
from inception_weights import write_soft_pictures
from runs_in_tests import assert_equal_state
from safetensors.torch import load_file
from small_network import SmallNetwork
from tiny import equal_tensors, largest_difference, make_pictures, tiny_config
from two_processes import ROOT, outputs_of_two_processes

from cyclegan_style.commands.main import main
from cyclegan_style.config import Config, to_yaml
from cyclegan_style.data.training_data import open_test_domains
from cyclegan_style.evaluation.collect import collect_features
from cyclegan_style.evaluation.definitions import DEFINITIONS
from cyclegan_style.models.export import export_model
from cyclegan_style.system.launch import missing_processes
from cyclegan_style.training.cyclegan import build_generators
from cyclegan_style.training.validation import Validation


def launch(
    script: Path,
    *arguments: str | Path,
    options: Sequence[str] = ("--cpu", "--num_processes=2"),
    timeout: int = 200,
) -> subprocess.CompletedProcess[str]:
    """Run a script with two processes on the CPU."""
    return subprocess.run(
        command_line(script, *arguments, options=options),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def command_line(script: Path, *arguments: str | Path, options: Sequence[str]) -> list[str]:
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *options]
    return [str(part) for part in (*launcher, script, *arguments)]


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def train_until_the_launcher_is_killed(config: Path, run: Path, told: Path) -> None:
    """Kill accelerate's launcher, and it alone, as soon as training has reported a step."""
    asked = told.with_suffix(".yaml")
    asked.write_text(
        "{compute_environment: LOCAL_MACHINE, distributed_type: MULTI_CPU, use_cpu: true,"
        " num_processes: 2}"
    )
    options = [f"--config_file={asked}"]
    command = command_line(ROOT / "train.py", "--config", config, options=options)
    with told.open("w") as file:
        launcher = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=file)
        while not (run / "metrics.jsonl").exists():
            assert launcher.poll() is None, told.read_text()
            time.sleep(0.01)
        started = psutil.Process(launcher.pid).children(recursive=True)
        launcher.kill()
        launcher.wait()
        _, left = psutil.wait_procs(started, timeout=100)
    for process in left:
        process.kill()
    assert not left, told.read_text()


def last_checkpoint(run: Path) -> Path:
    return max((run / "checkpoints").glob("step-*"))


def config_file(folder: Path, name: str, max_steps: int) -> Path:
    """Write the configuration of a tiny run with everything that is random in it."""
    config: Config = tiny_config(
        run__dir=str(folder / name),
        data__a=str(folder / "a"),
        data__b=str(folder / "b"),
        data__pairs=(str(folder / "a"), str(folder / "a")),
        loss__paired=1.0,
        train__max_steps=max_steps,
        train__mixed_precision="no",
        train__epochs=10_000,
        train__pool_size=2,
        train__ema_decay=0.9,
        generator__dropout=True,
        discriminator__augment=("color", "cutout"),
        checkpoint__every_steps=3,
        tracking__log_every_steps=2,
        data__test_a=str(folder / "test-a"),
        # Which must not matter.
        evaluation__every_steps=max_steps // 2 if name == "whole" else 0,
    )
    path = folder / f"{name}-{max_steps}.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return path


STYLE_RUNS = (("style-parts", 11), ("style-parts", 20), ("style-whole", 20))
"""A run that stops and goes on, and one that does not."""


def one_style_file(folder: Path, name: str, max_steps: int) -> Path:
    """Write the configuration of a run that learns the styles of a few paintings."""
    config = tiny_config(
        task="one_style",
        run__dir=str(folder / name),
        data__a=str(folder / "a"),
        data__b=str(folder / "b"),
        data__crop_size=32,
        train__max_steps=max_steps,
        train__epochs=100,
        train__pool_size=50,
        train__ema_decay=0.9,
        discriminator__channels=64,
        discriminator__layers=3,
    )
    path = folder / f"{name}-{max_steps}.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return path


NOISE_RUNS = (("noise-parts", 11), ("noise-parts", 20), ("noise-whole", 20))


def noise_file(folder: Path, name: str, max_steps: int) -> Path:
    """Write the configuration of a run that makes pictures out of noise."""
    config = tiny_config(
        task="noise",
        run__dir=str(folder / name),
        data__a=None,
        data__b=str(folder / "b"),
        data__crop_size=32,
        generator__architecture="dcgan",
        generator__norm="batch",
        discriminator__architecture="whole",
        discriminator__layers=3,
        discriminator__spectral_norm=True,
        discriminator__augment=("translation",),
        train__max_steps=max_steps,
        train__epochs=100,
        train__batch_size=2,
        train__pool_size=50,
        train__ema_decay=0.9,
        # Which must not matter.
        evaluation__every_steps=10 if name == "noise-whole" else 0,
    )
    path = folder / f"{name}-{max_steps}.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return path


BUCKET_RUNS = (("buckets-parts", 1), ("buckets-parts", 3), ("buckets-whole", 3))


def buckets_file(folder: Path, name: str, max_steps: int) -> Path:
    """Write the configuration of a run on pictures of several shapes, some steps of each."""
    config = tiny_config(
        run__dir=str(folder / name),
        data__a=str(folder / "mixed"),
        data__b=str(folder / "mixed"),
        data__resize="shortest",
        data__buckets=True,
        train__max_steps=max_steps,
        train__epochs=100,
        train__pool_size=2,
        train__accumulation_steps=2,
    )
    path = folder / f"{name}-{max_steps}.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with runs and other commands of two processes, and the steps' weights.

    The launcher of a run in parts is killed; three steps later it ends, like the whole one.
    All in two starts, since starting processes takes longer than what they do here.
    """
    folder = tmp_path_factory.mktemp("distributed")
    make_pictures(folder / "a", 9, seed=1)
    make_pictures(folder / "b", 5, seed=2)
    make_pictures(folder / "test-a", 3, seed=3)
    make_pictures(folder / "mixed/low", 9, 30, 42)
    make_pictures(folder / "mixed/tall", 7, 44, 26)
    for name, count, seed in (("real", 9, 3), ("fake", 7, 4)):
        write_soft_pictures(folder / name, count, seed=seed, longest=160)
    (make_pictures(folder / "untranslated", 5) / "bad.png").write_bytes(b"")
    config = tiny_config()
    export_model(folder / "model", build_generators(config), to_yaml(config))
    train_until_the_launcher_is_killed(
        config_file(folder, "parts", 100_000), folder / "parts", folder / "told-first"
    )
    step = int(last_checkpoint(folder / "parts").name.removeprefix("step-"))
    outputs = outputs_of_two_processes(
        Path(__file__).with_name("distributed_steps.py"),
        folder / "weights",
        *(one_style_file(folder, name, end) for name, end in STYLE_RUNS),
        *(noise_file(folder, name, end) for name, end in NOISE_RUNS),
        *(buckets_file(folder, name, end) for name, end in BUCKET_RUNS),
        config_file(folder, "parts", step + 3),
        config_file(folder, "whole", step + 3),
    )
    told = "".join(errors for _, errors in outputs)
    assert told.count(f"going on from step {step} in") == 1
    (folder / "told").write_text(told, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("weights", {}),
        ("weights-one-sided", ONE_SIDED),
        ("weights-one-way-back", ONE_WAY_BACK),
    ],
    ids=["", "one-sided", "one way back"],
)
def test_two_processes_take_the_steps_of_one_with_twice_the_batch(trained, name, fields):
    expected = weights_after_steps(Accelerator(cpu=True), **fields)

    both = [load_file(f"{trained}/{name}.{index}.safetensors") for index in (0, 1)]

    assert equal_tensors(*both)
    assert largest_difference(both[0], expected) < 1e-9
    gradients = [value for name, value in expected.items() if name.startswith("generators.")]
    assert max(gradient.abs().max() for gradient in gradients) > 1e-3


def test_two_processes_that_compute_activations_again_learn_the_same_bit_for_bit(trained):
    for index in (0, 1):
        kept, again = (
            load_file(f"{trained}/{name}.{index}.safetensors")
            for name in ("weights", "weights-again")
        )
        assert equal_tensors(kept, again)


def test_processes_whose_launcher_is_killed_finish_their_step_and_save(trained):
    told = (trained / "told-first").read_text(encoding="utf-8")

    step = int(last_checkpoint(trained / "parts").name.removeprefix("step-")) - 3
    assert told.count("starting in") == 1
    assert told.count(f"stopped by SIGTERM after step {step} of ") == 1


@pytest.mark.parametrize(
    ("words", "processes"),
    [
        (["--cpu", "--num_processes=2", "train.py", "--config", "x.yaml"], ["2", "1", "0"]),
        (["--config_file=asked.yaml", "--max_restarts=3", "train.py"], ["3", "1", "3"]),
        (["--config_file=asked.yaml", "--num_processes=5", "train.py"], ["5", "1", "0"]),
    ],
)
def test_as_many_processes_are_started_as_the_launcher_was_asked_for(
    words, processes, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("asked.yaml").write_text(
        "{compute_environment: LOCAL_MACHINE, distributed_type: MULTI_CPU, use_cpu: true,"
        " num_processes: 3}"
    )
    monkeypatch.setattr("cyclegan_style.system.launch.words_for_accelerate", lambda: words)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.delenv("WORLD_SIZE", raising=False)

    *numbers, alone = missing_processes()

    names = ("--nproc-per-node", "--nnodes", "--max-restarts")
    assert numbers == [f"{name}={n}" for name, n in zip(names, processes, strict=True)]
    assert alone == "--standalone"


def test_two_processes_leave_one_set_of_files(trained):
    total = int(last_checkpoint(trained / "whole").name.removeprefix("step-"))
    scored = set(range(total // 2, total, total // 2))
    for name, own in (("parts", set()), ("whole", scored)):
        run = trained / name
        logged = [json.loads(line)["step"] for line in (run / "metrics.jsonl").open()]
        assert logged == sorted({*range(2, total, 2), *own, total})
        files = {path.name for path in last_checkpoint(run).iterdir()}
        assert {"process-00000.safetensors", "process-00001.safetensors", "state.json"} <= files
        assert {path.name for path in (run / "model").iterdir()} == {
            *("generator_ab.safetensors", "generator_ba.safetensors", "config.yaml"),
        }
        assert not [*run.rglob(".*.partial"), *run.rglob(".*.part")]


def test_two_processes_go_on_bit_for_bit(trained):
    checkpoints = [last_checkpoint(trained / name) for name in ("parts", "whole")]
    assert checkpoints[0].name == checkpoints[1].name
    names = sorted(path.name for path in checkpoints[1].glob("*.safetensors"))
    assert len(names) == 7
    for name in names:
        first, second = (load_file(folder / name) for folder in checkpoints)
        for tensors in (first, second):
            tensors.pop("unreported", None)
        assert equal_tensors(first, second), name


def test_two_processes_go_on_bit_for_bit_with_learning_styles(trained):
    parts, whole = (
        trained / name / "checkpoints/step-00000020" for name in ("style-parts", "style-whole")
    )
    names = sorted(path.name for path in whole.glob("*.safetensors"))
    assert {"generators.safetensors", "average.safetensors"} <= set(names)
    for name in names:
        first, second = (load_file(folder / name) for folder in (parts, whole))
        for tensors in (first, second):
            tensors.pop("unreported", None)
        assert equal_tensors(first, second), name
    assert (
        yaml.safe_load((whole.parents[1] / "config.yaml").read_text())["generator"]["styles"] == 5
    )


def test_two_processes_go_on_bit_for_bit_with_pictures_out_of_noise(trained):
    assert_equal_state(trained / "noise-parts", trained / "noise-whole", 20)
    own = [
        load_file(
            trained / f"noise-whole/checkpoints/step-00000020/process-0000{index}.safetensors"
        )
        for index in (0, 1)
    ]
    assert not equal_tensors(*own)  # each draws noise of its own
    for row in (trained / "noise-whole" / "metrics.jsonl").read_text().splitlines():
        if json.loads(row)["step"] == 10:
            assert json.loads(row)["fd_squeezenet_b"] > 0


def test_two_processes_go_on_bit_for_bit_with_pictures_of_several_shapes(trained):
    assert_equal_state(trained / "buckets-parts", trained / "buckets-whole", 3)
    folder = trained / "buckets-whole/checkpoints/step-00000003"
    shapes = [
        {
            tensor.shape[1:]
            for name, tensor in load_file(folder / f"process-0000{index}.safetensors").items()
            if name.startswith("pool.a.images")
        }
        for index in (0, 1)
    ]
    assert shapes == [{(3, 20, 28), (3, 32, 20)}] * 2


def test_two_processes_find_the_scores_that_one_finds(trained):
    config = tiny_config(
        data__a=str(trained / "test-a"), data__b=str(trained / "b"), generator__dropout=True
    )
    validation = Validation(config, open_test_domains(config), torch.device("cpu"))
    metrics = [json.loads(line) for line in (trained / "whole/metrics.jsonl").open()]
    generators = build_generators(config)
    weights = load_file(last_checkpoint(trained / "whole") / "average.safetensors")
    generators.load_state_dict(
        {name.removeprefix("module."): weights[name] for name in weights if name != "n_averaged"}
    )

    scores = validation.scores(generators)

    assert {"swd_ab", "swd_ba", "structure_ab"} <= scores.keys()
    assert {name: metrics[-1][name] for name in scores} == pytest.approx(scores, rel=1e-6)


def ended(folder: Path, name: str) -> list[tuple[int, str]]:
    """Exit statuses and stdout of a command's two processes."""
    return [json.loads((folder / f"commands-{index}.json").read_text())[name] for index in (0, 1)]


def test_two_processes_count_each_image_once(trained, capsys):
    (status, said), other = ended(trained, "folders")
    assert (status, other) == (0, [0, ""])
    options = ["--real", trained / "real", "--fake", trained / "fake", "--metrics", "swd"]
    command = ["evaluate", "folders", *map(str, options), "--no-cache", "--json"]
    assert main(command) == 0
    scores = json.loads(said)
    assert scores == json.loads(capsys.readouterr().out)
    (status, said), other = ended(trained, "paired")
    assert (status, other) == (0, [0, ""])
    pairs = json.loads(said)
    assert (scores["n_real"], pairs["n"]) == (9, 9)
    assert pairs["ssim"] == pytest.approx(1)
    alone = collect_features(
        sorted((trained / "real").iterdir()),
        SmallNetwork(),
        DEFINITIONS["pytorch-fid"].prepare,
        with_thumbnails=True,
    )

    with np.load(trained / "features.npz") as two:
        assert two["indices"].tolist() == list(range(9))
        # Batches of another size may sum the 300 products in another order.
        np.testing.assert_allclose(two["features"], alone.features, atol=1e-6)
        assert np.array_equal(two["thumbnails"], alone.thumbnails)


def test_two_processes_share_the_files_they_translate(trained):
    (status, printed), other = ended(trained, "translate")
    assert (status, other) == (1, [0, ""])
    result = json.loads(printed)
    assert (result["translated"], result["skipped"]) == (5, 0)
    assert [Path(failure["path"]).name for failure in result["failed"]] == ["bad.png"]
    assert len([*(trained / "translated").glob("*.png")]) == 5


@pytest.mark.slow
@pytest.mark.timeout(620)
def test_two_processes_take_compiled_the_steps_they_take_uncompiled(tmp_path):
    script = Path(__file__).with_name("compiled_steps.py")
    result = launch(script, tmp_path / "weights", timeout=600)
    assert result.returncode == 0, result.stderr

    eager, *compiled = (
        load_file(f"{tmp_path}/weights.{name}.safetensors")
        for name in ("eager.0", "compiled.0", "compiled.1")
    )

    assert equal_tensors(*compiled)
    gradients = [name for name in eager if name.startswith(("generators.", "discriminators."))]
    assert max((compiled[0][name] - eager[name]).abs().max() for name in gradients) < 1e-10
    # Adam makes much of the rounding of gradients near zero.
    assert largest_difference(compiled[0], eager) < 1e-5


@pytest.mark.slow
def test_a_process_that_dies_is_started_again_and_the_run_goes_on(tmp_path):
    for seed, name in enumerate(("a", "b", "test-a")):
        make_pictures(tmp_path / name, 5, seed=seed)
    config = config_file(tmp_path, "run", 60)
    launcher = ["accelerate.commands.launch", "--cpu", "--num_processes=2", "--max_restarts=3"]
    command = [sys.executable, "-m", *launcher, str(ROOT / "train.py"), "--config", str(config)]
    told = tmp_path / "told"
    with told.open("w") as file:
        process = subprocess.Popen(command, stderr=file, cwd=ROOT)
        for step in (6, 30):
            while not (tmp_path / f"run/checkpoints/step-{step:08d}").exists():
                assert process.poll() is None, told.read_text()
                time.sleep(0.01)
            started = psutil.Process(process.pid).children(recursive=True)
            workers = [one for one in started if not one.children()]
            workers[-1].kill()

        assert process.wait(timeout=200) == 0, told.read_text()

    assert told.read_text().count("going on from step") >= 2
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [line["step"] for line in lines] == list(range(2, 61, 2))


def test_processes_have_pools_and_chance_of_their_own(trained):
    folder = last_checkpoint(trained / "whole")
    first, second = (load_file(folder / f"process-0000{index}.safetensors") for index in (0, 1))

    for name in ("pool.a.images", "pool.a.random", "random.torch"):
        assert not torch.equal(first[name], second[name])


def test_a_user_s_mistake_stops_all_processes_without_a_traceback(trained):
    told = (trained / "told").read_text(encoding="utf-8")

    # Counted, not split into lines: the processes write at once, and a line may take in another.
    assert told.count("error: run.dir: ") == 2
    assert told.count("optimizer.learning_rate was 0.0002 and is now 1.0") == 2
    assert "Traceback" not in told
