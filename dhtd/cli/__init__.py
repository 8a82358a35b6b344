"""The command line: `dhtd`, the daemon, and `dht`, its client. What a command needs it imports when it runs."""
