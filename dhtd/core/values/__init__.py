"""Values of this node and of others: what it keeps in the network, reads there, and hands on."""
