"""The verbs of `dht` and `dhtd`."""
