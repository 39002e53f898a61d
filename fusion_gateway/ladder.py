"""python -m fusion_gateway.ladder: runs terminal/ladder.py."""

from fusion_gateway.terminal.ladder import app

if __name__ == "__main__":
    app()
