"""Campaigns over HTTP: reading requests, following jobs, answering with what came of them."""
