"""Search: the engines, and the searcher that runs them."""
