"""A datacentre in a box: Proxmox, Image Factory, DHCP, names and Talos nodes in a network namespace of their own.

Owns everything that stands in for hardware and for other people's services. The product never imports it: it meets
the lab as it would meet a real site. What is simulated and what is real is told in docs/lab.md.
"""
