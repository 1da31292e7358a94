"""The pool of past translations that the discriminators are shown (Shrivastava et al., 2017)."""

import torch
from torch import Tensor


class ImagePool:
    """Holds ``size`` images; with its own random generator, so that its draws disturb no other.

    While it fills, each image is stored and returned. Then, with a probability of one half, an
    image takes the place of a stored one drawn at random, which is returned in its stead. Images of
    each shape are as if in a pool of their own, but for the draws.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.by_shape: dict[torch.Size, list[Tensor]] = {}
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def images(self) -> list[Tensor]:
        """All that are stored, of one shape after the other."""
        return [image for images in self.by_shape.values() for image in images]

    def exchange(self, images: Tensor) -> Tensor:
        """Show N×C×H×W new translations to the pool and receive as many to be judged."""
        if self.size == 0:
            return images
        return torch.stack([self._exchange_one(image) for image in images.detach()])

    def state(self) -> dict[str, Tensor]:
        """All that shapes the next exchange."""
        state = {"random": self.generator.get_state()}
        for number, images in enumerate(self.by_shape.values()):
            state[_name(number)] = torch.stack(images)
        return state

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Put back what ``state`` returned."""
        self.generator.set_state(state["random"])
        stacks = [state[_name(number)].to(device) for number in range(len(state) - 1)]
        self.by_shape = {images.shape[1:]: list(images) for images in stacks}

    def _exchange_one(self, image: Tensor) -> Tensor:
        images = self.by_shape.setdefault(image.shape, [])
        if len(images) < self.size:
            images.append(image.clone())
            return image
        if torch.rand((), generator=self.generator) > 0.5:
            place = int(torch.randint(self.size, (), generator=self.generator))
            past = images[place]
            images[place] = image.clone()
            return past
        return image


def _name(number: int) -> str:
    """Of the state's images of the n-th shape; that of the first is as old as checkpoints."""
    return f"images_{number}" if number else "images"
