"""Programs that attack the system, and that break what it depends on."""

import os

# These processes start others while gRPC is at work in them, which its preparations for a fork do not always survive.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
