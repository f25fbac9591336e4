"""What a trained model is worth: metrics, thresholds, plots and the report."""
