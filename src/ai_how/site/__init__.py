"""What the user wants: the site file's model and its loader. Pure but for reading the file; imports nothing below."""
