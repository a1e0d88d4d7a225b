"""Deployment files, written from the same settings that the app runs on."""
