"""The commands that ask a gateway, by the Python client, in place of a bundle on this machine."""
