"""The command line `adapt`. A command is one module; `main` puts them together."""
