"""How the pack's parts describe themselves to its nodes: fields that know their range, and files that register what is in them. A leaf."""
