"""``python -m wsproxy`` is the same as ``wsproxy``."""

from wsproxy.cli.main import main

if __name__ == "__main__":
    main()
