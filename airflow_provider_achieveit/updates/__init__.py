"""From rows of any source to checked batches. Nothing in this package imports Airflow or does HTTP."""
