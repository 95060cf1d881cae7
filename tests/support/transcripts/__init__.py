"""Commands and their output as pages show them: read, run, and compared with what comes out now."""
