"""What needs root, a cluster or a human: redirect rules, identities, injection. Ends where traffic begins."""
