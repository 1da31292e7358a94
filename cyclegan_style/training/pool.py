"""The pool of past translations that the discriminators are shown (Shrivastava et al., 2017)."""

import torch
from torch import Tensor


class ImagePool:
    """Holds ``size`` images; with its own random generator, so that its draws disturb no other.

    While it fills, each image is stored and returned. Then, with a probability of one half, an
    image takes the place of a stored one drawn at random, which is returned in its stead.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.images: list[Tensor] = []
        self.generator = torch.Generator().manual_seed(seed)

    def exchange(self, images: Tensor) -> Tensor:
        """Show N×C×H×W new translations to the pool and receive as many to be judged."""
        if self.size == 0:
            return images
        return torch.stack([self._exchange_one(image) for image in images.detach()])

    def state(self) -> dict[str, Tensor]:
        """All that shapes the next exchange."""
        state = {"random": self.generator.get_state()}
        if self.images:
            state["images"] = torch.stack(self.images)
        return state

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Put back what ``state`` returned."""
        self.generator.set_state(state["random"])
        self.images = list(state["images"].to(device)) if "images" in state else []

    def _exchange_one(self, image: Tensor) -> Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if torch.rand((), generator=self.generator) > 0.5:
            place = int(torch.randint(self.size, (), generator=self.generator))
            past = self.images[place]
            self.images[place] = image.clone()
            return past
        return image
