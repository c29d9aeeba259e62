"""samplejoin: training samples for online learning, joined live from Kafka logs.

`import samplejoin` does not load Faust. The worker's Faust app is built when `samplejoin.app` is first accessed
(`faust -A samplejoin worker`).
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "app":
        from samplejoin.worker.faust_app import app

        return app
    raise AttributeError(name)
