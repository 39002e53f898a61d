"""python -m fusion_gateway.local: runs terminal/local.py."""

from fusion_gateway.terminal.local import app

if __name__ == "__main__":
    app()
