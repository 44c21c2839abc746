"""Pure rules of licenses and leases."""
