"""The asking side of a node: queries in flight, searches, and the operations built on them."""
