"""The playground: the page at ``/`` on which models are tried and attacked, and what serves its files.

``static/`` has the page as it is, plain files that no build step touches; ``examples/`` has images to try.
"""
