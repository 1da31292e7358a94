"""A run writes what it promises, stops and goes on exactly, and says what stops it."""

import math
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from runs_in_tests import assert_equal_state, killed_in_step, metrics_of, run_training
from safetensors.torch import load_file
from tiny import equal_tensors, forget_accelerator, fp16_on_a_cpu, make_pictures

from cyclegan_style.config import Config
from cyclegan_style.data.listing import DomainError
from cyclegan_style.data.training_data import open_dataset
from cyclegan_style.errors import UserError
from cyclegan_style.networks import build_generator
from cyclegan_style.runs.run_folder import claim_run_folder
from cyclegan_style.system.hardware import build_accelerator
from cyclegan_style.training.config_checks import ConfigError
from cyclegan_style.training.schedule import learning_rate
from cyclegan_style.training.trainer import Trainer

LOSSES = {
    *("adversarial_ab", "adversarial_ba", "cycle_a", "cycle_b", "identity_a", "identity_b"),
    *("discriminator_a", "discriminator_b"),
}
EVERYTHING_RANDOM = {
    "train__pool_size": 2,
    "train__ema_decay": 0.9,
    "generator__dropout": True,
    "discriminator__augment": ("color", "translation", "cutout"),
}
WITH_HEADS = {
    "discriminator__feature_layers": ("fire2",),
    "data__crop_size": 32,
    "train__ema_warmup": True,
    "discriminator__scales": 2,
    "loss__contrastive": 1.0,
    "loss__cycle_decay": 0.5,
    "loss__cycle_noise": 0.05,
    "loss__detail": 0.5,
    "generator__attention": True,
}


def files_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_a_run_folder_holds_what_is_promised(configured):
    config = configured(tracking__sample_every_steps=4)

    result = run_training(config)

    run = Path(config.run.dir)
    assert (result.run, result.step, result.scores) == (run, 6, {})
    checkpoint = {
        *("generators.safetensors", "discriminators.safetensors", "state.json"),
        *("generator_optimizer.safetensors", "discriminator_optimizer.safetensors"),
        "process-00000.safetensors",
    }
    model = {"generator_ab.safetensors", "generator_ba.safetensors", "config.yaml"}
    assert files_of(run) == {
        *("config.yaml", "metrics.jsonl", "report.html", ".lock", ".origins.json"),
        *("samples/step-00000004.png", "samples/step-00000006.png"),
        *(f"checkpoints/step-0000000{step}/{name}" for step in (3, 6) for name in checkpoint),
        *(f"model/{name}" for name in model),
    }


def test_metrics_have_the_promised_keys_and_plausible_numbers(configured):
    fields = {"train__epochs": 1, "train__decay_epochs": 1}
    config = configured(tracking__sample_every_steps=4, **fields)

    run_training(config)

    lines = metrics_of(Path(config.run.dir))
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert [line["epoch"] for line in lines] == [0.4, 0.8, 1.2]
    for line in lines:
        of_health = {key for key in line if key.startswith("health_")}
        assert bool(of_health) == (line["step"] in (4, 6))
        assert line.keys() - of_health == {"step", "epoch", "lr", "images_per_second", *LOSSES}
        assert all(math.isfinite(value) for value in line.values())
        assert all(value > 0 for key, value in line.items() if key not in of_health)
        epoch = (line["step"] - 1) / 5
        assert line["lr"] == learning_rate(config.optimizer, config.train, epoch)
    assert lines[0]["lr"] > lines[-1]["lr"]


def test_weights_follow_the_schedule_that_is_stretched_to_so_many_steps(configured):
    config = configured(train__steps=4, loss__cycle_decay=0.5, train__max_steps=4)
    accelerator = build_accelerator(config, "no")
    dataset = open_dataset(config, accelerator)
    trainer = Trainer(config, accelerator, claim_run_folder(config), dataset)

    trainer.fit()

    assert trainer.training_step.generators.progress == 3 / 4  # when the last step began


def test_first_steps_may_teach_generators_to_give_back_their_input_alone(configured):
    options = {"loss__contrastive": 1.0, "loss__feature_matching": 1.0, "loss__detail": 1.0}
    config = configured(
        train__identity_steps=3, train__max_steps=5, checkpoint__every_steps=1, **options
    )
    config = replace(config, checkpoint=replace(config.checkpoint, keep=5))

    run_training(config)

    run = Path(config.run.dir)
    beside = {
        f"{name}_{way}"
        for name in ("contrastive", "detail", "feature_matching")
        for way in ("ab", "ba")
    }
    first, mixed, last = metrics_of(run)
    for name in LOSSES | beside:
        assert (first[name] > 0) == name.startswith("identity"), name
        assert mixed[name] > 0
        assert last[name] > 0
    states = [
        {
            name: load_file(run / f"checkpoints/step-0000000{step}/{name}.safetensors")
            for name in ("generators", "discriminators", "projections")
        }
        for step in (1, 3, 4)
    ]
    one, three, four = states
    for name in ("discriminators", "projections"):
        assert equal_tensors(one[name], three[name])
        assert not equal_tensors(three[name], four[name])
    assert not equal_tensors(one["generators"], three["generators"])


def test_metrics_are_means_over_the_steps_they_cover(configured):
    each, pairs = configured("each", tracking__log_every_steps=1), configured("pairs")
    for config in (each, pairs):
        run_training(config)

    singles, means = metrics_of(Path(each.run.dir)), metrics_of(Path(pairs.run.dir))
    for number, line in enumerate(means):
        for name in LOSSES:
            covered = [single[name] for single in singles[2 * number : 2 * number + 2]]
            assert line[name] == pytest.approx(sum(covered) / 2, rel=1e-6)


def test_the_exported_model_is_the_moving_average_and_loads_by_its_own_config(configured):
    config = configured(train__ema_decay=0.5, optimizer__learning_rate=0.01)
    run_training(config)
    run = Path(config.run.dir)

    section = yaml.safe_load((run / "model" / "config.yaml").read_text())["generator"]
    assert section == asdict(config.generator)
    generator = build_generator(config.generator)
    exported = load_file(run / "model" / "generator_ab.safetensors")
    generator.load_state_dict(exported)
    checkpoint = run / "checkpoints" / "step-00000006"
    average = load_file(checkpoint / "average.safetensors")
    trained = load_file(checkpoint / "generators.safetensors")
    assert equal_tensors(exported, {key: average[f"module.ab.{key}"] for key in exported})
    assert not equal_tensors(exported, {key: trained[f"ab.{key}"] for key in exported})


def test_samples_show_test_pictures_at_their_size(configured, pictures):
    tests = {"data__test_a": str(pictures / "testA"), "data__test_b": str(pictures / "testB")}
    config = configured(tracking__sample_count=2, train__max_steps=1, **tests)
    run_training(config)

    with Image.open(Path(config.run.dir) / "samples" / "step-00000001.png") as image:
        sheet = np.asarray(image.convert("RGB"))
    size = config.data.crop_size
    assert sheet.shape == (20 + 2 * size + 3 * 4, 8 * size + 9 * 4, 3)
    shown = sheet[24 : 24 + size, 4 : 4 + size]
    with Image.open(pictures / "testA" / "000.png") as image:
        expected = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    assert np.abs(shown.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        ({}, 3),
        pytest.param({}, 4, marks=pytest.mark.slow),
        pytest.param(EVERYTHING_RANDOM, 3, marks=pytest.mark.slow),
        (EVERYTHING_RANDOM | WITH_HEADS, 4),
        (EVERYTHING_RANDOM | {"train__identity_steps": 4}, 3),
    ],
    ids=[
        *("plain, saved", "plain", "everything random, saved", "everything random, with heads"),
        "from the identity",
    ],
)
def test_a_stopped_run_goes_on_bit_for_bit(configured, fields, stop):
    whole, parts = configured("whole", **fields), configured("parts", **fields)
    run_training(whole)
    run_training(replace(parts, train=replace(parts.train, max_steps=stop)))

    result = run_training(parts)

    first, second = Path(whole.run.dir), Path(parts.run.dir)
    assert result.step == 6
    assert_equal_state(first, second, step=6)
    for name in ("generator_ab.safetensors", "generator_ba.safetensors"):
        assert (first / "model" / name).read_bytes() == (second / "model" / name).read_bytes()
    pools = load_file(first / "checkpoints" / "step-00000006" / "process-00000.safetensors")
    assert ("pool.a.images" in pools) == bool(fields)


def test_a_run_killed_between_checkpoints_goes_on_bit_for_bit(configured, monkeypatch):
    whole, killed = (
        configured("whole", **EVERYTHING_RANDOM),
        configured("killed", **EVERYTHING_RANDOM),
    )
    run_training(whole)
    with killed_in_step(6, monkeypatch):
        run_training(killed)
    assert [line["step"] for line in metrics_of(Path(killed.run.dir))] == [2, 4]

    run_training(killed)

    first, second = Path(whole.run.dir), Path(killed.run.dir)
    assert_equal_state(first, second, step=6)
    lines = zip(metrics_of(first), metrics_of(second), strict=True)
    for expected, line in lines:
        assert {**line, "images_per_second": 0} == {**expected, "images_per_second": 0}


def fp16_trainer(config: Config, scale: float) -> Trainer:
    """A trainer that stands where its run does, in fp16 with the scaler that CUDA would have."""
    forget_accelerator()
    accelerator = fp16_on_a_cpu(scale)
    dataset = open_dataset(config, accelerator)
    return Trainer(config, accelerator, claim_run_folder(config), dataset)


def test_the_scale_of_fp16_goes_on_where_it_was(configured):
    config = configured(train__max_steps=2)
    trained = fp16_trainer(config, scale=2.0**127)  # at which every gradient overflows
    trained.fit()

    goes_on = fp16_trainer(config, scale=1024.0)

    assert goes_on.progress.step == 2
    state = goes_on.accelerator.scaler.state_dict()
    assert state == trained.accelerator.scaler.state_dict()
    assert state["scale"] == 2.0**123  # halved at both turns of both steps


def test_a_damaged_checkpoint_is_passed_over(configured, capsys):
    whole, damaged = configured("whole"), configured("damaged", checkpoint__every_steps=2)
    run_training(whole)
    run_training(replace(damaged, train=replace(damaged.train, max_steps=4)))
    run = Path(damaged.run.dir)
    broken = run / "checkpoints" / "step-00000004" / "generators.safetensors"
    broken.write_bytes(broken.read_bytes()[:100])
    capsys.readouterr()

    run_training(damaged)

    said = capsys.readouterr().err
    assert "passed over" in said
    assert "step-00000004" in said
    assert "going on from step 2" in said
    assert_equal_state(Path(whole.run.dir), run, step=6)


def test_a_finished_run_is_left_as_it_is(configured):
    config = configured()
    run_training(config)
    run = Path(config.run.dir)
    before = {name: (run / name).read_bytes() for name in files_of(run)}

    assert run_training(config).step == 6

    assert {name: (run / name).read_bytes() for name in files_of(run)} == before


def test_the_oldest_checkpoints_are_dropped(configured):
    config = configured(checkpoint__every_steps=1, checkpoint__keep=3, train__max_steps=5)

    run_training(config)

    names = sorted(path.name for path in (Path(config.run.dir) / "checkpoints").iterdir())
    assert names == ["step-00000003", "step-00000004", "step-00000005"]


def test_a_changed_configuration_is_refused_by_the_name_of_the_field(configured):
    run_training(configured(train__max_steps=1))

    changes = {"optimizer__learning_rate": 0.001, "generator__channels": 8, "loss__cycle_a": 3.0}
    with pytest.raises(UserError) as caught:
        run_training(configured(**changes))

    message = str(caught.value)
    assert "optimizer.learning_rate was 0.0002 and is now 0.001" in message
    assert "generator.channels was 4 and is now 8" in message
    assert "loss.cycle_a was 10.0 and is now 3.0" in message
    assert "run.dir" in message
    assert "\n" not in message
    assert "max_steps" not in message
    saved = yaml.safe_load((Path(configured().run.dir) / "config.yaml").read_text())
    assert saved["generator"]["channels"] == 4


def test_what_changes_no_number_may_change(configured, pictures):
    run_training(configured(train__max_steps=1))
    free = {
        "data__num_workers": 1,
        "data__memory_budget": "0",
        "data__test_a": str(pictures / "testA"),
        "checkpoint__keep": 1,
        "tracking__sample_count": 1,
        "train__max_steps": 2,
    }

    assert run_training(configured(**free)).step == 2


def test_never_resuming_refuses_a_folder_in_use(configured):
    config = configured(run__resume="never", train__max_steps=1)
    run_training(config)

    with pytest.raises(UserError, match=r"run\.dir.* already holds a run"):
        run_training(config)


@pytest.mark.parametrize("every_steps", [1, 1000])
def test_divergence_stops_with_the_step_the_loss_and_the_last_checkpoint(configured, every_steps):
    config = configured(
        optimizer__learning_rate=1e30,
        generator__norm="none",
        discriminator__norm="none",
        checkpoint__every_steps=every_steps,
        tracking__log_every_steps=4,
    )

    with pytest.raises(UserError) as caught:
        run_training(config)

    message = str(caught.value)
    assert "at step 2" in message
    assert "adversarial_ab became" in message
    assert ("step-00000001" in message) == (every_steps == 1)
    assert ("none was written yet" in message) == (every_steps == 1000)
    assert "\n" not in message
    assert not (Path(config.run.dir) / "checkpoints" / "step-00000002").exists()


def test_a_run_folder_that_is_a_file_is_told(configured, tmp_path):
    (tmp_path / "taken").write_text("a file")

    for name in ("taken", "taken/below"):
        with pytest.raises(UserError, match=r"run\.dir: .*taken"):
            run_training(configured(name))


def test_a_run_folder_with_rubbish_for_a_configuration_is_told(configured):
    folder = Path(configured().run.dir)
    folder.mkdir()
    for rubbish in (b"[1", b"just words", bytes(range(256))):
        (folder / "config.yaml").write_bytes(rubbish)
        with pytest.raises(UserError, match=r"config\.yaml"):
            run_training(configured())


def test_a_configuration_is_checked_before_anything_is_written(configured):
    config = configured(train__batch_size=0)

    with pytest.raises(ConfigError, match=r"train\.batch_size"):
        run_training(config)
    assert not Path(config.run.dir).exists()


def test_data_root_stands_for_its_folders(configured, pictures):
    by_root = configured("root", data__root=str(pictures), data__a=None, data__b=None)
    by_name = configured("name")
    for config in (by_root, by_name):
        run_training(config)

    assert_equal_state(Path(by_root.run.dir), Path(by_name.run.dir), step=6)
    saved = yaml.safe_load((Path(by_root.run.dir) / "config.yaml").read_text())
    assert saved["data"]["root"] is None
    assert saved["data"]["test_a"] == str(pictures / "testA")


def test_workers_change_no_number(configured):
    alone, helped = configured("alone"), configured("helped", data__num_workers=2)
    for config in (alone, helped):
        run_training(config)

    assert_equal_state(Path(alone.run.dir), Path(helped.run.dir), step=6)


def test_decoding_on_access_changes_no_number(configured):
    cached, decoded = configured("cached"), configured("decoded", data__memory_budget="0")
    for config in (cached, decoded):
        run_training(config)

    assert_equal_state(Path(cached.run.dir), Path(decoded.run.dir), step=6)


def test_the_seed_decides_everything(configured):
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        run_training(configured(name, train__seed=seed, **EVERYTHING_RANDOM))

    first, again, other = (Path(configured(n).run.dir) for n in ("first", "again", "other"))
    assert_equal_state(first, again, step=6)
    assert metrics_of(first)[0]["cycle_a"] != metrics_of(other)[0]["cycle_a"]


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_of_other_channels(configured, tmp_path, channels):
    domains = {
        f"data__{name}": str(make_pictures(tmp_path / name, 2, channels=channels))
        for name in ("a", "b")
    }
    both = {"data__channels_a": channels, "data__channels_b": channels}
    config = configured(train__max_steps=2, **domains, **both)

    run_training(config)

    weights = load_file(Path(config.run.dir) / "model" / "generator_ab.safetensors")
    assert weights["model.1.weight"].shape[1] == channels
    assert weights["model.18.weight"].shape[0] == channels


def test_grey_to_colour(configured, tmp_path):
    config = configured(
        train__max_steps=2,
        data__a=str(make_pictures(tmp_path / "grey", 2, channels=1)),
        data__channels_a=1,
        loss__identity_a=0.0,
        loss__identity_b=0.0,
    )

    run_training(config)

    assert metrics_of(Path(config.run.dir))[0]["identity_a"] == 0


@pytest.mark.parametrize("resize", ["square", "shortest", "none"])
def test_pictures_of_different_sizes(configured, tmp_path, resize):
    config = configured(
        train__max_steps=2,
        data__a=str(make_pictures(tmp_path / "wide", 3, height=26, width=61)),
        data__b=str(make_pictures(tmp_path / "high", 2, height=50, width=25)),
        data__resize=resize,
        train__batch_size=2,
        train__accumulation_steps=2,
    )

    assert run_training(config).step == 2
    assert (Path(config.run.dir) / "samples" / "step-00000002.png").exists()


def test_epochs_end_a_run(configured):
    config = configured(train__epochs=1, train__decay_epochs=1, train__max_steps=None)

    assert run_training(config).step == 2 * 5
    assert run_training(replace(config, train=replace(config.train, decay_epochs=2))).step == 15


@pytest.mark.parametrize("num_workers", [0, 1])
def test_pictures_that_vanish_stop_a_run_that_can_go_on(configured, tmp_path, num_workers):
    fields = {
        "data__a": str(make_pictures(tmp_path / "a", 5)),
        "data__memory_budget": "0",
        "data__num_workers": num_workers,
        "train__max_steps": 4000,
        "train__epochs": 1000,
        "tracking__sample_every_steps": 4000,
    }
    config = configured(**fields)
    first = Path(config.run.dir) / "checkpoints" / "step-00000003"

    def lose_the_pictures() -> None:
        while not first.exists():
            time.sleep(0.001)
        (tmp_path / "a").rename(tmp_path / "away")

    thief = threading.Thread(target=lose_the_pictures)
    thief.start()
    with pytest.raises(DomainError, match="none of its images can be read any more"):
        run_training(config)
    thief.join()

    reached = max(int(path.name[-8:]) for path in first.parent.iterdir())
    (tmp_path / "away").rename(tmp_path / "a")
    assert run_training(configured(**(fields | {"train__max_steps": reached + 2}))).step > reached


def test_a_run_without_a_whole_checkpoint_is_not_begun_again(configured):
    config = configured()
    run = run_training(config).run
    for state in run.glob("checkpoints/*/state.json"):
        state.write_text("{}")
    lines = metrics_of(run)

    with pytest.raises(UserError, match="no whole checkpoint to go on from"):
        run_training(config)
    assert metrics_of(run) == lines


def test_what_a_kill_between_checkpoint_and_model_left_is_made_good(configured):
    config = configured()
    run = run_training(config).run
    expected = (run / "model/generator_ab.safetensors").read_bytes()
    (run / "model/generator_ab.safetensors").write_bytes(b"of an earlier step")
    (run / "checkpoints/.step-00000009.partial").mkdir()

    run_training(config)

    assert (run / "model/generator_ab.safetensors").read_bytes() == expected


def test_a_run_that_knew_fewer_fields_goes_on(configured):
    config = configured(train__max_steps=3)
    run = run_training(config).run
    saved = yaml.safe_load((run / "config.yaml").read_text())
    del saved["train"]["start_from"]
    (run / "config.yaml").write_text(yaml.safe_dump(saved))

    assert run_training(configured()).step == 6
