"""The demo: a real sample of texts and their embeddings, searched through a server."""
