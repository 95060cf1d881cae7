"""Attacks on demand over HTTP: from a request to an order, and from what came of it to an answer."""
