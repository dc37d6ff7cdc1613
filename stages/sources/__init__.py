"""What a run has not made itself: base models, rewards, the hub, the device."""
