"""python -m fusion_gateway.fallback_chain: runs terminal/fallback_chain.py."""

from fusion_gateway.terminal.fallback_chain import app

if __name__ == "__main__":
    app()
