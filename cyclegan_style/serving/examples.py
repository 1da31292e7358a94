"""Pictures to begin with: landscapes of the demo domains, drawn when the page is built."""

from functools import cache

from PIL import Image

from cyclegan_style.synthetic.drawing import render
from cyclegan_style.synthetic.folders import Domain, demo_sources

COUNT = 4
"""Of each domain."""
DOMAINS: dict[str, Domain] = {"ab": "photo", "ba": "painting"}
"""What a direction is shown with."""


@cache
def examples(direction: str) -> list[Image.Image]:
    """Pictures that a model of the demo has not seen."""
    domain = DOMAINS[direction]
    return [
        Image.fromarray(render(domain, source)) for source in demo_sources(domain, "test", COUNT)
    ]
