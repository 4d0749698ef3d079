"""What Flux gets for one cluster, as plain functions: which components, in which order, with which facts.

``components`` reads what the folders of ``infrastructure/`` say of themselves, ``selection`` puts those that
cluster.yaml names into order, ``runtime_info`` holds the facts that reach them, ``objects`` makes what is applied to
the cluster, ``checks`` finds what does not go together. Nothing here builds or applies anything: building is
``cluster_stack.manifests``.
"""
