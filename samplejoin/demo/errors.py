"""How the demo says that it cannot go on."""


class DemoError(Exception):
    """Ends the demo; the message says what is wrong and what to do. Shown without a traceback, exit code 1."""
