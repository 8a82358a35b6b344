"""How a node joins its network, makes itself known, and notices an outage."""
