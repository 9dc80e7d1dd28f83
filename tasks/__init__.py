"""DO: the folders are plain Python; the files directly in here are thin Prefect tasks, one per stage."""
