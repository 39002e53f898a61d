"""python -m fusion_gateway.tokens: runs terminal/tokens.py."""

from fusion_gateway.terminal.tokens import app

if __name__ == "__main__":
    app()
