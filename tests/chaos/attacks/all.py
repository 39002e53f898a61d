"""Every attack, in the order of the table."""

from tests.chaos.attacks import artifacts, connections, floods, messages, shapes

ATTACKS = [*messages.ATTACKS, *shapes.ATTACKS, *floods.ATTACKS, *connections.ATTACKS, *artifacts.ATTACKS]
