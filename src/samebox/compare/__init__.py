"""What `samebox compare` measures and shows beside the suite's results: security posture and speed, side by side."""
