"""Attention between all places of a map."""

import torch.nn.functional as F
from torch import Tensor, nn

HEADS = 4


class SelfAttention(nn.Module):
    """x + f(x), where each place of f(x) is a mean over all places, weighted by likeness.

    Four heads, as in Vaswani et al. (2017). Queries and keys have length 1 and their products are
    multiplied by √d, d the channels of a head, so that no norm of the map is needed to bound them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % HEADS:
            raise ValueError(f"{channels} channels cannot be shared out to {HEADS} heads")
        self.look = nn.Conv2d(channels, 3 * channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C×H×W to the same shape."""
        # In any other order, torch would compute and keep all products at once.
        heads = self.look(x).flatten(2).unflatten(1, (3 * HEADS, -1)).mT.contiguous()
        queries, keys, values = heads.chunk(3, dim=1)
        # Below 1e-4 a length would be 0 in fp16.
        queries, keys = (F.normalize(each, dim=-1, eps=1e-4) for each in (queries, keys))
        scale = queries.shape[-1] ** 0.5
        mean = F.scaled_dot_product_attention(queries, keys, values, scale=scale)
        out: Tensor = x + self.project(mean.mT.reshape(x.shape))
        return out

    def begin_as_identity(self) -> None:
        """Let f be 0 until it has learned."""
        nn.init.zeros_(self.project.weight)
