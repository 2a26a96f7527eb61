"""What Airflow's own user interface gets from this provider."""
