"""Objects of the Kubernetes API as resources of Pulumi: applied, waited for, looked at again, deleted.

``api`` speaks with the API server, ``objects`` is one object there and who owns its fields, ``readiness`` tells what an
object waits for, and ``surroundings`` finds what keeps it; ``drift`` tells what became of what was declared, and
``resource`` puts them together.
"""
