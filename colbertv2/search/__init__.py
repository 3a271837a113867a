"""Search: the engines, and the searcher that asks them."""
