"""A cluster of hundreds of nodes in the lab, by the real `pulumi up`: the time and the memory that it takes."""
