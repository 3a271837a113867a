"""The one exception for what a user can mend."""


class InputError(ValueError):
    """Wrong input: the message says what was expected, what was found and what to do.

    The command line prints it without a traceback.
    """
