"""Everything that can be chosen about a run: the fields, and their values by name."""

from cyclegan_style.config.fields import (
    Config,
    DataConfig,
    DiscriminatorConfig,
    FeatureLayer,
    GeneratorConfig,
    LossConfig,
    OptimizerConfig,
    RunConfig,
    StyleConfig,
    TaskName,
    TrainConfig,
    ValueRange,
)
from cyclegan_style.config.sizes import Size, parse_size, square_side
from cyclegan_style.config.values import (
    flat_fields,
    from_yaml,
    model_yaml,
    noise_model_yaml,
    parse_bytes,
    to_dict,
    to_yaml,
    value_of,
    with_values,
)
from cyclegan_style.config.watching import CheckpointConfig, EvaluationConfig, TrackingConfig

__all__ = [
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DiscriminatorConfig",
    "EvaluationConfig",
    "FeatureLayer",
    "GeneratorConfig",
    "LossConfig",
    "OptimizerConfig",
    "RunConfig",
    "Size",
    "StyleConfig",
    "TaskName",
    "TrackingConfig",
    "TrainConfig",
    "ValueRange",
    "flat_fields",
    "from_yaml",
    "model_yaml",
    "noise_model_yaml",
    "parse_bytes",
    "parse_size",
    "square_side",
    "to_dict",
    "to_yaml",
    "value_of",
    "with_values",
]
