"""Who may ask: a token over the whole application, and where it may listen without one."""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from cyclegan_style.errors import UserError
from cyclegan_style.serving.problems import ProblemError

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What load balancers ask, who know no token."""
TOKEN_VARIABLE = "CYCLEGAN_STYLE_TOKEN"
"""Environment variable of the token, which is not seen in the list of processes."""


class TokenGuard:
    """Lets requests pass that know the token: as a bearer, or as the password of HTTP Basic.

    The latter is what browsers ask people for.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self.token = token.strip().encode()  # files of secrets end with a line break

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it before its body is read."""
        kind = scope["type"]
        if kind == "lifespan" or scope["path"] in OPEN_PATHS or self.admits(scope):
            await self.app(scope, receive, send)
        elif kind == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            challenge = 'Bearer, Basic realm="cyclegan-style", charset="UTF-8"'
            problem = ProblemError(
                401, "the token is missing or wrong", {"WWW-Authenticate": challenge}
            )
            await problem.response()(scope, receive, send)

    def admits(self, scope: Scope) -> bool:
        """Whether a request shows the token; how long it takes to say no tells nothing of it."""
        return any(hmac.compare_digest(given, self.token) for given in given_tokens(scope))


def given_tokens(scope: Scope) -> Iterator[bytes]:
    """What the headers of a request offer as its token."""
    for name, value in scope["headers"]:
        if name.lower() != b"authorization":
            continue
        scheme, _, credentials = value.strip().partition(b" ")
        if scheme.lower() == b"bearer":
            yield credentials.strip()
        elif scheme.lower() == b"basic":
            try:
                yield base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
            except binascii.Error:
                continue


def refuse_open_door(host: str, token: str | None, *, public: bool) -> None:
    """Raise a UserError if strangers could reach a server that asks for no token."""
    if token is not None and not token.strip():
        raise UserError(f"--token: empty; leave it and {TOKEN_VARIABLE} out to serve without one")
    if token is None and not public and not is_loopback(host):
        raise UserError(
            f"--host: {host} can be reached by others: give a token (--token or {TOKEN_VARIABLE}),"
            " or say --public to let everybody in"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
