"""What people read: status, conditions and Events, derived from decisions. Pure: no I/O, no clock."""
