"""API keys: what they look like, where they are kept, and how the gateway knows one that it is shown."""
