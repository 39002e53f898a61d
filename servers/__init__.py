"""Model servers; the gateway shares servers.runtime."""

import os

# ONNX Runtime reads it when it is imported; else it looks up its maker's servers and reports to them.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
