"""Analyses of two-hop chains: accuracy of the hops, the bridge entity inside, consistency, patching."""
