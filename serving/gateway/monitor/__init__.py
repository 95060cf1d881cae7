"""The last minutes of a gateway, for people: what was asked, how it went, and how it is now."""
