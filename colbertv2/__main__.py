"""``python -m colbertv2``: the same as the installed command ``colbertv2``."""

from colbertv2.commands.command_line import main

if __name__ == "__main__":
    main()
