"""``serve``: models behind HTTP."""

import os
import sys

from jsonargparse import Namespace

from cyclegan_style.commands.parser import add_precision_option, command_parser, print_result
from cyclegan_style.config import parse_bytes
from cyclegan_style.errors import UserError


def serve_command(arguments: list[str]) -> int:
    """Answer requests until SIGTERM or Ctrl-C."""
    options = parse_serve_options(arguments)

    from cyclegan_style.applying.predictor import bytes_of_budget
    from cyclegan_style.applying.translate import default_batch_size
    from cyclegan_style.system.hardware import choose_device
    from cyclegan_style.system.memory import reuse_freed_memory

    try:
        from cyclegan_style.serving.access import TOKEN_VARIABLE
        from cyclegan_style.serving.limits import Limits
        from cyclegan_style.serving.loaded_models import Computing, LoadedModels, named
        from cyclegan_style.serving.server import serve
    except ModuleNotFoundError as error:
        raise UserError(f"serve needs {error.name}: pip install 'cyclegan-style[serve]'") from None

    device = choose_device(options.device)
    limits = Limits(
        body_bytes=options.max_body,
        body_seconds=options.body_timeout,
        pixels=options.max_pixels,
        requests=options.queue,
        seconds=options.timeout,
        batch_size=options.batch_size or default_batch_size(device),
        batch_seconds=options.batch_wait / 1000,
    )
    computing = Computing(device, options.precision, bytes_of_budget(options.memory_budget))
    token = options.token if options.token is not None else os.environ.get(TOKEN_VARIABLE)
    reuse_freed_memory()
    translated = serve(
        LoadedModels(named(options.model), computing),
        limits,
        options.host,
        options.port,
        token,
        public=options.public,
        page=not options.no_page,
    )
    print(f"{translated} translated", file=sys.stderr)
    if options.json:
        print_result({"translated": translated}, as_json=True)
    return 0


def parse_serve_options(arguments: list[str]) -> Namespace:
    """Read the options of ``serve``."""
    parser = command_parser(
        "serve",
        "Translate pictures for others: a page for the browser, POST /v1/translate for programs."
        " SIGTERM and Ctrl-C let it finish what it has begun.",
    )
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        help="run folder, exported model folder, Hub repository (user/name) or generator file, each"
        " with a --model of its own; NAME=... gives it another name than its folder's. A folder"
        " whose files change is taken up anew",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=8000, help="0: any free one")
    parser.add_argument(
        "--token",
        help="what clients have to know; better given by the environment variable"
        " CYCLEGAN_STYLE_TOKEN, which is not seen in the list of processes",
    )
    parser.add_argument(
        "--public", action="store_true", help="let everybody in who reaches --host, without a token"
    )
    parser.add_argument(
        "--no-page", action="store_true", help="serve nothing but the API; starts sooner"
    )
    parser.add_argument("--max-body", default="32MB", help="of a request")
    parser.add_argument("--max-pixels", type=int, default=16_000_000, help="of a picture")
    parser.add_argument(
        "--queue", type=int, default=32, help="requests at once; more are sent away (503)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds for a translation (504)"
    )
    parser.add_argument(
        "--body-timeout", type=float, default=60.0, help="seconds for a body to arrive (408)"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        help="pictures of one size at once; by default 8, on CPUs 1",
    )
    parser.add_argument(
        "--batch-wait", type=float, default=5.0, help="milliseconds to wait for others of its size"
    )
    parser.add_argument(
        "--memory-budget",
        help="such as 2GB, by default most of what is free; pictures that would take more are"
        " computed in stripes, with the same result",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    add_precision_option(parser)
    options = parser.parse_args(arguments)
    try:
        options.max_body = parse_bytes(options.max_body)
    except ValueError as error:
        raise UserError(f"--max-body: {error}") from None
    if not 0 <= options.port < 2**16:
        raise UserError(f"--port must be 0 to {2**16 - 1}, not {options.port}")
    return options
