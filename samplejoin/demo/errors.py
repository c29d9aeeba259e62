"""How the demo says that it cannot go on."""

from samplejoin.errors import SamplejoinError


class DemoError(SamplejoinError):
    """Ends the demo with exit code 1."""
