"""What a run leaves on disk: checkpoints from which it goes on, and the model to be used."""

import math
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cyclegan_style.config import Config, to_yaml
from cyclegan_style.errors import UserError
from cyclegan_style.models.export import MODEL_FOLDER, export_model
from cyclegan_style.runs.checkpoint import (
    Checkpoint,
    ProcessState,
    checkpoint_folder,
    checkpoint_folders,
    half_written,
    newest_checkpoint,
    optimizer_tensors,
    random_state,
    restore_optimizer,
    restore_random_state,
    save_checkpoint,
)
from cyclegan_style.system.processes import on_main_process, say
from cyclegan_style.training.fine_tuning import begin_from
from cyclegan_style.training.progress import NotFiniteError, Progress, RecentLosses
from cyclegan_style.training.step import TrainingStep


class Saving:
    """Saves all that shapes the next step, and puts it back."""

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        run: Path,
        training_step: TrainingStep,
        progress: Progress,
        losses: RecentLosses,
    ) -> None:
        self.config = config
        self.accelerator = accelerator
        self.run = run
        self.training_step = training_step
        self.progress = progress
        self.losses = losses
        self.last_checkpoint: Path | None = None

    @property
    def is_up_to_date(self) -> bool:
        """Whether the step that was taken last is saved."""
        return self.last_checkpoint == checkpoint_folder(self.run, self.progress.step)

    def save(self) -> None:
        """Write a checkpoint of everything that shapes the next step, and the model beside it."""
        self.refuse_divergence()
        step, progress = self.training_step, self.progress
        shared = {name: network.state_dict() for name, network in step.trained.items()}
        shared |= {name: optimizer_tensors(each) for name, each in step.optimizers.items()}
        if step.average is not None:
            shared["average"] = step.average.state_dict()
        scaler = self.accelerator.scaler
        self.last_checkpoint = save_checkpoint(
            self.accelerator,
            self.run,
            progress.step,
            shared,
            self.own_state(),
            {
                "total_steps": progress.total_steps,
                "epoch": progress.epoch,
                "step_in_epoch": progress.step_in_epoch,
                "images_per_step": progress.images_per_step,
                "processes": self.accelerator.num_processes,
                "loss_names": self.losses.names,
                "scores": progress.best.state(),
                "scaler": None if scaler is None else scaler.state_dict(),
            },
            keep=self.config.checkpoint.keep,
            keep_steps={best.step for best in progress.best.best.values()},
        )
        self.export()

    def refuse_divergence(self) -> None:
        """Raise a NotFiniteError rather than call a state that is beyond saving a good one."""
        if self.losses.by_step:
            self.losses.means(self.progress.step)
        for networks in self.training_step.trained.values():
            for name, weight in networks.named_parameters():
                if not bool(weight.isfinite().all()):
                    raise NotFiniteError(f"{name} became {math.nan} at step {self.progress.step}")

    def own_state(self) -> ProcessState:
        """What this process has that the others have not: chance, pools, unreported losses."""
        state = random_state()
        for domain, pool in self.training_step.pools.items():
            state.tensors.update({f"pool.{domain}.{k}": v for k, v in pool.state().items()})
        if self.losses.by_step:
            state.tensors["unreported"] = torch.stack(self.losses.by_step)
        return state

    def export(self) -> None:
        """Write or refresh the model that is there to be used."""
        if self.accelerator.is_main_process:
            generators = self.training_step.exported_generators
            export_model(self.run / MODEL_FOLDER, generators, to_yaml(self.config))

    def restore(self) -> None:
        """Go on from the newest whole checkpoint of the run, or begin, if there is none."""
        checkpoint, complaints = on_main_process(lambda: newest_checkpoint(self.run))
        complaints += [f"{path}: half written" for path in half_written(self.run)]
        for complaint in complaints:
            say(f"passed over {complaint}")
        if checkpoint is not None:
            self.restore_from(checkpoint)
            self.export()
        elif any(checkpoint_folders(self.run)):
            raise UserError(
                f"run.dir: {self.run} holds no whole checkpoint to go on from;"
                " choose another run.dir, or remove its checkpoints to begin again"
            )
        elif self.config.train.start_from is not None:
            say(begin_from(self.config.train.start_from, self.config, self.training_step))

    def restore_from(self, checkpoint: Checkpoint) -> None:
        """Put back everything that ``save`` wrote."""
        step, facts = self.training_step, checkpoint.facts
        for name, network in step.trained.items():
            network.load_state_dict(checkpoint.shared(name))
        for name, optimizer in step.optimizers.items():
            restore_optimizer(optimizer, checkpoint.shared(name))
        if step.average is not None:
            step.average.load_state_dict(checkpoint.shared("average"))
        if self.accelerator.scaler is not None and facts["scaler"]:
            self.accelerator.scaler.load_state_dict(facts["scaler"])
        self.losses.names = facts["loss_names"]
        own = checkpoint.of_process(self.accelerator.process_index)
        if own is not None:
            self.restore_own(own)
        self.restore_progress(facts)
        self.last_checkpoint = checkpoint.folder

    def restore_own(self, own: ProcessState) -> None:
        """Put back what ``own_state`` returned."""
        restore_random_state(own)
        for domain, pool in self.training_step.pools.items():
            prefix = f"pool.{domain}."
            pool.restore(
                {k.removeprefix(prefix): v for k, v in own.tensors.items() if k.startswith(prefix)},
                self.accelerator.device,
            )
        if "unreported" in own.tensors:
            self.losses.by_step = list(own.tensors["unreported"].to(self.accelerator.device))

    def restore_progress(self, facts: dict[str, Any]) -> None:
        """Stand where the checkpoint was written, as nearly as other processes can."""
        progress = self.progress
        progress.step, progress.epoch = facts["step"], facts["epoch"]
        progress.step_in_epoch = facts["step_in_epoch"]
        if not progress.best.restore(facts["scores"]):
            say("scores are made in another way than before: the best so far are not compared")
        if facts["processes"] != self.accelerator.num_processes:
            say(
                f"the run had {facts['processes']} processes and now has"
                f" {self.accelerator.num_processes}: it goes on, but not bit for bit"
            )
            # As many images of the epoch are behind us, in steps of another size.
            images = facts["step_in_epoch"] * facts["images_per_step"]
            steps = images // progress.images_per_step
            progress.step_in_epoch = min(steps, progress.steps_per_epoch)
            self.losses.by_step.clear()  # every process must have as many
