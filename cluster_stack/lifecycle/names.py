"""By which names the engine knows this provider and its types of resources."""

PACKAGE = "cluster-stack"
KUBERNETES_OBJECT = f"{PACKAGE}:kubernetes:Object"
"""One object in a cluster. Its inputs are a manifest."""
