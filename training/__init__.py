"""Data, models, evaluation and publishing."""

import os

# OpenMP threads that spin while they wait make a run beside a busy neighbor several times slower; torch reads these.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# ONNX Runtime reads it when it is imported; else it looks up its maker's servers and reports to them.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
