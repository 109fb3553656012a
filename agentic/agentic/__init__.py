"""Tool-calling agents on Llama models: sessions, turns and steps that survive `kill -9`."""
