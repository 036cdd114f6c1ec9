"""`python -m flipbook`, and so `torchrun -m flipbook train RECIPE`."""

from flipbook.cli import main

if __name__ == "__main__":
    main()
