"""What can be chosen about the state, the scores and the samples that a run leaves on its way."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class CheckpointConfig:
    """Saving of the state from which training continues."""

    every_steps: int = 1200
    """Steps between checkpoints; one is also written at the end."""
    keep: int = 2
    """Newest checkpoints that are kept; those at the step of a best score are kept besides."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Scores during training, of translated test pictures against those of the other domain."""

    every_steps: int = 0
    """Steps between evaluations; 0: none, but for the demo's at the end."""
    metrics: tuple[
        Literal[
            "swd",
            "fd",
            "fid",
            "kid",
            "precision_recall",
            "squeezenet_distance",
            "lpips",
            "art_fid",
        ],
        ...,
    ] = ("swd", "fd", "kid")
    """What is computed; fid, lpips and art_fid need networks that are downloaded. On the demo
    domains, whose true translations are known, PSNR, SSIM and sharpness as well."""
    definition: Literal["squeezenet", "pytorch-fid", "clean", "torch-fidelity", "dinov2"] | None = (
        None
    )
    """Whose features fd, fid, kid and precision_recall compare; null: squeezenet's, which come with
    the package, if fd is among the metrics, and else pytorch-fid's."""
    weights: str | None = None
    """File of the features' network; null takes the package's, torch hub's cache or a download."""
    lpips_weights: str | None = None
    """File of the AlexNet of lpips; null takes it from torch hub's cache, or downloads it."""
    max_images: int = 500
    """Most test pictures of each domain, spread over the domain and the same at every time."""
    patience: int | None = None
    """Stop training after so many evaluations in a row without a best score; null: never."""
    raw_weights: bool = False
    """With train.ema_decay, also score the generators before averaging, as psnr_ab_raw and so on;
    these scores choose no model."""


@dataclass(frozen=True)
class TrackingConfig:
    """What can be watched while training runs."""

    backend: Literal["wandb", "tensorboard", "none"] = "none"
    """Where metrics and samples go beside the run folder."""
    project: str = "cyclegan_style"
    """Project name at the tracker."""
    log_every_steps: int = 50
    """Steps between lines of metrics.jsonl."""
    sample_every_steps: int = 500
    """Steps between pictures of samples."""
    log_model: bool = False
    """Upload the finished model to wandb as an artifact."""
    sample_count: int = 4
    """Test pictures of each domain in a picture of samples."""
    sample_channels: tuple[int, ...] | None = None
    """Channels that are shown and scored of domains with a range that have them, numbered from 1:
    three, such as [4, 3, 2], or one; null: the first three of more than four."""
