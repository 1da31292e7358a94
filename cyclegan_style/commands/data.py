"""``data``: data sets by name, and what is wrong with pictures."""

import shlex
import sys
from pathlib import Path

from cyclegan_style.commands.data_check import check_command
from cyclegan_style.commands.parser import Command, command_parser, print_result, run_named
from cyclegan_style.errors import UserError


def data_command(arguments: list[str]) -> int:
    """Run the part that the first argument names."""
    parts: dict[str, tuple[Command, str]] = {
        "list": (list_command, "the data sets that can be had by name"),
        "get": (get_command, "download one, check it and unpack it"),
        "index": (index_command, "index tar shards, before they are uploaded or trained on"),
        "check": (check_command, "find what is wrong with the pictures of two domains"),
    }
    return run_named("cyclegan-style data", "part", parts, arguments)


def list_command(arguments: list[str]) -> int:
    """Name the data sets, with what is known of each."""
    parser = command_parser("data list", "List the data sets that `data get` knows.")
    options = parser.parse_args(arguments)

    from cyclegan_style.data.catalogue import KNOWN_SETS

    if options.json:
        sets = [
            {
                "name": known.name,
                "a": known.a,
                "b": known.b,
                "bytes": known.size,
                "counts": known.counts,
                "licence": known.licence,
                "note": known.note,
                "url": known.url,
                "sha256": known.sha256,
            }
            for known in KNOWN_SETS.values()
        ]
        print_result({"sets": sets}, as_json=True)
        return 0
    for known in KNOWN_SETS.values():
        counts = ", ".join(f"{name} {count}" for name, count in known.counts.items())
        print(f"{known.name:<24}{known.size / 1e6:>6.0f} MB  {counts or 'counts unknown'}")
        print(f"  {known.a} and {known.b}; licence: {known.licence}")
        if known.note:
            print(f"  {known.note}")
    return 0


def get_command(arguments: list[str]) -> int:
    """Fetch a data set, and print how to train on it."""
    parser = command_parser(
        "data get",
        "Download a data set by its name, going on where an earlier attempt broke off; check its"
        " size, SHA-256 and counts; and unpack it into the folder that --data.root of the training"
        " takes. `data list` names the sets.",
    )
    parser.add_argument("name", help="of the data set, such as horse2zebra")
    parser.add_argument(
        "--output", type=Path, default=Path("data"), help="folder in which its folder is made"
    )
    parser.add_argument("--url", help="address of its ZIP archive, if not its publishers'")
    parser.add_argument(
        "--sha256",
        help="checksum that the archive must have; the published one by default, or of another"
        " address the one that came from there the first time",
    )
    options = parser.parse_args(arguments)

    from cyclegan_style.data.catalogue import KNOWN_SETS

    known = KNOWN_SETS.get(options.name)
    if known is None:
        names = ", ".join(KNOWN_SETS)
        raise UserError(f"there is no data set {options.name!r}; there are {names}")

    from cyclegan_style.data.fetching import fetch_set

    fetched = fetch_set(known, options.output, options.url, options.sha256)
    run = f"runs/{known.name}"
    training = ["cyclegan-style", "train", "--config", "configs/paper.yaml"]
    training += ["--data.root", str(fetched.folder), "--run.dir", run]
    counts = ", ".join(f"{name} {count}" for name, count in fetched.counts.items())
    if fetched.sha256 is None:
        checked = "was there already"
    elif fetched.checked_against is None:
        checked = f"SHA-256 {fetched.sha256}, recorded for the next time; nobody had told one"
    else:
        checked = f"SHA-256 as {fetched.checked_against}"
    print(f"{fetched.folder}: {counts}; {checked}", file=sys.stderr)
    print(f"licence: {known.licence}", file=sys.stderr)
    if known.note:
        print(known.note, file=sys.stderr)
    if options.json:
        values = {
            "name": known.name,
            "folder": str(fetched.folder),
            "counts": fetched.counts,
            "url": fetched.url,
            "sha256": fetched.sha256,
            "checked_against": fetched.checked_against,
            "licence": known.licence,
            "note": known.note,
            "next": shlex.join(training),
        }
        print_result(values, as_json=True)
    else:
        print(f"next: {shlex.join(training)}")
    return 0


def index_command(arguments: list[str]) -> int:
    """Build the indexes of shards that have none yet, and count their pictures."""
    parser = command_parser(
        "data index",
        "Index tar shards for training: each .tar gets a .index beside it, unless it has one. Of a"
        " shard that is uploaded with its index, no headers have to be fetched.",
    )
    parser.add_argument("shards", nargs="+", help="such as 'photos-{000..099}.tar' or photos/*.tar")
    options = parser.parse_args(arguments)

    from cyclegan_style.data.listing import DomainError, open_pictures
    from cyclegan_style.data.shard_pictures import names_shards

    counts = {}
    for spec in options.shards:
        if not names_shards(spec):
            raise DomainError.about("data index", spec, "name .tar files")
        counts[spec] = len(open_pictures(spec, field="data index"))
    if options.json:
        print_result({"pictures": counts}, as_json=True)
    else:
        for spec, count in counts.items():
            print(f"{spec}: {count} pictures")
    return 0
