"""Wires: how the messages of `dhtd.core.messages` look as datagrams."""
