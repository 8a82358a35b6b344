"""The contacts of a node: the table, who enters it, who stays, and what it answers."""
