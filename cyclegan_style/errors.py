"""The one kind of error that is the user's to mend, shown as one line without a traceback."""


class UserError(Exception):
    """Bad input or usage; the message says in one line what is wrong and what to do."""
