"""What more than one notebook builds. Import the module you need; nothing runs at import."""
