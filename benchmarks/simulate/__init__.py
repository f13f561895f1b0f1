"""A discrete-event simulation of the server around the real ``balancer.core`` scheduler."""
