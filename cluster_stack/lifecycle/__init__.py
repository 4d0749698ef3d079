"""What neither the Proxmox nor the Talos provider can do: a Pulumi provider of our own, which stands alone.

``python -m cluster_stack.lifecycle`` is its program, ``plugin`` the folder in which the engine finds it, ``server`` the
protocol, ``resource`` what a type of resource is. ``kubernetes`` is one: the objects of a cluster. ``talos_api`` asks a
running node.
"""
