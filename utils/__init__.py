"""What more than one notebook uses: import the module that you need; nothing runs at import.

Its map, from top to bottom, is in README.md; a module imports only those below it.
"""
