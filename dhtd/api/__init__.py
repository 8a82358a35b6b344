"""The Python API: a daemon's methods for programs, under asyncio and trio, and blocking.

The package `dhtd` offers all names for users, each imported when it is first used. Nothing of the daemon is imported.
"""
