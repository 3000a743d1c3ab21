"""`POST /v1/chat/completions` as OpenAI has it."""
