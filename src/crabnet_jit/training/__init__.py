"""How a network learns: steps, the loop around them, what they are made of."""
