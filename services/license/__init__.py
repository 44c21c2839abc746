"""License server (5814): installed licenses, leases of their capacity, and who holds what."""
