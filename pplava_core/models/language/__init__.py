"""Text in and out of a language model: prompts, tokens, writing."""
