"""Graph files, their weight files and staged output folders: what every writer of bundles shares.

This package imports neither torch nor the rest of `omnijet.export`.
"""
