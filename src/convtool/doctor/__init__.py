"""What this machine has for convtool, and the making ready of its compiled code."""
