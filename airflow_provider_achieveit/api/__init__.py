"""AchieveIt over HTTP. Nothing in this package imports Airflow."""
