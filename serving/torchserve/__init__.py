"""TorchServe: the handler that it runs, and running it."""
