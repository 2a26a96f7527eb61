"""Plans of AchieveIt as assets of Airflow: their addresses, and the events that tasks tell of them."""
