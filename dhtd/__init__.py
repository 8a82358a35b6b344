"""A DHT node that maps IDs to the endpoints that serve them."""

__version__ = "0.2.0"
