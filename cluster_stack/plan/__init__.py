"""From a cluster's configuration to its nodes: pure functions, no Pulumi, no network."""
