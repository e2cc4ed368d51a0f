"""`python -m l2m_design.cli`: the same as the `l2m` command."""

from l2m_design.cli import main

if __name__ == "__main__":
    main()
