"""How a network is trained: the steps, the loop around them, and their parts."""
