"""Everything that can be chosen about a run, and with ``watching.py`` all that knows a default.

The defaults are the recipe of the CycleGAN paper. A YAML file and dotted options
(``--train.batch_size 4``) override them.
"""

from dataclasses import dataclass, field
from typing import Literal

from cyclegan_style.config.directions import DIRECTIONS, DOMAINS, Direction
from cyclegan_style.config.sizes import Size, parse_size
from cyclegan_style.config.watching import CheckpointConfig, EvaluationConfig, TrackingConfig

FeatureLayer = Literal[
    "conv1", "fire2", "fire3", "fire4", "fire5", "fire6", "fire7", "fire8", "fire9"
]
"""Layers of SqueezeNet, for heads of discriminators and for the cycle's distance."""

TaskName = Literal["cyclegan", "one_style", "noise"]

ValueRange = tuple[float, float] | Literal["measured"] | None
"""The values that become -1 and 1 for the networks; measured: a domain's own least and greatest."""


@dataclass(frozen=True)
class RunConfig:
    """Where the run lives."""

    dir: str = "runs/cyclegan"
    """Folder of the run: configuration, metrics, samples, checkpoints and the trained model."""
    resume: Literal["auto", "never"] = "auto"
    """auto: go on from the newest checkpoint in the folder; never: refuse a folder in use."""


@dataclass(frozen=True)
class DataConfig:
    """The two domains (A: photographs, B: paintings) and how a picture becomes a sample."""

    root: str | None = None
    """Folder with trainA, trainB and, if present, testA and testB; instead of a and b."""
    a: str | None = None
    """Training pictures of domain A: a folder, a glob, a list of files (.txt), a demo such as
    demo:photo, a data set of the Hub, hf://datasets/user/name?split=train&column=imageA, tar
    shards, photos-{000..099}.tar, or these or a folder in a store, s3://bucket/photos."""
    b: str | None = None
    """Training pictures of domain B, named as those of A."""
    test_a: str | None = None
    """Pictures of A for samples and scores; the demo's own test set, else those of a."""
    test_b: str | None = None
    """Pictures of B for samples and scores; the demo's own test set, else those of b."""
    pairs: tuple[str, str] | None = None
    """Pictures whose translation is known: a folder of A and one of B, of equal names, such as
    [known/photos, known/paintings], for loss.paired. An unset a or b is the one of these."""
    channels_a: int = 3
    """Channels of domain A: 1 grey, 2 grey with alpha, 3 RGB, 4 RGB with alpha; with a range, more
    are any others."""
    channels_b: int = 3
    """Channels of domain B."""
    range: ValueRange = None
    """Values of both domains that become -1 and 1, such as [0, 65535], for more than 8 bits or four
    channels; measured: each domain's least and greatest value; null: pictures of 8 bits."""
    range_a: ValueRange = None
    """The same of domain A alone, in place of data.range."""
    range_b: ValueRange = None
    """The same of domain B alone."""
    resize: Literal["square", "shortest", "none"] = "square"
    """Before the crop: square to exactly load_size, shortest until load_size is covered, which
    brings the shorter side to it where it is one number, or none."""
    load_size: int | str = 286
    """Size in pixels to which pictures are resized (bicubic): a side, or height and width such as
    40x56."""
    fast_jpeg: bool = False
    """Decode large JPEGs at a half, quarter or eighth of their size, at least twice load_size, if
    that divides their sides: several times as fast, and pixels change by some 0.4 of 255 levels."""
    crop_size: int | str = 256
    """Size in pixels of the random crop that the networks are trained on, written in the same
    way."""
    buckets: bool = False
    """Train on pictures in their own shape, the nearest of seven with the area of a square of
    crop_size, each batch on those of one shape; with resize shortest."""
    flip: bool | Literal["horizontal", "both", "none"] = True
    """Mirror half of the samples, chosen at random: left to right (horizontal, or true), that and
    top to bottom, each by itself (both), or not at all (none, or false)."""
    rotate: float = 0.0
    """Most degrees by which a crop is rotated, either way; its corners stay inside the picture."""
    scale: float = 0.0
    """Largest share by which a crop is enlarged, such as 0.1."""
    num_workers: int = 2
    """Processes that prepare samples; 0 prepares them in the training process."""
    memory_budget: str = "4GB"
    """Memory of a machine for decoded pictures, such as 500MB. Its processes share it, each with a
    copy of its own: of each domain as many pictures are kept as fit into its share of that."""
    min_readable: float = 0.9
    """Share of a domain's files that must be readable for training to begin."""

    @property
    def load(self) -> Size:
        """Height and width of ``load_size``; a ValueError if it is no size."""
        return parse_size(self.load_size)

    @property
    def crop(self) -> Size:
        """Height and width of ``crop_size``; a ValueError if it is no size."""
        return parse_size(self.crop_size)

    @property
    def mirrored(self) -> bool:
        """Whether half of the samples are mirrored left to right."""
        return self.flip in (True, "horizontal", "both")

    @property
    def upside_down(self) -> bool:
        """Whether half of the samples are mirrored top to bottom."""
        return self.flip == "both"

    @property
    def channels(self) -> dict[str, int]:
        """Channels by domain."""
        return {"a": self.channels_a, "b": self.channels_b}

    @property
    def ranges(self) -> dict[str, ValueRange]:
        """The range of values by domain."""
        return {"a": self.range_a or self.range, "b": self.range_b or self.range}

    @property
    def specs(self) -> dict[str, str]:
        """What the training pictures of each domain, of those that there are, are named by."""
        return {name: spec for name, spec in (("a", self.a), ("b", self.b)) if spec is not None}


@dataclass(frozen=True)
class GeneratorConfig:
    """The networks that translate, or with task noise the one that makes pictures out of noise."""

    architecture: Literal["resnet", "unet", "residual_unet", "dcgan"] = "resnet"
    """resnet: residual blocks at a quarter of the resolution; unet: encoder-decoder with skips;
    residual_unet: the same with a residual block before and after each level; dcgan, for task noise
    alone: a map of 4 × 4, and doublings up to data.crop_size (Radford et al., 2016)."""
    channels: int = 64
    """Filters of the first layer, or of a dcgan's last; deeper layers have multiples of it."""
    latent: int = 128
    """Numbers that a picture is made of (dcgan)."""
    blocks: int = 9
    """Residual blocks (resnet); the paper has 9 for 256 pixels and 6 for 128."""
    levels: int = 8
    """Halvings of the resolution (U-Nets): 7 for 128 pixels, 8 for 256."""
    norm: Literal["instance", "batch", "none", "group", "demodulated"] = "instance"
    """Normalisation after each convolution; group: of 16 channels or more together; demodulated:
    none, but kernels of a fixed norm (StyleGAN2)."""
    dropout: bool = False
    """Dropout of one half inside the residual blocks (resnet) or the inner levels (U-Nets)."""
    upsampling: Literal["transposed", "nearest", "bilinear", "subpixel"] = "transposed"
    """Doublings: transposed convolutions; convolutions of maps enlarged without a grid; subpixel:
    convolutions to four channels for each, which become its four pixels (resnet)."""
    downsampling: Literal["strided", "blurred", "unshuffled"] = "strided"
    """Halvings: strided convolutions of maps as they are, or blurred first against aliasing;
    unshuffled: none, but the 4 × 4 pixels of a place as its channels (resnet)."""
    padding: Literal["reflect", "zero", "replicate"] | None = None
    """What layers see beyond a map's border: its reflection, zeros or its border's pixels; null:
    zeros in strided convolutions and reflections in others, as in the reference."""
    first_kernel: int | None = None
    """Side in pixels of the first layer's kernels: an odd number for a resnet, an even one for the
    halving of a U-Net; null: the reference's, 7 and 4."""
    last_kernel: int | None = None
    """Side in pixels of the last layer's kernels: an even number for a transposed convolution, an
    odd one for others; null: the reference's, 7 for a resnet, and 4 and 3."""
    skip: bool = False
    """Add the input to the output, so that training begins near the identity."""
    full_size_channels: int = 0
    """Channels of maps at full size beside a U-Net, of what its halvings give and of a look at the
    picture, which together make the output: it then tells single pixels apart; 0: none."""
    attention: bool = False
    """Let each place of one small map see all the others: in the middle of a resnet's blocks, or
    two halvings above a U-Net's deepest map. Pictures are then translated in one pass only."""
    styles: int = 1
    """Styles of one network (task one_style, which counts its paintings): each has scales and
    shifts of its own after every instance norm (Dumoulin et al., 2017)."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The two networks that judge; discriminator_b judges domain B."""

    architecture: Literal["patch", "pixel", "whole"] = "patch"
    """patch: PatchGAN, one verdict per patch; pixel: one verdict per pixel; whole: one verdict per
    picture, from a map of 4 × 4."""
    channels: int = 64
    """Filters of the first layer."""
    layers: int = 3
    """Strided layers of the PatchGAN; 3 see patches of 70 × 70 pixels. Halvings of a whole picture:
    4 for 64 pixels, 5 for 128."""
    norm: Literal["instance", "batch", "none"] = "instance"
    """Normalisation after the inner convolutions."""
    scales: int = 1
    """PatchGANs that judge each picture: the first as it is, the others halved once, twice, ..."""
    spectral_norm: bool = False
    """Bound every layer's largest singular value to one (Miyato et al., 2018)."""
    augment: tuple[Literal["color", "translation", "cutout"], ...] = ()
    """Differentiable augmentations of all that the discriminators see (Zhao et al., 2020)."""
    feature_layers: tuple[FeatureLayer, ...] = ()
    """Layers of SqueezeNet, trained on ImageNet and frozen, on each of which a small head judges
    as well, beside the PatchGAN; such as fire3, fire5, fire9 (Sauer et al., 2021)."""
    feature_weight: float = 1.0
    """Weight of each head's verdict; a PatchGAN's is 1, and the loss is the weighted mean."""


@dataclass(frozen=True)
class LossConfig:
    """What the networks are trained for."""

    adversarial: Literal["least_squares", "cross_entropy", "hinge", "wgan_gp", "relativistic"] = (
        "least_squares"
    )
    """Objective of the game between generators and discriminators; relativistic compares verdicts
    on a real and a translated image at the same place (R3GAN, with gradient_penalty r1_r2)."""
    adversarial_weight: float = 1.0
    """Weight of the generators' part in it; 0, for pairs alone, trains no discriminator."""
    cycle_a: float = 10.0
    """Weight of ‖generator_ba(generator_ab(a)) − a‖."""
    cycle_b: float = 10.0
    """Weight of ‖generator_ab(generator_ba(b)) − b‖."""
    cycle_decay: float = 1.0
    """Factor of both weights at the end of training, to which it falls linearly from 1."""
    cycle_noise: float = 0.0
    """Deviation of noise on a translation before it is translated back, of values from -1 to 1: a
    cycle then hides nothing too faint to be seen (Bashkirova et al., 2019); 0: none."""
    cycle_features: tuple[FeatureLayer, ...] = ()
    """Layers of SqueezeNet, frozen, on which the cycle is compared as well, such as fire3, fire5:
    the distance is the mean of the pixels' and of each layer's."""
    identity_a: float = 5.0
    """Weight of ‖generator_ba(a) − a‖; 0 leaves the term out."""
    identity_b: float = 5.0
    """Weight of ‖generator_ab(b) − b‖; 0 leaves the term out."""
    paired: float = 0.0
    """Weight of ‖generator_ab(a) − b‖ and ‖generator_ba(b) − a‖ on data.pairs."""
    contrastive: float = 0.0
    """Weight of a contrast between places of the input and of the translation, as seen by the
    generators' encoders (DCLGAN; Han et al., 2021), which may stand in for the cycle; 0 leaves the
    term out. With train.one_sided generator_ab's encoder sees both (CUT; Park et al., 2020)."""
    contrastive_identity: float = 0.0
    """With train.one_sided: weight of the same contrast between b and generator_ab(b); 0 leaves the
    term out."""
    feature_matching: float = 0.0
    """Weight of the distance between the mean activations that real and translated images have in
    the discriminator (Salimans et al., 2016); 0 leaves the term out."""
    detail: float = 0.0
    """Weight of (log e_ab − log e)², where e_ab is the energy of the gradients of generator_ab(a)
    over that of a, and e that of pictures of B over those of A: translations become as sharp as
    the pictures of their domain; 0 leaves the term out."""
    gradient_penalty: Literal["none", "r1", "r1_r2", "zero_centred"] = "none"
    """Penalty on the discriminators' gradients: r1 on real images, r1_r2 on real and on translated
    ones, zero_centred between the two. wgan_gp brings its own."""
    penalty_weight: float = 10.0
    """Weight of the gradient penalty, wgan_gp's included; an image's score is its mean verdict."""

    @property
    def penalises_gradients(self) -> bool:
        """Whether the discriminators' losses have a gradient penalty."""
        return self.adversarial == "wgan_gp" or self.gradient_penalty != "none"


@dataclass(frozen=True)
class StyleConfig:
    """What a generator is trained for with task one_style, where data.b holds the paintings."""

    paintings: int = 16
    """Most pictures of data.b that are taken as paintings, spread over all."""
    together: bool = False
    """Whether all paintings make one style; otherwise each is a style of its own."""
    features: Literal["squeezenet", "vgg19"] = "squeezenet"
    """Network whose features are compared: squeezenet comes along, vgg19 is downloaded."""
    weights: str | None = None
    """File of that network's weights; null takes the package's, torch hub's cache or a download."""
    loss: Literal["gram", "moments", "wasserstein"] = "gram"
    """Gram matrices (Johnson et al., 2016), mean and deviation (Huang and Belongie, 2017), or
    sliced Wasserstein distance (Heitz et al., 2021)."""
    content_weight: float = 1.0
    """How much of the photograph is kept."""
    style_weight: float = 1.0
    """How strong the style is."""
    variation_weight: float = 0.0
    """Weight of the total variation, which smooths."""
    scale: float = 1.0
    """Shorter side of a painting over data.load_size, of which the shorter side counts: above 1
    makes coarser strokes."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam, one for both generators and one for both discriminators."""

    learning_rate: float = 2e-4
    """Learning rate before it decays."""
    beta1: float = 0.5
    """Adam's decay of the mean gradient."""
    beta2: float = 0.999
    """Adam's decay of the mean squared gradient."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Shape of the decay towards 0 over train.decay_epochs."""
    clip_norm: float | None = None
    """Largest norm of the generators' and of the discriminators' gradients; null: no limit."""


@dataclass(frozen=True)
class TrainConfig:
    """How long and how training runs."""

    epochs: int = 100
    """Epochs at the full learning rate; an epoch has max(|A|, |B|) images."""
    decay_epochs: int = 100
    """Epochs over which the learning rate then decays to 0."""
    steps: int | None = None
    """Steps of the whole training, to which the schedule of both is stretched; null: as many as
    these epochs have."""
    start_from: str | None = None
    """Trained model whose weights a fresh run begins with: a run, a model folder or a folder with
    latest_net_G_A.pth and latest_net_G_B.pth; null begins with random weights."""
    max_steps: int | None = None
    """Stop after so many steps even if some are left; the schedule does not change."""
    one_sided: bool = False
    """Train generator_ab and discriminator_b alone, with loss.contrastive instead of a cycle."""
    identity_steps: int = 0
    """Steps at the beginning in which generators learn only to give back their input."""
    batch_size: int = 1
    """Images of each domain per process and step."""
    accumulation_steps: int = 1
    """Batches per step: the step of a larger batch with the memory of a small one."""
    seed: int = 0
    """Seed of the weights, the order of the pictures, their crops and the image pools."""
    pool_size: int = 50
    """Past translations kept per domain to show to the discriminators; 0: only the newest."""
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = "no"
    """Number format of the networks' arithmetic; auto takes the fastest where the run begins, which
    is measured on a CPU, and keeps to it; fp16 needs a GPU."""
    convolutions: Literal["direct", "winograd", "auto"] = "direct"
    """How generators' 3 × 3 convolutions of many channels are computed: winograd with a quarter of
    the multiplications, or four ninths in bf16, on CPUs without train.compile; auto takes the
    faster where the run begins, which is measured, and keeps to it."""
    cpu_threads: int | None = None
    """Threads of each process that trains on the CPU; null shares out all cores."""
    compile: bool | Literal["blocks", "auto"] = False
    """Compile the networks with torch.compile: a minute or two first, faster steps after. blocks
    compiles a resnet's residual blocks alone, as one program; auto does that if it is faster where
    the run begins, which is measured, and if so long a run earns it back, and keeps to it."""
    checkpoint_activations: bool = False
    """Let the generators compute most activations again in the backward pass instead of keeping
    them: the same training in a fraction of the memory and about a third more time."""
    channels_last: bool = False
    """Keep images in channels-last order, which is faster with bf16 and fp16."""
    tf32: bool = True
    """Let NVIDIA GPUs multiply float32 with TF32 precision."""
    ema_decay: float = 0.0
    """Decay per step of the generators' moving average, which is then the model; 0: off."""
    ema_warmup: bool = False
    """Let the average forget its beginning: decay by (1 + t) / (10 + t) after t steps, as long as
    that is less than ema_decay."""

    @property
    def compiles(self) -> bool:
        """Whether anything is compiled, which ``auto`` leaves open until a run begins."""
        return self.compile not in (False, "auto")


@dataclass(frozen=True)
class Config:
    """A whole run."""

    task: TaskName = "cyclegan"
    """cyclegan: two domains translated into each other; one_style: photographs of data.a painted
    like data.b (Johnson et al., 2016); noise: pictures like data.b out of nothing."""
    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    style: StyleConfig = field(default_factory=StyleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Ways of translating that are trained, each with a generator."""
        if self.task == "noise":
            return ()
        one_way = self.task == "one_style" or self.train.one_sided
        return DIRECTIONS[:1] if one_way else DIRECTIONS

    @property
    def generator_names(self) -> tuple[str, ...]:
        """Names of the networks that are trained to make pictures."""
        if self.task == "noise":
            return ("b",)
        return tuple(direction.name for direction in self.directions)

    @property
    def made_domains(self) -> tuple[str, ...]:
        """Domains like whose pictures new ones are made."""
        if self.task == "noise":
            return ("b",)
        targets = {direction.target for direction in self.directions}
        return tuple(domain for domain in DOMAINS if domain in targets)

    @property
    def shown_channels(self) -> dict[str, tuple[int, ...] | None]:
        """Which channels of each domain's pictures are shown and scored; None: of all, colours."""
        chosen = self.tracking.sample_channels
        return {
            name: chosen
            if chosen and self.data.ranges[name] and max(chosen) <= count
            else (1, 2, 3)
            if count > 4
            else None
            for name, count in self.data.channels.items()
        }

    @property
    def trained_domains(self) -> tuple[str, ...]:
        """Domains whose pictures every step is shown."""
        return {"cyclegan": DOMAINS, "one_style": ("a",), "noise": ("b",)}[self.task]
