"""The API schemas that manifests are checked by: taken from the Go modules of their makers, reduced, and committed.

`reducing` makes a schema small, `merging` makes one of those of several versions, `modules` fetches, `__main__` writes.
Nothing here is needed to check: `cluster_stack.manifests` reads the committed files.
"""
