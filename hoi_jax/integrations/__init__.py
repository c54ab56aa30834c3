"""Optional bridges to other people's libraries; nothing else of this library imports them."""
