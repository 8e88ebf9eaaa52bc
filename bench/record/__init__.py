"""What is stored: outcomes, run folders, tables. Knows neither torch nor Hydra; all that reports see of bench."""
