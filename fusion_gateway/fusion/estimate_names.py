"""What the off-policy estimates of a policy are called among the metrics of a version of fusion."""

import hashlib
import json
from dataclasses import asdict

from fusion_gateway.fusion.policy import Policy

OFF_POLICY = "off-policy"
"""What the protocols of estimates begin with."""
ENDS = ("", " low", " high")
"""Of the names of the value and of its interval."""


def digest(policy: Policy) -> str:
    """Equal for policies of equal content: estimates are of that, whatever has the policy's name later."""
    content = json.dumps(asdict(policy), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def is_estimate_of(metric: str, digest: str) -> bool:
    """Whether the metric of this name is an estimate, or an end of its interval, of the policy with this digest."""
    return metric.endswith(tuple(f" {digest}{end}" for end in ENDS))
