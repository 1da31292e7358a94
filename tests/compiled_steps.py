"""What test_distributed.py runs on two processes: the same steps, uncompiled and compiled.

Argument: where the weights go.
"""

import sys

from distributed_steps import weights_after_steps
from safetensors.torch import save_file
from tiny import tiny_config

from cyclegan_style.system.hardware import build_accelerator
from cyclegan_style.system.launch import launched_as_asked, leave

SIZES = {"generator__channels": 20}
"""More than a megabyte, at which the compiler begins to cut networks for DDP's buckets."""

if __name__ == "__main__" and launched_as_asked(__file__, sys.argv[1:]):
    accelerator = build_accelerator(tiny_config(), "no")
    for name, compiled in (("eager", False), ("compiled", True)):
        weights = weights_after_steps(accelerator, train__compile=compiled, **SIZES)
        path = f"{sys.argv[1]}.{name}.{accelerator.process_index}.safetensors"
        save_file({key: tensor.contiguous() for key, tensor in weights.items()}, path)
    leave(0)
