"""Talos Linux clusters on Proxmox VE, each described by one ``clusters/<name>/cluster.yaml``."""
