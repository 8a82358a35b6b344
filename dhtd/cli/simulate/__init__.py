"""`dhtd simulate`: its options, its run, and its picture."""
