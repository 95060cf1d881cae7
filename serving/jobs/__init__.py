"""Durable attack campaigns: what the gateway enqueues and reads, and what workers carry out."""
