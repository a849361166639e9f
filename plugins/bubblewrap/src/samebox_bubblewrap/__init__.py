"""The bubblewrap engine of samebox: sandboxes from the kernel's own namespaces, with no daemon."""
