"""What the house itself costs: import, boundary, dispatch."""
