"""The two domains, A (photographs) and B (paintings), and the two ways between them."""

from typing import Literal, NamedTuple


class Direction(NamedTuple):
    """One way of translating: ``ab`` from domain ``a`` to domain ``b``."""

    name: Literal["ab", "ba"]
    source: str
    target: str
    reverse: str


DIRECTIONS = (Direction("ab", "a", "b", reverse="ba"), Direction("ba", "b", "a", reverse="ab"))
DOMAINS = ("a", "b")


def paired(domain: str) -> str:
    """What a batch calls its pictures of a domain whose translation is known."""
    return f"paired_{domain}"
