"""What neither the Proxmox nor the Talos provider can do. So far: asking a running node."""
