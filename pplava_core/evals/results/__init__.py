"""What runs came to: tables, files, comparisons, pictures."""
