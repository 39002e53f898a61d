"""YAML that people write: what PyYAML would take silently for something else is refused."""

import re
from collections import Counter
from typing import Any

import yaml

from servers.runtime.quoting import quoted


class NotTaken(yaml.YAMLError):
    """YAML, but not of this kind; the message quotes no more than a name."""


class StrictLoader(yaml.SafeLoader):
    """Takes no aliases: a few lines of them stand for any number of values. Takes no name twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, times in names.items():
            if times > 1:
                raise NotTaken(f"line {node.start_mark.line + 1}: {quoted(name)} is given {times} times there")
        return node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise NotTaken("aliases (*name) are not taken")
        return super().compose_node(parent, index)


# YAML 1.1, and so PyYAML, takes 1e-3 for text: it wants 1.0e-3.
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789")
)
