"""What the embedded models are measured by, on seeds that no training has seen."""
