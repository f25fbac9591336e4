"""Prediction tables and the cleaned submission."""
