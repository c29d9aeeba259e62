"""The error of the demo."""

from samplejoin.errors import SamplejoinError


class DemoError(SamplejoinError):
    """Ends the demo with exit code 1."""
