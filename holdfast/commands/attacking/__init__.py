"""What ``holdfast attack`` is made of: from its words to a plan, from a plan to results and a record."""
