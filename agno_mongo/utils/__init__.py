"""Small things under Agno's import paths."""
