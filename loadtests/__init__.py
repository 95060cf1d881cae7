"""Load tests of a gateway, on locust: who asks, how often, what an answer is, and what that came to."""
