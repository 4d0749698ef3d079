"""Proxmox VE's REST API, as far as this lab plays it.

Every request passes in the order of the real API daemon: who asks (access), does the call exist (description), may
they (access), are the parameters right (schema), and only then what it does (guests, storages, tasks). A call that is
in Proxmox's own description but not built here answers 501 in Proxmox's words, never a quiet success.
"""
