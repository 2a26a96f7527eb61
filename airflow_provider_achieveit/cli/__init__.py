"""The command line: ``airflow achieveit`` (Airflow 3.2 and later), or ``python -m airflow_provider_achieveit``."""
