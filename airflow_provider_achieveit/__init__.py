"""Apache Airflow provider for AchieveIt."""

__version__ = "0.1.0"
