"""Optional interfaces to other libraries; no other part of this library imports them."""
