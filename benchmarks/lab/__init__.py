"""The lab: what policies for an agent's memory save of recorded bills, and how often the agent misses what has left."""
