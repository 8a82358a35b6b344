"""The contacts of a node: the table, the rules by which contacts enter and leave it, and the answers from it."""
