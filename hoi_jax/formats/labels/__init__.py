"""Label files of every layout."""
