"""The instrument: load that does not distort. No Prefect, no MLflow, no engine names."""
