"""Watches: other nodes are told of changes under the keys that they watch here, and they tell us of ours."""
