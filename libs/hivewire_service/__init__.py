"""The chassis that every hivewire service runs on."""
