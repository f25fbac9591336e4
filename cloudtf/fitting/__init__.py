"""One command from photographs to a trained, judged and exported model."""
