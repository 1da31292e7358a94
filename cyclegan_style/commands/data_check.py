"""``data check``: what is wrong with pictures, before anything is trained on them."""

import sys
from pathlib import Path

from jsonargparse import Namespace

from cyclegan_style.commands.parser import command_parser, prepare_folder, print_result
from cyclegan_style.errors import UserError

PAGE_FILE = "data-check.html"


def check_command(arguments: list[str]) -> int:
    """``data check``; exit status 1 if something serious is found."""
    parser = command_parser(
        "data check",
        "Find unreadable files, copies within and between sets, blank, greyscale and framed"
        " pictures, and compare the domains. Exit status 1 if something serious is found.",
    )
    kinds = "folder, glob, list of files (.txt) or demo such as demo:photo"
    parser.add_argument("--root", help="folder with trainA, trainB and, if present, testA, testB")
    parser.add_argument("--a", help=f"training pictures of domain A: {kinds}")
    parser.add_argument("--b", help="training pictures of domain B")
    parser.add_argument("--test-a", help="test pictures of A; by default a demo's own, or none")
    parser.add_argument("--test-b", help="test pictures of B")
    parser.add_argument(
        "--output", type=Path, default=Path("runs"), help=f"page to write, or folder of {PAGE_FILE}"
    )
    parser.add_argument(
        "--write-list",
        type=Path,
        help="write the files that are fine, one a line, to this .txt, and those of each set beside"
        " it (-a, -b, …), which may be given wherever a domain may",
    )
    options = parser.parse_args(arguments)
    specs = _specs_of(options)
    named = options.output.suffix == ".html" and not options.output.is_dir()
    page = options.output if named else options.output / PAGE_FILE
    if options.write_list is not None and options.write_list.suffix.lower() != ".txt":
        raise UserError(f"--write-list: {options.write_list}: must end in .txt")

    from cyclegan_style.evaluation.checking.check import (
        check_domains,
        exit_status,
        result_of,
        write_lists,
    )
    from cyclegan_style.evaluation.checking.report import write_report

    prepare_folder(page.parent)
    findings = check_domains(specs)
    write_report(page, findings)
    lists = write_lists(options.write_list, findings) if options.write_list else {}
    people = sys.stderr if options.json else sys.stdout
    for sentence in findings.problems or ["No problems found."]:
        print(sentence, file=people)
    for sentence in findings.remarks:
        print(f"note: {sentence}", file=people)
    print(f"open: {page}", file=people)
    if options.json:
        print_result(result_of(findings, page, lists), as_json=True)
    return exit_status(findings)


def _specs_of(options: Namespace) -> dict[str, str]:
    """What was given by set, spelt out where a folder holds all of them."""
    given = {
        name: value
        for name in ("a", "b", "test_a", "test_b")
        if (value := options[name]) is not None
    }
    if options.root is not None:
        if "a" in given or "b" in given:
            raise UserError("--root: give either it or --a and --b")

        from cyclegan_style.data.listing import reference_layout

        found = {name: str(path) for name, path in reference_layout(options.root).items()}
        return found | given
    if "a" not in given and "b" not in given:
        raise UserError("give --a and --b, or --root")
    return given
