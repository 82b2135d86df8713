"""Serving: the chosen policy in production, without torch.

`routing_gym.serving.bundle.PolicyBundle` decides; `routing_gym.serving.app.create_app` serves.
"""
