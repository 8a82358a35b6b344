"""The control socket: one JSON object a line, each way. dht-control(7) is its specification."""
