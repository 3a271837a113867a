"""``python -m colbertv2.plan …``: what ``python -m colbertv2 …`` would find and what it would have to build."""

from colbertv2.__main__ import command, show_plan

if __name__ == "__main__":
    command(show_plan)
