"""Synthetic photographs of clouds, in the format of Kaggle's competition: `cloudtf synthesize`."""
