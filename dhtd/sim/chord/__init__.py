"""A Chord node (Stoica, Morris, Karger, Kaashoek and Balakrishnan, SIGCOMM 2001 and IEEE/ACM ToN 11(1), 2003).

It is driven as the Kademlia node is: `handle_*` and commands in, `poll_*` out, with time and randomness as arguments.
"""
