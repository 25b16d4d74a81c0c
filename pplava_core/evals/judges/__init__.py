"""Language models that read answers: asking them, reading them, keeping what they say."""
