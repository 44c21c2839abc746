"""What the commands do: ask SNs, look into folders, wait."""
