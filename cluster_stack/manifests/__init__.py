"""What Flux would apply, built and checked without a cluster.

``building`` runs kustomize, unless that would fetch something (``remote``), ``substitution`` puts the cluster's facts
in as Flux does, ``schemas`` knows what the API takes, ``references`` what must be there for an object to work
(``pods``: for the pods in it), ``positions`` where in which file something stands, and ``check`` brings them together.
Asks nobody and applies nothing. Only imported where there is something to build.
"""
