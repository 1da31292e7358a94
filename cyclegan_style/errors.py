"""The one kind of error that is the user's to mend, shown as one line without a traceback."""


class UserError(Exception):
    """Bad input or usage; the message says in one line what is wrong and what to do."""


def printable(text: str) -> str:
    """Text on one line: line breaks and other control characters of file names are escaped."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
