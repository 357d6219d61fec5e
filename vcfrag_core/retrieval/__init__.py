"""What is retrieved: identity, layout, metric, queries, candidates, order."""
