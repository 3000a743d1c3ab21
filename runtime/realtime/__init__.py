"""A voice conversation as events, with the names of the OpenAI Realtime API."""
