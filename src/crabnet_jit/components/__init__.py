"""An object for each formula: activations, losses, optimisers, schedules."""
