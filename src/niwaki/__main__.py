"""``python -m niwaki``."""

from niwaki.cli import main

if __name__ == "__main__":
    main()
