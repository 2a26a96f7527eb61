"""What tasks tell OpenLineage: where their data comes from, and where it goes."""
