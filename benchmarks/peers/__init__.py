"""The apps of the servers that the gateway is measured beside, a file each, in environments of their own."""
