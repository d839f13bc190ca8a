"""The helpers that more than one notebook uses. Import the module you need; nothing runs at import."""
