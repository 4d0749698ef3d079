"""The lab's page: hosts, machines, etcd, Kubernetes, requests and events of a running lab, live in a browser.

The page looks on. It changes nothing, asks nobody but the daemon, and knows no secret: what it shows is put together
from named fields, never from whole objects.
"""
