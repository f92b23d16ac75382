"""Search among look-alike photographs: importing fgembed imports nothing else of it."""

import os

__version__ = "0.1.0"

# ONNX Runtime 1.31 keeps a device id and a store of events in the home folder and looks up a host,
# unless this is set before it is loaded; the hub's client reports what is downloaded. Processes
# that fgembed starts inherit both.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
