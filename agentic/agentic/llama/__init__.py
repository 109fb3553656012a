"""The Llama prompt codec."""
