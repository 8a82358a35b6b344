"""The functions behind the methods: each starts an operation, waits for its events, and returns a result."""
