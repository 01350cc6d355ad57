"""The neighbour of main.py."""


def greeting(who: str) -> str:
    return f"Hello, {who}!"
