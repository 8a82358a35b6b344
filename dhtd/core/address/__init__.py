"""Where others see us, and whether strangers reach us."""
