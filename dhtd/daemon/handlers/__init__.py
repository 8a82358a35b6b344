"""What the daemon does for each method: it starts operations of the node, waits for events, tells what came of it."""
