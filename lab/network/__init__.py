"""The lab's wires, real ones of the kernel: bridges and a router in the lab's main network namespace, a namespace with
virtual cables for every machine that has power, and what can go wrong with them.

Owns links, the site's own addresses and the rules of faults. A machine's addresses are its own business.
"""
