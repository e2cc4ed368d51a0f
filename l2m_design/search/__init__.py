"""Search: candidates drawn from a space, held to the condition, trained one by one, tracked, chosen among."""
