"""How the daemon finds others: names to addresses, and what changes around this machine."""
