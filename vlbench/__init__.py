"""Parameter-efficient tuning methods for vision-and-language models, measured side by side."""

__version__ = "0.1.0"
