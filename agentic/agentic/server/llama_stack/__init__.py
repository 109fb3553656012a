"""The Llama Stack 0.2 API."""
