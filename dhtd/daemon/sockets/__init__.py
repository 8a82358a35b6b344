"""UDP sockets, the addresses of this machine, and the links that they are on."""
