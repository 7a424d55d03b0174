"""Bad traffic at random on the compiled engines, and a soak on real layers."""
