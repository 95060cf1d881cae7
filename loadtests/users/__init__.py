"""Who asks a gateway for what: a module for each kind of caller."""
