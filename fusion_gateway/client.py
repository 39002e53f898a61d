"""python -m fusion_gateway.client: runs terminal/client.py."""

from fusion_gateway.terminal.client import app

if __name__ == "__main__":
    app()
